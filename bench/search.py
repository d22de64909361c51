"""The index of `wit search` beside looking at every image: how many of the nearest ten it finds, and how long it takes.

    python -m bench.search [--images N] [--width D] [--spread S]

Vectors are drawn about centres, as embeddings lie about what images show, and so far from them (`--spread`, in standard
deviations of the centres) that the nearest ones are of many; queries lie about some of the vectors, as captions do.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from bench.record import print_record
from filters.images.embeddings import unit
from pipeline.examining import nearest
from pipeline.examining.embeddings import Part

COUNT, QUERIES = 10, 200
LEAST_RECALL = 0.9


def main() -> None:
    """Measure, and print one JSON object."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=120_000)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--spread", type=float, default=1.5)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(options.images // 100, options.width))
    about = centres[rng.integers(0, len(centres), options.images)]
    vectors = unit(about + options.spread * rng.normal(size=about.shape))
    queries = unit(vectors[:QUERIES] + 0.5 / options.width**0.5 * rng.normal(size=(QUERIES, options.width)))
    ids = np.arange(options.images, dtype=np.uint64)

    def images() -> Iterator[Part]:
        for first in range(0, options.images, 50_000):
            yield Part(ids[first : first + 50_000], vectors[first : first + 50_000])

    with tempfile.TemporaryDirectory() as folder:
        embeddings: Any = SimpleNamespace(
            count=lambda: options.images, images=images, folder=Path(folder), fingerprint="bench"
        )
        began = time.process_time()
        exact, _, _ = nearest.search(embeddings, queries, COUNT, exact=True)
        middle = time.process_time()
        nearest.EXACT_BELOW = 0
        nearest.search(embeddings, queries[:1], COUNT)  # builds and keeps the index
        built = time.process_time()
        nearest_ids, _, _ = nearest.search(embeddings, queries, COUNT)
        seconds = {"peer": middle - began, "ours": time.process_time() - built}
    recall = float(
        np.mean([len(set(a) & set(b)) / COUNT for a, b in zip(exact.tolist(), nearest_ids.tolist(), strict=True)])
    )
    print(f"{options.images:,} images, built in {built - middle:.1f} CPU s; {recall:.1%} of the nearest {COUNT} found")
    rates = {name: QUERIES / taken for name, taken in seconds.items()}
    print_record(
        {
            "bench": "search",
            **rates,
            "unit": "queries/CPU s",
            "ratio": rates["ours"] / rates["peer"],
            "equal": recall >= LEAST_RECALL,
            "recall": recall,
        }
    )


if __name__ == "__main__":
    main()

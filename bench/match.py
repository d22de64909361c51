"""Matching texts against the built-in query list, by MetaCLIP's rule: ours against pyahocorasick, on one core.

Texts are the list's own queries drawn into captions of about 8, so that the bench needs no download; `--texts FILE`
takes one text a line instead.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from pathlib import Path

import pyarrow as pa

from bench.peer import measure, venv
from filters.match import Matcher
from filters.queries import load

TEXTS = 200_000


def main() -> None:
    """Print the figures, and as the last line one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=Path, help="one text a line")
    options = parser.parse_args()
    queries = load("builtin:en").column("query").to_pylist()
    if options.texts:
        texts = options.texts.read_text(encoding="utf-8").splitlines()
    else:
        rng = random.Random(0)
        texts = [" ".join(rng.choice(queries) for _ in range(rng.randint(3, 13))) for _ in range(TEXTS)]
    began = time.process_time()
    matcher = Matcher(pa.array(queries), "metaclip")
    built = time.process_time()
    found = matcher.match(pa.array(texts))
    seconds = time.process_time() - built
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / name for name in ("queries.json", "texts.json", "result.json")]
        paths[0].write_text(json.dumps(queries), encoding="utf-8")
        paths[1].write_text(json.dumps(texts), encoding="utf-8")
        python = venv("pyahocorasick", "pyahocorasick==2.2.0")
        peer = measure(python, Path(__file__).parent / "match_peer.py", *map(str, paths))
        equal = json.loads(paths[2].read_text(encoding="utf-8")) == found.to_pylist()
    ours, theirs = len(texts) / seconds, len(texts) / peer["seconds"]
    print(f"{len(queries):,} queries, {len(texts):,} texts, CPU time of one core, build apart")
    print(f"ours  {ours:>12,.0f} texts/s, built in {built - began:.1f} s")
    print(f"peer  {theirs:>12,.0f} texts/s, built in {peer['build_seconds']:.1f} s (pyahocorasick)")
    print(
        json.dumps(
            {
                "bench": "match",
                "ours": round(ours),
                "peer": round(theirs),
                "unit": "texts/s and core",
                "ratio": round(ours / theirs, 2),
                "equal": equal,
            }
        )
    )


if __name__ == "__main__":
    main()

"""Loading training samples: ours against open_clip's own pipeline, with the same shards and as many workers.

Both decode natural JPEGs of 256 pixels, cut RandomResizedCrop(224, scale 0.9 to 1, bicubic), tokenise for a context of
77 (ViT-B/32), and hand batches of 256 to the training process. Ours are bytes, to be normalised on the device, where it
costs nothing; `normalised` has the training process do it on its CPU, as the peer's workers do. Whole passes are timed,
from the start of the workers on, of both in turn; the best of each counts. CPU time is that of the workers and of the
training process. The last figures are of the centre crop: ours against open_clip's evaluation transform.
"""

from __future__ import annotations

import argparse
import gc
import io
import json
import random
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import open_clip
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image

from bench.fetch import pictures
from bench.peers.measure import VENVS, measure, venv
from bench.record import print_record
from dataset.ids import pair_id
from dataset.schema import SHARD_INDEX
from dataset.store.storage import Storage
from dataset.tables import to_parquet
from dataset.webdataset.shards import write_shard
from filters.queries.build import load
from train.config import from_keys
from train.data.loader import batches, open_corpus, samples_of

SAMPLES, SHARDS, SIDE, QUALITY = 3_072, 8, 256, 92
BATCH, COMPARED = 256, 512
ROUNDS = 3
LAION = Path(__file__).resolve().parents[2] / "shared" / "data" / "laion-sample-1000.parquet"


def main() -> None:
    """Print the figures, and as the last line one JSON object: the ratio of the number of workers where it is least."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=SAMPLES)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args()
    dataset = shards(options.samples)
    python = venv("open-clip", "open_clip_torch[training]==3.3.0")
    script = Path(__file__).parent / "peers" / "loader.py"
    batch = min(BATCH, options.samples // 4)
    results = []
    for workers in (1, 2):
        ours, normalised, theirs = [], [], []
        for _ in range(options.rounds):
            ours.append(load_all(dataset, workers, batch, False))
            theirs.append(measure(python, script, "speed", dataset, str(options.samples), str(workers), str(batch)))
            normalised.append(load_all(dataset, workers, batch, True))
        results.append(figures(workers, ours, normalised, theirs))
    with tempfile.TemporaryDirectory() as folder:
        kept = str(Path(folder) / "batches.npz")
        compared = min(COMPARED, options.samples)
        measure(python, script, "centre", dataset, str(compared), "1", str(batch), kept)
        pixel_error, same_tokens = agreement(dataset, np.load(kept), compared)
    print(f"centre crop: mean absolute pixel error {pixel_error:.3f}/255; the same tokens: {same_tokens}")
    least = min(results, key=lambda result: result["ratio"])
    equal = pixel_error < 2 and same_tokens
    figures_ = {"unit": "samples/s", **least, "equal": equal, "pixel_error": round(pixel_error, 3), "runs": results}
    print_record({"bench": "loader", **figures_})


def shards(samples: int) -> str:
    """Return the URL of a dataset of photographs, made at the first use: their shorter sides have 256 pixels."""
    folder = VENVS.parent / f"loader-{samples}"
    if folder.exists():
        return str(folder)
    names = sorted(pictures(samples, "laion").iterdir())
    captions = texts(samples)
    draft = Storage(str(folder.with_name(f"{folder.name}.draft")))
    rows = []
    for number in range(SHARDS):
        file = io.BytesIO()
        chosen = range(number, samples, SHARDS)
        ids = [pair_id(f"http://bench/{place}", captions[place]) for place in chosen]
        entries = write_shard(
            (
                (key.hex(), {"jpg": reduced(names[place]), "txt": captions[place].encode(), "json": described(key)})
                for key, place in zip(ids, chosen, strict=True)
            ),
            file,
        )
        draft.write(f"shards/train-{number:05d}.tar", file.getvalue())
        rows += [
            {"shard": f"train-{number:05d}.tar", "split": "train", "pair_id": key, **entry._asdict()}
            for key, entry in zip(ids, entries, strict=True)
        ]
    draft.write("shards/index.parquet", to_parquet(pa.Table.from_pylist(rows, SHARD_INDEX)))
    Path(draft.url).rename(folder)
    return str(folder)


def reduced(path: Path) -> bytes:
    """Return a picture's JPEG with a shorter side of 256 pixels."""
    image = Image.open(path)
    scale = SIDE / min(image.size)
    size = (round(image.width * scale), round(image.height * scale))
    file = io.BytesIO()
    image.resize(size, Image.Resampling.LANCZOS).save(file, "jpeg", quality=QUALITY)
    return file.getvalue()


def texts(count: int) -> list[str]:
    """Return captions: LAION-400M's where ../shared/data holds a thousand of them, else drawn from the query list."""
    if LAION.exists():
        known = [text for text in pq.read_table(LAION)["TEXT"].to_pylist() if text and text.strip()]
        return [f"{known[place % len(known)]} {place}" for place in range(count)]
    rng, queries = random.Random(0), load("builtin:en").column("query").to_pylist()
    return [" ".join(rng.choice(queries) for _ in range(rng.randint(3, 13))) for _ in range(count)]


def described(key: bytes) -> bytes:
    """Return a sample's json."""
    return json.dumps({"pair_id": key.hex(), "url": "http://bench", "width": SIDE, "height": SIDE}).encode()


def load_all(dataset: str, workers: int, batch: int, normalise: bool) -> dict[str, float]:
    """Return two passes over a dataset: samples/s of wall time, and CPU seconds a sample."""
    config = from_keys(dataset, batch_size=batch, crop="resized", workers=workers)
    clip = open_clip.get_tokenizer("ViT-B-32")
    corpus = open_corpus(dataset, config.data, config.seed, dataset)
    mean = torch.tensor(open_clip.OPENAI_DATASET_MEAN).view(1, 3, 1, 1)
    std = torch.tensor(open_clip.OPENAI_DATASET_STD).view(1, 3, 1, 1)
    cpu, began = cpu_seconds(), time.perf_counter()
    samples = samples_of(config.data, config.training.batch_size, corpus, clip, 224)
    seen = 0
    for got in passes(samples, 2 * len(corpus) // batch, workers):
        if normalise:
            got = (got.float().div_(255).sub_(mean)).div_(std)
        seen += len(got)
    seconds = time.perf_counter() - began
    gc.collect()
    return {"samples_per_second": seen / seconds, "cpu_seconds": (cpu_seconds() - cpu) / seen}


def passes(samples: torch.utils.data.Dataset, steps: int, workers: int) -> Iterator[torch.Tensor]:
    """Yield the images of some steps."""
    for got in batches(samples, 0, steps, workers, False):
        yield got.images


def cpu_seconds() -> float:
    """Return the CPU seconds of this process and of its children that have ended."""
    usages = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def figures(workers: int, ours: list, normalised: list, theirs: list) -> dict[str, float]:
    """Print what a number of workers gave; the figures for the last line."""
    rows = {"ours": ours, "ours, normalised on the CPU": normalised, "open_clip": theirs}
    best = {}
    print(f"{workers} worker{'s' if workers > 1 else ''}")
    for name, runs in rows.items():
        speed, cpu = max(run["samples_per_second"] for run in runs), min(run["cpu_seconds"] for run in runs)
        best[name] = speed, cpu
        print(f"  {name:28} {speed:8,.0f} samples/s  {cpu * 1e3:6.3f} ms CPU a sample")
    (fast, less), (whole, _), (slow, more) = best.values()
    return {
        "workers": workers,
        "ours": round(fast),
        "peer": round(slow),
        "ratio": round(fast / slow, 2),
        "cpu_ratio": round(more / less, 2),
        "normalised_ratio": round(whole / slow, 2),
    }


def agreement(dataset: str, peer: np.lib.npyio.NpzFile, count: int) -> tuple[float, bool]:
    """Return the mean absolute pixel error, of 255, of the samples' centre crops, and whether all tokens are
    the same.
    """
    config = from_keys(dataset, batch_size=1, crop="center", workers=0)
    corpus = open_corpus(dataset, config.data, config.seed, dataset)
    samples = samples_of(config.data, config.training.batch_size, corpus, open_clip.get_tokenizer("ViT-B-32"), 224)
    place_of = {int(row): place for place, row in enumerate(corpus.choose(np.arange(len(corpus))).row)}
    got = [samples[place_of[row]] for row in range(count)]
    error = np.mean(
        [
            np.abs(batch.images[0].numpy() - pixels.astype(float)).mean()
            for batch, pixels in zip(got, peer["images"], strict=True)
        ]
    )
    return float(error), bool((torch.cat([batch.texts for batch in got]).numpy() == peer["texts"]).all())


if __name__ == "__main__":
    main()

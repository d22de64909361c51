"""Training on one GPU in under nine minutes: ours against open_clip_train's step, bfloat16, ViT-B/32 and ViT-B/16.

Either side trains on a batch of noise that lies on the GPU (`synthetic`), with torch.compile and without, and from
shards made on the spot, 256-pixel JPEGs, through its own data pipeline with as many workers; ours does the paper's
batch of 32,768 as well, by micro-batches. For each run: samples/s; the share of time spent waiting for data; the most
memory that torch allocated; and MFU = samples/s · FLOPs a sample / the GPU's dense bfloat16 peak, where the FLOPs are
three times those of the products of a sample's forward pass (train/metrics.py), and nothing that is recomputed counts.

Runs fail alone. The exit status is 0 only if all were measured. `--tiny` is for a CPU: a small model, a few steps.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from PIL import Image

from bench.train_gpu_runs import Spec
from dataset.ids import pair_id
from dataset.schema import SHARD_INDEX
from dataset.shards import write_shard
from dataset.storage import Storage
from dataset.tables import to_parquet

SECONDS = 510  # after which nothing more is begun; what is under way has GRACE more
GRACE = 25
BATCHES = {"ViT-B-32": 1024, "ViT-B-16": 512}
LARGE_BATCH = 32_768  # Radford et al. 2021, Table 18
SHARDS, SHARD_SAMPLES, PICTURES = 40, 1000, 200
TINY_SHARDS, TINY_SAMPLES = 2, 20
ROOT = Path(__file__).resolve().parent.parent
TINY = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
    "text_cfg": {"context_length": 12, "width": 32, "heads": 2, "layers": 1},
}


def main() -> int:
    """Print the figures, and as the last line one JSON object: the ratio is of samples/s from shards at ViT-B/32."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="a small model and a few steps, on the CPU")
    options = parser.parse_args()
    began = time.time()
    if not options.tiny and not torch.cuda.is_available():
        print("error: there is no GPU here; --tiny runs on a CPU", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        shards, samples = (TINY_SHARDS, TINY_SAMPLES) if options.tiny else (SHARDS, SHARD_SAMPLES)
        make_dataset(folder, shards, samples)
        device = "the CPU" if options.tiny else torch.cuda.get_device_name()
        print(f"{device}; {shards * samples:,} samples in {time.time() - began:.0f} s", flush=True)
        groups = [tiny_specs(folder)] if options.tiny else [[spec] for spec in specs_of(folder, began + SECONDS)]
        results = [result for group in groups for result in results_of(group, Path(folder), options.tiny)]
    return report(results, device, time.time() - began)


def specs_of(folder: str, deadline: float) -> list[Spec]:
    """What is done, each in a process of its own."""
    return [
        Spec(
            side=side,
            model=model,
            dataset=folder,
            samples=SHARDS * SHARD_SAMPLES,
            batch_size=batch_size,
            large_batch=LARGE_BATCH,
            micro_batch=batch_size,
            warm=20,
            steps=40,
            workers=max(1, min(SHARDS, (os.cpu_count() or 2) - 1)),
            device="cuda",
            deadline=deadline,
        )
        for model, batch_size in BATCHES.items()
        for side in ("ours", "peer")
    ]


def tiny_specs(folder: str) -> list[Spec]:
    """The same for a CPU, where one process does all of it."""
    model = Path(folder) / "tiny-clip.json"
    model.write_text(json.dumps(TINY), encoding="utf-8")
    return [
        Spec(side, str(model), folder, TINY_SHARDS * TINY_SAMPLES, 8, 24, 8, 1, 2, 0, "cpu", time.time() + SECONDS)
        for side in ("ours", "peer")
    ]


def make_dataset(folder: str, shards: int, samples: int) -> None:
    """Shards of 256-pixel JPEGs of some 20 kB, with captions, and their index."""
    rng = np.random.default_rng(0)
    pictures = []
    for _ in range(min(PICTURES, shards * samples)):
        coarse = Image.fromarray(rng.integers(0, 256, (12, 15, 3), dtype=np.uint8)).resize((320, 256))
        fine = np.asarray(coarse, np.int16) + rng.integers(-12, 13, (256, 320, 3), dtype=np.int16)
        file = io.BytesIO()
        Image.fromarray(fine.clip(0, 255).astype(np.uint8)).save(file, "jpeg", quality=85)
        pictures.append(file.getvalue())
    storage = Storage(folder)
    rows: list[dict[str, object]] = []
    for shard in range(shards):
        name = f"train-{shard:05d}.tar"
        texts = [f"picture {number} of shard {shard}, a little noise on clouds of colour" for number in range(samples)]
        ids = [pair_id(f"http://bench.test/{shard}/{number}.jpg", text) for number, text in enumerate(texts)]
        parts = (
            {"jpg": pictures[(shard * samples + number) % len(pictures)], "txt": text.encode(), "json": b"{}"}
            for number, text in enumerate(texts)
        )
        file = io.BytesIO()
        entries = write_shard(zip((key.hex() for key in ids), parts, strict=True), file)
        storage.write(f"shards/{name}", file.getvalue())
        rows += [
            {"shard": name, "split": "train", "pair_id": key, **entry._asdict()}
            for key, entry in zip(ids, entries, strict=True)
        ]
    storage.write("shards/index.parquet", to_parquet(pa.Table.from_pylist(rows, SHARD_INDEX)))


def results_of(specs: list[Spec], folder: Path, tiny: bool) -> list[dict[str, Any]]:
    """What a process measured; what ended it too early, as one more result with an error."""
    spec, file = specs[0], folder / "specs.json"
    file.write_text(json.dumps([asdict(spec) for spec in specs]), encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    if tiny:
        environment["TORCH_COMPILE_DISABLE"] = "1"  # it would take most of the time
    broken: dict[str, Any] = {"side": spec.side, "model": Path(spec.model).stem, "run": "the process"}
    command = [sys.executable, "-m", "bench.train_gpu_runs", str(file)]
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=errors, text=True)
        try:
            if status := process.wait(max(0, spec.deadline - time.time()) + GRACE):
                errors.seek(0)
                broken["error"] = f"ended with {status}: {' '.join(errors.read().split())[-300:]}"
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            broken["error"] = "it was still at work when the time was up"
        output.seek(0)
        results = [json.loads(line) for line in output.read().splitlines() if line.startswith('{"side": ')]
    results += [broken] if "error" in broken else []
    for result in results:
        print(shown(result), flush=True)
    return results


def shown(result: dict[str, Any]) -> str:
    """A result as a line for people."""
    head = f"{result['side']:>4} {result['model']:<10} {result['run']:<42}"
    if "error" in result:
        return f"{head} {result['error']}"
    if "apart" in result:
        return f"{head} {result['apart']:.1e} apart"
    mfu = f"MFU {result['mfu']:.1%}  " if "mfu" in result else ""
    return (
        f"{head} {result['samples_per_second']:>9,.0f} samples/s  {mfu}"
        f"waiting {result['data_wait_share']:.0%}  {result['memory_bytes'] / 2**30:.1f} GiB"
    )


def report(results: list[dict[str, Any]], device: str, seconds: float) -> int:
    """Print the last line; the exit status."""
    failed = [result for result in results if "error" in result]
    model = results[0]["model"] if results else None
    speeds = {
        result["side"]: result["samples_per_second"]
        for result in results
        if result["model"] == model and result["run"].startswith("shards") and "error" not in result
    }
    mine, theirs = speeds.get("ours"), speeds.get("peer")
    apart = [result["apart"] for result in results if "apart" in result]
    summary = {
        "bench": "train_gpu",
        "ours": mine and round(mine, 1),
        "peer": theirs and round(theirs, 1),
        "unit": f"samples/s from shards, {model}",
        "ratio": round(mine / theirs, 2) if mine and theirs else None,
        "equal": bool(apart) and max(apart) <= 1e-4,
        "device": device,
        "seconds": round(seconds),
        "failed": len(failed),
        "runs": results,
    }
    print(json.dumps(summary))
    return 1 if failed or not results else 0


if __name__ == "__main__":
    sys.exit(main())

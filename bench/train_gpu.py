"""Training on one GPU in under ten minutes: ours against open_clip_train's step, bfloat16, ViT-B/32 and ViT-B/16.

Either side trains on a batch of noise that lies on the GPU (`synthetic`) and from shards made on the spot, 256-pixel
JPEGs, through its own data pipeline with as many workers; with torch.compile and without; ours does the paper's batch
of 32,768 as well, by micro-batches. Both run in the environment that is there: `pip install '.[train]' pandas` makes
one, and open_clip_train comes with open_clip_torch. For each run: samples/s; the share of time spent waiting for data;
the most memory that torch allocated, and what `--dry-run` forecasts, which knows nothing of compiled code; and MFU =
samples/s · FLOPs a sample / the GPU's dense bfloat16 peak, where the FLOPs are three times those of the products of a
sample's forward pass (train/logs/metrics.py), and nothing that is recomputed counts.

It is also measured how far one step's gradients are from open_clip's, the loss from one in float64 on the CPU, and the
weights after 200 steps from those that open_clip's own pieces learn (bench/processes/parity.py).

Results are printed as they come, what the goals ask for first. Runs fail alone, and each side and model has its part
of the time, after which the rest of it is left out. The exit status is 0 only if none failed and all that the goals ask
for was measured. `--tiny` is a small model and a few steps, on a CPU where there is no GPU.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pyarrow as pa
import torch
from PIL import Image

from bench.processes.train_gpu import Spec
from bench.record import print_record
from dataset.ids import pair_id
from dataset.images import jpeg
from dataset.schema import SHARD_INDEX
from dataset.store.storage import Storage
from dataset.tables import to_parquet
from dataset.webdataset.shards import write_shard
from train.config import from_keys
from train.memory.forecast import MemoryForecast

UNTIL = {("ViT-B-32", "ours"): 150, ("ViT-B-32", "peer"): 325, ("ViT-B-16", "ours"): 465, ("ViT-B-16", "peer"): 545}
GRACE = 25
"""Seconds from the start: when each side's last run may begin, and how much longer what is under way then may take."""
RATIO, MFU = 1.5, 0.45  # the goals: samples/s from shards at ViT-B/32, ours over theirs; ours at ViT-B/16
BATCHES = {"ViT-B-32": 1024, "ViT-B-16": 512}
EQUAL_STEPS, EQUAL_BATCH = 200, 64
LARGE_BATCH = 32_768  # Radford et al. 2021, Table 18
SHARDS, SHARD_SAMPLES, PICTURES = 40, 1000, 200
TINY_SHARDS, TINY_SAMPLES, TINY_SECONDS = 2, 20, 500
ROOT = Path(__file__).resolve().parent.parent
TINY = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
    "text_cfg": {"context_length": 12, "width": 32, "heads": 2, "layers": 1},
}


def main() -> int:
    """Print the figures, and as the last line one JSON object: the ratio is of samples/s from shards at ViT-B/32."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="a small model and a few steps, also on a CPU")
    options = parser.parse_args()
    began = time.time()
    if not options.tiny and not torch.cuda.is_available():
        print("error: there is no GPU here; --tiny runs on a CPU", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        shards, samples = (TINY_SHARDS, TINY_SAMPLES) if options.tiny else (SHARDS, SHARD_SAMPLES)
        make_dataset(folder, shards, samples)
        device = torch.cuda.get_device_name() if torch.cuda.is_available() else "the CPU"
        software = f"torch {torch.__version__}, open_clip {open_clip.__version__}, JPEGs by {decoder()}"
        print(f"{device}, {os.cpu_count()} cores; {software}", flush=True)
        print(f"{shards * samples:,} samples in {time.time() - began:.0f} s", flush=True)
        groups = [tiny_specs(folder)] if options.tiny else [[spec] for spec in specs_of(folder, began)]
        results = [result for group in groups for result in results_of(group, Path(folder), options.tiny)]
    return report(results, device, time.time() - began)


def decoder() -> str:
    """Return what our loader decodes with: Pillow takes twice the time."""
    return "Pillow" if jpeg.simplejpeg is None else "simplejpeg"


def specs_of(folder: str, began: float) -> list[Spec]:
    """Return what is done, each in a process of its own."""
    return [
        Spec(
            side=side,
            model=model,
            dataset=folder,
            samples=SHARDS * SHARD_SAMPLES,
            batch_size=BATCHES[model],
            large_batch=LARGE_BATCH,
            micro_batch=BATCHES[model],
            warm=20,
            steps=40,
            workers=max(1, min(SHARDS, (os.cpu_count() or 2) - 1)),
            device="cuda",
            deadline=began + seconds,
            equal_steps=EQUAL_STEPS if model == "ViT-B-32" else 0,
            equal_batch=EQUAL_BATCH,
        )
        for (model, side), seconds in UNTIL.items()
    ]


def tiny_specs(folder: str) -> list[Spec]:
    """Return the same in little, where one process does all of it."""
    model = Path(folder) / "tiny-clip.json"
    model.write_text(json.dumps(TINY), encoding="utf-8")
    return [
        Spec(
            side=side,
            model=str(model),
            dataset=folder,
            samples=TINY_SHARDS * TINY_SAMPLES,
            batch_size=8,
            large_batch=24,
            micro_batch=8,
            warm=1,
            steps=2,
            workers=0,
            device="cuda" if torch.cuda.is_available() else "cpu",
            deadline=time.time() + TINY_SECONDS,
            equal_steps=4,
            equal_batch=8,
        )
        for side in ("ours", "peer")
    ]


def make_dataset(folder: str, shards: int, samples: int) -> None:
    """Write shards of 256-pixel JPEGs of some 20 kB, with captions, and their index."""
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
    """Return what a process measured; what ended it too early, as one more result with an error."""
    spec, file = specs[0], folder / "specs.json"
    file.write_text(json.dumps([asdict(spec) for spec in specs]), encoding="utf-8")
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "PYTHONPATH": path}
    if tiny:
        environment["TORCH_COMPILE_DISABLE"] = "1"  # it would take most of the time
    broken: dict[str, Any] = {"side": spec.side, "model": Path(spec.model).stem, "run": "the process"}
    command = [sys.executable, "-m", "bench.processes.train_gpu", str(file)]
    results: list[dict[str, Any]] = []
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True
        )
        # With all that it started, which would else keep the pipe open.
        limit = threading.Timer(max(0, spec.deadline - time.time()) + GRACE, os.killpg, (process.pid, signal.SIGKILL))
        limit.daemon = True  # an error here ends the bench at once
        limit.start()
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith('{"side": '):
                result = json.loads(line)
                if spec.device == "cuda" and "micro_batch" in result:
                    result["forecast_bytes"] = forecast(spec.model, result["batch_size"], result["micro_batch"])
                results.append(result)
                print(format_result(results[-1]), flush=True)
        status = process.wait()
        limit.cancel()
        if status:
            errors.seek(0)
            late = status == -signal.SIGKILL and time.time() > spec.deadline
            reason = "its time was up" if late else " ".join(errors.read().split())[-300:]
            results.append({**broken, "error": f"ended with {status}: {reason}"})
            print(format_result(results[-1]), flush=True)
    return results


@cache
def forecast(model: str, batch_size: int, micro_batch: int) -> int:
    """Return what our step is forecast to allocate at most. In this process, which forks none: torch forbids that
    after.
    """
    config = from_keys("none", model=model, batch_size=batch_size, precision="bf16")
    return MemoryForecast(config, 1).memory(micro_batch).allocated


def format_result(result: dict[str, Any]) -> str:
    """Return a result as a line for people."""
    head = f"{result['side']:>4} {result['model']:<10} {result['run']:<42}"
    if ended := result.get("error") or result.get("left_out"):
        return f"{head} {ended}"
    if "apart" in result:
        apart = math.nan if result["apart"] is None else result["apart"]  # as JSON says what is no number
        return f"{head} {apart:.1e} apart, at most {result['limit']:.0e} is fine"
    mfu = f"MFU {result['mfu']:.1%}  " if "mfu" in result else ""
    expected = f", forecast {result['forecast_bytes'] / 2**30:.1f}" if "forecast_bytes" in result else ""
    return (
        f"{head} {result['samples_per_second']:>9,.0f} samples/s  {mfu}"
        f"waiting {result['data_wait_share']:.0%}  {result['memory_bytes'] / 2**30:.1f} GiB{expected}"
    )


def report(results: list[dict[str, Any]], device: str, seconds: float) -> int:
    """Print the last line; the exit status."""
    failed = [result for result in results if "error" in result]
    model, last = (results[place]["model"] if results else None for place in (0, -1))
    mine, theirs = (best(results, side, str(model), "shards", "samples_per_second") for side in ("ours", "peer"))
    ratio = round(mine / theirs, 2) if mine and theirs else None
    mfu = best(results, "ours", str(last), "synthetic", "mfu")
    goals = {"ratio": [ratio, RATIO], "mfu": [mfu and round(mfu, 3), MFU]}
    large = best(results, "ours", str(model), "batch", "samples_per_second")
    for name, (value, wanted) in goals.items():
        print(f"goal: {name} {wanted}; measured {value}")
    apart = [(result["apart"], result["limit"]) for result in results if "apart" in result]
    equal = [distance is not None and distance <= limit for distance, limit in apart]
    summary = {
        "bench": "train_gpu",
        "ours": mine and round(mine, 1),
        "peer": theirs and round(theirs, 1),
        "unit": f"samples/s from shards, {model}",
        "ratio": ratio,
        "equal": bool(equal) and all(equal),
        "device": device,
        "seconds": round(seconds),
        "failed": len(failed),
        "left_out": sum("left_out" in result for result in results),
        "goals": goals,
        "large_batch": large and round(large, 1),
        "runs": results,
    }
    print_record(summary)
    return 1 if failed or not (ratio and large) else 0


def best(results: list[dict[str, Any]], side: str, model: str, run: str, figure: str) -> float | None:
    """Return the best figure of a side's runs whose names begin so; None if there is none."""
    of_side = [result for result in results if (result["side"], result["model"]) == (side, model)]
    values = (result[figure] for result in of_side if result["run"].startswith(run) and figure in result)
    return max(values, default=None)


if __name__ == "__main__":
    sys.exit(main())

"""What a training run would come to, before it begins: steps, memory by part, time, disk; and what to change."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import torch

from dataset.store.storage import Storage
from dataset.webdataset import foreign
from dataset.webdataset.index_parts import has_index
from train.config import TrainConfig, place_of
from train.data.loader import open_corpus
from train.memory.forecast import Memory, MemoryForecast

_PARTS = {
    "weights": "weights",
    "gradients": "gradients, and buckets to average them",
    "optimizer": "optimizer",
    "moving_average": "moving average of the weights",
    "batches": "two batches",
    "activations": "activations",
}

_FEW = 64
"""Samples at a time that keep a GPU busy; before fewer, other keys are advised."""


def dry_run(
    config: TrainConfig,
    gpus: int,
    gpu_bytes: float,
    samples: int | None = None,
    rate: float = 0.0,
    run: str | None = None,
) -> tuple[list[str], bool]:
    """Return (the lines to print, whether a step fits the GPUs).

    Args:
        gpu_bytes: the memory of each GPU; 0 if it is not known.
        samples: the training samples of the dataset; None if it is not there.
        rate: samples/s of all GPUs together; 0 takes what the run's log has measured.
        run: URL of the run's directory.
    Raises:
        ValueError: the config does not fit the dataset or its model.
    """
    forecast = MemoryForecast(config, gpus)
    micro_batch_key = config.training.micro_batch
    micro_batch = (
        micro_batch_key if micro_batch_key != "auto" else (forecast.largest(gpu_bytes) or 1) if gpu_bytes else 0
    )
    memory = forecast.memory(micro_batch)
    fits = not gpu_bytes or memory.fits(gpu_bytes)
    lines = [*_length(config, samples, rate or _measured_rate(run)), ""]
    at_once = min(micro_batch or forecast.share, forecast.share)
    lines.append(f"memory of each of {gpus} GPUs at its peak, {at_once:,} of {forecast.share:,} samples at a time:")
    lines += [f"  {getattr(memory, part) / 1e9:7.1f} GB  {name}" for part, name in _PARTS.items()]
    lines.append(
        f"  {memory.allocated / 1e9:7.1f} GB  allocated; about {memory.needed / 1e9:.1f} GB of the GPU are taken"
    )
    if gpu_bytes:
        lines.append(
            f"it fits {gpu_bytes / 1e9:.0f} GB with a tenth to spare"
            if fits
            else f"it does not fit {gpu_bytes / 1e9:.0f} GB with a tenth to spare: {advice(forecast, gpu_bytes)}"
        )
    return [*lines, "", _disk(config, memory, gpus)], fits


def dry_run_here(
    config: TrainConfig,
    run: str | None = None,
    gpus: int | None = None,
    gpu_gigabytes: float | None = None,
    rate: float | None = None,
) -> tuple[list[str], bool]:
    """Return the same as `dry_run`, with what is not given taken from this machine, the dataset and the run's log.

    Args:
        run: URL of the run's directory; DATASET/runs/NAME by default.
    Raises:
        ValueError: a figure is not above zero; or the config does not fit the dataset or its model.
    """
    for name, value in (("--gpus", gpus), ("--gpu-memory", gpu_gigabytes), ("--rate", rate)):
        if value is not None and not value > 0:
            raise ValueError(f"{name} must be above 0, not {value:g}")
    here = torch.cuda.device_count() if torch.cuda.is_available() else 0
    gpu_bytes = (gpu_gigabytes or 0.0) * 1e9
    if not gpu_bytes and here:
        gpu_bytes = torch.cuda.get_device_properties(0).total_memory
    run_url = run or f"{foreign.root(config.dataset)}/runs/{config.name}"
    samples: int | None = None  # as long as the dataset is not there; it is forecast all the same
    with suppress(OSError):
        if all(has_index(Storage(url)) for url in (config.dataset, *config.data.mixture)):
            samples = len(open_corpus(config.dataset, config.data, config.seed, run_url))
    return dry_run(config, gpus or max(1, here), gpu_bytes, samples, rate or 0.0, run_url)


def _length(config: TrainConfig, samples: int | None, rate: float) -> Iterator[str]:
    training = config.training
    if samples is None and not training.samples_seen:
        yield f"{config.dataset} has no shards yet, so the number of steps is not known"
        return
    _, steps = training.steps(samples or max(training.samples_seen, training.batch_size))
    seen = steps * training.batch_size
    epochs = f", {seen / samples:.1f} epochs of {samples:,}" if samples else ""
    yield f"{steps:,} steps of {training.batch_size:,}: {seen:,} samples{epochs}"
    if rate:
        yield f"{seen / rate / 3600:,.1f} hours at {rate:,.0f} samples/s"
    else:
        yield "the time is not known: --rate states samples/s of all GPUs together; a run's log measures it"


def _measured_rate(run: str | None) -> float:
    """Samples/s of the last line of a run's log; 0 if it has none."""
    with suppress(OSError, ValueError, KeyError, IndexError):
        last: dict[str, Any] = json.loads(Storage(run or "").read("log.jsonl").splitlines()[-1])
        return float(last["samples_per_second"])
    return 0.0


def advice(forecast: MemoryForecast, gpu_bytes: float) -> str:
    """Return the first change of keys that makes a step fit."""
    config = forecast.config
    changes: list[dict[str, Any]] = [{}]
    if not config.compute.grad_checkpointing:
        changes.append({"grad_checkpointing": True})
    if config.distributed.parallel == "ddp" and forecast.gpus > 1 and config.compute.precision != "fp16":
        changes.append({"grad_checkpointing": True, "parallel": "fsdp"})
    for change in changes:
        micro_batch = forecast.largest(gpu_bytes, **change)
        if micro_batch is not None and (micro_batch >= min(_FEW, forecast.share) or change == changes[-1]):
            keys = {"training.micro_batch": micro_batch, **{place_of(key): value for key, value in change.items()}}
            said = ", ".join(f"{key}: {str(value).lower()}" for key, value in keys.items())
            needed = forecast.memory(micro_batch, **change).needed
            return f"set {said}, which takes {needed / 1e9:.1f} GB"
    return "no training.micro_batch does; take more GPUs, a lower training.batch_size, or a smaller model"


def _disk(config: TrainConfig, memory: Memory, gpus: int) -> str:
    """What checkpoints take, of weights, optimizer and moving average: those kept, the best, one under way."""
    parts = gpus if config.distributed.parallel == "fsdp" else 1
    one = parts * (memory.weights + memory.optimizer + memory.moving_average)
    most = config.checkpoint.keep + 2
    return f"a checkpoint takes {one / 1e9:.1f} GB of disk, at most {most} of them {most * one / 1e9:.1f} GB"

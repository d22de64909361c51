"""`micro_batch: auto`: as many samples at a time as fit every GPU of the run."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import torch

from train.config import TrainConfig, by_place, with_changes
from train.distributed.processes import Processes
from train.memory.dry_run import advice
from train.memory.forecast import MemoryForecast


def resolve_micro_batch(
    config: TrainConfig, processes: Processes, checkpoint: Mapping[str, Any]
) -> tuple[TrainConfig, int]:
    """Return the config with a number for `micro_batch: auto`, the same on all processes; and that number.

    A run that goes on with as many processes keeps what it found: a ResNet normalises by the samples that go through it
    at a time. Otherwise it is what fits the GPU that has the least free memory, and a change is said.

    Args:
        checkpoint: what the run goes on from, by train.checkpoints.checkpoint.about; without a config if it begins.
    Raises:
        ValueError: not even one sample at a time fits.
    """
    micro_batch = config.training.micro_batch
    if micro_batch != "auto":
        return config, micro_batch
    before = by_place(checkpoint.get("config", {})).get("training.micro_batch")
    if checkpoint.get("auto_on") == auto_on(processes):
        return with_changes(config, micro_batch=before), int(before or 0)
    largest = 0
    if processes.device.type == "cuda":
        free = min(processes.gather(torch.cuda.mem_get_info(processes.device)[0]))
        largest, keys = processes.gather(
            _largest_that_fits(config, processes.count, free) if processes.rank == 0 else None
        )[0]
        if not largest:
            raise ValueError(f"micro_batch: auto finds nothing that fits GPUs with {free / 1e9:.1f} GB free: {keys}")
    if before not in (None, largest) and processes.rank == 0:
        print(
            f"micro_batch: auto is {largest} from now on; the run had {before} until now",
            file=sys.stderr,
            flush=True,
        )
    return with_changes(config, micro_batch=largest), largest


def auto_on(processes: Processes) -> str:
    """Return on what a number is found for `micro_batch: auto`, as a checkpoint names it."""
    return f"{processes.count} {processes.device.type}"


def _largest_that_fits(config: TrainConfig, gpus: int, free: int) -> tuple[int, str]:
    """The most samples at a time that fit; or 0, and which keys to change."""
    forecast = MemoryForecast(config, gpus)
    largest = forecast.largest(free)
    return (0, advice(forecast, free)) if largest is None else (largest, "")

"""`micro_batch: auto`: as many samples at a time as fit every GPU of the run."""

from __future__ import annotations

from dataclasses import replace

import torch

from train.config import AUTO, TrainConfig
from train.distributed.processes import Processes
from train.memory.forecast import Forecast


def settled(config: TrainConfig, processes: Processes) -> TrainConfig:
    """The config with a number for `micro_batch: auto`, the same on all processes, by the GPU that has the least free.

    Raises:
        ValueError: not even one sample at a time fits.
    """
    if config.micro_batch != AUTO:
        return config
    if processes.device.type != "cuda":
        return replace(config, micro_batch=0)
    free = min(processes.gather(torch.cuda.mem_get_info(processes.device)[0]))
    found = Forecast(config, processes.count).largest(free) if processes.rank == 0 else None
    found = processes.gather(found)[0]
    if found is None:
        raise ValueError(f"no micro_batch fits GPUs with {free / 1e9:.1f} GB free; `wit train --dry-run` says why")
    return replace(config, micro_batch=found)

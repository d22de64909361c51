"""The processes of a run: torchrun or Ray Train started them, and WORLD_SIZE, RANK and LOCAL_RANK say so."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist

from train.model import pick_device


@dataclass(frozen=True)
class Processes:
    """This process among those of the run."""

    rank: int
    count: int
    device: torch.device
    control: dist.ProcessGroup | None = None  # on CPUs, for what the loop must agree upon
    saving: dist.ProcessGroup | None = None  # on CPUs, for checkpoints, which are written meanwhile

    def sum(self, value: float) -> float:
        """The sum of every process's value."""
        if self.count == 1:
            return value
        total = torch.tensor(value, dtype=torch.float64)
        dist.all_reduce(total, group=self.control)
        return total.item()

    def gather(self, value: Any) -> list[Any]:
        """Every process's value, by rank."""
        values = [value] * self.count
        if self.count > 1:
            dist.all_gather_object(values, value, group=self.control)
        return values

    @contextlib.contextmanager
    def one_first(self) -> Iterator[None]:
        """Let the first process alone do what the others then find done."""
        if self.rank:
            self.gather(None)
        try:
            yield
        finally:
            if not self.rank:
                self.gather(None)


@contextlib.contextmanager
def joined(wanted_device: str) -> Iterator[Processes]:
    """Join the other processes, if there are any and nobody has. Raises ValueError if there is no such device."""
    device = pick_device(wanted_device)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    ours = int(os.environ.get("WORLD_SIZE", 1)) > 1 and not dist.is_initialized()
    if ours:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        if dist.is_initialized():  # also by Ray, for one process alone, where NCCL's group could save nothing
            # A group for each thread that communicates: in one, their messages could meet the wrong ones.
            control, saving = (_group() for _ in range(2))
            yield Processes(dist.get_rank(), dist.get_world_size(), device, control, saving)
        else:
            yield Processes(0, 1, device)
    finally:
        if ours:
            dist.destroy_process_group()


def _group() -> dist.ProcessGroup:
    group = dist.new_group(backend="gloo")
    assert isinstance(group, dist.ProcessGroup)
    return group


class Stop:
    """Whether this process was asked to end, by SIGTERM: what a scheduler sends before it takes a machine away."""

    asked = False

    def __enter__(self) -> Stop:
        self._before: Any = None
        if threading.current_thread() is threading.main_thread():  # elsewhere Python lets nobody listen
            self._before = signal.signal(signal.SIGTERM, self._ask)
        return self

    def __exit__(self, *error: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)

    def _ask(self, *signal_and_frame: object) -> None:
        self.asked = True


def outlast_signals(_worker: int) -> None:
    """Begin a reader of samples: SLURM, `timeout` and Ctrl-C signal every process of a run at once, and the training
    process still needs its readers for the step that is under way. It ends them itself; a second SIGTERM is its own.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.signal(signal.SIGTERM, signal.SIG_DFL))


@contextlib.contextmanager
def repeatable(wanted: bool) -> Iterator[None]:
    """Within it, if wanted, torch computes the same bits from the same numbers, or raises RuntimeError; if not, cuDNN
    tries which convolution is fastest."""
    if wanted:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS' condition (its documentation, 2.1.4)
    before = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    torch.use_deterministic_algorithms(wanted)
    torch.backends.cudnn.benchmark = not wanted
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        torch.backends.cudnn.benchmark = before[1]

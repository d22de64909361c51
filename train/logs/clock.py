"""How fast a run is and what limits it, known without waiting for the device.

The time between two log lines is divided into what it was spent on:

- loader: the device had nothing to do, and this process waited for samples;
- network: collectives were under way on the device, or this process waited for the others in one, whether it was the
  network that was slow or another process;
- device: it computed, and the process that feeds it was ahead of it;
- host: the rest. This process took as long to begin the device's work as the device to do it, or did something else,
  such as writing a log line.

On GPUs the device's own events say when a step began and ended on it. Gradients are averaged while the backward pass
computes: what of that cannot be hidden counts as the device's. On a CPU host and device are one, called device.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

import torch

from train.distributed.collectives import travels
from train.distributed.spans import Spans

_AHEAD = 0.9  # a process that takes so much of the device's time to begin its work is not ahead of it


class Clock:
    """The speed of a run since its last log line.

    Args:
        step: the first one, from 0.
    """

    def __init__(self, step: int, device: torch.device):
        self._device = device
        self._waited = dict.fromkeys(("data", "device", "others"), 0.0)
        self._computing, self._launching = Spans(), 0.0
        self._computing.begin_to_measure()
        travels.begin_to_measure()
        self._since, self._step = time.monotonic(), step

    @contextlib.contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        """Count the time of the block as waiting for something: data, device or others."""
        began = time.monotonic()
        yield
        self._waited[what] += time.monotonic() - began

    @contextlib.contextmanager
    def pause(self) -> Iterator[None]:
        """Leave out the time of the block, which belongs to no step, such as that of an examination."""
        began = time.monotonic()
        yield
        self._since += time.monotonic() - began

    def step_begins(self) -> None:
        """Note that the batch of a step is there."""
        self._computing.begin(self._device)
        self._launching -= time.monotonic() - sum(self._waited.values())

    def step_ends(self) -> None:
        """Note that all of a step has been begun."""
        self._computing.end(self._device)
        self._launching += time.monotonic() - sum(self._waited.values())

    def rates(
        self, step: int, steps: int, batch_size: int, devices: int, flops: float, peak: float | None
    ) -> dict[str, Any]:
        """Return the log's figures of speed, and start anew. To be called when the device has computed all it was
        given.

        Args:
            flops: floating-point operations of a sample. peak: those that one device can do in a second.
        """
        seconds = time.monotonic() - self._since
        per_step = seconds / max(1, step - self._step)
        speed = batch_size / per_step
        spent = divide(
            seconds,
            data=self._waited["data"],
            others=self._waited["others"],
            launching=0.0 if self._device.type == "cpu" else self._launching,
            computing=self._computing.take(),
            travelling=travels.take(),
        )
        record = {
            "samples_per_second": round(speed, 1),
            "samples_per_second_per_device": round(speed / devices, 1),
            "step_seconds": round(per_step, 6),
            "data_wait_seconds": round(self._waited["data"] / max(1, step - self._step), 6),
            "data_wait_share": round(self._waited["data"] / seconds, 3),
            "bottleneck": max(spent, key=spent.__getitem__),
            **{f"{what}_share": round(value / seconds, 3) for what, value in spent.items()},
            "mfu": round(speed / devices * flops / peak, 6) if peak else None,
            "eta_seconds": round(per_step * (steps - step)),
        }
        self._waited = dict.fromkeys(self._waited, 0.0)
        self._launching, self._since, self._step = 0.0, time.monotonic(), step
        return record


def divide(
    seconds: float, *, data: float, others: float, launching: float, computing: float, travelling: float
) -> dict[str, float]:
    """Return what some time was spent on: seconds for device, loader, network and host.

    Args:
        data, others: this process waited for data, and for other processes.
        launching: it began steps.
        computing: the device was within steps.
        travelling: of that, within collectives.
    """
    idle = max(0.0, seconds - computing)
    loader = min(data, idle)
    waiting = min(others, idle - loader)
    travelling = min(travelling, computing)
    busy = computing - travelling
    rest = idle - loader - waiting
    ahead = launching < _AHEAD * computing
    return {
        "device": busy if ahead else 0.0,
        "loader": loader,
        "network": travelling + waiting,
        "host": rest if ahead else rest + busy,
    }

"""How long something takes where it is computed."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Union

import torch

Moment = Union[float, "torch.cuda.Event"]


class Spans:
    """The time that a device spends on some work, by its own events, for which nobody waits.

    Nothing is measured before `begin_to_measure`.
    """

    def __init__(self) -> None:
        self._measures = False
        self._spans: list[tuple[Moment, Moment]] = []

    def begin_to_measure(self) -> None:
        """Measure from now on; what was measured is forgotten."""
        self._measures, self._spans = True, []

    @contextlib.contextmanager
    def measure(self, device: torch.device) -> Iterator[None]:
        """Measure a block of code: of a GPU its current stream, of a CPU this thread."""
        self.begin(device)
        yield
        self.end(device)

    def begin(self, device: torch.device) -> None:
        """Begin what is to be measured."""
        if self._measures:
            self._began = _moment(device)

    def end(self, device: torch.device) -> None:
        """End what is to be measured."""
        if self._measures:
            self._spans.append((self._began, _moment(device)))

    def take(self) -> float:
        """Return the seconds since it was last asked, once the device has computed them all."""
        seconds = sum(_seconds_between(*span) for span in self._spans)
        self._spans = []
        return seconds


def _moment(device: torch.device) -> Moment:
    if device.type != "cuda":
        return time.monotonic()
    return torch.cuda.current_stream(device).record_event(torch.cuda.Event(enable_timing=True))


def _seconds_between(began: Moment, ended: Moment) -> float:
    if isinstance(began, float) or isinstance(ended, float):
        return float(ended) - float(began)  # type: ignore[arg-type] # both are
    return began.elapsed_time(ended) / 1000

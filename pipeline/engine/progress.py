"""What a run shows while it works: a progress bar on a terminal, plain lines in a log."""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from dataset.display import clean
from dataset.store.storage import Storage
from dataset.usage import FIRST
from pipeline.workers.failures import Working

WORK = "log/work.json"
"""What the tasks of the phase at work are at; there only while they are."""
_WORK_SECONDS = 5.0  # between two writes of it
_SLOW_SECONDS = 2.0  # a record that takes so long is named
PLAIN_SECONDS = 10.0  # how often a log gets a line for a phase that is still at work


class Bars:
    """A bar with a rate and an ETA for each thing at work, on a terminal; in a log a line is due every few seconds."""

    def __init__(self, console: Console):
        self._progress: Progress | None = None
        if console.is_terminal:
            self._progress = Progress(
                TextColumn("{task.description:<24}", markup=False),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}", markup=False),
                TextColumn("{task.fields[at]}", markup=False),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                console=console,
                transient=True,
            )
        self._tasks: dict[str, TaskID] = {}
        self._last_line = time.monotonic()

    def __enter__(self) -> Self:
        if self._progress is not None:
            self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._progress is not None:
            self._progress.stop()

    def show(self, name: str, done: float, total: float, rate: str = "", at: str = "") -> bool:
        """Show how far something is; whether it is for the caller to write a line, since there is no terminal."""
        if self._progress is None:
            is_due = time.monotonic() - self._last_line > PLAIN_SECONDS
            if is_due:
                self._last_line = time.monotonic()
            return is_due
        if name not in self._tasks:
            self._tasks[name] = self._progress.add_task(clean(name), total=total, rate="", at="")
        self._progress.update(self._tasks[name], completed=done, rate=rate, at=at)
        return False

    @property
    def is_on_terminal(self) -> bool:
        """Whether bars are shown."""
        return self._progress is not None

    def begin(self, name: str, total: float) -> None:
        """Show that something begins: it is some time until a line is due."""
        self.show(name, 0, total)
        self._last_line = time.monotonic()

    def remove(self, name: str) -> None:
        """Show something no longer."""
        if self._progress is not None and name in self._tasks:
            self._progress.remove_task(self._tasks.pop(name))


class Reporter:
    """Shows phases as they go, and keeps wall-clock times in `OUT/log/`, apart from everything that is checksummed."""

    def __init__(self, storage: Storage, *, quiet: bool = False):
        self.console = Console(stderr=True, quiet=quiet)
        self.storage = storage
        self.started = time.time()
        self.lines: list[dict[str, Any]] = []
        self.bars = Bars(self.console)
        self._wrote_work = time.monotonic()
        self._has_work = False

    def __enter__(self) -> Self:
        self.bars.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.forget_work()
        self.bars.__exit__(kind, error, trace)

    def phase(self, name: str, total: int, rows: int, bytes_: int = 0) -> PhaseProgress:
        """Begin to show a phase of `total` tasks with `rows` input rows, or `bytes_` where rows are not known yet."""
        return PhaseProgress(self, name, total, rows, bytes_)

    def say(self, text: str) -> None:
        """Print a line for people."""
        self.console.print(clean(text), highlight=False, markup=False, soft_wrap=True)

    def write_work(self, phase: str, done: int, total: int, working: Sequence[Working]) -> None:
        """Leave what the tasks are at for `wit status`, now and then."""
        if time.monotonic() - self._wrote_work < _WORK_SECONDS:
            return
        self._wrote_work = time.monotonic()
        part = sum(min(1.0, item.done / item.total) for item in working if item.total)
        line = {"phase": phase, "done": round(done + part, 2), "partitions": total, "at": waits_for(working)}
        with contextlib.suppress(OSError):
            self.storage.write(WORK, json.dumps({**line, "updated": time.time()}).encode())
            self._has_work = True

    def forget_work(self) -> None:
        """Note that there is nothing at work any more."""
        if self._has_work:
            self._has_work = False
            with contextlib.suppress(OSError):
                self.storage.delete([WORK])

    def record(self, line: dict[str, Any]) -> None:
        """Append a line to the run's log."""
        self.lines.append(line)
        name = time.strftime("log/run-%Y%m%dT%H%M%SZ.jsonl", time.gmtime(self.started))
        body = "".join(json.dumps(item, sort_keys=True) + "\n" for item in self.lines)
        with contextlib.suppress(OSError):  # no run ends for its log
            self.storage.write(name, body.encode())


class PhaseProgress:
    """One phase at work."""

    def __init__(self, reporter: Reporter, name: str, total: int, rows: int, bytes_: int = 0):
        self.reporter = reporter
        self.name = name
        self.total = total
        self.rows = rows
        self.amount = rows or bytes_ / 1e6
        self.unit = "rows" if rows else "MB"
        self.done = 0
        self.spent: Counter[str] = Counter()
        self._least_cpu_s = math.inf
        self.began = time.monotonic()
        reporter.bars.begin(name, total)

    def advance(self, spent: Mapping[str, float] | None = None) -> None:
        """Count one more partition that is committed; see `dataset.usage` for what that took."""
        self.done += 1
        self.spent.update(spent or {})
        if (spent or {}).get("first"):  # of its process: it has loaded code and models, too
            for kind in FIRST:
                self.spent[f"first_{kind}"] += (spent or {}).get(kind, 0)  # type: ignore[assignment]  # seconds
        elif cpu_s := (spent or {}).get("cpu_s", 0):
            self._least_cpu_s = min(self._least_cpu_s, cpu_s)
        self._show(())
        if self.done == self.total:
            seconds = time.monotonic() - self.began
            line = {"phase": self.name, "partitions": self.total, "rows": self.rows, "seconds": round(seconds, 3)}
            if self.unit == "MB" and self.amount:
                line["megabytes"] = round(self.amount, 3)
            spent = {kind: round(amount, 3) for kind, amount in sorted(self.spent.items())}
            if self._least_cpu_s < math.inf:
                spent["least_cpu_s"] = round(self._least_cpu_s, 4)
            self.reporter.record({**line, "spent": spent} if spent else line)
            self.reporter.forget_work()
            self.reporter.bars.remove(self.name)

    def show(self, working: Sequence[Working]) -> None:
        """Show what the tasks at work are at: how much of each is done counts as that share of a partition."""
        self._show(working)
        self.reporter.write_work(self.name, self.done, self.total, working)

    def _show(self, working: Sequence[Working]) -> None:
        done = self.done + sum(min(1.0, item.done / item.total) for item in working if item.total)
        seconds = time.monotonic() - self.began
        amount = self.amount * done / self.total
        rate = ""
        if self.amount:
            rate = f"{amount:,.0f} of {self.amount:,.0f} {self.unit}, {amount / max(seconds, 1e-3):,.0f} {self.unit}/s"
        waiting_for = waits_for(working)
        if self.reporter.bars.show(self.name, done, self.total, rate, waiting_for):
            left = f", about {seconds / done * (self.total - done):.0f} s left" if done else ""
            rate = f", {rate}" if rate else ""
            waiting_for = f", {waiting_for}" if waiting_for else ""
            self.reporter.say(f"{self.name}: {done:.1f}/{self.total} partitions{rate}{left}{waiting_for}")


def waits_for(working: Sequence[Working]) -> str:
    """Return the record that has been worked on for longest, if that is longer than most take; else nothing."""
    slow = max(working, key=lambda item: item.seconds, default=None)
    if slow is None or not slow.place or slow.seconds < _SLOW_SECONDS:
        return ""
    return f"for {slow.seconds:.0f} s at {slow.place}"


def working_dir() -> Path:
    """Return what Ray sends to a cluster: the checkout; of an installed openwit, which the nodes have too, this
    folder.
    """
    root = Path(__file__).resolve().parents[2]
    return root if (root / "pyproject.toml").is_file() else Path.cwd()

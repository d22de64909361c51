"""What a run shows while it works: a progress bar on a terminal, plain lines in a log."""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from dataset.storage import Storage

PLAIN_SECONDS = 10.0  # how often a log gets a line for a phase that is still at work


def bars(console: Console) -> Progress:
    """Progress bars with a rate and an ETA."""
    return Progress(
        TextColumn("{task.description:<24}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )


class Reporter:
    """Shows phases as they go, and keeps wall-clock times in `OUT/log/`, apart from everything that is checksummed."""

    def __init__(self, storage: Storage, *, quiet: bool = False):
        self.console = Console(stderr=True, quiet=quiet)
        self.storage = storage
        self.started = time.time()
        self.lines: list[dict[str, Any]] = []
        self._bar: Progress | None = None

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self._bar = bars(self.console)
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def phase(self, name: str, total: int, rows: int) -> PhaseProgress:
        """Begin to show a phase of `total` partitions with `rows` input rows."""
        return PhaseProgress(self, name, total, rows)

    def say(self, text: str) -> None:
        """A line for people."""
        self.console.print(text, highlight=False, soft_wrap=True)

    def record(self, line: dict[str, Any]) -> None:
        """Append a line to the run's log."""
        self.lines.append(line)
        name = time.strftime("log/run-%Y%m%dT%H%M%SZ.jsonl", time.gmtime(self.started))
        body = "".join(json.dumps(item, sort_keys=True) + "\n" for item in self.lines)
        with contextlib.suppress(OSError):  # no run ends for its log
            self.storage.write(name, body.encode())


class PhaseProgress:
    """One phase at work."""

    def __init__(self, reporter: Reporter, name: str, total: int, rows: int):
        self.reporter = reporter
        self.name = name
        self.total = total
        self.rows = rows
        self.done = 0
        self.began = time.monotonic()
        self._last_line = self.began
        bar = reporter._bar
        self._task = bar.add_task(name, total=total, rate="") if bar is not None else None

    def advance(self) -> None:
        """One more partition is committed."""
        self.done += 1
        seconds = time.monotonic() - self.began
        rate = f"{self.rows * self.done / self.total / max(seconds, 1e-3):,.0f} rows/s" if self.rows else ""
        bar = self.reporter._bar
        if bar is not None and self._task is not None:
            bar.update(self._task, advance=1, rate=rate)
        elif time.monotonic() - self._last_line > PLAIN_SECONDS:
            self._last_line = time.monotonic()
            left = seconds / self.done * (self.total - self.done)
            self.reporter.say(f"{self.name}: {self.done}/{self.total} partitions, {rate}, about {left:.0f} s left")
        if self.done == self.total:
            self.reporter.record(
                {"phase": self.name, "partitions": self.total, "rows": self.rows, "seconds": round(seconds, 3)}
            )
            if bar is not None and self._task is not None:
                bar.remove_task(self._task)


def working_dir() -> Path:
    """What Ray sends to a cluster: the checkout; of an installed openwit, which the nodes have too, this folder."""
    root = Path(__file__).resolve().parent.parent
    return root if (root / "pyproject.toml").is_file() else Path.cwd()

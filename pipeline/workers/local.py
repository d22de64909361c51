"""Tasks in child processes of this one: what a small run needs, started in a second or two."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterator, Sequence
from multiprocessing.connection import wait
from typing import Any

from dataset.ledger.commits import Commit
from pipeline.engine.execute import execute
from pipeline.engine.phase import PHASES, Task
from pipeline.workers.children import POLL_S, Child
from pipeline.workers.executor import SHOW_S, Show, nobody, pace_task
from pipeline.workers.failures import Failure
from pipeline.workers.record_limits import RecordLimits


class LocalExecutor:
    """Runs tasks in as many children as are asked for, each with one at a time, and watches them.

    Args:
        workers: how many; one for each CPU by default.
        limits: what one record may cost.
    """

    def __init__(self, workers: int | None = None, limits: RecordLimits | None = None):
        self._limits = limits or RecordLimits()
        self._workers = workers or cpus()
        self._idle: list[Child] = []
        self._busy: dict[Child, Task] = {}

    def run(self, url: str, tasks: Sequence[Task], show: Show = nobody) -> Iterator[tuple[Task, Commit | Failure]]:
        """See `Executor`."""
        waiting, shown = deque(tasks), time.monotonic()
        for child in self._idle:  # more than there are tasks, perhaps: what they hold is of no use any more
            child.turn_to(tasks[0].phase if tasks else "")
        while waiting or self._busy:
            while waiting and len(self._busy) < self._workers:
                self._begin(url, waiting.popleft())
            readable = [child.waits_on for child in self._busy]
            wait([jobs for jobs in readable if jobs is not None], timeout=POLL_S if None not in readable else 0)
            for child, task in list(self._busy.items()):
                answer: Any = child.poll()
                if answer is not None:
                    del self._busy[child]
                    self._idle.append(child)
                    yield task, answer
            if time.monotonic() - shown > SHOW_S:
                shown = time.monotonic()
                show([child.describe_work(task.partition) for child, task in self._busy.items()])

    def _begin(self, url: str, task: Task) -> None:
        modules = sorted({phase.module for phase in PHASES.values()})
        child = self._idle.pop() if self._idle else Child(modules, self._limits)
        child.turn_to(task.phase)
        child.begin(execute, url, PHASES[task.phase].module, pace_task(task, self._workers))
        self._busy[child] = task

    def close(self) -> None:
        """End the children, whatever they are at."""
        for child in (*self._idle, *self._busy):
            child.close()
        self._idle.clear()
        self._busy.clear()


def cpus() -> int:
    """The CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

"""What a Ray worker does with a task: a child of it does the work, and the worker watches."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import Any

from dataset.ledger.commits import Commit
from pipeline.engine.execute import execute
from pipeline.engine.phase import Task
from pipeline.workers.children import POLL_S, Child
from pipeline.workers.failures import Failure, Working
from pipeline.workers.record_limits import RecordLimits

IN_WORKER = "in_worker"
"""The hint of a task that starts Ray tasks of its own, which only a Ray worker can: no child does it. Its probes start
none, and are done by a child."""
_TELL_S = 2.0  # between two reports of one task
_child: Child | None = None  # of this worker


class Board:
    """A Ray actor that collects what the tasks at work are at."""

    def __init__(self) -> None:
        self._working: dict[tuple[str, int], tuple[float, Working]] = {}

    def tell(self, phase: str, working: Working) -> None:
        """Note that a task is at work."""
        self._working[phase, working.partition] = (time.monotonic(), working)

    def working_tasks(self) -> list[Working]:
        """Return the tasks that have told something lately."""
        now = time.monotonic()
        self._working = {key: said for key, said in self._working.items() if now - said[0] < 3 * _TELL_S}
        return [working for _, working in self._working.values()]


def execute_in_child(
    folder: str, url: str, module: str, task: Task, limits: RecordLimits, board: Any
) -> Commit | Failure:
    """Do `execute` in a child, in the driver's working directory where the node has it, for relative paths of a
    config.
    """
    global _child
    if Path(folder).is_dir():
        os.chdir(folder)
    if task.hints.get(IN_WORKER) and task.only is None:
        return execute(url, module, task)
    if _child is None:
        _child = Child([module], limits)
    _child.limits = limits
    _child.turn_to(task.phase)
    _child.begin(execute, url, module, task)
    told_at = time.monotonic()
    try:
        while (answer := _child.poll()) is None:
            _child.wait(POLL_S)
            if board is not None and time.monotonic() - told_at > _TELL_S:
                told_at = time.monotonic()
                with contextlib.suppress(Exception):  # it is gone with its node: work goes on unseen
                    board.tell.remote(task.phase, _child.describe_work(task.partition))
    except BaseException:  # the task is cancelled
        _child.close()
        raise
    return answer  # type: ignore[no-any-return]

"""`wit run` in processes that are forked from one which has imported all that it needs, so that a bench of a hundred
runs is not one of a hundred starts. The process that starts workers is forked, too; nothing else of a run is another.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pipeline.build  # imported once for all runs
import pipeline.reports.datasheet  # noqa: F401
from bench.faults.interrupt import VARIABLE, Fault, install, kill_group
from dataset.stages import path
from pipeline.cli import main
from pipeline.workers import children, zygote

for _stage in path():
    _stage.load()

_CONTEXT = multiprocessing.get_context("forkserver")
_IMPORTED = [name for name in sys.modules if name.startswith(("bench.", "tests."))]  # by the bench, whose each run does
_CONTEXT.set_forkserver_preload([__name__, *_IMPORTED])


class _ForkedZygote(children.Zygote):
    """A zygote that needs to import nothing."""

    def _start_process(self, descriptor: int, modules: Sequence[str]) -> Any:
        pid = os.fork()
        if pid == 0:
            self._ours.close()
            sys.argv = ["-c", str(os.dup(descriptor)), *modules]
            zygote.main()
            os._exit(0)
        return _Process(pid)


class _Process:
    """What `children.Zygote` asks of a process."""

    def __init__(self, pid: int):
        self.pid = pid
        self._status: int | None = None

    def poll(self) -> int | None:
        """Its exit status, once it has ended."""
        return self._reap(os.WNOHANG)

    def wait(self) -> int:
        """Its exit status."""
        status = self._reap(0)
        assert status is not None
        return status

    def kill(self) -> None:
        """End it."""
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)

    def _reap(self, options: int) -> int | None:
        if self._status is None:
            pid, status = os.waitpid(self.pid, options)
            self._status = os.waitstatus_to_exitcode(status) if pid else None
        return self._status


def _run(arguments: Sequence[str], environment: Mapping[str, str], said: str) -> None:
    os.setsid()
    with Path(said).open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.environ.clear()
    os.environ.update(environment)
    if VARIABLE in environment:
        install(Fault.of(environment), kill_group)
    children.Zygote = _ForkedZygote  # type: ignore[misc]
    sys.exit(main(["run", *arguments]))


class Started:
    """A run at work, in a process group of its own.

    said: a file for what it says.
    """

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str], said: Path):
        self._said = said
        self._process = _CONTEXT.Process(target=_run, args=(arguments, dict(environment), str(said)))
        self._process.start()
        assert self._process.pid is not None
        self.group = self._process.pid

    def wait_for_end(self, timeout_s: float) -> tuple[int, str]:
        """Wait for the end of the run; return its exit status (negative: the signal that ended it) and what it said.

        Raises TimeoutError.
        """
        self._process.join(timeout_s)
        if self._process.exitcode is None:
            os.killpg(self.group, signal.SIGKILL)
            raise TimeoutError(f"a run has not ended within {timeout_s:,.0f} s")
        return self._process.exitcode, self._said.read_text(errors="replace")

"""Child processes: what becomes of a task whose process does not even begin."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from dataset.commits import Commit
from dataset.faults import fault
from pipeline.engine.phase import Task
from pipeline.workers import children
from pipeline.workers.failures import Failure
from pipeline.workers.local import LocalExecutor
from tests.pipeline.engine import hostile_phase


def test_a_process_that_cannot_be_started_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(modules: Sequence[str]) -> children.Zygote:
        raise BlockingIOError("no process is left")

    task = Task(hostile_phase.meet.name, 0, {}, {"kind": "nothing", "at": 7}, units=20)
    executor = LocalExecutor(1)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(children, "zygote", refuse)
            ((_, answer),) = executor.run(str(tmp_path), [task])
        assert isinstance(answer, Failure) and "could not be started" in str(answer.error)
        assert fault(answer.error) is not None  # so that nothing is bisected
        ((_, answer),) = executor.run(str(tmp_path), [task])
        assert isinstance(answer, Commit)
    finally:
        executor.close()

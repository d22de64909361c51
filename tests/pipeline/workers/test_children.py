"""Child processes: what becomes of a task whose process does not even begin."""

from __future__ import annotations

import contextlib
import os
import pkgutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import pytest

from dataset.ledger.commits import Commit
from dataset.store.faults import fault
from pipeline.engine.phase import Task
from pipeline.workers import children
from pipeline.workers.failures import Failure
from pipeline.workers.local import LocalExecutor
from pipeline.workers.record_limits import RecordLimits
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


def test_a_process_that_the_system_refuses_ends_none_of_the_others(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "word")
    modules = ["tests.pipeline.workers.no_room"]
    first, second = children.Child(modules, RecordLimits()), children.Child(modules, RecordLimits())
    try:
        first.begin(Path.read_text, tmp_path / "word")
        second.begin(os.getppid)  # tried twice
        refused = second.poll()
        assert isinstance(refused, Failure) and fault(refused.error) is not None
        while (word := _writing(tmp_path / "word")) is None:  # until it reads
            assert first.poll() is None
            first.wait(0.01)
        with word:
            word.write(b"done")
        first.wait(60)
        assert first.poll() == "done"
        second.begin(os.getppid)
        second.wait(60)
        assert second.poll() == children.zygote(modules)._process.pid
    finally:
        first.close()
        second.close()


def test_what_has_grown_over_jobs_of_a_kind_is_a_fresh_process_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    child, held = children.Child([], RecordLimits()), 0
    monkeypatch.setattr(children.Child, "_grown_bytes", lambda child: held)

    def process() -> int:
        child.begin(os.getpid)
        child.wait(60)
        return int(child.poll())

    try:
        child.turn_to("text.measure")
        first = process()
        child.turn_to("text.decide")
        assert process() == first
        held = children._GROWN_BYTES + 1
        child.turn_to("text.decide")
        assert process() == first
        child.turn_to("image.nsfw")
        assert process() != first
    finally:
        child.close()


def test_what_a_job_freed_is_the_systems_again() -> None:
    child = children.Child([], RecordLimits())
    try:
        for function, argument in ((bytes, 1), (_filled, 200_000), (bytes, 1)):
            child.begin(function, argument)
            child.wait(60)
            child.poll()
        assert child._grown_bytes() < 30 * 2**20  # of 200 MB
    finally:
        child.close()


def _filled(count: int) -> int:
    return len([bytes(1000) for _ in range(count)])


def test_a_module_in_a_scripts_folder_takes_nothing_from_the_standard_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("types", "random"):
        (tmp_path / f"{name}.py").write_text("raise ImportError('it is not what is meant')")
    (tmp_path / "of_the_script.py").write_text("import random, types\nname = f'mine {random.random() < 1}'")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    child = children.Child(["random", "of_the_script"], RecordLimits())
    try:
        child.begin(pkgutil.resolve_name, "of_the_script:name")
        child.wait(60)
        assert child.poll() == "mine True"
    finally:
        child.close()


def test_a_python_in_which_no_worker_begins_is_not_taken_for_a_lack_of_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "dataset.py").write_text("raise ImportError('it is not what is meant')")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    child = children.Child(["no_such_module"], RecordLimits())
    child.begin(os.getppid)
    failure = child.poll()
    assert isinstance(failure, Failure)
    found = fault(failure.error)
    assert found is not None and not found.may_pass
    assert "ended with exit status 1, and says above why" in found.sentence
    assert capfd.readouterr().err.count("ImportError: it is") == 1  # it was not tried again


def _writing(pipe: Path) -> IO[bytes] | None:
    """A pipe to write to, once somebody reads it."""
    with contextlib.suppress(OSError):
        return os.fdopen(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK), "wb")
    return None

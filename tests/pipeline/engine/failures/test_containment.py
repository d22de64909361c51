"""What is done about failures: the environment is waited out, an input that is at fault is left out, and alone."""

from __future__ import annotations

import errno
import os
import pickle
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import duckdb
import pytest
from ray.exceptions import ActorDiedError, LocalRayletDiedError, NodeDiedError, OutOfMemoryError, WorkerCrashedError

from dataset.ledger.commits import Commit
from dataset.store import faults, s3
from dataset.store.faults import ServiceError, WorkerKilledError
from pipeline.engine.failures import containment
from pipeline.engine.phase import Task
from pipeline.engine.verdicts import ConservationError
from pipeline.workers import children
from pipeline.workers.executor import Show, nobody
from pipeline.workers.failures import CRASHED, MEMORY, TIME, Failure, Lost, PhaseFailedError

FULL = OSError(errno.ENOSPC, "No space left on device", "/out/a")


class Scripted:
    """An executor whose answers a function gives: None is success."""

    def __init__(self, answer: Callable[[Task], Failure | None]):
        self.answer = answer
        self.ran: list[Task] = []

    def run(self, url: str, tasks: Sequence[Task], show: Show = nobody) -> Iterator[tuple[Task, Commit | Failure]]:
        for task in tasks:
            self.ran.append(task)
            yield task, self.answer(task) or Commit(task.phase, task.partition, "f", {}, {}, {})

    def close(self) -> None:
        pass


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    found: list[float] = []
    monkeypatch.setattr(containment.time, "sleep", found.append)
    return found


def do(
    answer: Callable[[Task], Failure | None], units: int = 100, budget: int = 10, tasks: int = 1
) -> tuple[Scripted, list[Lost], dict[tuple[int, int], Commit]]:
    executor: Scripted = Scripted(answer)
    lost: dict[int, Lost] = {}
    todo = [Task("a.phase", number, {}, {}, units=units) for number in range(tasks)]
    done = containment.run_with_quarantine(
        executor, "out", todo, budget, lambda task, commit: None, lambda task, items: lost.update(items)
    )
    return executor, list(lost.values()), done


def holds(task: Task, unit: int) -> bool:
    first, last = task.only or (0, task.units)
    return first <= unit < last and unit not in task.without


@pytest.mark.parametrize(
    "error", [FULL, ConnectionResetError("gone"), WorkerKilledError("the system ended it"), TimeoutError("slow")]
)
def test_the_environment_is_waited_out_and_nothing_is_left_out(error: Exception, waits: list[float]) -> None:
    left = [3]

    def answer(task: Task) -> Failure | None:
        if task.partition == 1 and left[0]:
            left[0] -= 1
            return Failure(error, suspects=((left[0], left[0] + 1),))
        return None

    executor, lost, done = do(answer, tasks=3)
    assert lost == [] and {partition for partition, _ in done} == {0, 1, 2}
    assert waits == [1, 1, 2]
    assert not [task for task in executor.ran if task.only]
    assert [task.partition for task in executor.ran] == [0, 1, 2, 1, 1, 1]


def test_an_environment_that_goes_on_failing_ends_the_run_with_a_sentence(waits: list[float]) -> None:
    with pytest.raises(PhaseFailedError, match=r"a.phase: partition 0, tried again for 60 s: /out/a: the disk is full"):
        do(lambda task: Failure(FULL))
    assert sum(waits) == faults.PATIENCE_S
    waits.clear()
    with pytest.raises(PhaseFailedError, match="read-only"):
        do(lambda task: Failure(OSError(errno.EROFS, "Read-only file system", "/out/a")))
    assert waits == []


@pytest.mark.parametrize(
    "error",
    [
        s3._refusal("s3://b/a", "b", {"Code": "AccessDenied", "Message": "no"}),
        ServiceError("https://a.example/1.warc.gz cannot be read after 8 tries (status 503); try again later"),
    ],
)
def test_a_server_that_refuses_is_not_the_inputs_fault(error: Exception, waits: list[float]) -> None:
    sent = pickle.loads(pickle.dumps(error))
    with pytest.raises(PhaseFailedError, match=re.escape(f"partition 0: {error}")):
        do(lambda task: Failure(sent, suspects=((7, 8),)))
    assert waits == []


def test_units_that_crash_are_found_by_bisection(waits: list[float]) -> None:
    bad = (3, 4, 77)
    executor, lost, _ = do(lambda task: Failure(ValueError("no")) if any(holds(task, unit) for unit in bad) else None)
    assert sorted(item.unit for item in lost) == list(bad)
    assert {item.reason for item in lost} == {CRASHED}
    assert sorted(executor.ran[-1].without) == list(bad) and executor.ran[-1].only is None
    assert len(executor.ran) < 40
    assert waits == []


def test_a_task_that_says_where_it_was_is_not_bisected() -> None:
    def answer(task: Task) -> Failure | None:
        return Failure(ValueError("no"), suspects=((42, 43),)) if holds(task, 42) else None

    executor, lost, _ = do(answer, units=2**60)
    assert [item.unit for item in lost] == [42]
    assert [task.only for task in executor.ran] == [None, (42, 43), None]


def test_a_range_is_narrowed_by_a_probe_of_it() -> None:
    def answer(task: Task) -> Failure | None:
        if not holds(task, 42):
            return None
        return Failure(RuntimeError(), "time", ((42, 43),) if task.only else ((32, 64),), used=10.1, limit=10)

    executor, lost, _ = do(answer)
    assert [(item.unit, item.reason, item.evidence["limit_s"]) for item in lost] == [(42, TIME, 10)]
    assert [task.only for task in executor.ran] == [None, (32, 64), None]


def test_what_exceeds_its_budget_alone_is_convicted_at_once_and_spends_no_quarantine() -> None:
    bad = list(range(20))

    def answer(task: Task) -> Failure | None:
        found = next((unit for unit in bad if holds(task, unit)), None)
        return None if found is None else Failure(RuntimeError(), "memory", ((found, found + 1),), "a page", 2e9, 1e9)

    executor, lost, _ = do(answer, budget=0)
    assert [item.unit for item in lost] == bad
    assert {item.reason for item in lost} == {MEMORY}
    assert lost[0].evidence == {"bytes": 2_000_000_000, "limit_bytes": 1_000_000_000, "place": "a page"}
    assert len(executor.ran) == 21


def test_a_unit_whose_worker_is_killed_each_time_is_at_fault() -> None:
    killed = Failure(WorkerKilledError("ended"), "died", ((5, 6),))
    _, lost, _ = do(lambda task: killed if holds(task, 5) else None)
    assert [item.unit for item in lost] == [5]


def test_a_unit_that_fails_although_it_is_left_out_gives_its_turn_to_the_next_number() -> None:
    """A reader that cannot come past a record, though the record itself is skipped."""

    def answer(task: Task) -> Failure | None:
        passed = {8, 9} <= set(task.without)
        return None if passed else Failure(RuntimeError("slow"), "time", ((8, 9),), used=11, limit=10)

    _, lost, _ = do(answer)
    assert [item.unit for item in lost] == [8, 9]


def test_more_crashes_than_the_budget_end_the_run() -> None:
    with pytest.raises(PhaseFailedError, match=r"more than 3 inputs.*raise run.max_quarantined"):
        do(lambda task: Failure(ValueError("no")), budget=3)


def test_a_failure_of_no_unit_ends_the_run() -> None:
    for units in (0, 8):
        with pytest.raises(PhaseFailedError, match="partition 0 failed: ValueError: whole"):
            do(lambda task: None if task.only else Failure(ValueError("whole")), units=units)


def test_a_defect_of_a_stage_is_no_input() -> None:
    with pytest.raises(ConservationError):
        do(lambda task: Failure(ConservationError("2 != 3")))


@pytest.mark.parametrize(
    "error",
    [
        duckdb.OutOfMemoryException("Out of Memory Error: failed to allocate data of size 16.0 MiB (1.0 GiB/1.0 GiB)"),
        MemoryError("malloc of size 2147483648 failed"),
    ],
    ids=["duckdb", "process"],
)
def test_what_does_not_fit_into_memory_is_told_with_its_task_its_peak_and_the_key(error: Exception) -> None:
    with pytest.raises(PhaseFailedError) as raised:
        do(lambda task: Failure(error, peak_bytes=1_900_000_000), units=0)
    said = str(raised.value)
    assert said.startswith("a.phase: partition 0: ")
    assert str(error) in said and "1,900 MB" in said and "run.pairs_per_partition" in said


def test_a_full_temporary_folder_kills_no_child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a child says where it is would otherwise be written into pages that the disk has no room for."""
    size = 1 << 16
    with monkeypatch.context() as patch:
        if hasattr(os, "memfd_create"):
            patch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
        with children._shared_file(size) as file:
            assert os.fstat(file.fileno()).st_size == size
    monkeypatch.delattr(os, "memfd_create", raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with children._shared_file(size) as file:
        assert os.fstat(file.fileno()).st_blocks * 512 >= size


LOST = (
    NodeDiedError("Task failed due to the node (where this task was running) being preempted."),
    WorkerCrashedError(),
    OutOfMemoryError("Task was killed due to the node running low on memory."),
    ActorDiedError(),
    LocalRayletDiedError(),
)
"""How Ray says that a node or a worker went: taken away, killed for memory, by a person, with its raylet."""


def test_twenty_lost_nodes_start_no_bisection_and_hide_no_poison(waits: list[float]) -> None:
    losses: Counter[int] = Counter()

    def answer(task: Task) -> Failure | None:
        if task.partition < 10 and losses[task.partition] < 2 and not task.only:
            losses[task.partition] += 1
            return Failure(LOST[task.partition % len(LOST)])
        return Failure(ValueError("no")) if task.partition in (3, 20) and holds(task, 7) else None

    executor, lost, done = do(answer, tasks=30)
    assert sum(losses.values()) == 20
    assert len(done) == 30
    assert [item.unit for item in lost] == [7]  # of both partitions that hold it
    assert {task.partition for task in executor.ran if task.only} == {3, 20}
    assert sum(waits) <= faults.PATIENCE_S

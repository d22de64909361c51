"""What is done about tasks that fail.

Errors of the environment are waited out within a stated patience. Of the others the unit (row, record, URL) that
causes them is found: the task says which it was at, or it is bisected; probes write nothing. Such units are left out,
each with its reason, and the rest of the task is done without them.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from dataset.ledger.commits import Commit
from dataset.ledger.damage import DamagedError
from dataset.ledger.lease import LeaseLostError
from dataset.store.faults import PATIENCE_S, TOO_LARGE, WorkerKilledError, fault, next_wait_s
from pipeline.config_errors import ConfigError
from pipeline.engine.contract import ContractError
from pipeline.engine.phase import Task
from pipeline.engine.verdicts import ConservationError
from pipeline.workers.executor import Executor, Show, nobody
from pipeline.workers.failures import CRASHED, Failure, Lost, PhaseFailedError, Span, summarize

log = logging.getLogger("wit")

_ATTEMPTS = 3  # of a task that fails as a whole, though no part of it fails alone; of a unit whose worker is killed


@dataclass
class _Case:
    """A task that has failed, and what is known about it."""

    task: Task
    error: Exception
    lost: dict[int, Lost] = field(default_factory=dict)
    probes: list[Span] = field(default_factory=list)  # units still under suspicion
    killed: list[tuple[Span, ...]] = field(default_factory=list)  # where each killed worker was
    attempts: int = 1
    waited_s: float = 0.0
    wait_s: float = 0.0  # before the next try

    def next_tasks(self) -> list[Task]:
        """What is to be run next for it."""
        task = replace(self.task, without={**self.task.without, **self.lost})
        return [replace(task, only=span) for span in self.probes] or [task]


def run_with_quarantine(
    executor: Executor,
    url: str,
    tasks: Sequence[Task],
    budget: int,
    on_done: Callable[[Task, Commit], None],
    on_lost: Callable[[Task, Mapping[int, Lost]], None] = lambda task, lost: None,
    show: Show = nobody,
    patience_s: float = PATIENCE_S,
) -> dict[tuple[int, int], Commit]:
    """Do all tasks, whatever fails.

    Args:
        budget: how many units that crash their worker may be left out in this call before the run fails.
        on_done: is told of each commit.
        on_lost: is told of all units that a task leaves out whenever these become more.
        show: is told what the tasks at work are at.
        patience_s: how long a task waits for an environment that fails, in all.

    Returns:
        `Task.key` -> commit.

    Raises:
        PhaseFailedError: the environment goes on failing, a task failed whose failure is not one unit's, or the
            budget is spent.
        ConfigError: a task finds that the config cannot be run.
        ConservationError, ContractError: a defect of a stage.
        DamagedError: a file that a task reads is not what was committed.
    """
    commits: dict[tuple[int, int], Commit] = {}
    cases: dict[tuple[int, int], _Case] = {}
    jury = _Jury(budget, on_lost, patience_s)
    todo = list(tasks)
    while todo:
        failures: dict[tuple[int, int], list[tuple[Task, Failure]]] = {}
        for task, answer in executor.run(url, todo, show):
            if isinstance(answer, Commit):
                if task.only is None:
                    cases.pop(task.key, None)
                    commits[task.key] = answer
                    on_done(task, answer)
                else:
                    cases[task.key].probes.remove(task.only)
                continue
            if isinstance(answer.error, (ConfigError, ConservationError, ContractError, DamagedError, LeaseLostError)):
                raise answer.error
            if task.key not in cases:
                log.warning("%s: partition %d failed (%s)", task.phase, task.partition, summarize(answer.error))
                cases[task.key] = _Case(replace(task, only=None), answer.error)
            failures.setdefault(task.key, []).append((task, answer))
        for key in sorted(failures):
            for task, failure in failures[key]:
                jury.judge(cases[key], task, failure)
        wait = max((case.wait_s for case in cases.values()), default=0.0)
        if wait:
            time.sleep(wait)
        for case in cases.values():
            case.wait_s = 0.0
        todo = [task for key in sorted(cases) for task in cases[key].next_tasks()]
    return commits


class _Jury:
    """Decides what a failure means for its task."""

    def __init__(self, budget: int, on_lost: Callable[[Task, Mapping[int, Lost]], None], patience_s: float):
        self._budget = self._left = budget
        self._on_lost = on_lost
        self._patience_s = patience_s

    def judge(self, case: _Case, task: Task, failure: Failure) -> None:
        """Take a failure of the task, or of a probe of it, into account. Raises PhaseFailedError."""
        case.error = failure.error
        environment = fault(failure.error)
        if environment is not None and not self._is_one_units(case, failure):
            said = environment.sentence + (_peak(failure) if environment.is_of_memory else "")
            self._wait(case, failure, said, environment.may_pass)
        elif task.only is not None:
            case.probes.remove(task.only)
            self._narrow(case, task.only, failure)
        else:
            self._suspect(case, failure)

    def _is_one_units(self, case: _Case, failure: Failure) -> bool:
        """Whether a killed worker was at the same unit each time: then it is the unit that brings it down."""
        if not isinstance(failure.error, WorkerKilledError) or not failure.suspects:
            return False
        case.killed.append(failure.suspects)
        return case.killed.count(failure.suspects) >= _ATTEMPTS

    def _wait(self, case: _Case, failure: Failure, sentence: str, may_pass: bool) -> None:
        case.wait_s = next_wait_s(case.waited_s, self._patience_s)
        if not may_pass or not case.wait_s:
            tried = f", tried again for {case.waited_s:.0f} s" if case.waited_s else ""
            raise PhaseFailedError(
                f"{case.task.phase}: partition {case.task.partition}{tried}: {sentence}"
            ) from failure.error
        if case.waited_s == 0:
            log.warning(
                "%s: partition %d: %s; trying again for up to %.0f s",
                *(case.task.phase, case.task.partition, sentence, self._patience_s),
            )
        case.waited_s += case.wait_s

    def _suspect(self, case: _Case, failure: Failure) -> None:
        """A task failed as a whole."""
        task = case.task
        if not task.units or case.attempts > _ATTEMPTS:
            said = f" failed: {summarize(failure.error)}"
            if isinstance(failure.error, MemoryError):
                said = f": {TOO_LARGE % summarize(failure.error)}{_peak(failure)}"
            raise PhaseFailedError(f"{task.phase}: partition {task.partition}{said}") from failure.error
        case.attempts += 1
        suspects = failure.suspects or ((0, task.units),)
        if failure.kind in ("time", "memory") and len(suspects) == 1 and _is_single(suspects[0]):
            self._convict(case, suspects[0][0], failure)  # what it has used is proof
            case.attempts = 1
        else:
            case.probes = list(suspects)

    def _narrow(self, case: _Case, span: Span, failure: Failure) -> None:
        """A probe of some units failed."""
        inside = [_intersect(suspect, span) for suspect in failure.suspects]
        narrow = [suspect for suspect in inside if suspect is not None and suspect != span]
        if _is_single(span):
            self._convict(case, span[0], failure)
        elif len(narrow) == 1 and _is_single(narrow[0]):
            self._convict(case, narrow[0][0], failure)
            if failure.kind in ("raised", "died"):  # there may be more of them; another that takes too long is rare
                rest = ((span[0], narrow[0][0]), (narrow[0][1], span[1]))
                case.probes += [probe for probe in rest if probe[0] < probe[1]]
        elif len(narrow) == 1:
            case.probes += [(span[0], narrow[0][0]), narrow[0], (narrow[0][1], span[1])]
            case.probes = [probe for probe in case.probes if probe[0] < probe[1]]
        else:
            middle = (span[0] + span[1]) // 2
            case.probes += [(span[0], middle), (middle, span[1])]
        case.attempts = 1

    def _convict(self, case: _Case, unit: int, failure: Failure) -> None:
        task = case.task
        while unit in task.without or unit in case.lost:
            unit += 1  # see Task.units
        lost = failure.as_lost(unit)
        if lost.reason == CRASHED:
            self._left -= 1
        if self._left < 0:
            raise PhaseFailedError(
                f"{task.phase}: more than {self._budget} inputs of partition {task.partition} crash their worker "
                f"({summarize(failure.error)}); raise run.max_quarantined if that is expected"
            ) from failure.error
        case.lost[unit] = lost
        self._on_lost(task, {**task.without, **case.lost})
        log.warning("%s: partition %d: %s %s; left out", task.phase, task.partition, lost.place or unit, lost.sentence)


def _peak(failure: Failure) -> str:
    """How much memory a failed task was seen to take, for the end of a sentence."""
    return f"; its process had up to {failure.peak_bytes / 1e6:,.0f} MB" if failure.peak_bytes else ""


def _is_single(span: Span) -> bool:
    return span[1] - span[0] == 1


def _intersect(suspect: Span, span: Span) -> Span | None:
    first, last = max(suspect[0], span[0]), min(suspect[1], span[1])
    return (first, last) if first < last else None

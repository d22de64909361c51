"""A run: brings a dataset from what is committed to what the config asks for, phase by phase."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from dataset.ledger.commits import (
    FORMAT_VERSION,
    Commit,
    Ledger,
    dropped_by_reason,
    new_records,
    record_table,
    write_manifest,
    write_records,
)
from dataset.ledger.committed import Schemas
from dataset.query import view_script
from dataset.stages import names
from dataset.store.faults import patiently
from dataset.store.secrets import public
from dataset.store.storage import Storage
from pipeline.config import Config
from pipeline.engine.artifacts import Artifacts, Partition, RowTable
from pipeline.engine.exchanges.exchange import Exchange
from pipeline.engine.failures.containment import run_with_quarantine
from pipeline.engine.failures.quarantine import Quarantine, lost_by
from pipeline.engine.phase import LEFT_OUT_ROLE, Input, Inputs, Phase, Task
from pipeline.engine.progress import PhaseProgress, Reporter
from pipeline.engine.reuse import what_is_missing, with_earlier_measures
from pipeline.engine.shares import shares
from pipeline.engine.sources.inputs import Source
from pipeline.engine.temporary_phases import is_temporary
from pipeline.engine.verdicts import ConservationError, warnings
from pipeline.engine.verify import Rereading
from pipeline.workers.executor import SOURCE_REQUESTS, Executor
from pipeline.workers.failures import CRASHED
from pipeline.workers.record_limits import RecordLimits

log = logging.getLogger("wit")

_STALE_S = 10.0  # how far the manifest may lie behind the phases that are closed, of the stage at work

T = TypeVar("T")


class Run:
    """The state of one run; the stages' modules drive it."""

    def __init__(
        self,
        config: Config,
        storage: Storage,
        executor: Executor,
        reporter: Reporter,
        check: Callable[[], None] | None = None,
        sources: Sequence[Source] = (),
        lease: str = "",
    ):
        self.config = config
        self.storage = storage
        self.executor = executor
        self.reporter = reporter
        self.check = check or (lambda: None)  # raises when this run no longer holds the dataset
        self.sources = sources
        self.lease = lease  # its token, which a worker's writing is fenced by
        self.phases: list[dict[str, Any]] = []
        self.funnel: dict[str, dict[str, int]] = {}
        self.partitions: list[Partition] = []
        self.artifacts = Artifacts()
        self.did: dict[str, int] = {}  # tasks done by this run, by phase
        self.said: list[str] = []  # of the stages, for people
        self.limits = RecordLimits(config.run.record_cpu_s, config.run.record_memory_bytes)
        self._records = new_records()  # of all phases that are closed
        self._closed: dict[str, tuple[str, list[Commit]]] = {}  # of the phases that views read; see Committed
        self._schemas: Schemas = {}  # of files that views read: after every stage views.sql is made of them
        self._quarantined = 0
        self._rereading = Rereading(storage)
        self._published: tuple[str, float] | None = None  # before which stage last, and when
        self._left_out: dict[tuple[str, int], list[Input]] = {}  # (stage, partition) -> what its measures left out

    def do(
        self,
        phase: Phase,
        tasks: Sequence[Task],
        *,
        rows: int = 0,
        bytes_: int = 0,
        prepare: Callable[[list[Task]], list[Task]] | None = None,
    ) -> list[Commit]:
        """Have every task of a phase committed, doing only those that are missing or changed.

        Args:
            rows: what the phase reads, for people; `bytes_` where rows are not known yet.
            prepare: is given the tasks that are to be done, if there are any, and answers them with other hints.

        Returns:
            The commits in the tasks' order.

        Raises:
            PhaseFailedError: see `pipeline.engine.failures.containment.run_with_quarantine`.
        """
        ledger = Ledger(self.storage, phase.name)
        known = self._retry_patiently(ledger.load)
        quarantine = Quarantine(self.storage, phase.name, self.limits)
        commits, todo = what_is_missing(tasks, known, quarantine.is_within_limits, self._rereading.is_whole)
        if todo:
            todo = prepare(todo) if prepare is not None else todo
            self._publish_before(phase)
            hints = {"web_patience_s": self.config.run.web_patience_s, **({"lease": self.lease} if self.lease else {})}
            if cap := self.config.commoncrawl.max_requests_per_s:
                hints[SOURCE_REQUESTS] = cap
            todo = [task.with_hints(hints) for task in todo]
            self.did[phase.name] = len(todo)
            parts = self._shares(phase, todo, len(tasks))
            before = {key: commit_ for key, commit_ in known.items() if quarantine.is_within_limits(commit_)}
            fresh = [part for part in parts if (part.partition, part.fingerprint) not in before]
            progress = self.reporter.phase(phase.name, len(fresh) + len(todo), rows, bytes_)
            for some in (fresh, todo):
                measured = [known[part.partition, part.fingerprint] for part in parts] if some is todo else []
                ready = self._leave_out(some, quarantine, measured)
                if phase.reuses:
                    ready = with_earlier_measures(ready, len(tasks), known.values())
                done = self._commit_all(ready, progress, quarantine)
                known |= {(commit.partition, commit.fingerprint): commit for commit in done}
            commits |= {commit.partition: commit for commit in done}
        ordered = [commits[task.partition] for task in tasks]
        for commit in ordered:
            self._quarantined += sum(lost.reason == CRASHED for lost in lost_by(commit))
            if (left_out := commit.files.get(LEFT_OUT_ROLE)) is not None:
                key = (phase.stage.name, commit.partition)
                self._left_out.setdefault(key, []).append(Input(left_out))
        self.check()
        records = record_table(ordered)
        checksum = self._retry_patiently(lambda: ledger.write(records))
        if todo or ledger.loose or len(known) > len(commits):
            self._retry_patiently(lambda: ledger.collect(ordered))
            self._retry_patiently(lambda: quarantine.collect(ordered))
        if not is_temporary(phase):
            self._records.add(records)
            entry = {"phase": phase.name, "partitions": len(ordered), "records": ledger.closed_name}
            self.phases.append({**entry, "checksum": checksum})
            if phase.name in (phase.stage.decision, *(table.phase for table in phase.stage.tables)):
                self._closed[phase.name] = checksum, list(ordered)
        return ordered

    def _shares(self, phase: Phase, tasks: Sequence[Task], partitions: int) -> list[Task]:
        """The shares that tasks are measured in; on GPUs each would load its model anew."""
        if not phase.reuses or (phase.contract.needs.gpu and self.config.run.gpus_per_model_task):
            return []
        return shares(tasks, partitions)

    def _leave_out(self, tasks: Sequence[Task], quarantine: Quarantine, parts: Sequence[Commit] = ()) -> list[Task]:
        """The tasks without what earlier runs had to leave out of them, or of their shares."""
        recorded = self._retry_patiently(quarantine.load) if tasks else {}
        if not recorded and not parts:
            return list(tasks)
        answer = []
        for task in tasks:
            whole = recorded.get((task.partition, replace(task, share=None).fingerprint), {})
            without = {**whole, **recorded.get((task.partition, task.fingerprint), {})}
            before = len(without)
            mine = (lost for commit in parts if commit.partition == task.partition for lost in lost_by(commit))
            without |= {lost.unit: lost for lost in mine}
            if len(without) > before:
                quarantine.add(task, without)
            answer.append(replace(task, without=without))
        return answer

    def _commit_all(self, tasks: Sequence[Task], progress: PhaseProgress, quarantine: Quarantine) -> list[Commit]:
        """Have tasks done, whatever fails."""

        def advance(task: Task, commit: Commit) -> None:
            self.check()
            progress.advance(commit.spent)

        limits = self.config.run
        budget = limits.max_quarantined - self._quarantined
        done = run_with_quarantine(
            self.executor, self.storage.url, tasks, budget, advance, quarantine.add, progress.show, limits.patience_s
        )
        return list(done.values())

    def _retry_patiently(self, action: Callable[[], T]) -> T:
        return patiently(action, self.config.run.patience_s, public(self.storage.url))

    def one(self, phase: Phase, task: Task) -> Commit:
        """Run `do` for a phase of a single partition."""
        return self.do(phase, [task])[0]

    def map(
        self,
        phase: Phase,
        options: Mapping[str, Any],
        *tables: RowTable,
        shared: Mapping[str, Inputs] | None = None,
        each: Sequence[Mapping[str, Inputs]] | None = None,
        units: bool = False,
        hints: Mapping[str, Any] | None = None,
    ) -> list[Commit]:
        """Have a phase do every partition. Returns the commits in the partitions' order; see `do`.

        Args:
            tables: those beside the rows that it reads.
            shared: what every task reads besides, by role.
            each: what the task of each partition alone reads besides, by role.
            units: whether the phase can leave out rows one by one.
            hints: of every task.
        """
        return self.do(phase, self._tasks(phase, options, tables, shared, each, units, hints), rows=self.alive)

    def decide(
        self,
        phase: Phase,
        options: Mapping[str, Any],
        *tables: RowTable,
        shared: Mapping[str, Inputs] | None = None,
        each: Sequence[Mapping[str, Inputs]] | None = None,
    ) -> list[Commit]:
        """Run `map` for the deciding phase of a stage: checks that nothing disappears, and carries the verdicts on.

        Raises:
            ConservationError: kept + dropped ≠ input somewhere, or a partition's input is not what the stage before
            kept.
        """
        tasks = self._tasks(phase, options, tables, shared, each)
        return self.judge(phase, tasks, rows=self.alive)

    def reduce(
        self,
        phase: Phase,
        options: Mapping[str, Any],
        exchanged: Mapping[str, Sequence[Exchange]],
        numbers: Iterable[int] | None = None,
        *,
        shared: Mapping[str, Inputs] | None = None,
        rows: int = 0,
    ) -> list[Commit]:
        """Have a phase do every bucket of an exchange. Returns the commits in the buckets' order; see `do`.

        Args:
            exchanged: by role; see `pipeline.engine.exchanges.gathering.exchange`.
            numbers: of the buckets; by default those in which the first exchange has anything.
            shared: what every task reads besides, by role.
        """
        if numbers is None:
            numbers = next(iter(exchanged.values()))[0].buckets
        return self.do(
            phase,
            [
                Task(
                    phase.name,
                    number,
                    {
                        **{
                            role: tuple(bucket for one in several for bucket in one.bucket(number))
                            for role, several in exchanged.items()
                        },
                        **(shared or {}),
                    },
                    options,
                )
                for number in numbers
            ],
            rows=rows,
        )

    def _tasks(
        self,
        phase: Phase,
        options: Mapping[str, Any],
        tables: Sequence[RowTable],
        shared: Mapping[str, Inputs] | None = None,
        each: Sequence[Mapping[str, Inputs]] | None = None,
        units: bool = False,
        hints: Mapping[str, Any] | None = None,
    ) -> list[Task]:
        """A task for every partition; of its rows and verdicts it has what the phase declares that it reads."""
        reads = phase.contract.reads
        unread = [role for role in ("rows", "verdicts") if role not in reads]

        def inputs(partition: Partition) -> dict[str, tuple[Input, ...]]:
            return {role: files for role, files in partition.inputs(*tables).items() if role not in unread}

        return [
            Task(
                phase.name,
                partition.number,
                {**inputs(partition), **(shared or {}), **each_inputs},
                options,
                units=partition.alive if units else 0,
                hints=hints or {},
            )
            for partition, each_inputs in zip(self.partitions, each or [{}] * len(self.partitions), strict=True)
        ]

    def judge(self, phase: Phase, tasks: Sequence[Task], *, rows: int = 0) -> list[Commit]:
        """Run `do` for the deciding phase of a stage: checks that nothing disappears, and carries the verdicts on.

        Raises:
            ConservationError: kept + dropped ≠ input somewhere, or a partition's input is not what the stage before
            kept.
        """
        stage = phase.stage.name
        complete = [replace(task, inputs=self._add_left_out_rows(stage, task)) for task in tasks]
        commits = self.do(phase, complete, rows=rows)
        after: list[Partition] = []
        for partition, commit in zip(self.partitions, commits, strict=True):
            counts = commit.counts
            if counts["input"] != partition.alive or counts["kept"] + counts["dropped"] != counts["input"]:
                raise ConservationError(
                    f"{stage}: partition {partition.number} got {counts['input']} rows of {partition.alive} "
                    f"and answered {counts['kept']} kept and {counts['dropped']} dropped"
                )
            verdicts = commit.files["verdicts"]
            after.append(replace(partition, verdicts=(*partition.verdicts, verdicts), alive=counts["kept"]))
        self.partitions = after
        self.count(stage, commits)
        return commits

    def _add_left_out_rows(self, stage: str, task: Task) -> Mapping[str, Inputs]:
        """A deciding task's inputs, with what the stage's measures left out of its partition."""
        left_out = tuple(self._left_out.get((stage, task.partition), ()))
        return {**task.inputs, LEFT_OUT_ROLE: left_out} if left_out else task.inputs

    def count(self, stage: str, commits: Sequence[Commit]) -> None:
        """Add a stage to the funnel and say how it went."""
        totals = {name: sum(commit.counts.get(name, 0) for commit in commits) for name in ("input", "kept", "dropped")}
        self.funnel[stage] = totals
        dropped = dropped_by_reason(commits)
        most = ", ".join(f"{name} {count:,}" for name, count in list(dropped.items())[:4])
        self.say(
            f"{stage:<14} {totals['input']:>12,} in {totals['kept']:>12,} kept {totals['dropped']:>12,} dropped"
            + (f"   {most}" if most else "")
        )
        for words in warnings(stage, totals["input"], dropped):
            self.warn(stage, words)

    def say(self, words: str) -> None:
        """Say how a stage went. A later run, which has nothing to do, says it again."""
        self.said.append(words)
        self.reporter.say(words)

    def warn(self, stage: str, words: str) -> None:
        """Say what its user should look at, and write it in the log."""
        self.say(words)
        self.reporter.record({"stage": stage, "warning": words})

    def leave(self, table: RowTable, commits: Sequence[Commit], role: str) -> None:
        """Leave a file of each commit for later stages, as a table beside the partition's rows.

        Raises:
            ContractError: the phase that wrote it lacks a column of the table's.
        """
        pairs = zip(self.partitions, commits, strict=True)
        self.partitions = [partition.leave(table, commit, role) for partition, commit in pairs]

    @property
    def alive(self) -> int:
        """Rows that no stage has dropped so far."""
        return sum(partition.alive for partition in self.partitions)

    def _publish_before(self, phase: Phase) -> None:
        """Have readers see what is closed while a phase is at work: all stages before its own at once, phases of its
        own stage after `_STALE_S`.

        A run's first phase at work publishes always: the manifest of an earlier run may name what this one changes.
        """
        stage, now = phase.stage.name, time.monotonic()
        if self._published is None or self._published[0] != stage:
            self._publish(complete=False)
            self._retry_patiently(lambda: view_script.write(self.storage, self._closed, self._schemas))
        elif now - self._published[1] > _STALE_S:
            self._publish(complete=False)
        else:
            return
        self._published = (stage, now)

    def finish(self, *, complete: bool) -> None:
        """Publish what this run has closed."""
        records = self._records.finish()
        self._publish(complete=complete, records=self._retry_patiently(lambda: write_records(self.storage, records)))
        self._retry_patiently(lambda: view_script.write(self.storage, self._closed, self._schemas))

    def _publish(self, *, complete: bool, records: Mapping[str, Any] | None = None) -> None:
        manifest = {
            **({"records": records} if records else {}),
            "format": FORMAT_VERSION,
            "complete": complete,
            "name": self.config.name,
            "phases": self.phases,
            "funnel": {name: self.funnel[name] for name in names() if name in self.funnel},
            "vocabulary": sorted(filter_.name for filter_ in self.config.filters),
        }
        self._retry_patiently(lambda: write_manifest(self.storage, manifest))

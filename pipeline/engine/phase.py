"""A phase: a pure function of one partition, and what it needs to know.

A stage is one or more phases. A phase's function gets a `Context` (its task's inputs and options), and returns a
`Result` (tables or exchange files, counts, small facts); `pipeline.engine.execute` writes its files.
"""

from __future__ import annotations

import copy
import difflib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property, partial
from typing import Any, ClassVar

import pyarrow as pa

from dataset import heartbeat
from dataset.ledger.commits import Commit, FileRef, fingerprint, folder
from dataset.ledger.damage import read_table
from dataset.schema import CAPTIONS
from dataset.stages import Stage, Table, path
from dataset.store.storage import Storage
from dataset.tables import GrowingParquet
from pipeline.engine.contract import Contract, Resources, Roles
from pipeline.engine.exchanges.exchange import LAYOUT, Bucket, Buckets, merge_files
from pipeline.workers.failures import Lost

LEFT_OUT = pa.schema([("row", pa.uint32()), ("url", pa.string()), ("reason", pa.string()), ("evidence", pa.string())])
"""What a measuring phase left out, by the pair's row, or by its image's URL."""
LEFT_OUT_ROLE = "left_out"
CAPTIONS_ROLE = "captions"
"""The role of the texts that candidates are judged by, which every phase over candidates may read."""
KEYS = "_keys"
"""Ends the role of the table that says what each row of another was measured on; see `pipeline.engine.reuse`."""


@dataclass(frozen=True)
class Input:
    """A file that a task reads."""

    file: FileRef

    tables: ClassVar[int] = 1  # how many `read` gives

    @property
    def name(self) -> str:
        """The file's name."""
        return self.file.name

    @property
    def checksum(self) -> str:
        """What the task's result depends on."""
        return self.file.checksum

    def read(self, storage: Storage, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """Yield the file's table, or some columns of it. Raises DamagedError."""
        yield read_table(storage, self.file, columns)


Inputs = tuple[Input | Bucket, ...]  # what a task reads by one role: files, or buckets of exchanges


def all_files(commits: Sequence[Commit], role: str) -> tuple[Input, ...]:
    """Return a file of every commit, in order."""
    return tuple(Input(commit.files[role]) for commit in commits)


def files_of_each(commits: Sequence[Commit], *roles: str) -> list[dict[str, Inputs]]:
    """Return some files of each commit, as what the task of the same partition reads; see
    `pipeline.engine.run.Run.map`.
    """
    return [{role: (Input(commit.files[role]),) for role in roles} for commit in commits]


@dataclass(frozen=True)
class Task:
    """Everything that a worker needs to do one partition of one phase."""

    phase: str
    partition: int
    inputs: Mapping[str, Inputs]  # by role, in a fixed order
    options: Mapping[str, Any]  # the config keys that the phase reads, as JSON values
    # What can be left out one by one: rows, records, URLs; none if nothing can. Where a unit fails that is left out
    # already, it is the next number's turn: a record's numbers stand for it, then for what its reader meets behind it.
    units: int = 0
    hints: Mapping[str, Any] = field(default_factory=dict)  # what does not change the result (where a file lies)
    only: tuple[int, int] | None = None  # a probe of some units, whose result is thrown away
    without: Mapping[int, Lost] = field(default_factory=dict)  # units that are left out, and why
    share: tuple[int, int] | None = None  # which of how many parts of the units it measures for the whole task

    def __post_init__(self) -> None:
        """Raises ContractError: it is not what its phase declares."""
        if (phase := PHASES.get(self.phase)) is None:  # whose stage this process has not loaded
            return
        phase.contract.check_task(self.phase, self.inputs, self.options)
        for role, items in self.inputs.items():
            for item in items[:1]:
                writer, written_role = _writer(item.name)
                if writer in PHASES:
                    _check_columns(phase.contract, self.phase, role, PHASES[writer].contract, writer, written_role)

    @cached_property
    def fingerprint(self) -> str:
        """See `dataset.ledger.commits.fingerprint`; quarantine is an outcome, not an input."""
        inputs = [f"{role}:{item.checksum}" for role in sorted(self.inputs) for item in self.inputs[role]]
        place = {"partition": self.partition, **({"share": self.share} if self.share else {})}
        return fingerprint(self.phase, PHASES[self.phase].version, {**self.options, **place}, inputs)

    def with_hints(self, hints: Mapping[str, Any]) -> Task:
        """Return the same task with more hints, on which nothing of its result depends, its fingerprint neither."""
        task = copy.copy(self)  # neither checked nor fingerprinted anew: a run of the paper's size has a million
        object.__setattr__(task, "hints", {**self.hints, **hints})
        return task

    @property
    def key(self) -> tuple[int, int]:
        """What tells it from the others of its phase: the partition and, of a share, its number; -1 of a whole one."""
        return self.partition, -1 if self.share is None else self.share[0]

    @property
    def method(self) -> str:
        """See `method_of`."""
        return method_of(self.phase, self.options)


def method_of(phase: str, options: Mapping[str, Any]) -> str:
    """Return a fingerprint of how a phase measures: equal for two tasks that would say the same of one row."""
    return fingerprint(phase, PHASES[phase].version, options, [])


@dataclass
class Result:
    """What a phase's function answers."""

    tables: dict[str, tuple[pa.Table, pa.Schema | None]] = field(default_factory=dict)
    parquets: dict[str, GrowingParquet] = field(default_factory=dict)  # tables too large to be in memory as such
    buckets: dict[str, Buckets] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    files: dict[str, tuple[str, bytes]] = field(default_factory=dict)  # role -> (name relative to OUT, content)
    refs: dict[str, FileRef] = field(default_factory=dict)  # files that the phase has written itself

    def table(self, role: str, table: pa.Table, schema: pa.Schema | None = None) -> Result:
        """Add a table, rows in their total order; returns self."""
        self.tables[role] = (table, schema)
        return self


class Context:
    """A phase's view of its task."""

    def __init__(self, storage: Storage, task: Task):
        self.storage = storage
        self.task = task
        self.options = task.options
        self.left_out: list[dict[str, Any]] = []  # rows of LEFT_OUT

    @property
    def stage(self) -> Stage:
        """The stage of the task's phase."""
        return PHASES[self.task.phase].stage

    def leave_out(self, lost: Lost, *, row: int | None = None, url: str | None = None) -> None:
        """Have the deciding phase drop a pair, or all pairs of an image's URL, for what became of a unit."""
        evidence = {"stage": self.stage.name, **lost.evidence}
        reason = json.dumps(evidence, ensure_ascii=False)
        self.left_out.append({"row": row, "url": url, "reason": lost.reason, "evidence": reason})

    def files(self, role: str) -> tuple[Input, ...]:
        """Return the files of a role that is no exchange's, for who maps them."""
        return tuple(item for item in self.task.inputs.get(role, ()) if isinstance(item, Input))

    def table(self, role: str, columns: Sequence[str] | None = None) -> pa.Table:
        """Return the only file of a role, whole or some columns."""
        (table,) = self.each(role, columns)
        return table

    def table_list(self, role: str, columns: Sequence[str] | None = None) -> list[pa.Table]:
        """Return all files (or buckets) of a role, in the task's order."""
        return list(self.each(role, columns))

    def each(self, role: str, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """Yield the same tables as `table_list`, one at a time."""
        items = self.task.inputs.get(role, ())
        count, number = sum(item.tables for item in items), 0
        for item in items:
            for table in item.read(self.storage, columns):
                number += 1
                if count > 1:
                    heartbeat.progress(number, 2 * count)  # what is read is still to be worked on
                yield table

    def concat(self, role: str, schema: pa.Schema) -> pa.Table:
        """Return all files (or buckets) of a role as one table, in the task's order."""
        tables = [table.select(schema.names).cast(schema) for table in self.table_list(role)]
        return pa.concat_tables([schema.empty_table(), *tables])

    @property
    def is_probe(self) -> bool:
        """Whether nothing is to be written: only whether the work can be done is asked."""
        return self.task.only is not None

    def units(self, count: int, firsts: Sequence[int] | None = None) -> list[int]:
        """Return the units to work on: all but those that are left out; those of a probe, of a share.

        firsts: of each unit, the first one of the same content: a share has all that are equal, or none.
        """
        first, last = self.task.only or (0, count)
        units = [unit for unit in range(first, min(last, count)) if unit not in self.task.without]
        if self.task.share is None:
            return units
        number, of = self.task.share
        mine = range(count * number // of, count * (number + 1) // of)
        return [unit for unit in units if (unit if firsts is None else firsts[unit]) in mine]

    def phase_file(self, role: str, ending: str) -> str:
        """Return the name of a file of this task."""
        return f"{folder(self.task.phase)}/{role}-{self.task.partition:05d}-{self.task.fingerprint}.{ending}"


@dataclass(frozen=True)
class Phase:
    """A registered phase."""

    stage: Stage
    name: str
    version: int  # raised whenever the code would give another result for the same inputs
    function: Callable[[Context], Result]
    contract: Contract
    reuses: bool = False  # whether it takes what its earlier commits have measured; see pipeline.engine.reuse
    exchanges: tuple[str, ...] = ()  # the roles of its files that are an exchange's
    of: str = ""  # the phase whose files it makes fewer; "" if a stage declares it

    @property
    def module(self) -> str:
        """The module that a worker imports to know the phase."""
        return self.stage.code


PHASES: dict[str, Phase] = {}
Fold = Callable[[Sequence[pa.Table]], pa.Table]
"""Makes one table of several."""


def phase(
    stage: Stage,
    name: str,
    *,
    reads: Roles | None = None,
    may_read: Roles | None = None,
    takes: Sequence[str] = (),
    may_take: Sequence[str] = (),
    gives: Roles | None = None,
    may_give: Roles | None = None,
    exchanges: Roles | None = None,
    folds: Mapping[str, Fold] | None = None,
    rounds: int = 1,
    version: int = 1,
    cpus: float = 1,
    gpu: bool = False,
    reuses: bool = False,
) -> Callable[[Callable[[Context], Result]], Phase]:
    """Register a function as a phase that its stage declares.

    Args:
        reads, may_read: the roles of the files that a task has, always or as the config is.
        takes, may_take: the names of its options.
        gives, may_give: the roles of the files that come of it.
        exchanges: of these, as `gives`, the files of an exchange.
        folds: of these, the tables of which a later task reads those of all partitions -> what makes one table of
            several, in order. It may be asked for parts, and then for what it made of these.
        rounds: how often it may be done, each time on what came of the last: see `again`.
        cpus, gpu: see `pipeline.engine.contract.Resources`.

    Raises:
        ValueError: the stage declares no such phase, or tables or columns of them that the phase does not give.
    """
    if name not in stage.phases:
        near = difflib.get_close_matches(name, stage.phases, n=1)
        hint = f"; did you mean {near[0]}?" if near else f"; it has {', '.join(stage.phases)}"
        raise ValueError(f"the stage {stage.name} declares no phase {name}{hint}")
    left_out = {LEFT_OUT_ROLE: LEFT_OUT}
    contract = Contract(
        reads=reads or {},
        may_read={
            **(may_read or {}),
            **({CAPTIONS_ROLE: CAPTIONS} if "rows" in (reads or {}) else {}),
            **(left_out if name == stage.decision else {}),
        },
        takes=takes,
        may_take=may_take,
        gives={**(gives or {}), **(exchanges or {})},
        may_give={**(may_give or {}), **left_out},
        needs=Resources(cpus, gpu),
    )
    for table in stage.tables:
        if table.phase == name:
            _check_table(stage, table, contract)

    def register(function: Callable[[Context], Result]) -> Phase:
        written = version + (LAYOUT if exchanges else 0)
        registered = Phase(stage, name, written, function, contract, reuses, tuple(exchanges or ()))
        for number in range(rounds):
            once = replace(registered, name=again(name, number), of=name if number else "")
            PHASES[once.name] = once
            for role in exchanges or {}:
                _derive(once, role, 1, partial(_merge, role))
        for role, fold in (folds or {}).items():
            for level in (1, 2):
                _derive(registered, role, level, partial(_fold, role, fold))
        return PHASES[name]

    return register


def _check_table(stage: Stage, table: Table, contract: Contract) -> None:
    """Raises ValueError: the phase of a stage's table never gives it, or gives it without one of its columns."""
    of = f"the stage {stage.name} has a table {table.name} of {table.role}"
    if table.role not in {**contract.gives, **contract.may_give}:
        raise ValueError(f"{of}, which {table.phase} never gives")
    written = contract.given_columns(table.role)
    if written is None or table.schema is None:
        return
    has_others = any(one.name == table.name and one.phase != table.phase for stage_ in path() for one in stage_.tables)
    for column in table.schema:
        if column not in written and (column.name in written.names or not has_others):  # which may write it
            raise ValueError(f"{of} with {column.name}: {column.type}, which {table.phase} does not write")


def derived_name(phase: str, role: str, level: int = 1) -> str:
    """Return the name of the phase that makes fewer files of a phase's; see `pipeline.engine.exchanges.gathering`."""
    return f"{phase}_{role}" if level == 1 else f"{phase}_{role}{level}"


def again(phase: str, number: int) -> str:
    """Return the name of a phase in the round of a number: 0, 1, …; each round has records and files of its own."""
    return f"{phase}_{number}" if number else phase


def _derive(of: Phase, role: str, level: int, function: Callable[[Context], Result]) -> None:
    columns = of.contract.given_columns(role)
    contract = Contract(reads={"files": columns}, gives={role: columns})
    name, exchanges = derived_name(of.name, role, level), ((role,) if role in of.exchanges else ())
    PHASES[name] = Phase(of.stage, name, of.version, function, contract, exchanges=exchanges, of=of.name)


def _merge(role: str, context: Context) -> Result:
    return Result(buckets={role: merge_files(context.storage, [item.file for item in context.files("files")])})


def _fold(role: str, fold: Fold, context: Context) -> Result:
    return Result().table(role, fold(context.table_list("files")))


@cache
def _check_columns(reader: Contract, phase: str, role: str, contract: Contract, writer: str, written_role: str) -> None:
    """`Contract.check_columns`, once for all tasks of a phase."""
    reader.check_columns(phase, role, writer, contract.given_columns(written_role))


def _writer(file: str) -> tuple[str, str]:
    """The phase that wrote a file, and the role of it, by the file's name; see `Context.phase_file`."""
    path_, _, name = file.rpartition("/")
    return path_.replace("/", "."), name.partition("-")[0]

"""What one stage of a run leaves for a later one, by a name that has a type."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

import pyarrow as pa

from dataset.ledger.commits import Commit, FileRef
from pipeline.engine.contract import ContractError
from pipeline.engine.phase import CAPTIONS_ROLE, PHASES, Input

T = TypeVar("T")


@dataclass(frozen=True)
class Artifact(Generic[T]):
    """The name of something that is left; whoever takes it gets a `T`."""

    name: str


class Artifacts:
    """What the stages of a run have left so far."""

    def __init__(self) -> None:
        self._left: dict[str, Any] = {}

    def leave(self, artifact: Artifact[T], value: T) -> None:
        """Leave a value for later stages. Raises ContractError: some stage has left one already."""
        if artifact.name in self._left:
            raise ContractError(f"two stages leave {artifact.name}")
        self._left[artifact.name] = value

    def take(self, artifact: Artifact[T]) -> T:
        """Return what an earlier stage has left. Raises ContractError: none has."""
        if artifact.name not in self._left:
            raise ContractError(f"no stage before this one leaves {artifact.name}")
        value: T = self._left[artifact.name]
        return value


@dataclass(frozen=True)
class RowTable:
    """The name of a table that is left beside the rows of each partition, such as measures of them."""

    role: str  # under which a phase reads it
    schema: pa.Schema | None = field(default=None, compare=False)  # None: its columns are as the config wants them


@dataclass(frozen=True)
class Partition:
    """A partition's rows as one write left them, the verdicts of all stages since, and the tables beside them."""

    number: int
    rows: FileRef
    verdicts: tuple[FileRef, ...] = ()
    alive: int = 0
    tables: Mapping[RowTable, FileRef] = field(default_factory=dict)

    def leave(self, table: RowTable, commit: Commit, role: str) -> Partition:
        """Return the partition with a file of a commit as a table beside its rows, instead of an earlier one of that
        name.

        Raises:
            ContractError: the phase that wrote it lacks a column of the table's, or has another type of it.
        """
        if (phase := PHASES.get(commit.phase)) is not None:
            written = phase.contract.given_columns(role)
            if table.schema is not None and written is not None and not _has(written, table.schema):
                raise ContractError(f"{commit.phase} leaves {role} as {table.role}, whose columns it does not have")
        return replace(self, tables={**self.tables, table: commit.files[role]})

    def inputs(self, *tables: RowTable) -> dict[str, tuple[Input, ...]]:
        """Return what a task reads of the alive rows with their captions, and of some of the tables beside them.

        Raises:
            ContractError: no stage has left such a table.
        """
        for table in tables:
            if table not in self.tables:
                raise ContractError(f"no stage before this one leaves {table.role} beside the rows")
        tables += tuple(table for table in self.tables if table.role == CAPTIONS_ROLE and table not in tables)
        return {
            "rows": (Input(self.rows),),
            "verdicts": tuple(Input(ref) for ref in self.verdicts),
            **{table.role: (Input(self.tables[table]),) for table in tables},
        }


def _has(written: pa.Schema, wanted: pa.Schema) -> bool:
    return all(column.name in written.names and written.field(column.name).type == column.type for column in wanted)

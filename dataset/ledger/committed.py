"""What a dataset's closed phases have committed, by the names of the tables that stages give."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dataset.ledger.closed import ClosedRecords, all_records, closed_records
from dataset.ledger.commits import (
    MANIFEST,
    Commit,
    FileRef,
    RecordError,
    read_manifest,
    records_of,
)
from dataset.ledger.damage import open_table
from dataset.ledger.lookup import Key, Lookup, Partitions
from dataset.stages import Rows, Stage, Table, judging_stages, path, tables
from dataset.store.storage import Storage

LOST = "is gone, though stages have finished; `wit run` with the same config writes it anew"
"""What an error says of a manifest that is gone, though the dataset has been begun."""


def is_manifest_lost(storage: Storage) -> bool:
    """Return whether a dataset has records of its first stage and no manifest, which a run writes before them."""
    return not storage.exists(MANIFEST) and any(storage.exists(records_of(phase)) for phase in path()[0].phases)


Known = Mapping[str, tuple[str, list[Commit]]]
Schemas = dict[FileRef, pa.Schema]


class Committed:
    """The commit records that a dataset's manifest names.

    Args:
        storage: the dataset.
        known: of some phases, the checksum of their records and what these say: who has closed them need not read them.
        schemas: of some files their columns; those of others are added as they are read.

    Raises:
        RecordError, DamagedError: a record is not what was committed.
    """

    def __init__(self, storage: Storage, known: Known | None = None, schemas: Schemas | None = None):
        self.storage = storage
        self._known = known or {}
        self._schemas = {} if schemas is None else schemas
        self.manifest: dict[str, Any] = read_manifest(storage)
        if not self.manifest["phases"] and is_manifest_lost(storage):
            raise RecordError(f"{storage.url_of(MANIFEST)} {LOST}")
        self._phases = {entry["phase"]: entry for entry in self.manifest["phases"]}
        self._records: dict[str, ClosedRecords] = {}

    def commits(self, phase: str) -> list[Commit]:
        """Return the commit records of a closed phase; none if it has not run. Raises RecordError."""
        if phase not in self._phases:
            return []
        checksum, commits = self._known.get(phase, ("", []))
        return commits if checksum == self._phases[phase]["checksum"] else self._records_of(phase).every()

    def commit(self, phase: str, partition: int) -> Commit | None:
        """Return the record of one partition, without the others'; None if there is none. Raises RecordError."""
        return self._records_of(phase).at(partition) if phase in self._phases else None

    def table_names(self) -> set[str]:
        """Return the names of the Parquet files that the records of all phases name; see
        `ClosedRecords.table_names`."""
        return set().union(*(self._records_of(phase).table_names() for phase in self._phases))

    def _has(self, phase: str) -> bool:
        return (
            bool(self.commits(phase))
            if phase in self._known
            else phase in self._phases and len(self._records_of(phase)) > 0
        )

    def _records_of(self, phase: str) -> ClosedRecords:
        if not self._records and not self.storage.local and not self._known:
            self._records = all_records(self.storage, self.manifest)
        if phase not in self._records:
            self._records[phase] = closed_records(self.storage, self._phases[phase])
        return self._records[phase]

    def table(self, name: str) -> Table:
        """Return the table of a name that this dataset has; of several, the last. Raises KeyError: no stage
        gives it.
        """
        declared = tables(name)
        return next((table for table in reversed(declared) if self._has(table.phase)), declared[-1])

    def records(self, name: str) -> list[Commit]:
        """Return the commit records of a table; none if it has not been written."""
        return self.commits(self.table(name).phase)

    def files(self, name: str) -> dict[int, FileRef]:
        """Return the files of a table by their partitions; none if it has not been written."""
        role = self.table(name).role
        return {commit.partition: commit.files[role] for commit in self.records(name) if role in commit.files}

    def file(self, table: Table | str, partition: int) -> FileRef | None:
        """Return the file that a table has of a partition; None if there is none. Raises RecordError."""
        if isinstance(table, str):
            table = self.table(table)
        commit = self.commit(table.phase, partition)
        return None if commit is None else commit.files.get(table.role)

    @cached_property
    def lookup(self) -> Lookup | None:
        """Which partitions have a value; None where the dataset has no such table.

        Nor has one whose path has a backslash: DuckDB may take it for a pattern, see `dataset.query.views`.
        """
        files = {} if "\\" in self.storage.url else self.files("lookup")
        return Lookup(self.storage, files) if files else None

    def places(self, key: Key, values: Iterable[str]) -> Partitions | None:
        """Return the partitions that may have one of some values; None where nobody knows."""
        return None if self.lookup is None else self.lookup.places(key, values)

    def places_of_ids(self, first: str, last: str) -> Partitions | None:
        """Return the partitions as `places` does, for the pair_ids from one to another, each of 32 hexadecimal
        digits.
        """
        return None if self.lookup is None else self.lookup.of_ids(first, last)

    def schema(self, file: FileRef) -> pa.Schema:
        """Return the columns that a committed file has. Raises DamagedError, FileNotFoundError."""
        if file not in self._schemas:
            with open_table(self.storage, file) as source:
                self._schemas[file] = pq.read_schema(source)
        return self._schemas[file]

    def is_decided(self, stage: Stage) -> bool:
        """Return whether a stage has given its verdicts."""
        return self._has(stage.decision)

    def verdicts(self, rows: Rows, before: str | None = None) -> dict[int, tuple[FileRef, ...]]:
        """Return the verdicts on candidates or pairs by their partitions, of all stages or of those before one."""
        files: dict[int, tuple[FileRef, ...]] = {}
        for stage in judging_stages(rows):
            if stage.name == before:
                break
            for commit in self.commits(stage.decision):
                files[commit.partition] = (*files.get(commit.partition, ()), commit.files["verdicts"])
        return files

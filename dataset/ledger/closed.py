"""The commit records of closed phases, each parsed when it is asked for: ten million pairs have some 18,000 of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from dataset.ids import checksum
from dataset.ledger import one_request
from dataset.ledger.commits import (
    ALL_RECORDS,
    MOST_BYTES_OF_ALL,
    Commit,
    RecordError,
    parsed_record,
    record_texts,
)
from dataset.store.storage import Storage

_END = r'"partition":(?P<partition>[0-9]{1,9}),"phase":"(?P<phase>[a-z0-9_.]+)"[^"]*$'
"""How `Commit.to_json` ends, whose keys are sorted."""
_TABLE = re.compile(r'"name":"([\w.+=/-]+\.parquet)"', re.ASCII)


class ClosedRecords:
    """The records of one phase.

    Args:
        where: the file's URL, for messages.
        texts: its records as JSON, by partition. string (n,).
    """

    def __init__(self, where: str, texts: pa.Array):
        self._where = where
        self._texts = texts
        self._parsed: dict[int, Commit] = {}

    def __len__(self) -> int:
        return len(self._texts)

    def at(self, partition: int) -> Commit | None:
        """Return the record of a partition; None if there is none. Raises RecordError."""
        row = self._rows.get(partition)
        return None if row is None else self._commit(row)

    def every(self) -> list[Commit]:
        """Return all records, by partition. Raises RecordError."""
        return [self._commit(row) for row in range(len(self._texts))]

    def table_names(self) -> set[str]:
        """Return the names of the Parquet files that records name, unparsed: among them may be what is no
        file's name.
        """
        return set(_TABLE.findall("\n".join(self._texts.to_pylist())))

    @cached_property
    def _rows(self) -> Mapping[int, int]:
        """Which of the records is of each partition."""
        numbers = pc.struct_field(pc.extract_regex(self._texts, _END), "partition")
        if numbers.null_count:  # not written by us
            return {commit.partition: row for row, commit in enumerate(self.every())}
        return {partition: row for row, partition in enumerate(pc.cast(numbers, pa.int64()).to_pylist())}

    def _commit(self, row: int) -> Commit:
        if row not in self._parsed:
            self._parsed[row] = parsed_record(self._where, self._texts[row].as_py())
        return self._parsed[row]


def closed_records(storage: Storage, entry: Mapping[str, Any]) -> ClosedRecords:
    """Return the records of a closed phase that the manifest has an entry of. Raises FileNotFoundError, RecordError."""
    name = entry["records"]
    data = storage.read(name)
    if checksum(data) != entry["checksum"]:
        raise RecordError(
            f"{storage.url_of(name)} is damaged: its checksum is another than manifest.json says, or a run ended while "
            "it wrote it; `wit run` makes it anew"
        )
    return ClosedRecords(storage.url_of(name), record_texts(storage, name, data))


def all_records(storage: Storage, manifest: Mapping[str, Any]) -> dict[str, ClosedRecords]:
    """Return the records of all closed phases by their phases; none where the manifest names no file of them, or where
    that file is too large, damaged or not of our form: each phase's own file is read then.
    """
    manifest_entry = manifest.get("records")
    if manifest_entry is None or manifest_entry["bytes"] > MOST_BYTES_OF_ALL:
        return {}
    try:
        data = one_request.read_in_one_request(storage, ALL_RECORDS)
        if checksum(data) != manifest_entry["checksum"]:
            return {}
        texts = record_texts(storage, ALL_RECORDS, data)
    except (OSError, RecordError):
        return {}
    phases = pc.struct_field(pc.extract_regex(texts, _END), "phase")
    if phases.null_count or not len(texts):
        return {}
    where = storage.url_of(ALL_RECORDS)
    names = [entry["phase"] for entry in manifest["phases"]]
    return {name: ClosedRecords(where, texts.filter(pc.equal(phases, name))) for name in names}

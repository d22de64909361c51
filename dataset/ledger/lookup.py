"""Which partitions have a value: a question for one URL, id, host or image opens these files and no others.

A dataset of 10 M rows has some thousand files; to ask the Bloom filters of each whether it has a value takes a request
or two a file. This table is sorted by a hash of the value, in parts by that hash: two or three requests say where all
the rows of a value stand. Small datasets have none, nor have those of older versions: then every file is asked.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dataset.ids import hash64
from dataset.ledger.commits import FileRef
from dataset.ledger.damage import DamagedError, name_damage
from dataset.schema import LOOKUP
from dataset.store.storage import Storage

HASH_BITS = 40
"""The bits of a hash: of 400 M pairs some three values in a million share theirs with another: a file more is
opened, no answer changes.
"""
ENCODINGS = {"hash": "DELTA_BINARY_PACKED"}
"""Parquet's encoding of each column: 4.0 bytes a row with it, 6.3 without."""

FIRST_HASHES = b"first_hashes"
"""The key of a part's metadata whose value is the first hash of each of its row groups, as little-endian int64."""

Key = Literal["url", "page_url", "host", "sha256"]
ROWS: Mapping[Key, tuple[str, ...]] = {
    "url": ("candidates", "pairs", "samples", "duplicates"),
    "page_url": ("candidates",),
    "host": ("candidates", "pairs", "samples"),
    "sha256": ("pairs",),
}
"""The rows whose partitions are known by each key."""
Partitions = Mapping[str, Collection[int]]
"""The partitions that may have rows, by what the rows are."""


def hash_of(key: Key, value: str) -> int:
    """Return the hash of a value; a sha256 is given by its 64 digits."""
    return (int(value[:16], 16) if key == "sha256" else hash64(value)) >> (64 - HASH_BITS)


def part_of(hashes: np.ndarray, parts: int) -> np.ndarray:
    """Return which of some parts has a hash. int64 (n,) -> int64 (n,)."""
    return (hashes.astype(np.uint64) * np.uint64(parts) >> np.uint64(HASH_BITS)).astype(np.int64)


def first_hashes(hashes: np.ndarray, group_rows: int) -> bytes:
    """Return what a part's metadata say of its row groups, under FIRST_HASHES.

    Args:
        hashes: int64 (n,), ascending.
        group_rows: the rows of a group.
    """
    return hashes[::group_rows].astype("<i8").tobytes()


def _groups(file: pq.ParquetFile, first: int, last: int) -> list[int]:
    """The row groups that may have a hash from one to another; all, where a file does not say it or contradicts itself.

    What a file's columns say of themselves is not asked: pyarrow ends the process where that contradicts itself.
    """
    said = (file.metadata.metadata or {}).get(FIRST_HASHES, b"")
    if len(said) != 8 * file.num_row_groups:
        return list(range(file.num_row_groups))
    begin = np.frombuffer(said, "<i8")
    end = np.append(begin[1:], np.iinfo(np.int64).max)  # a hash may go on in the next group
    return [int(number) for number in np.flatnonzero((begin <= last) & (end >= first))]


class Lookup:
    """The parts of a dataset's table.

    files: by their numbers; parts without rows have none.
    """

    def __init__(self, storage: Storage, files: Mapping[int, FileRef]):
        self._storage = storage
        self._files = files
        self._open: dict[int, pq.ParquetFile] = {}
        self._known: dict[tuple[Key, int, int], pa.Table] = {}

    def _open_part(self, part: int) -> pq.ParquetFile:
        if part not in self._open:
            source = self._storage.open(self._files[part].name)
            self._open[part] = pq.ParquetFile(source, page_checksum_verification=True, pre_buffer=True)
        return self._open[part]

    def places(self, key: Key, values: Iterable[str]) -> Partitions:
        """Return the partitions that may have one of some values. Raises DamagedError."""
        return self._partitions_between(
            key, [(hash_, hash_) for hash_ in sorted({hash_of(key, value) for value in values})]
        )

    def of_ids(self, first: str, last: str) -> Partitions:
        """Return the partitions that may have the url of a pair_id from one to another, each of 32 hexadecimal
        digits.
        """
        return self._partitions_between("url", [(hash_of("sha256", first), hash_of("sha256", last))])

    def _partitions_between(self, key: Key, ranges: Collection[tuple[int, int]]) -> Partitions:
        partitions: dict[str, set[int]] = {rows: set() for rows in ROWS[key]}
        for first, last in ranges:
            numbers = part_of(np.array([first, last]), max(self._files) + 1)
            for number in range(int(numbers[0]), int(numbers[1]) + 1):
                for one in self._rows(key, number, first, last).to_pylist():
                    partitions[one["rows"]].add(one["partition"])
        return partitions

    def _rows(self, key: Key, part: int, first: int, last: int) -> pa.Table:
        """The rows of a part of a key whose hash is from one to another. Raises DamagedError."""
        if (key, first, last) not in self._known or first != last:
            with name_damage(self._storage, self._files[part].name):
                file = self._open_part(part)
                groups = _groups(file, first, last)
                rows = file.read_row_groups(groups) if groups else LOOKUP.empty_table()
            if rows.schema == LOOKUP:
                rows = rows.filter(pc.and_(pc.greater_equal(rows["hash"], first), pc.less_equal(rows["hash"], last)))
                rows = rows.filter(pc.equal(rows["key"], key))
            if rows.schema != LOOKUP or rows["partition"].null_count or not {*rows["rows"].to_pylist()} <= {*ROWS[key]}:
                raise DamagedError(self._storage.url, self._files[part].name, "its rows are not those of a lookup")
            self._known[key, first, last] = rows
        return self._known[key, first, last]

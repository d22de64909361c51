"""A lookup table of somebody else's: which of its rows are read, and that none of its bits ends the process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dataset.ledger.commits import FileRef
from dataset.ledger.lookup import ENCODINGS, FIRST_HASHES, Lookup, _groups, first_hashes
from dataset.schema import LOOKUP
from dataset.store.storage import Storage
from dataset.tables import GROUPED, GrowingParquet

HASHES = np.array([1, 5, 5, 5, 5, 7, 9, 12], np.int64)


def part(metadata: dict[bytes, bytes]) -> bytes:
    """A part of four row groups, whose row of number n is of partition n."""
    columns = {"hash": HASHES, "key": ["host"] * 8, "rows": ["pairs"] * 8, "partition": range(8)}
    table = pa.table({name: pa.array(columns[name], LOOKUP.field(name).type) for name in LOOKUP.names})
    parquet = GrowingParquet(LOOKUP.with_metadata({GROUPED: b"2"}), ENCODINGS)
    parquet.add(table)
    parquet.describe(metadata)
    return parquet.finish().to_pybytes()


@pytest.mark.parametrize(
    ("said", "groups"),
    [
        ({FIRST_HASHES: first_hashes(HASHES, 2)}, {5: [0, 1, 2], 7: [2], 10: [3], 0: []}),
        ({}, {hash_: [0, 1, 2, 3] for hash_ in (5, 7, 10, 0)}),
        ({FIRST_HASHES: b"\xff" * 7}, {5: [0, 1, 2, 3]}),
    ],
    ids=["of ours", "of before", "of another length"],
)
def test_of_a_part_the_groups_are_read_that_may_have_a_hash(
    tmp_path: Path, said: dict[bytes, bytes], groups: dict[int, list[int]]
) -> None:
    data = part(said)
    file = pq.ParquetFile(pa.BufferReader(data))
    assert file.num_row_groups == 4
    assert {hash_: _groups(file, hash_, hash_) for hash_ in groups} == groups
    (tmp_path / "part.parquet").write_bytes(data)
    table = Lookup(Storage(str(tmp_path)), {0: FileRef("part.parquet", 8, len(data), "")})
    assert table._rows("host", 0, 5, 7)["partition"].to_pylist() == [1, 2, 3, 4, 5]


def test_no_bit_of_a_footer_ends_the_process(tmp_path: Path) -> None:
    data = part({FIRST_HASHES: first_hashes(HASHES, 2)})
    (tmp_path / "part.parquet").write_bytes(data)
    code = f"""
import pyarrow as pa
from dataset.ledger.commits import FileRef
from dataset.ledger.damage import DamagedError
from dataset.ledger.lookup import Lookup
from dataset.store.storage import Storage
storage = Storage({str(tmp_path)!r})
whole, told = storage.read("part.parquet"), 0
for place in range(len(whole) - 8 - int.from_bytes(whole[-8:-4], "little"), len(whole) - 8, 3):
    bad = bytearray(whole)
    bad[place] ^= 4
    storage.write("part.parquet", bytes(bad))
    try:
        Lookup(storage, {{0: FileRef("part.parquet", 8, len(bad), "")}})._rows("host", 0, 5, 7)
    except DamagedError:
        told += 1
print("alive", told > 20)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "alive True\n", done.stderr[-2000:]

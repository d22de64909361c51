"""Damage is named with its place, and whatever the damaged bytes do to a parser, they do it to another process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dataset.ids import checksum
from dataset.ledger import damage
from dataset.ledger.commits import FileRef
from dataset.ledger.damage import DamagedError, check
from dataset.store.storage import Storage

NAMES = ("number", "word")


@pytest.fixture
def data() -> bytes:
    sink = pa.BufferOutputStream()
    table = pa.table({"number": range(5000), "word": [f"word {number}" for number in range(5000)]})
    pq.write_table(table, sink, write_page_checksum=True, use_dictionary=False)
    return sink.getvalue().to_pybytes()


def said(tmp_path: Path, data: bytes, damaged: bytes) -> str:
    file = FileRef("some.parquet", rows=5000, bytes=len(data), checksum=checksum(pa.py_buffer(data)))
    with pytest.raises(DamagedError) as raised:
        check(Storage(str(tmp_path)), file, pa.py_buffer(damaged))
    return str(raised.value)


@pytest.mark.parametrize("column", [0, 1])
def test_the_column_that_is_damaged_is_named(tmp_path: Path, data: bytes, column: int) -> None:
    chunk = pq.ParquetFile(pa.BufferReader(data)).metadata.row_group(0).column(column)
    start, length = chunk.data_page_offset, chunk.total_compressed_size
    damaged = bytearray(data)
    damaged[start + length // 2] ^= 4
    assert f"(column {NAMES[column]}, bytes {start:,} to {start + length:,})" in said(tmp_path, data, bytes(damaged))


def test_a_parser_that_crashes_ends_its_own_process_alone(
    tmp_path: Path, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    crash = tmp_path / "crash.py"
    crash.write_text("import os; os.abort()")
    monkeypatch.setattr(damage, "_PLACE", str(crash))
    assert "its checksum is another; `wit verify" in said(tmp_path, data, data[:-1] + b"x")


def test_no_bit_of_a_footer_ends_the_process(tmp_path: Path, data: bytes) -> None:
    """pyarrow aborts where it is asked for a column's metadata that contradict themselves."""
    (tmp_path / "some.parquet").write_bytes(data)
    code = f"""
from dataset.ledger.damage import DamagedError, parse_parquet
from dataset.store.storage import Storage
import pyarrow as pa
storage = Storage({str(tmp_path)!r})
whole = storage.read("some.parquet")
for place in range(len(whole) - 8 - int.from_bytes(whole[-8:-4], "little"), len(whole) - 8):
    bad = bytearray(whole)
    bad[place] ^= 4
    storage.write("some.parquet", bytes(bad))
    for columns in (None, ["number"]):
        try:
            with storage.open("some.parquet") as source:
                parse_parquet(storage, "some.parquet", source, columns)
        except (DamagedError, KeyError, pa.ArrowException):
            pass
print("alive")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "alive\n", done.stderr

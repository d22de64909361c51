"""A dataset that is not on this machine is asked without being read whole."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import duckdb
import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import dataset
from dataset.ids import checksum
from dataset.ledger.commits import FileRef
from dataset.ledger.damage import DamagedError
from dataset.query.remote_files import TAIL_BYTES, RemoteFiles
from dataset.query.view_columns import VIEW_COLUMNS
from dataset.query.views import Dataset
from dataset.store.storage import Storage
from tests.pipeline.dataset_fixture import HandMade
from tests.pipeline.reports.test_report import ROWS

ELSEWHERE = "memory://remote-files"


@pytest.fixture
def remote() -> Iterator[str]:
    yield HandMade(ELSEWHERE).write(ROWS)
    fsspec.filesystem("memory").rm("remote-files", recursive=True)


def test_every_view_is_the_same_elsewhere(remote: str, tmp_path: Path) -> None:
    here, there = dataset.open(HandMade(tmp_path).write(ROWS)), dataset.open(remote)
    for view in VIEW_COLUMNS:
        query = f"SELECT * FROM {view} ORDER BY ALL"
        assert str(there.sql(query).to_arrow_table()) == str(here.sql(query).to_arrow_table())
    shown = "SELECT table_name FROM information_schema.tables ORDER BY ALL"
    assert there.sql(shown).fetchall() == here.sql(shown).fetchall()


def test_what_no_question_names_is_not_read(remote: str) -> None:
    asked = Dataset(remote)
    made = "SELECT view_name FROM duckdb_views() WHERE view_name IN ('funnel', 'pairs', 'images', 'candidates')"
    asked.sql("SELECT * FROM funnel").fetchall()
    assert asked.connection.execute(made).fetchall() == [("funnel",)]
    assert asked._remote is not None and asked._remote.requests == 0
    assert asked.sql("SELECT count(*) FROM pairs").fetchall() == [(2,)]
    assert sorted(asked.connection.execute(made).fetchall()) == [("funnel",), ("pairs",)]


def test_what_a_comment_names_is_not_read(remote: str) -> None:
    asked = Dataset(remote)
    asked.sql("-- of all pairs, images and dropped\nSELECT * FROM funnel /* and candidates */").fetchall()
    assert asked._remote is not None and asked._remote.requests == 0
    assert asked.sql("SELECT '--', count(*) FROM pairs").fetchall() == [("--", 2)]


def test_a_name_that_is_not_written_out_is_found_all_the_same(remote: str) -> None:
    assert Dataset(remote).sql("SELECT count(*) FROM query_table('pa' || 'irs')").fetchall() == [(2,)]
    assert ("pairs",) in Dataset(remote).sql("SELECT name FROM (SHOW TABLES)").fetchall()
    assert Dataset(remote).sql("WITH a AS (FROM PAIRS) SELECT count(*) FROM a").fetchall() == [(2,)]


@pytest.fixture
def numbers() -> tuple[Storage, FileRef]:
    """A file of ten row groups with a short column and a long one."""
    rows = 100_000
    table = pa.table({"number": np.arange(rows), "text": [f"{number:064}" for number in range(rows)]})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, row_group_size=rows // 10, compression="none", use_dictionary=False)
    data = sink.getvalue().to_pybytes()
    storage = Storage(ELSEWHERE)
    storage.write("numbers.parquet", data)
    return storage, FileRef("numbers.parquet", len(data), checksum(data), rows)


def connected(files: RemoteFiles) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(config={"autoload_known_extensions": False})
    connection.register_filesystem(files)
    return connection


def test_a_query_reads_its_columns_and_row_groups(numbers: tuple[Storage, FileRef]) -> None:
    storage, file = numbers
    files = RemoteFiles(storage)
    connection = connected(files)
    path = files.path(file)
    assert connection.execute(f"SELECT count(*) FROM '{path}'").fetchall() == [(100_000,)]
    assert files.requests == 1 and files.bytes_read == TAIL_BYTES
    assert connection.execute(f"SELECT sum(number) FROM '{path}'").fetchall() == [(4_999_950_000,)]
    assert files.bytes_read < TAIL_BYTES + 9 * 100_000 < file.bytes / 5
    before = files.bytes_read
    assert connection.execute(f"SELECT text FROM '{path}' WHERE number = 12345").fetchall() == [(f"{12345:064}",)]
    assert files.bytes_read - before < file.bytes / 9
    assert files.schema(file) == pq.read_schema(pa.BufferReader(storage.read(file.name)))


def test_many_ends_are_read_once_and_the_oldest_forgotten(
    numbers: tuple[Storage, FileRef], monkeypatch: pytest.MonkeyPatch
) -> None:
    storage, file = numbers
    monkeypatch.setattr("dataset.query.remote_files.KEPT_BYTES", 3 * TAIL_BYTES)
    copies = [replace(file, name=f"copies/{number}.parquet") for number in range(5)]
    for copy in copies:
        storage.write(copy.name, storage.read(file.name))
    files = RemoteFiles(storage)
    paths = [files.path(copy) for copy in copies]
    files.prepare(copies[:3])
    files.prepare(copies[:3])
    assert files.requests == 3
    assert connected(files).execute("SELECT count(*) FROM read_parquet(?)", [paths]).fetchall() == [(500_000,)]
    assert files.requests >= 5
    assert len(files._tails) == 3 and files._kept == 3 * TAIL_BYTES


def test_only_files_that_the_views_name_are_opened_and_none_is_written(remote: str) -> None:
    Storage(ELSEWHERE).write("secret.parquet", b"PAR1")
    asked = Dataset(remote)
    asked.sql("FROM pairs")
    assert asked._remote is not None
    inside = f"{asked._remote.protocol}://secret.parquet"
    for path in (inside, "memory://remote-files/secret.parquet", "/etc/passwd"):
        with suppress(duckdb.Error):  # refused, or not found
            assert asked.sql(f"SELECT * FROM read_blob('{path}')").fetchall() == []
    with pytest.raises((duckdb.Error, PermissionError)):
        asked.connection.execute(f"COPY (SELECT 1) TO '{inside}'")
    assert Storage(ELSEWHERE).read("secret.parquet") == b"PAR1"


@pytest.mark.parametrize("change", [lambda data: data[:-1], lambda data: data + b"x", lambda data: b""])
def test_a_file_of_another_length_is_named(remote: str, change: object) -> None:
    assert callable(change)
    storage = Storage(remote)
    name = Dataset(remote).files("samples")[0].name
    storage.write(name, change(storage.read(name)))
    asked = Dataset(remote)
    assert asked.sql("FROM funnel").fetchall()
    with pytest.raises(DamagedError, match=name):
        asked.sql("FROM pairs")


def test_all_bytes_are_checked_where_that_is_asked_for(remote: str) -> None:
    storage = Storage(remote)
    name = Dataset(remote).files("samples")[0].name
    data = bytearray(storage.read(name))
    data[10] ^= 1
    storage.write(name, bytes(data))
    with pytest.raises(DamagedError, match=name):
        Dataset(remote, deep=True).sql("FROM pairs")

from __future__ import annotations

import io
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dataset.tables
from dataset.tables import GrowingParquet, to_parquet

SCHEMA = pa.schema([("number", pa.int32()), ("text", pa.string()), ("url", pa.string())])


def rows(first: int, count: int) -> pa.Table:
    numbers = range(first, first + count)
    urls = [f"http://a.example/{number}" if number % 4 else None for number in numbers]
    return pa.table({"text": [str(number % 3) for number in numbers], "number": numbers, "url": urls})


@given(st.lists(st.integers(0, 9), max_size=6), st.booleans())
def test_a_file_is_the_same_bytes_however_its_rows_come(sizes: list[int], encoded: bool) -> None:
    encodings = {"number": "DELTA_BINARY_PACKED"} if encoded else None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dataset.tables, "ROW_GROUP_ROWS", 4)
        grown = GrowingParquet(SCHEMA, encodings)
        for number, size in enumerate(sizes):
            grown.add(rows(sum(sizes[:number]), size))
        data = grown.finish()
        assert data.equals(to_parquet(rows(0, sum(sizes)), SCHEMA, encodings))
    assert grown.rows == sum(sizes)
    file = pq.ParquetFile(io.BytesIO(data))
    assert file.read().equals(rows(0, sum(sizes)).select(SCHEMA.names).cast(SCHEMA))
    groups = [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)]
    assert all(size == 4 for size in groups[:-1])


def test_a_schema_says_how_large_its_row_groups_are() -> None:
    data = to_parquet(rows(0, 10), SCHEMA.with_metadata({"row_group_rows": "4"}))
    file = pq.ParquetFile(io.BytesIO(data))
    assert [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)] == [4, 4, 2]
    assert file.schema_arrow.metadata is None
    assert file.read().equals(rows(0, 10).select(SCHEMA.names).cast(SCHEMA))


@pytest.mark.parametrize("values", [["http://a.example/1"] * 4, ["a", "a", "b", "c"], ["a", "a", "b", "b"]])
def test_a_column_most_of_whose_values_are_distinct_has_no_dictionary(values: list[str]) -> None:
    schema = pa.schema([("url", pa.string()), ("text", pa.string()), ("n", pa.list_(pa.struct([("x", pa.int32())])))])
    table = pa.table({"url": values, "text": ["same"] * 4, "n": [[{"x": 1}]] * 4}, schema)
    file = pq.ParquetFile(io.BytesIO(to_parquet(table)))
    assert file.read().equals(table)
    columns = [file.metadata.row_group(0).column(number) for number in range(3)]
    assert [column.has_dictionary_page for column in columns] == [len(set(values)) <= 2, True, True]


def test_rows_that_do_not_fit_are_refused() -> None:
    with pytest.raises(pa.ArrowInvalid):
        GrowingParquet(SCHEMA).add(pa.table({"number": ["x"], "text": ["y"], "url": ["z"]}))


def test_a_row_group_without_an_address_is_passed_over(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dataset.tables, "ROW_GROUP_ROWS", 100)
        (tmp_path / "a.parquet").write_bytes(to_parquet(rows(0, 250), SCHEMA))
    file = tmp_path / "a.parquet"
    filters = duckdb.sql(f"SELECT path_in_schema, bloom_filter_length > 0 FROM parquet_metadata('{file}')").fetchall()
    assert sorted(filters, key=str) == [("number", None)] * 3 + [("text", None)] * 3 + [("url", True)] * 3
    probed = duckdb.sql(f"FROM parquet_bloom_probe('{file}', 'url', 'http://a.example/249')").fetchall()
    assert [is_excluded for _, _, is_excluded in probed] == [True, True, False]

"""A locator names a row of a partition, and brings what is found of it back there."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from dataset.ids import checksum
from dataset.ledger.commits import FileRef
from dataset.store.storage import Storage
from pipeline.engine.exchanges.exchange import Exchange
from pipeline.engine.exchanges.locators import bucket_by_partition, locators, rows_of


@given(partition=st.integers(0, 2**31 - 1), rows=st.lists(st.integers(0, 2**32 - 1)))
def test_a_row_is_known_by_its_locator(partition: int, rows: list[int]) -> None:
    column = pa.chunked_array([pa.array(rows, pa.uint32())])
    found = pa.chunked_array([locators(partition, column)])
    assert rows_of(found).to_pylist() == rows
    assert [one >> 32 for one in found.to_pylist()] == [partition] * len(rows)


def test_rows_return_to_the_partition_of_their_locator(tmp_path: Path) -> None:
    places = [(2, 0), (0, 7), (2, 2**32 - 1)]
    table = pa.table({"node": [(partition << 32) | row for partition, row in places], "what": ["a", "b", "c"]})
    storage, sent = Storage(str(tmp_path)), bucket_by_partition(table, "node")
    storage.write("sent.arrows", sent.data)
    file = FileRef("sent.arrows", len(memoryview(sent.data)), checksum(sent.data), sent.rows)
    exchange = Exchange.of(storage, [file])
    assert list(exchange.buckets) == [0, 2]
    (bucket,) = exchange.bucket(2)
    assert pa.concat_tables(bucket.read(storage))["what"].to_pylist() == ["a", "c"]

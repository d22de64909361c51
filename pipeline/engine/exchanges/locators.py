"""Locators: which row of which partition a key is of, in one number. By them what an exchange finds goes home."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from pipeline.engine.exchanges.exchange import Buckets, write_buckets

LOCATOR_BITS = 32
"""A locator is a partition's number << 32 | the row in it."""


def locators(partition: int, rows: pa.ChunkedArray) -> pa.Array:
    """Return the locators of rows of a partition. int64 (n,)."""
    return pa.array((partition << LOCATOR_BITS) | rows.to_numpy().astype(np.int64))


def rows_of(column: pa.ChunkedArray) -> pa.Array:
    """Return the rows, each in its own partition, that locators are of. uint32 (n,)."""
    return pa.array((column.to_numpy() & np.int64(2**LOCATOR_BITS - 1)).astype(np.uint32))


def bucket_by_partition(table: pa.Table, locator: str = "locator") -> Buckets:
    """Return rows as an exchange by the partition of the locators in a column."""
    return write_buckets(table, table.column(locator).to_numpy().astype(np.int64) >> LOCATOR_BITS)

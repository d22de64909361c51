"""Parquet that is the same bytes for the same rows.

DuckDB's COPY and a writer fed in batches lay out row groups by thread and batch size; this one combines
chunks, casts to the schema, fixes the row group size and the codec, and leaves out anything that varies.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

if TYPE_CHECKING:
    from dataset.storage import Storage

ROW_GROUP_ROWS = 65_536


def to_parquet(
    table: pa.Table, schema: pa.Schema | None = None, encodings: Mapping[str, str] | None = None
) -> pa.Buffer:
    """Serialise a table; its rows must already be in their total order.

    Args:
        table: the rows.
        schema: what they are cast to.
        encodings: Parquet encodings of columns whose values repeat too little for a dictionary; such a file is
            compressed as far as zstd goes.

    Raises:
        pa.ArrowInvalid: a column does not fit the schema.
    """
    if schema is not None:
        table = table.select(schema.names).cast(schema)
    table = table.combine_chunks().replace_schema_metadata(None)
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(
        sink,
        table.schema,
        compression="zstd",
        compression_level=19 if encodings else 3,
        use_dictionary=[name for name in table.column_names if name not in encodings] if encodings else True,
        column_encoding=dict(encodings) if encodings else None,
        store_schema=True,
        write_statistics=True,
    ) as writer:
        writer.write_table(table, row_group_size=ROW_GROUP_ROWS)
    return sink.getvalue()


def read_parquet(storage: Storage, name: str, columns: Sequence[str] | None = None) -> pa.Table:
    """Read one file, or only some of its columns. Raises FileNotFoundError."""
    with storage.open(name) as file:
        return pq.read_table(file, columns=list(columns) if columns is not None else None)


def concat(tables: Iterable[pa.Table], schema: pa.Schema) -> pa.Table:
    """Concatenate in the order given; no tables give an empty one of the schema."""
    return pa.concat_tables([schema.empty_table(), *(table.select(schema.names).cast(schema) for table in tables)])

"""Parquet that is the same bytes for the same rows.

DuckDB's COPY and a writer fed in batches lay out row groups by thread and batch size; this one combines
chunks, casts to the schema, fixes the row group size and the codec, and leaves out anything that varies.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dataset.ledger.damage import parse_parquet

if TYPE_CHECKING:
    from dataset.store.storage import Storage

ROW_GROUP_ROWS = 65_536
"""The rows of a row group where a schema's metadata do not say how many."""
GROUPED = b"row_group_rows"
"""The key of a schema's metadata that says how many rows its row groups have."""
KEYS = frozenset(("pair_id", "url", "host", "page_url", "url_id", "sha256", "key"))
"""Columns that people ask for by one value. Each row group has a Bloom filter of theirs (Parquet's format says how), by
which DuckDB passes over the row groups that do not have it. Measured on 3 M candidates: `url = …` takes 0.04 CPU-s
instead of 0.40, `page_url = …` 0.03 instead of 0.25; the file is 7 % larger."""
_FALSE_POSITIVES = 0.01
_SELDOM_REPEAT = KEYS | {"text"}
"""Columns most of whose values may be distinct: a dictionary of these and the places in it are more than the values.
Without, the candidates of three real archives take 6 % less, synthetic ones 4 %."""


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
    parquet = GrowingParquet(table.schema.remove_metadata() if schema is None else schema, encodings)
    parquet.add(table)
    return parquet.finish()


class GrowingParquet:
    """A file to which rows are added as they come: the same bytes however they are cut into tables.

    In memory it has the file so far, and rows that do not fill a row group yet.
    """

    def __init__(self, schema: pa.Schema, encodings: Mapping[str, str] | None = None):
        """schema: what tables are cast to, one of our own; encodings: see `to_parquet`."""
        self._schema = schema.remove_metadata()
        self._group_rows = int((schema.metadata or {}).get(GROUPED, ROW_GROUP_ROWS))
        self._encodings = dict(encodings or {})
        self._waiting = self._schema.empty_table()
        self._sink = pa.BufferOutputStream()
        self._writer: pq.ParquetWriter | None = None
        self._metadata: dict[bytes, bytes] = {}
        self.rows = 0

    def add(self, table: pa.Table) -> None:
        """Add rows, which follow those before in their total order. Raises pa.ArrowInvalid if they do not fit."""
        table = table.select(self._schema.names).cast(self._schema)
        self.rows += table.num_rows
        waiting = pa.concat_tables([self._waiting, table])
        whole = waiting.num_rows - waiting.num_rows % self._group_rows
        if whole:
            self._write(waiting.slice(0, whole))
        self._waiting = waiting.slice(whole)

    def describe(self, metadata: Mapping[bytes, bytes]) -> None:
        """Say something of the file in its metadata, besides its columns."""
        self._metadata.update(metadata)

    def finish(self) -> pa.Buffer:
        """Return the file; nothing can be added after it."""
        if self._waiting.num_rows or not self.rows:
            self._write(self._waiting)
        assert self._writer is not None
        if self._metadata:
            self._writer.add_key_value_metadata(self._metadata)
        self._writer.close()
        return self._sink.getvalue()

    def _write(self, table: pa.Table) -> None:
        if self._writer is None:
            self._writer = self._open_writer(table.slice(0, self._group_rows))
        self._writer.write_table(table.combine_chunks(), row_group_size=self._group_rows)

    def _open_writer(self, first: pa.Table) -> pq.ParquetWriter:
        """A writer by what the first row group has: for so many values Bloom filters have room, and a column most of
        whose values are distinct has no dictionary.
        """
        names = [name for name in first.column_names if name in _SELDOM_REPEAT] if first.num_rows else []
        distinct = {name: max(1, pc.count_distinct(first[name]).as_py()) for name in names}
        room = {name: {"ndv": distinct[name], "fpp": _FALSE_POSITIVES} for name in names if name in KEYS}
        seldom = {name for name in names if 2 * distinct[name] > first.num_rows}
        repeating = [field for field in self._schema if field.name not in seldom | self._encodings.keys()]
        return pq.ParquetWriter(
            self._sink,
            self._schema,
            compression="zstd",
            compression_level=19 if self._encodings else 3,
            use_dictionary=[leaf for field in repeating for leaf in _leaves(field, field.name)],
            column_encoding=self._encodings or None,
            store_schema=True,
            write_statistics=True,
            write_page_checksum=True,
            bloom_filter_options=room or None,
        )


def _leaves(field: pa.Field, path: str) -> Iterator[str]:
    """What Parquet calls the columns that a column is made of."""
    if pa.types.is_list(field.type):
        yield from _leaves(field.type.value_field, f"{path}.list.element")
    elif pa.types.is_struct(field.type):
        for part in field.type:
            yield from _leaves(part, f"{path}.{part.name}")
    else:
        yield path


def read_parquet(
    storage: Storage, name: str, columns: Sequence[str] | None = None, dictionaries: Sequence[str] = ()
) -> pa.Table:
    """Read one file, or only some of its columns; `dictionaries`: as `dataset.ledger.damage.parse_parquet` has it.

    Raises:
        FileNotFoundError: there is no such file.
        DamagedError: it is damaged, or lacks a column; the sentence names it.
    """
    with storage.open(name) as file:
        return parse_parquet(storage, name, file, list(columns) if columns is not None else None, dictionaries)


def read_parquet_file(file: pa.NativeFile, url: str, columns: Sequence[str] | None = None) -> pa.Table:
    """Read an open file, or only some of its columns. Raises ValueError: it is damaged, or lacks a column."""
    try:
        return pq.ParquetFile(file).read(list(columns) if columns is not None else None)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:  # the last: a column's name is none
        if isinstance(error, OSError) and error.errno is not None:  # of the disk, not of the file
            raise
        why = str(error).strip().partition("\n")[0]
        raise ValueError(f"{url} cannot be read as Parquet: {why}") from None


def concat(tables: Iterable[pa.Table], schema: pa.Schema) -> pa.Table:
    """Concatenate in the order given; no tables give an empty one of the schema."""
    return pa.concat_tables([schema.empty_table(), *(table.select(schema.names).cast(schema) for table in tables)])

"""Rows of a Parquet file, which can be entered at any row group."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pyarrow.types as types

from crawl.archives.decoding.streams import SourceFile
from crawl.tables.columns import Columns, Losses, TableBatch, TableError, choose

_BATCH_ROWS = 50_000
_UNREAD = "in row groups that cannot be read"


def read_parquet(source: SourceFile, start: int, end: int, columns: Columns, losses: Losses) -> Iterator[TableBatch]:
    """Yield the rows of the row groups that begin in a byte range, in batches.

    Where a group begins is reckoned by rows: in the middle of the file if half of the rows stand before it.

    Raises:
        TableError: it has no such columns, or they hold no texts.
        pa.ArrowException, OSError: it is damaged where it says what it holds.
    """
    file = pq.ParquetFile(pa.PythonFile(source, mode="r"))
    schema = file.schema_arrow
    named = [name for name, type_ in zip(schema.names, schema.types, strict=True) if not types.is_null(type_)]
    try:
        numbers = choose(named, columns)
        names = (named[numbers[0]], named[numbers[1]])
    except TableError:
        numbers = choose(schema.names, columns)  # columns without a value are better than none
        names = (schema.names[numbers[0]], schema.names[numbers[1]])
    for name, is_text in zip(names, (False, True), strict=True):
        _check(schema.field(name), is_text=is_text)
    # What a group's columns say of themselves is not asked: pyarrow ends the process where that contradicts itself.
    rows_of = [file.metadata.row_group(number).num_rows for number in range(file.metadata.num_row_groups)]
    all_rows = sum(rows_of)
    row = 0
    for number, rows in enumerate(rows_of):
        if start <= source.size * row // max(all_rows, 1) < end:
            at = row
            try:
                for batch in file.iter_batches(_BATCH_ROWS, row_groups=[number], columns=list(dict.fromkeys(names))):
                    yield _batch(at, batch.column(names[0]), batch.column(names[1]))
                    at += batch.num_rows
            except (pa.ArrowException, OSError):
                if source.failure is not None:
                    raise
            if at < row + rows:
                losses.rows[_UNREAD] += row + rows - at
        row += rows


def _check(field: pa.Field, *, is_text: bool) -> None:
    type_ = field.type
    if is_text and _is_list(type_):
        type_ = type_.value_type
    if types.is_dictionary(type_):
        type_ = type_.value_type
    if not is_text and (types.is_primitive(type_) or types.is_decimal(type_)):
        raise TableError(
            f"holds {type_} in its column {field.name}, which is no address; name yours in extract.url_columns"
        )
    if types.is_nested(type_):
        raise TableError(f"holds {str(field.type)[:80]} in its column {field.name}, which is no text; take it out")


def _is_list(type_: pa.DataType) -> bool:
    return bool(types.is_list(type_) or types.is_large_list(type_) or types.is_fixed_size_list(type_))


def _batch(first: int, urls: pa.Array, texts: pa.Array) -> TableBatch:
    if not _is_list(texts.type):
        return TableBatch.of_one_text(first, strings(urls), strings(texts))
    of = pc.list_parent_indices(texts).to_numpy()
    return TableBatch(first, strings(urls), strings(pc.list_flatten(texts)), of.astype(np.int64))


def strings(array: pa.Array) -> pa.Array:
    """Return any values as texts; bytes that are not UTF-8 become U+FFFD."""
    if types.is_dictionary(array.type):
        array = array.dictionary_decode()
    try:
        strings = array.cast(pa.string())
        strings.validate(full=True)  # a column that a file calls text may hold anything
        return strings
    except pa.ArrowInvalid:
        values = array.cast(pa.large_binary()).to_pylist()
        return pa.array([value and value.decode("utf-8", "replace") for value in values], pa.string())

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
_BATCH_BYTES = 2**26  # of a batch, as far as a group says how many it has
_MAX_CHARS = 2**16  # of a value that many rows share; texts and addresses are cut, or too long, far below
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
    # Rows may share a long value, which is kept once then.
    plain = [name for name in dict.fromkeys(names) if _is_plain(schema.field(name).type)]
    file = pq.ParquetFile(pa.PythonFile(source, mode="r"), metadata=file.metadata, read_dictionary=plain)
    # What a group's columns say of themselves is not asked: pyarrow ends the process where that contradicts itself.
    groups = [file.metadata.row_group(number) for number in range(file.metadata.num_row_groups)]
    rows_of, bytes_of = ([getattr(group, of) for group in groups] for of in ("num_rows", "total_byte_size"))
    all_rows = sum(rows_of)
    row = 0
    for number, (rows, size) in enumerate(zip(rows_of, bytes_of, strict=True)):
        batch_rows = max(1, min(_BATCH_ROWS, _BATCH_BYTES * rows // max(1, size)))
        if start <= source.size * row // max(all_rows, 1) < end:
            row_number = row
            try:
                for batch in file.iter_batches(batch_rows, row_groups=[number], columns=list(dict.fromkeys(names))):
                    for part in _parts(batch):
                        yield _batch(row_number, part.column(names[0]), part.column(names[1]))
                        row_number += part.num_rows
            except (pa.ArrowException, OSError):
                if source.failure is not None:
                    raise
            if row_number < row + rows:
                losses.rows[_UNREAD] += row + rows - row_number
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


def _is_plain(type_: pa.DataType) -> bool:
    """Tell whether a column's type is one that can be read as a dictionary."""
    return bool(types.is_string(type_) or types.is_binary(type_))


def _parts(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """Part a batch so that its values, each written out, have about as many bytes as a batch may have."""
    size = sum(_decoded_bytes(column) for column in batch.columns)
    step = max(1, min(batch.num_rows, _BATCH_BYTES * batch.num_rows // max(1, size)))
    for at in range(0, batch.num_rows, step):
        yield batch.slice(at, step)


def _decoded_bytes(column: pa.Array) -> int:
    if not types.is_dictionary(column.type) or not _is_plain(column.type.value_type):
        return int(column.nbytes)
    lengths = pc.min_element_wise(pc.binary_length(column.dictionary), _MAX_CHARS).cast(pa.int64())
    return pc.sum(lengths.take(column.indices)).as_py() or 0


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
        values = strings(array.dictionary)
        if (pc.max(pc.binary_length(values)).as_py() or 0) > _MAX_CHARS:
            values = pc.utf8_slice_codeunits(values, 0, _MAX_CHARS)
        array = pa.DictionaryArray.from_arrays(array.indices, values).dictionary_decode()
    try:
        texts = array.cast(pa.string())
        texts.validate(full=True)  # a column that a file calls text may hold anything
        return texts
    except pa.ArrowInvalid:
        values = array.cast(pa.large_binary()).to_pylist()
        return pa.array([value and value.decode("utf-8", "replace") for value in values], pa.string())

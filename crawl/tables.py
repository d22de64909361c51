"""Tables of (URL, text), as LAION, DataComp and img2dataset publish: Parquet files, or CSV with a header line.

Rows come in batches of Arrow. A Parquet file can be entered at any row group, a CSV only at its start.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from csv import reader

import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.parquet as pq

from crawl.decoded import Source
from crawl.inflate import GZIP_SIGNATURE
from crawl.sources import first_lines, open_source

_BATCH_ROWS = 50_000
_BLOCK_BYTES, _HEAD_BYTES = 2**22, 2**16


class TableError(ValueError):
    """The file is not a table that can be read; the message says why, after the file's name."""


def read_rows(
    location: str, start: int, end: int, names: tuple[Sequence[str], Sequence[str]]
) -> Iterator[tuple[int, pa.Table]]:
    """The rows that begin in a byte range, as (number of the first row in the file, columns `url` and `text`).

    Args:
        location: path or URL.
        start: first byte; a row group of Parquet lies where its first column begins, a CSV's rows lie all at 0.
        end: exclusive; -1 for the file's end.
        names: what the column of URLs and that of texts may be called, the preferred first; case does not matter.

    Raises:
        TableError: no such columns, or not readable any further.
        OSError: the storage failed.
    """
    with open_source(location) as file:
        source = Source(file)
        head = source.peek(0, len(GZIP_SIGNATURE))
        source.seek(0)
        try:
            if head.startswith(b"PAR"):
                yield from _parquet(source, start, source.size if end < 0 else end, names)
            elif start == 0:
                yield from _csv(source, head == GZIP_SIGNATURE, names)
        except (pa.ArrowException, OSError) as error:
            if source.failure is not None:
                raise source.failure from None
            raise TableError(f"cannot be read any further as a table: {str(error).splitlines()[0][:200]}") from None


def _parquet(
    source: Source, start: int, end: int, names: tuple[Sequence[str], Sequence[str]]
) -> Iterator[tuple[int, pa.Table]]:
    table = pq.ParquetFile(pa.PythonFile(source, mode="r"))
    columns = _choose(table.schema_arrow.names, names)
    row = 0
    for number in range(table.metadata.num_row_groups):
        group = table.metadata.row_group(number)
        first = group.column(0)
        begins = first.dictionary_page_offset or first.data_page_offset
        if start <= begins < end:
            at = row
            for batch in table.iter_batches(_BATCH_ROWS, row_groups=[number], columns=list(columns)):
                yield at, _two(pa.Table.from_batches([batch]), columns)
                at += batch.num_rows
        row += group.num_rows


def _csv(
    source: Source, is_compressed: bool, names: tuple[Sequence[str], Sequence[str]]
) -> Iterator[tuple[int, pa.Table]]:
    lines = first_lines(source.peek(0, _HEAD_BYTES))
    source.seek(0)
    delimiter = "\t" if lines and "\t" in lines[0] else ","
    header = next(iter(reader([lines[0]], delimiter=delimiter))) if lines else []
    columns = _choose(header, names)
    file = pa.PythonFile(source, mode="r")
    broken = 0

    def skip(row: csv.InvalidRow) -> str:
        nonlocal broken
        broken += 1
        return "skip"

    batches = csv.open_csv(
        pa.CompressedInputStream(file, "gzip") if is_compressed else file,
        read_options=csv.ReadOptions(block_size=_BLOCK_BYTES, use_threads=False),
        parse_options=csv.ParseOptions(delimiter=delimiter, newlines_in_values=True, invalid_row_handler=skip),
        convert_options=csv.ConvertOptions(
            include_columns=list(columns), column_types=dict.fromkeys(columns, pa.binary()), strings_can_be_null=False
        ),
    )
    row = 0
    for batch in batches:
        yield row, _two(pa.Table.from_batches([batch]), columns)
        row += batch.num_rows
    if broken:
        raise TableError(f"has {broken:,} rows with more or fewer columns than its first line; the others were read")


def _choose(have: Sequence[str], names: tuple[Sequence[str], Sequence[str]]) -> tuple[str, str]:
    chosen = []
    for what, wanted in zip(("url", "text"), names, strict=True):
        found = next((name for want in wanted for name in have if name.lower() == want.lower()), None)
        if found is None:
            raise TableError(
                f"has no column {' or '.join(wanted)} among {', '.join(have[:20])}; "
                f"name yours in extract.{what}_columns"
            )
        chosen.append(found)
    return chosen[0], chosen[1]


def _two(table: pa.Table, columns: tuple[str, str]) -> pa.Table:
    return pa.table({name: _strings(table[column]) for name, column in zip(("url", "text"), columns, strict=True)})


def _strings(column: pa.ChunkedArray) -> pa.ChunkedArray:
    try:
        return column.cast(pa.string())
    except pa.ArrowInvalid:  # bytes that are not UTF-8
        return pa.chunked_array(
            [[value and value.decode("utf-8", "replace") for value in column.to_pylist()]], pa.string()
        )

"""A table's rows, whatever its form."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import pyarrow as pa

from crawl.archives.decoding.inflate import GZIP_SIGNATURE
from crawl.archives.decoding.streams import DecompressedStream, SourceFile
from crawl.archives.open_source import open_source
from crawl.tables.columns import Columns, Losses, TableBatch, TableError
from crawl.tables.delimited import read_delimited
from crawl.tables.json_lines import DOCUMENT, read_json_lines
from crawl.tables.lines import as_utf8
from crawl.tables.parquet import read_parquet

Form = Literal["parquet", "csv", "json_lines", "json"]


def read_rows(
    location: str, form: Form, start: int, end: int, columns: Columns, losses: Losses
) -> Iterator[TableBatch]:
    """Yield the rows that begin in a byte range, in batches of some tens of thousands.

    Args:
        location: path or URL.
        form: as `crawl.archives.open_source.kind_of` tells.
        start: first byte; a row group of Parquet lies where `read_parquet` reckons, the rows of other forms lie at 0.
        end: exclusive; -1 for the file's end.
        columns: how they are called.
        losses: is filled in on the way.

    Raises:
        OSError: the storage failed.
    """
    with open_source(location) as file:
        source = SourceFile(file)
        try:
            if form == "json":
                raise TableError(DOCUMENT)
            if form == "parquet":
                yield from read_parquet(source, start, source.size if end < 0 else end, columns, losses)
            elif start == 0:
                yield from _text_rows(source, form, columns, losses)
        except TableError as error:
            losses.error = str(error)
        except (pa.ArrowException, OSError, ValueError) as error:
            if source.failure is not None:
                raise source.failure from None
            losses.error = f"cannot be read any further as a table: {(str(error).splitlines() or [''])[0][:200]}"


def _text_rows(source: SourceFile, form: Form, columns: Columns, losses: Losses) -> Iterator[TableBatch]:
    is_compressed = source.peek(0, len(GZIP_SIGNATURE)) == GZIP_SIGNATURE
    source.seek(0)
    text = DecompressedStream(source, "gzip") if is_compressed else source
    yield from (read_delimited if form == "csv" else read_json_lines)(as_utf8(text.read), columns, losses)
    if isinstance(text, DecompressedStream) and (text.undecodable_bytes or text.is_cut_off):
        losses.bytes = text.undecodable_bytes
        losses.error = "is damaged or cut off, and cannot be read any further as a table; fetch it again"

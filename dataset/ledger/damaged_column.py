"""A program: of a Parquet file on standard input it says where the first damaged column is, told by its pages."""

from __future__ import annotations

import sys

import pyarrow as pa
import pyarrow.parquet as pq


def place(data: bytes) -> str:
    """Return the column's name and bytes, as the end of a sentence; empty if every page is whole."""
    try:
        parquet = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True)
    except (pa.ArrowException, OSError):
        return " (in its footer, or no Parquet)"
    for group in range(parquet.num_row_groups):
        for column in range(parquet.metadata.num_columns):
            chunk = parquet.metadata.row_group(group).column(column)
            try:
                parquet.read_row_group(group, columns=[chunk.path_in_schema])
            except (pa.ArrowException, OSError):
                start = chunk.dictionary_page_offset or chunk.data_page_offset
                return f" (column {chunk.path_in_schema}, bytes {start:,} to {start + chunk.total_compressed_size:,})"
    return ""


if __name__ == "__main__":
    sys.stdout.write(place(sys.stdin.buffer.read()))

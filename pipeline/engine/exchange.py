"""The exchange: rows go from many partitions to many buckets, one file per map task.

A map task's file holds one Arrow IPC stream per bucket, back to back; the commit record says where each begins. A
reduce task reads its bucket's range of every map file. No data passes through Ray's object store.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from dataset.commits import FileRef, Range
from dataset.damage import DamagedError
from dataset.ids import checksum
from dataset.storage import Storage


@dataclass
class Buckets:
    """The content of an exchange file."""

    data: bytes
    ranges: dict[int, Range]
    rows: int


def bucket_count(rows: int, rows_per_bucket: int) -> int:
    """How many buckets a number of rows needs: a function of the input alone, so that the result is, too."""
    return max(1, -(-rows // rows_per_bucket))


def bucket_of(keys: np.ndarray, buckets: int) -> np.ndarray:
    """Buckets for uniform 64-bit keys, in the keys' order. Keys: uint64 (n,); result: int64 (n,) in [0, buckets)."""
    # The upper 32 bits times the count, shifted back: an even split without a 128-bit product.
    return ((keys >> np.uint64(32)) * np.uint64(buckets) >> np.uint64(32)).astype(np.int64)


def write_buckets(table: pa.Table, bucket: np.ndarray) -> Buckets:
    """Sort rows by bucket (stable: order within a bucket stays) and serialise.

    Args:
        table: n rows.
        bucket: int64 of shape (n,).
    """
    order = np.argsort(bucket, kind="stable")
    table = table.take(pa.array(order)).combine_chunks()
    numbers, starts = np.unique(bucket[order], return_index=True)
    ends = [*starts[1:].tolist(), len(order)][: len(numbers)]  # none for a table without rows
    pieces: list[bytes] = []
    ranges: dict[int, Range] = {}
    offset = 0
    for number, start, end in zip(numbers.tolist(), starts.tolist(), ends, strict=True):
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
            # A slice keeps its parent's buffers; taking copies only what the bucket holds.
            writer.write_table(table.slice(start, end - start).take(pa.array(np.arange(end - start))))
        piece = sink.getvalue().to_pybytes()
        pieces.append(piece)
        ranges[number] = Range(offset, len(piece), checksum(piece), end - start)
        offset += len(piece)
    return Buckets(b"".join(pieces), ranges, len(order))


def read_bucket(storage: Storage, file: FileRef, bucket: int) -> pa.Table:
    """The rows of one bucket. The bucket must be among the file's ranges."""
    where = file.ranges[bucket]
    (data,) = storage.read_ranges(file.name, [(where.offset, where.length)])
    if len(data) != where.length or checksum(data) != where.checksum:
        place = f"bytes {where.offset:,} to {where.offset + where.length:,}"
        raise DamagedError(storage.url, file.name, f"{place} are not what was written ({len(data):,} are there)")
    return pa.ipc.open_stream(data).read_all()

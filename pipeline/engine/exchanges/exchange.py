"""The exchange: rows go from many partitions to many buckets, one file per map task.

A map task's file is an Arrow IPC stream with one record batch for each bucket that has rows, buckets ascending, and
behind it a table of *lines* that say where each batch lies, how many rows it has, and its checksum. The driver reads
the tables of lines, and tells each reduce task its own lines alone. No data passes through Ray's object store.

Where there are more than MERGED_FILES map files, tasks in between merge neighbouring ones into fewer
(`pipeline.engine.exchanges.gathering`), so that what is known of an exchange grows with maps plus buckets, not with
their product: of each map file the driver holds a commit record, and of each merged one a line of 36 bytes a bucket. A
range for each (map, bucket) in the commit records, as there was before, made a task's specification of 26 MB at 1,000
maps to 400 buckets. Tables of lines that each reducer reads itself from every map file would do for the driver, but ask
a store twice for each (map, bucket); merging reads and writes the rows once more, in whole files. `make bench-scale`
prints what the driver then holds and what a task is sent.

Ray Data's shuffle is not used: it keeps its blocks in the object store, so that a run that is killed begins anew, and
its tasks alone cost more: 2,000 empty partitions took 1.9 s as plain tasks, 51.7 s through Ray Data.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import xxhash

from dataset.ledger.commits import FileRef
from dataset.ledger.damage import DamagedError, content
from dataset.store.storage import Storage

LAYOUT = 1000
"""Added to the version of a phase that writes such files; raised whenever they are laid out in another way."""

ROWS_PER_BUCKET = 2_000_000
"""Keys that one reduce task of an exchange sorts: some 100 MB."""
MERGED_FILES = 256
"""Up to so many map files are read as they are, and so many are merged into one."""
MERGED_BYTES = 256 * 2**20
"""The bytes of a merged file, as far as they are known before: a merge holds its inputs and its output in memory,
compressed, and one bucket as it is."""

_LINE = np.dtype([("bucket", "<u4"), ("rows", "<u4"), ("offset", "<u8"), ("length", "<u8"), ("checksum", "<u8")])
_KNOWN = np.dtype([*_LINE.descr, ("file", "<u4")])
_END = struct.Struct("<IIQ8s")  # lines, bytes of the schema, XXH3 of both, _SIGNATURE
_SIGNATURE = b"openwitX"
_TAIL_BYTES = 2**17  # read at once: the lines of some 4,000 buckets
_MOST_BUCKETS = 2**24  # a build of 10 billion candidates has some 50,000
_READERS = 16
_PART_BYTES = 2**20  # of a file in the making: smaller writes are put together
_SMALL_ROWS = 1000  # below so many rows a batch, zstd's set-up costs more CPU than all else: lz4 reads 7 x as fast
_UNTHREADED = pa.ipc.IpcReadOptions(use_threads=False)  # threads cost several times the work of a small batch


@dataclass
class Buckets:
    """The content of an exchange file."""

    data: pa.Buffer
    rows: int


def bucket_count(rows: int, rows_per_bucket: int) -> int:
    """Return how many buckets a number of rows needs: a function of the input alone, so that the result is, too."""
    return max(1, -(-rows // rows_per_bucket))


def bucket_of(keys: np.ndarray, buckets: int) -> np.ndarray:
    """Return the buckets for uniform 64-bit keys, in the keys' order. Keys: uint64 (n,); result: int64 (n,) in [0,
    buckets).
    """
    # The upper 32 bits times the count, shifted back: an even split without a 128-bit product.
    return ((keys >> np.uint64(32)) * np.uint64(buckets) >> np.uint64(32)).astype(np.int64)


def write_buckets(table: pa.Table, bucket: np.ndarray) -> Buckets:
    """Sort rows by bucket (stable: order within a bucket stays) and serialise.

    Args:
        table: n rows.
        bucket: int64 of shape (n,).
    """
    order = np.argsort(bucket, kind="stable")
    sorted_ = table.take(pa.array(order)).combine_chunks()
    numbers, starts = np.unique(bucket[order], return_index=True)
    ends = [*starts[1:].tolist(), len(order)][: len(numbers)]  # none for a table without rows
    writer = _Writer(table.schema, _codec(len(order), len(numbers)))
    for number, start, end in zip(numbers.tolist(), starts.tolist(), ends, strict=True):
        writer.add(number, sorted_.slice(start, end - start))
    return writer.finish()


def write_bodies(schema: pa.Schema, buckets: Iterable[tuple[int, pa.Table]]) -> Buckets:
    """Serialise buckets whose rows hold what is compressed already.

    Args:
        buckets: ascending, each once; it is asked for one when that before it is written, so that it can let go of it.
    """
    writer = _Writer(schema, None)
    for number, table in buckets:
        writer.add(number, table)
    return writer.finish()


def merge_files(storage: Storage, files: Sequence[FileRef]) -> Buckets:
    """Return the rows of several exchange files as one: of each bucket, in the files' order.

    Raises:
        DamagedError: a file is not what was committed.
    """
    contents = [content(storage, file) for file in files]
    lines = [_lines(storage, file, data)[1] for file, data in zip(files, contents, strict=True)]
    streams = [pa.ipc.open_stream(data, options=_UNTHREADED) for data in contents]
    buckets = np.concatenate([part["bucket"] for part in lines])
    sources = np.repeat(np.arange(len(files)), [len(part) for part in lines])
    order = np.argsort(buckets, kind="stable")
    rows = sum(int(part["rows"].sum()) for part in lines)
    numbers, starts = np.unique(buckets[order], return_index=True)
    writer = _Writer(streams[0].schema, _codec(rows, len(numbers)))
    for number, places in zip(numbers.tolist(), np.split(order, starts[1:]), strict=False):
        batches = [streams[source].read_next_batch() for source in sources[places].tolist()]
        writer.add(number, pa.Table.from_batches(batches))
    return writer.finish()


def _codec(rows: int, buckets: int) -> str:
    return "zstd" if rows / max(1, buckets) >= _SMALL_ROWS else "lz4"


class _Parts(io.RawIOBase):
    """What is written to it, in the parts that it came in: a buffer that grows is copied, and holds twice as much."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.size = 0

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, data: Any, /) -> int:
        """Keep a part."""
        self.parts.append(bytes(data))
        self.size += len(self.parts[-1])
        return len(self.parts[-1])

    def tell(self) -> int:
        """How many bytes there are."""
        return self.size


class _Writer:
    """An exchange file in the making: buckets ascending, each once."""

    def __init__(self, schema: pa.Schema, codec: str | None):
        self._schema = schema
        self._parts = _Parts()
        self._sink = pa.BufferedOutputStream(pa.PythonFile(self._parts, "w"), _PART_BYTES)
        options = pa.ipc.IpcWriteOptions(compression=codec, use_threads=False)
        self._stream = pa.ipc.new_stream(self._sink, schema, options=options)
        self._at = schema.serialize().size  # a stream begins with its schema, which is written with its first batch
        self._lines: list[tuple[int, int, int, int, int]] = []

    def add(self, bucket: int, table: pa.Table) -> None:
        """Add a bucket's rows."""
        (batch,) = table.combine_chunks().to_batches()
        self._stream.write_batch(batch)
        offset, self._at = self._at, self._sink.tell()
        self._lines.append((bucket, table.num_rows, offset, self._at - offset, 0))

    def finish(self) -> Buckets:
        """The file; nothing can be added after it."""
        self._stream.close()
        self._sink.flush()
        parts, end = self._parts.parts, self._parts.size
        lines = np.array(self._lines, _LINE)
        schema = self._schema.serialize().to_pybytes()
        whole = pa.allocate_buffer(end + lines.nbytes + len(schema) + _END.size)
        view, position = memoryview(whole).cast("B"), 0
        for number, part in enumerate(parts):
            view[position : position + len(part)], parts[number] = part, b""
            position += len(part)
        lines["checksum"] = [
            xxhash.xxh3_64_intdigest(view[offset : offset + length]) for _, _, offset, length, _ in self._lines
        ]
        tail = lines.tobytes() + schema
        ending = _END.pack(len(lines), len(schema), xxhash.xxh3_64_intdigest(tail), _SIGNATURE)
        view[end : end + len(tail)], view[end + len(tail) :] = tail, ending
        return Buckets(whole, int(lines["rows"].sum()))


class _Tail(NamedTuple):
    schema: bytes
    lines: np.ndarray  # of _LINE


def _lines(storage: Storage, file: FileRef, data: pa.Buffer | bytes | None = None) -> _Tail:
    """The lines of an exchange file, of whose end `data` is known. Raises DamagedError."""
    known = memoryview(data).cast("B") if data is not None else _end_of(storage, file, _TAIL_BYTES)
    if len(known) < _END.size or known[-8:] != _SIGNATURE:
        raise DamagedError(storage.url, file.name, "it does not end as a file of an exchange does")
    count, schema_bytes, checksum, _ = _END.unpack(known[-_END.size :])
    size = count * _LINE.itemsize + schema_bytes + _END.size
    if size > file.bytes:
        raise DamagedError(storage.url, file.name, "its end says more than the file can hold")
    if size > len(known):
        known = _end_of(storage, file, size)
    tail = known[-size : -_END.size]
    if xxhash.xxh3_64_intdigest(tail) != checksum:
        raise DamagedError(storage.url, file.name, "the places of its buckets are not what was written")
    lines = np.frombuffer(tail, _LINE, count)
    if count and (lines["bucket"][-1] >= _MOST_BUCKETS or (lines["bucket"][1:] <= lines["bucket"][:-1]).any()):
        raise DamagedError(storage.url, file.name, "its buckets are not those of an exchange, in ascending order")
    return _Tail(bytes(tail[len(tail) - schema_bytes :]), lines)


def _end_of(storage: Storage, file: FileRef, size: int) -> memoryview:
    size = min(size, file.bytes)
    (data,) = storage.read_ranges(file.name, [(file.bytes - size, size)])
    if len(data) != size:
        raise DamagedError(storage.url, file.name, f"it is shorter than its {file.bytes:,} bytes")
    return memoryview(data)


def _sort_by_bucket(lines: list[np.ndarray]) -> np.ndarray:
    """The lines of all files, by bucket, then in the files' order: _KNOWN. The list is emptied on the way.

    Each line is put at its place, and what it came from let go: 10 billion candidates have 90 million lines, of 3 GB,
    and a sort would hold them three times.
    """
    counts = np.zeros(1 + max((int(file["bucket"][-1]) for file in lines if len(file)), default=-1), np.int64)
    for file in lines:
        counts[file["bucket"]] += 1  # a file has a bucket once
    next_place = np.cumsum(counts) - counts
    ordered = np.empty(int(counts.sum()), _KNOWN)
    for number in range(len(lines)):
        file, lines[number] = lines[number], np.empty(0, _LINE)
        places = next_place[file["bucket"]]
        for name in _LINE.names or ():
            ordered[name][places] = file[name]
        ordered["file"][places] = number
        next_place[file["bucket"]] += 1
    return ordered


@dataclass(frozen=True)
class Exchange:
    """What is known of the files of an exchange, or of one bucket in them."""

    names: tuple[str, ...]  # of the files
    schema: bytes
    lines: np.ndarray  # of _KNOWN, by bucket, then in the files' order

    @staticmethod
    def of(storage: Storage, files: Sequence[FileRef]) -> Exchange:
        """Return what the files say of themselves. Raises DamagedError, FileNotFoundError."""
        if storage.local or len(files) < 2:
            tails = [_lines(storage, file) for file in files]
        else:
            with ThreadPoolExecutor(_READERS) as pool:
                tails = list(pool.map(lambda file: _lines(storage, file), files))
        schema, lines = tails[0].schema if tails else b"", [tail.lines for tail in tails]
        tails.clear()  # so that `lines` alone holds them
        return Exchange(tuple(file.name for file in files), schema, _sort_by_bucket(lines))

    @cached_property
    def _numbers(self) -> np.ndarray:
        return np.ascontiguousarray(self.lines["bucket"])

    @property
    def buckets(self) -> list[int]:
        """The buckets that hold anything, ascending."""
        return [int(number) for number in np.unique(self._numbers)]

    def bucket(self, number: int) -> tuple[Bucket, ...]:
        """Return a bucket, as what a task reads; nothing if it is empty."""
        return (Bucket(self, number),) if len(self.of_bucket(number)) else ()

    def of_bucket(self, number: int) -> np.ndarray:
        """Return the lines of a bucket."""
        # As numbers of another type, which a list's are, all lines would be converted first, and each time.
        first, last = np.searchsorted(self._numbers, np.array([number, number + 1], self._numbers.dtype))
        return self.lines[first:last]

    def only(self, number: int) -> Exchange:
        """Return what is known of one bucket."""
        lines = self.of_bucket(number).copy()
        names = tuple(self.names[file] for file in lines["file"])
        lines["file"] = np.arange(len(lines))
        return Exchange(names, self.schema, lines)


class Bucket:
    """A bucket of an exchange, as what a task reads: its rows in the map tasks' order. Pickled, it knows no other."""

    __slots__ = ("exchange", "number")

    def __init__(self, exchange: Exchange, number: int):
        self.exchange = exchange
        self.number = number

    def __reduce__(self) -> tuple[type[Bucket], tuple[Exchange, int]]:
        return Bucket, (self.exchange.only(self.number), self.number)

    @property
    def name(self) -> str:
        """The name of its first file."""
        return self.exchange.names[self.exchange.of_bucket(self.number)["file"][0]]

    @property
    def checksum(self) -> str:
        """What the result of a task that reads it depends on: its bytes, not where they lie."""
        lines = self.exchange.of_bucket(self.number)
        digest = xxhash.xxh3_128(self.exchange.schema)
        for name in ("rows", "length", "checksum"):
            digest.update(lines[name].tobytes())
        return digest.hexdigest()

    @property
    def tables(self) -> int:
        """How many `read` gives."""
        return len(self.exchange.of_bucket(self.number))

    def read(self, storage: Storage, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """Yield the rows, a table for each file. Raises DamagedError: they are not what was written."""
        for line in self.exchange.of_bucket(self.number):
            name, offset, length = self.exchange.names[line["file"]], int(line["offset"]), int(line["length"])
            (data,) = storage.read_ranges(name, [(offset, length)])
            if len(data) != length or xxhash.xxh3_64_intdigest(data) != int(line["checksum"]):
                place = f"bytes {offset:,} to {offset + length:,}"
                raise DamagedError(storage.url, name, f"{place} are not what was written ({len(data):,} are there)")
            table = pa.ipc.open_stream(b"".join([self.exchange.schema, data]), options=_UNTHREADED).read_all()
            yield table.select(columns) if columns is not None else table

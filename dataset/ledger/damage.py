"""What was committed is what is read: whoever reads bytes holds them against their length and checksum."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from dataset import usage
from dataset.ids import checksum
from dataset.store.faults import fault
from dataset.store.storage import Storage

if TYPE_CHECKING:
    from dataset.ledger.commits import FileRef


_SMALL_BYTES = 2**20  # what one thread has read before others have begun
_FOOTER_BYTES = 64 * 2**10  # that Arrow reads from the end first (parquet/file_reader.cc, kDefaultFooterReadSize)
_PLACE = str(Path(__file__).with_name("damaged_column.py"))
_PLACE_SECONDS = 60.0  # to find where a file is damaged; it is damaged either way


class DamagedError(ValueError):
    """A file of a dataset is not what was committed."""

    def __init__(self, url: str, name: str, what: str):
        super().__init__(url, name, what)
        self.url, self.name, self.what = url, name, what

    def __str__(self) -> str:
        return (
            f"{self.url}/{self.name} is damaged: {self.what}; `wit verify {self.url} --repair` makes room for it anew"
        )


def is_whole(data: bytes, length: int, digest: int | None) -> bool:
    """Return whether bytes are what their length and XXH3 say; their length alone where nobody knows more (None
    or 0).
    """
    return len(data) == length and (not digest or xxhash.xxh3_64_intdigest(data) == digest)


def check_length(storage: Storage, file: FileRef) -> None:
    """Raise DamagedError if a file is gone, or has another length than was committed."""
    size = storage.size(file.name)
    if size is None:
        raise DamagedError(storage.url, file.name, "it is gone")
    if size != file.bytes:
        raise DamagedError(storage.url, file.name, f"it has {size:,} bytes of {file.bytes:,}")


def content(storage: Storage, file: FileRef) -> pa.Buffer:
    """Return a whole file, as it was committed; a local one mapped into memory. Raises DamagedError,
    FileNotFoundError.
    """
    if storage.local:
        path = storage.path(file.name)
        usage.count_read(file.bytes, requests=2)  # of which one asks for its length
        data = pa.memory_map(path).read_buffer() if file.bytes else pa.py_buffer(storage.read(file.name))
    else:
        data = pa.py_buffer(storage.read(file.name))
    check(storage, file, data)
    return data


def check(storage: Storage, file: FileRef, data: pa.Buffer) -> None:
    """Raise DamagedError if the bytes are not those that were committed, by their number if there is no checksum."""
    if data.size != file.bytes:
        raise DamagedError(storage.url, file.name, f"it has {data.size:,} bytes of {file.bytes:,}")
    if file.checksum and checksum(data) != file.checksum:
        raise DamagedError(storage.url, file.name, f"its checksum is another{_place(data)}")


def read_table(
    storage: Storage, file: FileRef, columns: Sequence[str] | None = None, if_there: Sequence[str] = ()
) -> pa.Table:
    """Return a committed table, or some of its columns; `if_there`, columns that older versions did not write.

    A file on this machine is read whole, for its checksum; of one in a bucket only the columns, whose pages have their
    own.

    Raises:
        DamagedError: it is not what was committed.
        FileNotFoundError: it is gone.
    """
    if storage.local or columns is None:
        return _chosen(storage, file, pa.BufferReader(content(storage, file)), columns, if_there)
    with open_table(storage, file) as source:
        return _chosen(storage, file, source, columns, if_there)


@contextmanager
def open_table(storage: Storage, file: FileRef) -> Iterator[pa.NativeFile]:
    """Open a committed table for who reads a part of it: it has its length, and what cannot be read of it is damage.

    Raises:
        DamagedError: it is not what was committed.
        FileNotFoundError: it is gone.
    """
    with storage.open(file.name) as source, name_damage(storage, file.name):
        if source.size() != file.bytes:
            raise DamagedError(storage.url, file.name, f"it has {source.size():,} bytes of {file.bytes:,}")
        yield source


def parse_parquet(
    storage: Storage, name: str, source: pa.NativeFile, columns: list[str] | None, dictionaries: Sequence[str] = ()
) -> pa.Table:
    """Return Parquet whose pages are held against their checksums. Raises DamagedError.

    dictionaries: columns of strings that are read as dictionaries, so that few values are not repeated for all rows.
    """
    with name_damage(storage, name):
        file = pq.ParquetFile(source, page_checksum_verification=True, read_dictionary=list(dictionaries) or None)
        table = file.read(columns, use_threads=source.size() > _SMALL_BYTES)
        if not isinstance(source, pa.BufferReader):
            _count(file, columns)
        return table


def rows_in(source: pa.NativeFile, row: int | None) -> pa.Table:
    """Return the rows of an open Parquet file, or the one of a number. Raises IndexError: it has no such row."""
    file = pq.ParquetFile(source, page_checksum_verification=True)
    if row is None:
        return file.read()
    left = row
    for group in range(file.num_row_groups):
        rows = file.metadata.row_group(group).num_rows
        if left < rows:
            return file.read_row_group(group).slice(left, 1)
        left -= rows
    raise IndexError(f"there is no row {row}")


def _count(file: pq.ParquetFile, columns: Sequence[str] | None) -> None:
    """Count what reading columns of a file has asked for: its end, then each column of each row group.

    Only once they have been read: pyarrow ends the process where it is asked for what a column says of itself, and that
    contradicts itself; reading it raises an error.
    """
    usage.count_read(min(_FOOTER_BYTES, file.metadata.serialized_size))
    wanted = None if columns is None else set(columns)
    paths = [file.schema.column(index).path for index in range(file.metadata.num_columns)]
    leaves = [index for index, path in enumerate(paths) if wanted is None or path.partition(".")[0] in wanted]
    for number in range(file.metadata.num_row_groups):
        for index in leaves:
            usage.count_read(file.metadata.row_group(number).column(index).total_compressed_size)


def _chosen(
    storage: Storage, file: FileRef, source: pa.NativeFile, columns: Sequence[str] | None, if_there: Sequence[str]
) -> pa.Table:
    if columns is None:
        return parse_parquet(storage, file.name, source, None)
    names = [*columns]
    if if_there:
        with name_damage(storage, file.name):
            there = set(pq.read_schema(source).names)
        names += [name for name in if_there if name in there]
    return parse_parquet(storage, file.name, source, names)


@contextmanager
def name_damage(storage: Storage, name: str) -> Iterator[None]:
    """Raise what Arrow says of a file's bytes in the block as DamagedError, whose sentence names the file; an error of
    a disk or network stays as it is.
    """
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:  # the last: a column's name is none
        if isinstance(error, FileNotFoundError) or fault(error) is not None:
            raise
        raise DamagedError(storage.url, name, " ".join(str(error).split())[:200]) from None


def _place(data: pa.Buffer) -> str:
    """Where in a Parquet file the first damaged column is, told by a process of its own: no parser is proof against all
    that damaged bytes can say, and one that crashes takes its process with it.
    """
    try:
        command = [sys.executable, "-P", _PLACE]
        done = subprocess.run(command, input=data, capture_output=True, timeout=_PLACE_SECONDS)  # noqa: S603  our own
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.decode() if done.returncode == 0 else ""

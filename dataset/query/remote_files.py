"""A dataset's files in a bucket, as DuckDB reads them: of each Parquet file its end, then what a query needs of it.

DuckDB's own reader of buckets, httpfs, is not in its wheel. Its Python client takes any fsspec filesystem instead; this
one reads by `Storage`, whose patience with servers is had here too.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.spec import AbstractFileSystem

from dataset.ids import checksum
from dataset.ledger import one_request
from dataset.ledger.commits import FileRef
from dataset.ledger.damage import DamagedError, check, name_damage
from dataset.store.seekable import Seekable
from dataset.store.storage import Storage

TAIL_BYTES = 2**16
"""What is read of a file's end at once: what DuckDB asks for first, and all of most footers."""
KEPT_BYTES = 256 * 2**20
"""How many bytes of files' ends are kept, for the next query over the same files."""
FEW, SMALL_BYTES = 8, 8 * 2**20
"""Up to so many files, of up to so many bytes each, are read whole where a question needs no others of a table."""
_READERS = 32
_MAGIC = b"PAR1"
_WRITTEN = datetime(2000, 1, 1, tzinfo=UTC)  # any time will do: a committed file never changes


class RemoteFiles(AbstractFileSystem):  # type: ignore[misc]  # fsspec has no types
    """Files of one dataset, read-only: those whose `path` somebody has asked for. No other can be opened."""

    cachable = False  # each has a storage of its own

    def __init__(self, storage: Storage):
        super().__init__()
        self.storage = storage
        self.protocol = f"dataset-{checksum(storage.url.encode())[:16]}"
        self.requests = 0
        self.bytes_read = 0
        self._sizes: dict[str, int] = {}
        self._tails: dict[str, bytes] = {}
        self._whole: dict[str, bytes] = {}  # files that were read at once
        self._kept = 0  # bytes of them
        self._lock = threading.Lock()

    def path(self, file: FileRef) -> str:
        """Return a committed file's path for DuckDB, which may open it from now on."""
        self._sizes[file.name] = file.bytes
        return f"{self.protocol}://{file.name}"

    def prepare(self, files: Sequence[FileRef]) -> None:
        """Read the ends of files, many at a time: DuckDB asks for them one after the other."""
        missing = [file.name for file in files if file.name not in self._tails and file.name not in self._whole]
        if len(missing) > 1:
            with ThreadPoolExecutor(_READERS) as pool:
                list(pool.map(self.tail, missing))

    def whole(self, file: FileRef) -> bytes:
        """Return all of a file, by one request; it is kept for who asks next. Raises DamagedError,
        FileNotFoundError.
        """
        self.path(file)
        data = self._whole.get(file.name)
        if data is None:
            data = one_request.read_in_one_request(self.storage, file.name)
            check(self.storage, file, pa.py_buffer(data))
            with self._lock:
                self.requests, self.bytes_read = self.requests + 1, self.bytes_read + len(data)
                while self._whole and sum(map(len, self._whole.values())) + len(data) > KEPT_BYTES:
                    del self._whole[next(iter(self._whole))]
                self._whole[file.name] = data
        return data

    def get_whole(self, files: Sequence[FileRef]) -> None:
        """Read few, small files whole, at the same time: that is one request each, of which all is used."""
        if len(files) <= FEW and all(file.bytes <= SMALL_BYTES for file in files):
            with ThreadPoolExecutor(FEW) as pool:
                list(pool.map(self.whole, files))

    def schema(self, file: FileRef) -> pa.Schema:
        """Return the columns of a Parquet file. Raises DamagedError, FileNotFoundError."""
        self.path(file)
        end = self.tail(file.name)
        footer = int.from_bytes(end[-8:-4], "little") + 8
        if len(end) < footer <= file.bytes:
            end = self._range(file.name, file.bytes - footer, footer)
        with name_damage(self.storage, file.name):
            return pq.read_schema(pa.BufferReader(end))

    def tail(self, name: str) -> bytes:
        """Return a file's last bytes, up to TAIL_BYTES. Raises DamagedError: it does not end where it was committed to
        end.
        """
        whole = self._whole.get(name)
        tail = self._tails.get(name) if whole is None else whole[-TAIL_BYTES:]
        if tail is None:
            size = self._sizes[name]
            tail = self._range(name, max(0, size - TAIL_BYTES), TAIL_BYTES)
            if len(tail) != min(size, TAIL_BYTES) or tail[-4:] != _MAGIC:
                raise DamagedError(self.storage.url, name, f"its {size:,} bytes do not end as Parquet does")
            with self._lock:
                while self._tails and self._kept + len(tail) > KEPT_BYTES:
                    self._kept -= len(self._tails.pop(next(iter(self._tails))))
                self._kept += len(tail) - len(self._tails.get(name, b""))
                self._tails[name] = tail
        return tail

    def read(self, name: str, offset: int, length: int) -> bytes:
        """Return bytes of a file; fewer where it ends before."""
        if (whole := self._whole.get(name)) is not None:
            return whole[offset : offset + length]
        start = max(0, self._sizes[name] - TAIL_BYTES)
        if offset >= start:
            return self.tail(name)[offset - start : offset - start + length]
        return self._range(name, offset, length)

    def _range(self, name: str, offset: int, length: int) -> bytes:
        # Arrow asks S3 for the length as well; boto3 would not, and takes twice the time of the processor.
        (data,) = self.storage.read_ranges(name, [(offset, length)])
        with self._lock:
            self.requests += 1
            self.bytes_read += len(data)
        return data

    # What DuckDB asks of a filesystem, by whole paths.

    def open(self, path: str, mode: str = "rb", **_: Any) -> Seekable:
        """Return a file, open to be read. Raises FileNotFoundError: `path` was not asked for it; PermissionError: to
        write.
        """
        if mode != "rb":
            raise PermissionError(f"a question reads {self.storage.url} and does not write it")
        return _File(self, self._name(path))

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        return {"name": path, "size": self._sizes[self._name(path)], "type": "file"}

    def glob(self, path: str, **_: Any) -> list[str]:
        return [path] if path.removeprefix(f"{self.protocol}://") in self._sizes else []

    def exists(self, path: str, **_: Any) -> bool:
        return bool(self.glob(path))

    def modified(self, path: str) -> datetime:
        return _WRITTEN

    def _name(self, path: str) -> str:
        name = path.removeprefix(f"{self.protocol}://")
        if name not in self._sizes:
            raise FileNotFoundError(f"{name} is not a file that the views of {self.storage.url} name")
        return name


class _File(Seekable):
    """One file, with a place in it. What DuckDB's threads share is the filesystem, not this."""

    def __init__(self, files: RemoteFiles, name: str):
        self._files, self._file = files, name
        self._size = files.info(name)["size"]

    def read(self, size: int = -1, /) -> bytes:
        left = max(0, self._size - self._at)
        data = self._files.read(self._file, self._at, left if size < 0 else min(size, left))
        self._at += len(data)
        return data

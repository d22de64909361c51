"""Copies of shards on a fast disk of this machine, shared by all its readers.

A copy is a file NAME.shard: the shard's bytes; the XXH3 (64 bits, big-endian) of each 64 KiB of them; the shard's size
and the XXH3 of those sums, 8 bytes each. What is read is held against its sums, so a spoiled copy is found where it
matters, without ever reading it through. It is written as NAME.part under a lock and renamed when it is whole, so that
of many processes one downloads it, and a killed one leaves nothing that is taken for a copy. Files are only removed,
the least recently used first, and never changed: who has one open can go on reading it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import xxhash

from dataset.store.storage import Storage

_BLOCK_BYTES = 2**16
_CHUNK_BYTES = 128 * _BLOCK_BYTES
_TRAILER_BYTES = 16


class SpoiledCopyError(OSError):
    """A copy's bytes are not those that were downloaded."""


class Copy:
    """An open copy. Raises SpoiledCopyError if its sums or its length are not what they were."""

    def __init__(self, path: Path):
        self.path = path
        self._descriptor = os.open(path, os.O_RDONLY)
        try:
            length = os.fstat(self._descriptor).st_size
            trailer = os.pread(self._descriptor, _TRAILER_BYTES, max(0, length - _TRAILER_BYTES))
            self._size = min(int.from_bytes(trailer[:8], "big"), length)
            sums = os.pread(self._descriptor, length, self._size)[:-_TRAILER_BYTES]
            blocks = -(-self._size // _BLOCK_BYTES)
            if len(sums) != 8 * blocks or trailer[8:] != xxhash.xxh3_64_digest(sums):
                raise SpoiledCopyError(f"{path} is damaged")
        except BaseException:
            self.close()
            raise
        self._sums = sums

    def read(self, size: int, offset: int) -> bytes:
        """Return a part of the shard; shorter at its end. Raises SpoiledCopyError."""
        first = offset // _BLOCK_BYTES
        start, end = first * _BLOCK_BYTES, min(self._size, -(-(offset + size) // _BLOCK_BYTES) * _BLOCK_BYTES)
        data = memoryview(os.pread(self._descriptor, max(0, end - start), start))
        for number, position in enumerate(range(0, max(0, end - start), _BLOCK_BYTES), first):
            block = data[position : position + _BLOCK_BYTES]
            if xxhash.xxh3_64_digest(block) != self._sums[8 * number : 8 * number + 8]:
                raise SpoiledCopyError(f"{self.path} is damaged")
        return bytes(data[offset - start : min(offset + size, self._size) - start])

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


class ShardCache:
    """A folder of copies.

    Args:
        folder: a local path; made if it is not there.
        limit_bytes: what all copies together may take. A shard that is larger alone is refused with ValueError.
    """

    def __init__(self, folder: str, limit_bytes: int):
        self.folder, self.limit_bytes = Path(folder).expanduser().absolute(), limit_bytes
        self.folder.mkdir(parents=True, exist_ok=True)
        self._prefetching: threading.Thread | None = None
        self._pid = os.getpid()

    def open(self, storage: Storage, name: str, version: str) -> Copy:
        """Return a shard's copy, downloaded if it is not there or is damaged; to be closed by the caller.

        Args:
            version: what the shard's content is known by; a copy of another version is another copy.
        Raises:
            FileNotFoundError, OSError: the shard cannot be read.
            ValueError: it is larger than the whole cache may be.
        """
        path = self._path(storage, name, version)
        while True:
            try:
                copy = Copy(path)
                with contextlib.suppress(FileNotFoundError):  # removed since; what is open can be read on
                    os.utime(path)  # last used now
                return copy
            except SpoiledCopyError:
                self.drop(path)
            except FileNotFoundError:
                pass
            self._download(storage, name, path, wait=True)

    def drop(self, path: Path) -> None:
        """Remove a damaged copy, and say so."""
        print(f"{path} is damaged and was removed", file=sys.stderr, flush=True)
        path.unlink(missing_ok=True)

    def prefetch(self, shards: Sequence[tuple[Storage, str, str]]) -> None:
        """Have the (storage, name, version) that are not here be downloaded in the background, one at a time; others'
        downloads are left to them. A call while one is under way, or a shard that cannot be read, is passed over."""
        if self._pid != os.getpid():  # a fork has no threads
            self._prefetching, self._pid = None, os.getpid()
        if self._prefetching is None or not self._prefetching.is_alive():
            self._prefetching = threading.Thread(target=self._prefetch, args=(shards,), daemon=True)
            self._prefetching.start()

    def _prefetch(self, shards: Sequence[tuple[Storage, str, str]]) -> None:
        for storage, name, version in shards:
            path = self._path(storage, name, version)
            if not path.exists():
                with contextlib.suppress(OSError, ValueError):  # whoever needs the shard will say so
                    self._download(storage, name, path, wait=False)

    def _path(self, storage: Storage, name: str, version: str) -> Path:
        key = xxhash.xxh3_128_hexdigest(f"{storage.url_of(name)}\n{version}".encode())
        return self.folder / f"{key}.shard"

    def _download(self, storage: Storage, name: str, path: Path, wait: bool) -> None:
        with _lock_file(path.with_suffix(".part"), wait) as part:
            if part is None or path.exists():
                return
            with storage.open(name) as source:
                size = source.size()
                whole = size + 8 * -(-size // _BLOCK_BYTES) + _TRAILER_BYTES
                if whole > self.limit_bytes:
                    raise ValueError(
                        f"cache_bytes must be at least {whole} to hold {storage.url_of(name)}, not {self.limit_bytes}"
                    )
                self._make_room(whole)
                os.ftruncate(part, 0)
                sums = bytearray()
                with os.fdopen(os.dup(part), "wb") as file:
                    for start in range(0, size, _CHUNK_BYTES):
                        chunk = memoryview(source.read_at(min(_CHUNK_BYTES, size - start), start))
                        if len(chunk) != min(_CHUNK_BYTES, size - start):
                            raise OSError(f"{storage.url_of(name)} ended early")
                        for block in range(0, len(chunk), _BLOCK_BYTES):
                            sums += xxhash.xxh3_64_digest(chunk[block : block + _BLOCK_BYTES])
                        file.write(chunk)
                    file.write(sums + size.to_bytes(8, "big") + xxhash.xxh3_64_digest(sums))
            path.with_suffix(".part").rename(path)

    def _make_room(self, size: int) -> None:
        """Remove the copies that were used longest ago, and what killed downloads left, until `size` bytes fit.

        Downloads under way in other processes are counted by what they have written so far, so that the limit can be
        passed by as much as they still have to write; it is met again by the next.
        """
        with _lock_file(self.folder / "lock", wait=True):
            files = []
            for path in self.folder.iterdir():
                with contextlib.suppress(FileNotFoundError):
                    status = path.stat()
                    files.append((status.st_mtime_ns, path, status.st_size))
            room = self.limit_bytes - sum(bytes_ for _, _, bytes_ in files) - size
            for _, path, bytes_ in sorted(files):
                if room >= 0:
                    break
                if path.suffix == ".shard":
                    path.unlink(missing_ok=True)
                elif path.suffix == ".part" and bytes_:
                    with _lock_file(path, wait=False) as abandoned:
                        if abandoned is None:
                            continue
                        path.unlink(missing_ok=True)
                else:
                    continue
                room += bytes_


@contextlib.contextmanager
def _lock_file(path: Path, wait: bool) -> Iterator[int | None]:
    """A descriptor of a file that this process alone has locked; None if another has and we do not wait."""
    descriptor = _lock(path, wait)
    try:
        yield descriptor
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _lock(path: Path, wait: bool) -> int | None:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            return None
        except FileNotFoundError:
            pass
        os.close(descriptor)  # of a file that was renamed or removed while we waited

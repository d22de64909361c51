"""A place that files live in: a directory, an `s3://` prefix, or any fsspec URL, behind Arrow's filesystem.

A `Storage` never leaves its root, neither by a name nor by a link. Writes are atomic (a reader sees the whole file or
none), and `create` makes a file only if it is absent, which is what commits and leases are built on. On disk, files are
written in a folder of the writer's lease and moved from there: whoever takes over takes that folder away first.
"""

from __future__ import annotations

import contextlib
import os
import posixpath
import re
import shutil
import stat
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
from pyarrow import fs

from dataset import usage
from dataset.store import local_files, rate_limit, s3, waits
from dataset.store.faults import patiently
from dataset.store.local_files import TEMPORARY, Fence
from dataset.store.ranges import GAP_BYTES, read_coalesced
from dataset.store.secrets import public
from dataset.store.web import WebFile, is_web

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):(?://|:)")  # a folder may be called `a:b`; one letter: a Windows drive
_READERS = 16  # requests in flight when many small files are read


@dataclass(frozen=True)
class FileInfo:
    """A file below a storage's root: its name relative to the root, its length in bytes, and when it was written."""

    name: str
    bytes: int
    mtime_ns: int = field(default=0, compare=False)  # since 1970; 0 where the filesystem does not say


class OutsideError(ValueError):
    """A name, or a link on its way, leads out of the storage's root."""


def is_local(url: str) -> bool:
    """Return whether a URL names a path of this machine."""
    scheme = _SCHEME.match(url)
    return scheme is None or scheme[1].lower() == "file"


def absolute(url: str) -> str:
    """Return a local path made absolute, so that it means the same in another process; other URLs as they are."""
    if not is_local(url):
        return url.rstrip("/")
    path = url.removeprefix("file://")
    with contextlib.suppress(RuntimeError):  # `~x` is a folder of that name where there is no such user
        path = str(Path(path).expanduser())
    return str(Path(path).absolute())


@lru_cache(maxsize=64)
def _filesystem(scheme: str, pid: int) -> fs.FileSystem:
    """One client per process: Arrow's and boto3's clients do not survive a fork."""
    if scheme in ("", "file") or len(scheme) == 1:
        return fs.LocalFileSystem()
    if scheme in ("s3", "s3a"):
        return s3.filesystem()
    import fsspec

    return fs.PyFileSystem(fs.FSSpecHandler(fsspec.filesystem(scheme)))


def filesystem(url: str) -> tuple[fs.FileSystem, str]:
    """Return the Arrow filesystem of a URL and the path in it.

    Raises:
        ImportError, ValueError: no filesystem is known for the URL's scheme.
    """
    if is_local(url):
        path = absolute(url)
        try:
            path.encode()
        except UnicodeEncodeError:
            raise ValueError(f"{path!r} cannot be opened: its name is not UTF-8; rename it") from None
        return _filesystem("", os.getpid()), path
    parts = urlsplit(url)
    path = f"{parts.netloc}{parts.path}" if parts.netloc else parts.path
    return _filesystem(parts.scheme, os.getpid()), path.rstrip("/")


def open_input(url: str) -> pa.NativeFile:
    """Return a seekable, binary, readable file at any URL. Raises FileNotFoundError, or another OSError."""
    if is_web(url):
        return pa.PythonFile(WebFile(url), mode="r")
    filesystem_, path = filesystem(url)
    if is_local(url):
        return filesystem_.open_input_file(path)
    with waits.announce_wait(public(url)):
        return rate_limit.open_file(filesystem_, path)


class Storage:
    """The files below one root URL.

    Args:
        url: the root. That it is itself a link, or lies behind one, is the user's own doing.
        leave: whether links in it may lead out of it; for folders that a user lays out for reading, never for datasets.
    """

    def __init__(self, url: str, *, leave: bool = False):
        self.url = absolute(url)
        self._fs, self._root = filesystem(self.url)
        self.local = is_local(self.url)
        if self.local:
            local_files.check_folder(Path(self._root))
        self._s3 = not self.local and urlsplit(self.url).scheme in ("s3", "s3a")
        self._leave = leave
        self.fence: Fence | None = None
        """Asked before anything is written or deleted."""

    def __reduce__(self) -> tuple[Any, tuple[str, bool, Fence | None]]:
        return _storage, (self.url, self._leave, self.fence)

    def _watch_request(self) -> contextlib.AbstractContextManager[None]:
        """Say of a request to the storage's server in the block that it takes long."""
        return contextlib.nullcontext() if self.local else waits.announce_wait(public(self.url))

    def path(self, name: str) -> str:
        """Return the path of a file in the underlying filesystem.

        Raises:
            OutsideError: the name, or a link on its way, would leave the root.
        """
        clean = posixpath.normpath(name)
        if clean.startswith(("../", "/")) or clean == ".." or "\0" in clean:
            raise OutsideError(f"{name!r} is outside the dataset")
        if self.local and not self._leave:
            self._stay(clean)
        return f"{self._root}/{clean}"

    def _writable(self, name: str) -> str:
        if self.fence is not None:
            self.fence()
        return self.path(name)

    def _stay(self, name: str) -> None:
        """Raises OutsideError if a link on the way to a file leads out of the root."""
        path = self._root
        for part in name.split("/"):
            path = f"{path}/{part}"
            try:
                is_link = stat.S_ISLNK(os.lstat(path).st_mode)
            except OSError:  # nothing is there, so nothing is below it
                return
            if is_link and not self._holds(path):
                raise OutsideError(
                    f"{path} is a link that leads out of {self.url}, to {os.path.realpath(path)}; no dataset is read "
                    "or written through such a link: put what it leads to in its place, or delete it"
                )

    def _holds(self, path: str) -> bool:
        """Whether where a path ends, all links followed, is below the root."""
        root = os.path.realpath(self._root)
        return os.path.realpath(path).startswith(f"{root.rstrip('/')}/")

    def url_of(self, name: str) -> str:
        """Return the URL of a file, for messages and for other tools."""
        return f"{self.url}/{name}"

    def open(self, name: str) -> pa.NativeFile:
        """Open a file for reading, seekable. Raises FileNotFoundError."""
        usage.count(get=1)
        with self._watch_request():
            return self._fs.open_input_file(self.path(name))

    def read(self, name: str) -> bytes:
        """Return a whole file. Raises FileNotFoundError."""

        def read_whole() -> bytes:
            with self.open(name) as file:
                return usage.count_received(bytes(file.read()))

        if self.local:
            return read_whole()
        with self._watch_request():
            return patiently(read_whole, who=public(self.url_of(name)))

    def read_all(self, names: Sequence[str]) -> list[bytes]:
        """Return many whole files, in the order asked; remote ones several at a time. Raises FileNotFoundError."""
        if self.local or len(names) < 2:
            return [self.read(name) for name in names]
        with ThreadPoolExecutor(_READERS) as pool:
            return list(pool.map(self.read, names))

    def read_ranges(self, name: str, ranges: Sequence[tuple[int, int]], gap: int = GAP_BYTES) -> list[bytes]:
        """Return the bytes at several (offset, length), in the order asked; what lies no farther apart is one read.

        Raises:
            ValueError: an offset or a length is negative.
        """
        if any(offset < 0 or length < 0 for offset, length in ranges):
            raise ValueError(f"{self.url_of(name)} has no bytes at a negative place; what names them is damaged")

        def read() -> list[bytes]:
            with self.open(name) as file:
                return read_coalesced(file, ranges, gap)

        if self.local:
            return read()
        with self._watch_request():
            return patiently(read, who=public(self.url_of(name)))

    def write(self, name: str, data: bytes | memoryview | pa.Buffer) -> None:
        """Write a whole file; a reader sees the old one or the new one, never a part."""
        path = self._writable(name)
        usage.count_written(len(memoryview(data)))
        if self.local:
            local_files.place(Path(path), data, Path.replace, self._root, self.fence)
        else:
            # Arrow would compress what is named .gz.
            with self._watch_request(), self._fs.open_output_stream(path, compression=None) as stream:
                stream.write(data)

    def open_output(self, name: str) -> pa.NativeFile:
        """Open a file for writing; until it is closed a reader may see a part of it."""
        path = self._writable(name)
        usage.count_written(0)
        if self.local:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
        with self._watch_request():
            return self._fs.open_output_stream(path, compression=None)  # Arrow would compress what is named .gz

    def create(self, name: str, data: bytes) -> bool:
        """Write a file if it is absent; False, with nothing changed, if it is there already."""
        path = self._writable(name)
        usage.count(put=1, bytes_written=len(data))
        if self.local:
            return local_files.create(Path(path), data, self._root, self.fence)
        if self._s3:
            bucket, key = path.split("/", 1)
            with self._watch_request():
                return s3.create(self.url, bucket, key, data)
        is_new = not self.exists(name)  # other filesystems: the best that fsspec offers; a race is possible
        if is_new:
            self.write(name, data)
        return is_new

    def replace(self, name: str, old: bytes, new: bytes) -> bool:
        """Write a file if it is still what was read; False, with nothing changed, if it is another by now, or gone.

        On disk the holder of a lease is the only writer, so that its fence is the condition. Without one a lock on the
        file's folder keeps out others who replace it.
        """
        path = self._writable(name)
        if self._s3:
            usage.count(get=1, put=1, bytes_read=len(old), bytes_written=len(new))
            bucket, key = path.split("/", 1)
            with self._watch_request():
                return s3.replace(self.url, bucket, key, old, new)
        if not self.local or self.fence is not None:
            try:
                is_same = self.read(name) == old
            except FileNotFoundError:
                return False
            if is_same:
                self.write(name, new)
            return is_same
        return local_files.swap(Path(path), old, new, self._root)

    def exists(self, name: str) -> bool:
        """Return whether the file is there."""
        return self.size(name) is not None

    def size(self, name: str) -> int | None:
        """Return a file's length in bytes; None if it is not there."""
        usage.count(get=1)
        with self._watch_request():
            info = self._fs.get_file_info(self.path(name))
        return info.size if info.type == fs.FileType.File else None

    def _list(self, folder: str, recursive: bool) -> list[FileInfo]:
        infos = self._walk(folder, recursive) if self.local else self._select(folder, recursive)
        return usage.count_listed(sorted(infos, key=lambda info: info.name))

    def _select(self, folder: str, recursive: bool) -> Iterator[FileInfo]:
        base = f"{self._root}/{folder}".rstrip("/")
        selector = fs.FileSelector(base, allow_not_found=True, recursive=recursive)
        with self._watch_request():
            infos = self._fs.get_file_info(selector)
        for info in infos:
            if info.type == fs.FileType.File:
                # Some of fsspec's filesystems put a slash before what they list, whether asked with one or not.
                name = info.path.lstrip("/")[len(self._root.lstrip("/")) :].lstrip("/")
                yield FileInfo(name, info.size, info.mtime_ns or 0)

    def _walk(self, folder: str, recursive: bool) -> Iterator[FileInfo]:
        """The files of a local folder. A link that leads out is passed over by who looks through all folders; who looks
        into one is told."""
        self.path(folder)
        waiting = [posixpath.normpath(folder) if folder else ""]
        while waiting:
            directory = waiting.pop()
            try:
                entries = list(os.scandir(f"{self._root}/{directory}"))
            except (FileNotFoundError, NotADirectoryError):
                continue
            for entry in entries:
                name = f"{directory}/{entry.name}" if directory else entry.name
                if entry.is_symlink() and not self._leave and not self._holds(entry.path):
                    if recursive:
                        continue
                    self._stay(name)
                elif entry.is_file():
                    try:
                        seen = entry.stat()
                    except FileNotFoundError:  # gone, since its folder was read
                        continue
                    yield FileInfo(name, seen.st_size, seen.st_mtime_ns)
                elif recursive and entry.is_dir(follow_symlinks=self._leave):
                    waiting.append(name)

    def list(self, folder: str = "", *, recursive: bool = False) -> list[FileInfo]:
        """Return the files of a folder, sorted by name; a folder that does not exist is empty."""
        return [
            info for info in self._list(folder, recursive) if not info.name.rpartition("/")[2].startswith(TEMPORARY)
        ]

    def revoke(self) -> None:
        """Take away the folders of other leases: from then on nothing is moved out of them."""
        local_files.revoke(self._root, self.fence)

    def sweep(self) -> int:
        """Delete what writers left half-written when they were killed, and return how many files; none may be live.

        What lies in a lease's folder is that lease's: a training run's within a dataset may be at work.
        """
        if not self.local:
            return 0  # other filesystems show a file when it is whole
        parts = [(info.name, info.name.split("/")) for info in self._list("", True)]
        left = [name for name, part in parts if part[-1].startswith(TEMPORARY) and not _in_lease_folder(part)]
        self.delete(left)
        return len(left)

    def delete(self, names: Iterable[str]) -> None:
        """Delete files; those that are gone already are no error."""
        if self.fence is not None:
            self.fence()
        names = usage.count_deleted(list(names))
        if self._s3:
            paths = [self.path(name).split("/", 1) for name in names]
            with self._watch_request():
                s3.delete(self.url, paths[0][0] if paths else "", [key for _, key in paths])
            return
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                if self.local and self.fence is not None:
                    local_files.remove(Path(self.path(name)), self._root, self.fence)
                else:
                    with self._watch_request():
                        self._fs.delete_file(self.path(name))

    def delete_same(self, name: str, old: bytes) -> None:
        """Delete a file if it is still what was read; one that is another by now, or gone, is no error."""
        if self._s3:
            usage.count(get=1, delete=1, bytes_read=len(old))
            bucket, key = self._writable(name).split("/", 1)
            with self._watch_request():
                s3.delete_same(self.url, bucket, key, old)
            return
        with contextlib.suppress(FileNotFoundError), self._lock(name):
            if self.read(name) == old:
                self.delete([name])

    def _lock(self, name: str) -> contextlib.AbstractContextManager[object]:
        """Keep others from replacing the file meanwhile, on disk."""
        return local_files.lock_folder(Path(self.path(name)).parent) if self.local else contextlib.nullcontext()

    def delete_folder(self, name: str) -> None:
        """Delete a folder with all files below it; one that is gone already is no error."""
        if self.local:
            shutil.rmtree(self.path(name), ignore_errors=True)  # which deletes links, and follows none
        else:
            self.delete([info.name for info in self._list(name, True)])


def _in_lease_folder(parts: Sequence[str]) -> bool:
    return any(part.startswith(TEMPORARY) for part in parts[:-1])


def _storage(url: str, leave: bool, fence: Fence | None) -> Storage:
    storage = Storage(url, leave=leave)
    storage.fence = fence
    return storage

"""A place that files live in: a directory, an `s3://` prefix, or any fsspec URL, behind Arrow's filesystem.

A `Storage` never leaves its root. Writes are atomic (a reader sees the whole file or none), and
`create` makes a file only if it is absent, which is what commits and leases are built on.
"""

from __future__ import annotations

import os
import posixpath
import shutil
import time
import uuid
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
from pyarrow import fs

from dataset.web import WebFile, is_web

TEMPORARY = ".tmp-"
_CONFLICTS = 5  # times that a create on s3 is tried while another create of the same file is under way
_READERS = 16  # requests in flight when many small files are read: a request takes some 30 ms, mostly waiting
_S3_DELETE = 1000  # keys a DeleteObjects request may name (AWS S3 API reference)
_COALESCE_GAP_BYTES = 64 * 1024  # reading past a small gap is cheaper than another request


@dataclass(frozen=True)
class FileInfo:
    """A file below a storage's root: its name relative to the root, its length in bytes, and when it was written."""

    name: str
    bytes: int
    mtime_ns: int = field(default=0, compare=False)  # since 1970; 0 where the filesystem does not say


def is_local(url: str) -> bool:
    """Whether a URL names a path of this machine."""
    scheme = urlsplit(url).scheme
    return scheme in ("", "file") or len(scheme) == 1  # one letter: a Windows drive


def absolute(url: str) -> str:
    """A local path made absolute, so that it means the same in another process; other URLs as they are."""
    if not is_local(url):
        return url.rstrip("/")
    return str(Path(url.removeprefix("file://")).expanduser().absolute())


def s3_client() -> Any:
    """This process's boto3 client, which honours AWS_ENDPOINT_URL, so that any S3-compatible server works."""
    return _boto3_client(os.getpid())


@lru_cache(maxsize=4)
def _boto3_client(pid: int) -> Any:
    import boto3

    return boto3.client("s3", endpoint_url=os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL"))


def _s3_error(url: str, bucket: str, error: dict[str, str]) -> OSError:
    """What an S3 server's refusal means to a person."""
    if error["Code"] == "NoSuchBucket":
        return FileNotFoundError(f"there is no bucket {bucket} for {url}; make it first")
    return PermissionError(
        f"{url} cannot be written ({error['Code']}: {error.get('Message', '')}); "
        "check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_ENDPOINT_URL"
    )


def _s3_filesystem() -> fs.FileSystem:
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    options: dict[str, Any] = {}
    if endpoint:
        parts = urlsplit(endpoint)
        options = {"endpoint_override": parts.netloc, "scheme": parts.scheme}
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if region:
        options["region"] = region
    if os.environ.get("OPENWIT_S3_ANONYMOUS"):
        options["anonymous"] = True
    return fs.S3FileSystem(**options)


@lru_cache(maxsize=64)
def _filesystem(scheme: str, pid: int) -> fs.FileSystem:
    """One client per process: Arrow's and boto3's clients do not survive a fork."""
    if scheme in ("", "file") or len(scheme) == 1:
        return fs.LocalFileSystem()
    if scheme in ("s3", "s3a"):
        return _s3_filesystem()
    import fsspec

    return fs.PyFileSystem(fs.FSSpecHandler(fsspec.filesystem(scheme)))


def filesystem(url: str) -> tuple[fs.FileSystem, str]:
    """The Arrow filesystem of a URL and the path in it.

    Raises:
        ImportError, ValueError: no filesystem is known for the URL's scheme.
    """
    parts = urlsplit(url)
    if is_local(url):
        return _filesystem("", os.getpid()), absolute(url)
    path = f"{parts.netloc}{parts.path}" if parts.netloc else parts.path
    return _filesystem(parts.scheme, os.getpid()), path.rstrip("/")


def open_input(url: str) -> pa.NativeFile:
    """A seekable, binary, readable file at any URL.

    Raises:
        FileNotFoundError, OSError: it does not exist or cannot be read.
    """
    if is_web(url):
        return pa.PythonFile(WebFile(url), mode="r")
    filesystem_, path = filesystem(url)
    return filesystem_.open_input_file(path)


class Storage:
    """The files below one root URL."""

    def __init__(self, url: str):
        self.url = absolute(url)
        self._fs, self._root = filesystem(self.url)
        self.local = is_local(self.url)
        self._s3 = urlsplit(self.url).scheme in ("s3", "s3a")

    def __reduce__(self) -> tuple[type[Storage], tuple[str]]:
        return Storage, (self.url,)

    def path(self, name: str) -> str:
        """The path of a file in the underlying filesystem.

        Raises:
            ValueError: the name would leave the root.
        """
        clean = posixpath.normpath(name)
        if clean.startswith(("../", "/")) or clean == "..":
            raise ValueError(f"{name!r} is outside the dataset")
        return f"{self._root}/{clean}"

    def url_of(self, name: str) -> str:
        """The URL of a file, for messages and for other tools."""
        return f"{self.url}/{name}"

    def open(self, name: str) -> pa.NativeFile:
        """Open a file for reading, seekable. Raises FileNotFoundError."""
        return self._fs.open_input_file(self.path(name))

    def read(self, name: str) -> bytes:
        """A whole file. Raises FileNotFoundError."""
        with self.open(name) as file:
            return bytes(file.read())

    def read_all(self, names: Sequence[str]) -> list[bytes]:
        """Many whole files, in the order asked; remote ones several at a time. Raises FileNotFoundError."""
        if self.local or len(names) < 2:
            return [self.read(name) for name in names]
        with ThreadPoolExecutor(_READERS) as pool:
            return list(pool.map(self.read, names))

    def read_ranges(self, name: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """The bytes at several (offset, length), in the order asked, by few, coalesced reads; short at its end."""
        answer: list[bytes] = [b""] * len(ranges)
        order = sorted(range(len(ranges)), key=lambda i: ranges[i])
        with self.open(name) as file:
            length = file.size()
            first = 0
            while first < len(order):
                start = ranges[order[first]][0]
                end = start + ranges[order[first]][1]
                last = first + 1
                while last < len(order) and ranges[order[last]][0] <= end + _COALESCE_GAP_BYTES:
                    end = max(end, sum(ranges[order[last]]))
                    last += 1
                chunk = file.read_at(end - start, start) if start < length else b""
                for i in order[first:last]:
                    offset = ranges[i][0] - start
                    answer[i] = bytes(chunk[offset : offset + ranges[i][1]])
                first = last
        return answer

    def write(self, name: str, data: bytes | memoryview | pa.Buffer) -> None:
        """Write a whole file; a reader sees the old one or the new one, never a part."""
        path = self.path(name)
        if self.local:
            target = Path(path)
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary = target.with_name(f"{TEMPORARY}{uuid.uuid4().hex}-{target.name}")
            try:
                temporary.write_bytes(data)
                temporary.replace(target)
            finally:
                temporary.unlink(missing_ok=True)
        else:
            # Arrow would compress what is named .gz.
            with self._fs.open_output_stream(path, compression=None) as stream:
                stream.write(data)

    def open_output(self, name: str) -> pa.NativeFile:
        """Open a file for writing; until it is closed a reader may see a part of it."""
        path = self.path(name)
        if self.local:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
        return self._fs.open_output_stream(path, compression=None)  # Arrow would compress what is named .gz

    def create(self, name: str, data: bytes) -> bool:
        """Write a file if it is absent; False, with nothing changed, if it is there already."""
        path = self.path(name)
        if self.local:
            target = Path(path)
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary = target.with_name(f"{TEMPORARY}{uuid.uuid4().hex}-{target.name}")
            try:
                temporary.write_bytes(data)
                os.link(temporary, target)  # atomic, and fails if the target exists
                return True
            except FileExistsError:
                return False
            finally:
                temporary.unlink(missing_ok=True)
        if self._s3:
            return self._create_s3(path, data)
        if self.exists(name):  # other filesystems: the best that fsspec offers; a race is possible
            return False
        self.write(name, data)
        return True

    def _create_s3(self, path: str, data: bytes) -> bool:
        from botocore.exceptions import BotoCoreError, ClientError

        bucket, key = path.split("/", 1)
        for attempt in range(_CONFLICTS):
            try:
                s3_client().put_object(Bucket=bucket, Key=key, Body=data, IfNoneMatch="*")
                return True
            except ClientError as error:
                meta = error.response["ResponseMetadata"]
                if meta["HTTPStatusCode"] == 412:
                    # The file may be this very request's, sent again by boto3 because the first answer was lost.
                    return bool(meta.get("RetryAttempts")) and self._fs.open_input_file(path).read() == data
                if meta["HTTPStatusCode"] != 409:  # another create is under way, and may yet fail
                    raise _s3_error(self.url, bucket, error.response["Error"]) from error
                time.sleep(0.1 * 2**attempt)
            except BotoCoreError as error:
                raise ConnectionError(f"{self.url} cannot be reached: {error}") from error
        return False

    def exists(self, name: str) -> bool:
        """Whether the file is there."""
        return bool(self._fs.get_file_info(self.path(name)).type == fs.FileType.File)

    def _all(self, folder: str, recursive: bool) -> list[FileInfo]:
        base = f"{self._root}/{folder}".rstrip("/")
        selector = fs.FileSelector(base, allow_not_found=True, recursive=recursive)
        return sorted(
            (
                # Some of fsspec's filesystems put a slash before what they list, whether asked with one or not.
                FileInfo(
                    info.path.lstrip("/")[len(self._root.lstrip("/")) :].lstrip("/"), info.size, info.mtime_ns or 0
                )
                for info in self._fs.get_file_info(selector)
                if info.type == fs.FileType.File
            ),
            key=lambda info: info.name,
        )

    def list(self, folder: str = "", *, recursive: bool = False) -> list[FileInfo]:
        """The files of a folder, sorted by name; a folder that does not exist is empty."""
        return [info for info in self._all(folder, recursive) if not Path(info.name).name.startswith(TEMPORARY)]

    def sweep(self) -> int:
        """Delete what writers left half-written when they were killed, and return how many files; none may be live."""
        if not self.local:
            return 0  # other filesystems show a file when it is whole
        left = [info.name for info in self._all("", True) if Path(info.name).name.startswith(TEMPORARY)]
        self.delete(left)
        return len(left)

    def delete(self, names: Iterable[str]) -> None:
        """Delete files; those that are gone already are no error."""
        if self._s3:
            paths = [self.path(name).split("/", 1) for name in names]
            for first in range(0, len(paths), _S3_DELETE):
                batch = [{"Key": key} for _, key in paths[first : first + _S3_DELETE]]
                s3_client().delete_objects(Bucket=paths[0][0], Delete={"Objects": batch, "Quiet": True})
            return
        for name in names:
            try:
                self._fs.delete_file(self.path(name))
            except FileNotFoundError:
                continue

    def delete_folder(self, name: str) -> None:
        """Delete a folder with all files below it; one that is gone already is no error."""
        self.delete([info.name for info in self._all(name, True)])
        if self.local:
            shutil.rmtree(self.path(name), ignore_errors=True)

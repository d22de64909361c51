"""What a source is, by its first bytes, and how it is opened: a file at a path or URL, or a member of a WACZ.

A WACZ is a zip that holds WARC files (specs.webrecorder.net/wacz); its member is written
`file.wacz!/archive/data.warc.gz`. A zip can also hold several of them (its `multi-wacz-package`):
`files.wacz!/one.wacz!/archive/data.warc.gz`.
"""

from __future__ import annotations

import hashlib
import re
import struct
import tempfile
import zipfile
import zlib
from collections import OrderedDict
from itertools import pairwise
from operator import attrgetter
from typing import Literal

import pyarrow as pa

from crawl.archives.arc import begins_arc
from crawl.archives.decoding.inflate import RAW
from crawl.tables.json_lines import is_object
from crawl.tables.lines import HEAD_BYTES, first_lines
from dataset.store.seekable import Seekable
from dataset.store.storage import open_input

MEMBER = "!/"
_ZIP = b"PK\x03\x04"
# What zipfile raises at a damaged file, or one in a form that it does not know.
_UNREADABLE = (zipfile.BadZipFile, NotImplementedError, struct.error, ValueError)
_LOCAL_HEADER = struct.Struct(
    "<4s22xHH"
)  # PKZIP APPNOTE, 4.3.7: signature, …, lengths of the name and of the extra field
_PARQUET = b"PAR1"
_JSON = re.compile(r'\{|\[\s*(?:$|[\[{"])')
_READ_BYTES = 2**20
_MAX_MEMBERS = 10_000
_MAX_RATIO = 1032  # by which deflate can compress (zlib's technical notes)
_DIRECTORIES_KEPT = 2  # of a zip, and of the one in it that is read
_END_BYTES = 64 * 1024  # of a zip, in which its directory ends: other files have others
_MAX_UNPACKED_BYTES = 8 * 2**30  # of a compressed member, on the worker's disk; WARC files have about 1 GB

Kind = Literal["archive", "wacz", "parquet", "csv", "json_lines", "json", "urls"]


def open_source(location: str) -> pa.NativeFile:
    """Return a seekable, binary file at a path or URL, or a member of a zip there.

    Raises:
        FileNotFoundError, OSError: it does not exist or cannot be read.
    """
    container, is_member, name = location.rpartition(MEMBER)
    if is_member and name:
        return _open_member(container, name)
    return open_input(location)


def kind_of(location: str) -> Kind:
    """Return what a source is, from its content; what is neither table nor list is taken for an archive, damaged or
    not.
    """
    with open_source(location) as file:
        head = bytes(file.read(HEAD_BYTES))
    if head.startswith(_ZIP):
        return "wacz"
    if head.startswith(_PARQUET):
        return "parquet"
    lines = first_lines(head)
    if lines and all(_is_address(line) for line in lines):
        return "urls"
    if not lines or lines[0].startswith(("WARC/", "<")) or begins_arc(f"{lines[0]}\n".encode()):
        return "archive"
    if lines[0].startswith("{") and is_object(lines[0]):
        return "json_lines"
    if _JSON.match(lines[0]):
        return "json"
    is_excels = lines[0].lower().startswith(("sep=", '"sep='))  # whose first line names the separator
    return "csv" if is_excels or any(mark in lines[0] for mark in ",\t;") else "archive"


def _is_address(line: str) -> bool:
    return line.lower().startswith(("http://", "https://")) and not any(char in line for char in ' \t"<')


def warc_members(location: str) -> list[tuple[str, int]]:
    """Return (name, size in bytes) of the WARC files in a WACZ, and in each WACZ that it holds.

    Raises:
        ValueError: it is no zip, or holds none, or too many.
        OSError: it cannot be read.
    """
    warc_files: list[tuple[str, int]] = []
    with open_source(location) as file:
        try:
            size = file.size()
            items = [item for item in _directory(file, location).values() if not item.is_dir()]
        except _UNREADABLE as error:
            raise ValueError(f"{location} is a damaged zip ({error}); fetch it again") from None
    for item in items:
        if item.filename.startswith("archive/"):
            warc_files.append((item.filename, _bound_size(item, size)))
        elif item.filename.endswith(".wacz") and MEMBER not in location:
            inner = item.filename + MEMBER
            warc_files += [(inner + name, size) for name, size in warc_members(location + MEMBER + item.filename)]
        if len(warc_files) > _MAX_MEMBERS:
            raise ValueError(f"{location} holds more than {_MAX_MEMBERS:,} archives")
    if not warc_files:
        raise ValueError(f"{location} is a zip, but no WACZ: it holds nothing in archive/")
    return sorted(warc_files)


_directories: OrderedDict[tuple[str, int, bytes], dict[str, zipfile.ZipInfo]] = OrderedDict()


def _directory(file: pa.NativeFile, location: str) -> dict[str, zipfile.ZipInfo]:
    """The members of a zip by name, read once for the many that are opened one after the other. Raises _UNREADABLE."""
    size = file.size()
    file.seek(max(0, size - _END_BYTES))
    key = (location, size, hashlib.blake2b(bytes(file.read(_END_BYTES))).digest())
    if key not in _directories:
        file.seek(0)
        items = sorted(zipfile.ZipFile(file).infolist(), key=attrgetter("header_offset"))
        for item, following in pairwise(items):  # no member's bytes are another's, or few would stand for many
            item.compress_size = min(item.compress_size, max(0, following.header_offset - item.header_offset))
        _directories[key] = {item.filename: item for item in items}
        while len(_directories) > _DIRECTORIES_KEPT:
            _directories.popitem(last=False)
    _directories.move_to_end(key)
    return _directories[key]


def _bound_size(item: zipfile.ZipInfo, size: int) -> int:
    """The size of a member as declared, but no more than a zip of so many bytes can hold."""
    held = max(0, min(item.compress_size, size - item.header_offset))
    return min(item.file_size, held if item.compress_type == zipfile.ZIP_STORED else _MAX_RATIO * held)


def _open_member(location: str, name: str) -> pa.NativeFile:
    """A member as it lies in the zip if it is stored, as the standard asks; else unpacked into a temporary file."""
    file = open_source(location)
    try:
        item = _directory(file, location)[name]
        file.seek(item.header_offset)
        signature, name_length, extra_length = _LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size))
    except (KeyError, *_UNREADABLE) as error:
        raise FileNotFoundError(f"{location} holds no readable {name}: {error}") from None
    start = item.header_offset + _LOCAL_HEADER.size + name_length + extra_length
    if signature != _ZIP or item.flag_bits & 1 or item.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise FileNotFoundError(f"{location} holds {name} in a form that cannot be read; unpack it")
    if item.compress_type == zipfile.ZIP_STORED:
        return pa.PythonFile(_Window(file, start, min(_bound_size(item, file.size()), file.size() - start)), mode="r")
    unpacked = tempfile.TemporaryFile()  # noqa: SIM115 - its reader closes it
    inflater = zlib.decompressobj(RAW)
    file.seek(start)
    left, size = item.compress_size, 0
    limit = min(_bound_size(item, file.size()), _MAX_UNPACKED_BYTES)
    while left > 0 and not inflater.eof and size < limit:
        data = bytes(file.read(min(left, _READ_BYTES)))
        left -= len(data) or left
        try:
            while data and size < limit:
                size += unpacked.write(inflater.decompress(data, min(_READ_BYTES, limit - size)))
                data = inflater.unconsumed_tail
        except zlib.error:
            break  # what comes before the damage is read, and the reader finds the archive cut off
    file.close()
    unpacked.seek(0)
    return pa.PythonFile(unpacked, mode="r")


class _Window(Seekable):
    """A part of a file as a file."""

    def __init__(self, file: pa.NativeFile, start: int, size: int):
        self._file = file
        self._start, self._size = start, size

    def read(self, count: int = -1) -> bytes:
        left = max(0, self._size - self._at)
        self._file.seek(self._start + self._at)
        data = bytes(self._file.read(left if count < 0 else min(count, left)))
        self._at += len(data)
        return data

    def close(self) -> None:
        super().close()
        self._file.close()

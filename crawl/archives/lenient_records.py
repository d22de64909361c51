"""WARC records whose headers are not written as the standard asks, and FastWARC does not read.

Lines end in a bare line feed, a field's value begins on the next line, the type is in capitals: what other readers
(warcio, JWAT) accept. This reader is slower, and stands in where FastWARC fails.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Protocol

from crawl.archives.decoding.peekable import Forward

VERSION = rb"WARC/[01]\.\d{1,3}\r{0,2}\n"
MAX_HEADER_BYTES = 256 * 1024
TYPES = frozenset({"warcinfo", "response", "resource", "request", "metadata", "revisit", "conversion", "continuation"})
"""The types of WARC 1.1, section 5.5."""

_VERSION = re.compile(VERSION)
_ANOTHER = re.compile(rb"\n" + VERSION)
_HEADER_END = re.compile(rb"\n\r{0,2}\n")
_PADDING = b"\x00 \t\r\n"
_SHORT_BYTES = 8 * 1024


class Fields(Protocol):
    """A record's header."""

    def get_bytes(self, name: bytes) -> bytes | None:
        """Return the value of the first field of a name; case does not matter."""


class BlockReader(Protocol):
    """A record's block."""

    def read(self, size: int) -> bytes | bytearray:
        """Return the next bytes, fewer only at the end."""


class FoundRecord(Protocol):
    """What is read of FastWARC's records, and of these: where one begins, its type as text, what it declares its block
    to have, its header, its block.
    """

    @property
    def stream_pos(self) -> int: ...
    @property
    def record_type(self) -> object: ...
    @property
    def content_length(self) -> int: ...
    @property
    def headers(self) -> Fields: ...
    @property
    def reader(self) -> BlockReader: ...


class _Header:
    """The fields of a record by their lower-case names."""

    def __init__(self, fields: dict[bytes, bytes]):
        self._fields = fields

    def get_bytes(self, name: bytes) -> bytes | None:
        return self._fields.get(name.lower())


class _Block:
    def __init__(self, ahead: Forward, length: int):
        self._ahead = ahead
        self.left = length

    def read(self, size: int) -> bytes:
        data = self._ahead.peek(min(size, self.left))
        self.left -= self._ahead.skip(len(data))
        return data


class OddRecord:
    """A record of which only the header is read so far; the next one begins where the block ends."""

    def __init__(self, stream_pos: int, fields: dict[bytes, bytes], length: int, ahead: Forward):
        self.stream_pos = stream_pos
        self.record_type = fields.get(b"warc-type", b"").decode("latin-1").lower()
        self.content_length = length
        self.headers = _Header(fields)
        self.reader = _Block(ahead, length)


def is_misread(record: FoundRecord) -> bool:
    """Return whether FastWARC may have read a header wrongly that can be read."""
    type_ = str(record.record_type)
    if type_ not in TYPES:
        written = record.headers.get_bytes(b"WARC-Type")
        return written is None or b"\n" in written or written.strip().decode("latin-1").lower() in TYPES
    return record.content_length == 0 and record.headers.get_bytes(b"Content-Length") != b"0"


def parse_header(head: bytes) -> tuple[int, dict[bytes, bytes]] | None:
    """Return how long the header is that bytes begin with, and its fields by lower-case name; None if it does
    not end.
    """
    end = _HEADER_END.search(head)
    if end is None:
        return None
    fields: dict[bytes, bytes] = {}
    name = b""
    for line in head[: end.start()].split(b"\n")[1:]:
        if line[:1] in (b" ", b"\t") and name:  # folded: continues the value before it
            fields[name] = (fields[name] + b" " + line.strip()).strip()
            continue
        written, colon, value = line.partition(b":")
        name = written.strip().lower() if colon else b""
        if name in fields:
            name = b""  # the first counts
        elif name:
            fields[name] = value.strip()
    return end.end(), fields


def header_ahead(peek: Callable[[int], bytes]) -> tuple[bytes, tuple[int, dict[bytes, bytes]] | None]:
    """The next bytes, and the header that they begin with, as `parse_header`; none if another begins before it ends.

    peek: gives up to so many of the next bytes.
    """
    head = peek(_SHORT_BYTES)
    header = parse_header(head)
    if header is None and not _ANOTHER.search(head):  # most have no such length, and damage may be met very often
        header = parse_header(peek(MAX_HEADER_BYTES))
    return head, header


def declared_length(fields: dict[bytes, bytes]) -> int | None:
    """Return the bytes of a block; None if the header does not say."""
    value = fields.get(b"content-length", b"")
    return int(value) if value.isdigit() and len(value) <= 18 else None


def read_odd(ahead: Forward, *, offset: int | None = None, skip: int = 0) -> Iterator[OddRecord]:
    """Yield the records to the end.

    Args:
        ahead: where they stand.
        offset: where each of them is said to begin, if not where it does in `ahead`.
        skip: how many to leave out.

    Raises:
        OSError: at damage.
    """
    while ahead.skip_all(_PADDING):
        begin = ahead.at
        head, header = header_ahead(ahead.peek)
        length = declared_length(header[1]) if header else None
        if header is None or length is None or not _VERSION.match(head):
            raise OSError(f"no header of a WARC record at byte {begin:,}")
        ahead.skip(header[0])
        record = OddRecord(begin if offset is None else offset, header[1], length, ahead)
        if skip > 0:
            skip -= 1
        else:
            yield record
        if ahead.skip(record.reader.left) < record.reader.left:
            raise OSError(f"the record at byte {begin:,} is cut off")

"""How a WARC file is compressed, and what follows from it: where records begin, where reading can start or go on.

`Members` is the standard's way (WARC 1.1, annex D): a gzip member for each record, so that any record can be found
and read alone. `Stream` is everything else: no compression, or one stream of gzip, zstd or lz4 around all records.
"""

from __future__ import annotations

import re
import sys
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

from fastwarc.warc import ArchiveIterator

from crawl.archives.decoding.gzip_members import read_members
from crawl.archives.decoding.inflate import GZIP, GZIP_SIGNATURE, GzipMember, next_member
from crawl.archives.decoding.peekable import Forward
from crawl.archives.decoding.streams import DecompressedStream, SourceFile
from crawl.archives.lenient_records import (
    MAX_HEADER_BYTES,
    VERSION,
    FoundRecord,
    declared_length,
    header_ahead,
    is_misread,
    parse_header,
    read_odd,
)
from crawl.archives.overlong_records import begins_record, header_inside
from crawl.archives.payload import MAX_BODY_BYTES

FIRST_LINE_BYTES = 16
"""The bytes in which a record's first line stands."""

_ZSTD = re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18")  # a frame, or a skippable one (RFC 8878, section 3)
_ZIP = b"PK\x03\x04"
_LZ4 = b"\x04\x22\x4d\x18"
_WARC = re.compile(VERSION)
_WARC_LINE = re.compile(rb"(?:\A|\n)(" + VERSION + rb")")
_PADDING = b"\x00 \t\r\n"
_READ_BYTES = 2**16
_HEAD_BYTES = 8 * 1024  # of nearly all records
MAX_READ_AGAIN_BYTES = 2**30
"""The most that is read for nothing, or more than once, because an archive is damaged, in bytes."""
_PATIENCE = 64  # records read as a stream from one that `read_members` cannot read on, before it is asked again
_SCAN_BYTES = 2**20
# A stored (incompressible) deflate block has at most 65,535 bytes (RFC 1951, section 3.2.4). An archive inside a record
# looks like records of the outer file for so long; then the header of the outer's next block stands in its bytes.
_PROOF_BYTES = 2 * 65_535


class Container(ABC):
    """Records at offsets. Subclasses know where a record ends and where the next may begin."""

    splittable = False
    inflated_bytes = 0
    """Bytes that were inflated to find out where records begin and end, beside what was read."""

    def __init__(self, source: SourceFile | DecompressedStream):
        self.source = source
        self.type = "warc"
        self.type = self._sniff()

    @property
    def size(self) -> int:
        return self.source.size

    @property
    def known_size(self) -> int:
        """Where the records end, as far as was read."""
        return self.source.size if isinstance(self.source, SourceFile) else self.source.tell()

    @property
    def undecodable_bytes(self) -> int:
        """Bytes of the file behind damage that nothing can be read behind; known once all is read."""
        return 0

    def read(self, offset: int) -> Iterator[FoundRecord]:
        """Yield the records from an offset on. Raises OSError at damage."""
        self.source.seek(offset)
        records = ArchiveIterator(
            self.source, parse_http=False, max_header_len=MAX_HEADER_BYTES, stream_detect=self.splittable
        )
        last, since = -1, 0
        for record in records:
            since = since + 1 if record.stream_pos == last else 0
            last = record.stream_pos
            if is_misread(record):
                yield from self._read_odd(last, since)
                return
            yield record

    @abstractmethod
    def _read_odd(self, offset: int, skip: int) -> Iterator[FoundRecord]:
        """The records from an offset on, without the first `skip`, by a reader that forgives more."""

    def read_at(self, offsets: Sequence[int]) -> Iterator[tuple[int, FoundRecord]]:
        """Yield the records at sorted offsets; those that cannot be read are left out."""
        for offset in offsets:
            try:
                record = next(self.read(offset), None)
            except OSError:
                if self.source.failure is not None:
                    raise self.source.failure from None
                continue
            if record is not None and record.stream_pos == offset:
                yield offset, record

    @abstractmethod
    def end_of(self, offset: int) -> int | None:
        """Return where the record at an offset ends; None if it is damaged or cut off."""

    @abstractmethod
    def next_start(self, offset: int) -> int:
        """Return where the first record at or after an offset seems to begin; `size` if none does."""

    @abstractmethod
    def look_inside(self, offset: int, block: bytes | bytearray, is_whole: bool) -> tuple[int, int] | None:
        """Look for another record in the block of the first record at an offset; see `overlong_records.Inside`."""

    def is_padding(self, offset: int) -> bool:
        """Return whether nothing but padding follows."""
        return not self.source.peek(offset, _READ_BYTES).strip(_PADDING)

    def _sniff(self) -> str:
        """`wat` if the first record that is not about the file itself is ia-web-commons' JSON, else `warc`."""
        try:
            for record in self.read(0):
                type_ = str(record.record_type)
                if type_ == "metadata" and b'"Envelope"' in record.reader.read(_READ_BYTES):
                    return "wat"
                if type_ != "warcinfo":
                    break
        except OSError:
            if self.source.failure is not None:
                raise self.source.failure from None
        return "warc"


class Members(Container):
    """A gzip member for each record."""

    splittable = True

    def __init__(self, source: SourceFile | DecompressedStream):
        self._measured: tuple[int, tuple[int, int] | None] = (-1, None)  # the last record that was, at its offset
        self.inflated_bytes = 0
        super().__init__(source)

    def read(self, offset: int) -> Iterator[FoundRecord]:
        while offset < self.size:
            offset = yield from read_members(self.source, offset)
            count = 0
            for record in super().read(offset):
                if count >= _PATIENCE and record.stream_pos > offset:
                    offset = record.stream_pos
                    break
                yield record
                count, offset = count + 1, record.stream_pos
            else:
                return

    def end_of(self, offset: int) -> int | None:
        return self._inflate(offset, self.size)

    def _read_odd(self, offset: int, skip: int) -> Iterator[FoundRecord]:
        while not self.is_padding(offset):
            member = GzipMember(self.source.peek, offset)
            yield from read_odd(Forward(member.read), offset=offset, skip=skip)
            if member.is_damaged:
                raise OSError(f"no whole gzip member at byte {offset:,}")
            offset, skip = member.end, 0

    def next_start(self, offset: int) -> int:
        start = next_member(self.source.peek, offset, self._begins)
        return self.size if start is None else start

    def look_inside(self, offset: int, block: bytes | bytearray, is_whole: bool) -> tuple[int, int] | None:
        if self._measured[0] != offset:
            self._measured = (offset, self._measure(offset))
        own_bytes = self._measured[1]
        if own_bytes is None:
            return None
        if own_bytes[0] < len(block) and begins_record(block, own_bytes[0]):
            return own_bytes
        header = header_inside(block[: own_bytes[0]], is_whole or own_bytes[0] < len(block))
        return (header[0], own_bytes[1]) if header is not None and header[1] else None

    def _measure(self, offset: int) -> tuple[int, int] | None:
        """How much of the block of the record at an offset its member has, and where the member ends."""
        member = GzipMember(self.source.peek, offset)
        head = b""
        while (header := parse_header(head)) is None and len(head) < MAX_HEADER_BYTES and (part := member.read(2**16)):
            head += part
        length = len(head)
        while part := member.read(2**16):
            length += len(part)
        self.inflated_bytes += length
        return (length - header[0], member.end) if header is not None and not member.is_damaged else None

    def boundary(self, offset: int) -> int:
        """Return the first offset, at or after another, at which a record of this file begins beyond doubt.

        Two pieces that meet at `offset` both part the file there, so that no record is read twice or not at all. Where
        members stand within each other, as in no archive, doubts end after some bytes.
        """
        if offset <= 0:
            return 0
        most = self.inflated_bytes + MAX_READ_AGAIN_BYTES
        while (offset := self.next_start(offset)) < self.size and not self._is_proven(offset):
            if self.inflated_bytes > most:
                break
            offset += 1
        return offset

    def _is_proven(self, offset: int) -> bool:
        position, limit = offset, min(offset + _PROOF_BYTES, self.size)
        while position < limit:
            if not self._begins(position):
                return self.is_padding(position)
            end = self._inflate(position, limit)
            if end is None:
                return False
            position = end
        return True

    def _begins(self, offset: int) -> bool:
        try:
            start = zlib.decompressobj(GZIP).decompress(self.source.peek(offset, 4096), 16)
        except zlib.error:
            return False
        return _WARC.match(start) is not None

    def _inflate(self, offset: int, limit: int) -> int | None:
        """Where the member at an offset ends, or `limit` if it goes on there unharmed; None if it is damaged."""
        inflater = zlib.decompressobj(GZIP)
        position = offset
        while not inflater.eof:
            if position >= limit and limit < self.size:
                return limit
            data = inflater.unconsumed_tail
            if not data:
                data = self.source.peek(position, _READ_BYTES)
                position += len(data)
            if not data:
                return None
            try:
                self.inflated_bytes += len(inflater.decompress(data, _SCAN_BYTES))
            except zlib.error:
                return None
        return position - len(inflater.unused_data)


class Stream(Container):
    """Records one after the other in one sequence of bytes, compressed as a whole or not at all."""

    def __init__(self, source: SourceFile | DecompressedStream):
        self._is_odd = b"\r\r\n" in source.peek(0, FIRST_LINE_BYTES)  # which FastWARC misreads without a sign
        self._trusted = -1  # the offset of a record that ends where it says, though it seems to hold another
        super().__init__(source)

    @property
    def undecodable_bytes(self) -> int:
        return self.source.undecodable_bytes if isinstance(self.source, DecompressedStream) else 0

    def read(self, offset: int) -> Iterator[FoundRecord]:
        return self._read_odd(offset, 0) if self._is_odd else super().read(offset)

    def _read_odd(self, offset: int, skip: int) -> Iterator[FoundRecord]:
        self.source.seek(offset)
        yield from read_odd(Forward(self.source.read, offset), skip=skip)

    def _block(self, offset: int) -> tuple[int, int] | None:
        """Where the block of the record at an offset begins and is said to end; None if the header is damaged."""
        head, header = header_ahead(lambda count: self.source.peek(offset, count))
        length = declared_length(header[1]) if header and _WARC.match(head) else None
        return (offset + header[0], offset + header[0] + length) if header and length is not None else None

    def look_inside(self, offset: int, block: bytes | bytearray, is_whole: bool) -> tuple[int, int] | None:
        header = header_inside(block, is_whole)
        if header is None or (self._trusted == offset and not header[1]):
            return None
        here = self.source.tell()
        place = self._block(offset)
        # What lies far ahead in a compressed file is not looked at for every record.
        if (
            place is not None
            and not header[1]
            and (isinstance(self.source, SourceFile) or place[1] - here <= MAX_BODY_BYTES)
        ):
            self._trusted = offset if self._ends_well(place[1]) else -1
        self.source.seek(here)  # FastWARC may read on from there
        if place is None or (self._trusted == offset and not header[1]):
            return None
        return header[0], place[0] + header[0]

    def _ends_well(self, offset: int) -> bool:
        """Whether a record may end at an offset: at the file's end, or where another begins."""
        if not self.source.peek(offset - 1, 1):
            return False
        after = self.source.peek(offset, FIRST_LINE_BYTES).lstrip(_PADDING)
        return not after or _WARC.match(after) is not None

    def end_of(self, offset: int) -> int | None:
        block = self._block(offset)
        if block is None:
            return None
        length, end = block[1] - block[0], block[1]
        if length and not self.source.peek(end - 1, 1):
            return None
        after = self.source.peek(end, 4)
        return end + len(after) - len(after.lstrip(b"\r\n"))

    def next_start(self, offset: int) -> int:
        overlap, step = 16, _HEAD_BYTES  # most begin near, and damage may be met very often
        position = max(0, offset - 1)  # the line break before a record belongs to the record before it
        while chunk := self.source.peek(position, step):
            for match in _WARC_LINE.finditer(chunk):
                if position + match.start(1) >= offset and (match.start(1) > 0 or position == 0):
                    return position + match.start(1)
            if len(chunk) <= overlap:
                break
            position += len(chunk) - overlap
            step = min(4 * step, _SCAN_BYTES)
        return self.size


def open_container(source: SourceFile) -> Container | str:
    """Find out how a file is compressed; a sentence, to follow the file's name, if it holds no WARC records."""
    head = source.peek(0, _SCAN_BYTES)
    if not head:
        return "is empty; fetch it again or take it out of `sources`"
    if head.startswith(_ZIP):
        return (
            "is a zip, but no WACZ that can be read: it is damaged or holds nothing in archive/; "
            "fetch it again or take it out of `sources`"
        )
    if _WARC.match(head.lstrip(_PADDING)):
        return Stream(source)
    if head.startswith(GZIP_SIGNATURE):
        container = _gzip(source)
        if container is not None:
            return container
    if _ZSTD.match(head) or head.startswith(_LZ4):
        decoded = DecompressedStream(source, "lz4" if head.startswith(_LZ4) else "zstd")
        if _WARC.match(decoded.peek(0, 64)):
            return Stream(decoded)
    members = Members(source)
    if members.next_start(0) < len(head):  # the file's first bytes are damaged
        return members
    if _WARC_LINE.search(head):
        return Stream(source)
    return "is neither WARC, WAT nor ARC, nor a table or list of URLs; convert it or take it out of `sources`"


def _gzip(source: SourceFile) -> Container | None:
    """`Members` if the first member holds one record, `Stream` if it holds more; None if it holds none."""
    inflater = zlib.decompressobj(GZIP)
    source.seek(0)
    head, length, expected = b"", 0, -1
    data = b""
    while not inflater.eof:
        data = inflater.unconsumed_tail or source.read(_READ_BYTES)
        if not data:
            break
        try:
            part = inflater.decompress(data, _SCAN_BYTES)
        except zlib.error:
            break
        length += len(part)
        if expected < 0:
            head += part
            if header := parse_header(head):
                declared = declared_length(header[1])
                expected = sys.maxsize if declared is None else header[0] + declared
        if 0 <= expected < length - 4:
            return Stream(DecompressedStream(source, "gzip")) if _WARC.match(head) else None
        if len(head) > MAX_HEADER_BYTES and expected < 0:
            break
    return Members(source) if _WARC.match(head) else None

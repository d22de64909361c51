"""ARC files, the format of web archives before WARC (Internet Archive, 1996): records at byte offsets.

A record is a line (URL, IP address, date, media type, …, length) and so many bytes; compressed files have a gzip member
for each record, or are one gzip stream, in which offsets count the decompressed bytes. What is damaged is skipped up to
the next line that looks like a record's.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from crawl.archives.decoding.inflate import GZIP, GZIP_SIGNATURE, GzipMember, GzipStream, inflate, next_member
from crawl.archives.decoding.peekable import Forward
from crawl.archives.decoding.streams import SourceFile
from crawl.archives.overlong_records import http_end
from crawl.archives.payload import MAX_BODY_BYTES
from crawl.urls import url_in_header

# Early crawlers wrote spaces into URLs, and no date where they had none.
_LINE = re.compile(
    rb"(?:\A|\n)(([a-z][a-z0-9+.-]{1,20}:[^\r\n]{0,4096}?) [^ \r\n]{0,64} (\d{8,20}|null|-)"
    rb" ([^\r\n]{0,512}?) ?(\d{1,12}))\r?\n",
    re.IGNORECASE,
)
_PADDING = b"\x00 \t\r\n"
_SCAN_BYTES = 2**20
_LINE_BYTES = 8 * 1024
_MAX_READ_AGAIN_BYTES = 2**30  # of records and members that are not whole


@dataclass(frozen=True)
class ArcRecord:
    """A record: where it begins, what its line says, and its bytes (at most MAX_BODY_BYTES)."""

    offset: int
    uri: str
    date: str | None  # ISO 8601
    media_type: str
    block: bytes
    is_addressable: bool = True  # whether `read_arc_at` finds it at its offset: the first record of a gzip member


def begins_arc(head: bytes) -> bool:
    """Return whether a file's first bytes, decompressed, are an ARC's: a record about the file, or any other record."""
    head = head.lstrip(_PADDING)
    return head.startswith(b"filedesc:") or _LINE.match(head) is not None


def is_arc(source: SourceFile) -> bool:
    """Return whether a file begins as an ARC does."""
    head = source.peek(0, _LINE_BYTES)
    if head.startswith(GZIP_SIGNATURE):
        head, _ = inflate(zlib.decompressobj(GZIP), head, _LINE_BYTES)
    return begins_arc(head)


def read_arc(source: SourceFile) -> Iterator[ArcRecord | tuple[int, int]]:
    """Yield the records, and for each damage the bytes (start, end) of the file that no whole record was read from."""
    if not _has_members(source):
        yield from _records(_stream(source))
        return
    offset, left = 0, _MAX_READ_AGAIN_BYTES
    while offset < source.size and source.peek(offset, _SCAN_BYTES).strip(_PADDING):
        member = GzipMember(source.peek, offset)
        is_first, is_damaged = True, False
        for item in _records(Forward(member.read)):
            if isinstance(item, ArcRecord):
                yield replace(item, offset=offset, is_addressable=is_first)
                is_first = False
            else:
                is_damaged = True
        if member.is_damaged:
            left -= member.length  # the members behind may have the same bytes in them once more
            end = _next_member(source, offset + 1) if left > 0 else source.size
        else:
            end = member.end
        if is_damaged or member.is_damaged:
            yield offset, end
        offset = end


def read_arc_at(source: SourceFile, offsets: Sequence[int]) -> Iterator[ArcRecord]:
    """Yield the records at sorted offsets; those that cannot be read are left out."""
    is_stream = not _has_members(source)
    ahead = _stream(source)
    for offset in offsets:
        if is_stream:
            ahead.skip(offset - ahead.at)
        else:
            ahead = Forward(GzipMember(source.peek, offset).read)
        item = _record(ahead)
        if item is not None:
            yield replace(item[0], offset=offset)


def _has_members(source: SourceFile) -> bool:
    """Whether the file is compressed, and its first gzip member holds one record and no more."""
    if source.peek(0, len(GZIP_SIGNATURE)) != GZIP_SIGNATURE:
        return False
    member = GzipMember(source.peek, 0)
    ahead = Forward(member.read)
    return not ahead.skip_all(_PADDING) or _record(ahead) is None or not ahead.skip_all(_PADDING)


def _stream(source: SourceFile) -> Forward:
    is_compressed = source.peek(0, len(GZIP_SIGNATURE)) == GZIP_SIGNATURE
    source.seek(0)
    return Forward(GzipStream(source.read).read if is_compressed else source.read)


def _records(ahead: Forward) -> Iterator[ArcRecord | tuple[int, int]]:
    """The records to the end, and for each damage the bytes (start, end) that no whole record was read from."""
    left = _MAX_READ_AGAIN_BYTES
    while ahead.skip_all(_PADDING):
        begin = ahead.at
        if left <= 0:
            while ahead.skip(_SCAN_BYTES):
                pass
            yield begin, ahead.at
            return
        item = _record(ahead)
        if item is not None:
            yield item[0]
            left -= 0 if item[1] else len(item[0].block)
        if item is None or not item[1]:
            if ahead.at == begin:
                _skip_to_next(ahead)
            yield begin, ahead.at


def _record(ahead: Forward) -> tuple[ArcRecord, bool] | None:
    """The record that begins here and whether it is whole; goes to its end.

    Goes nowhere if there is none or it is cut off: a wrong length must not cost the records after it. One that says to
    be longer than it is ends where the next begins.
    """
    line = _LINE.match(ahead.peek(_LINE_BYTES))
    if line is None:
        return None
    begin, length = line.end(), int(line[5])
    held, looked, position = min(length, MAX_BODY_BYTES), 0, ahead.at
    while True:
        looked = min(held, max(_LINE_BYTES, 2 * looked))
        block = ahead.peek_at(begin, looked)
        is_all = looked == held or len(block) < looked
        inside = _start_of_next_record(ahead, block, begin, length, is_all=is_all)
        if inside is not None:
            ahead.skip(begin + inside)
            return _make_record(line, position, block[:inside]), False
        if is_all:
            break
    is_whole = len(block) == held and ahead.skip(begin + length) == begin + length
    return _make_record(line, position, block), is_whole


def _start_of_next_record(ahead: Forward, block: bytes, begin: int, length: int, *, is_all: bool) -> int | None:
    """Where the line of another record stands in a block that HTTP does not claim; see `overlong_records`.

    Args:
        ahead: at the record.
        block: of the record, or its beginning.
        begin: where the block begins, from where the record does.
        length: what the record says that its block has.
        is_all: whether the block is all there.
    """
    line_match = _LINE.search(block, 1)
    if line_match is None and not is_all:
        return None
    claimed = http_end(block)
    if claimed is not None and claimed > len(block):
        if not is_all:
            return None
        claimed = None
    if claimed is not None:
        line_match = _LINE.search(block, max(1, claimed - 1))
    if (
        (claimed is None or line_match is None)
        and begin + length <= MAX_BODY_BYTES
        and _ends_well(ahead, begin + length)
    ):
        return None
    if line_match is None:  # the record may end within the line
        last = block.rfind(b"\n", max(0, (claimed or 0) - 1)) + 1
        line = ahead.peek_at(begin + last, _LINE_BYTES) if last and len(block) == length else b""
        return last if _LINE.match(line) else None
    return line_match.start(1)


def _ends_well(ahead: Forward, end: int) -> bool:
    """Whether a record may end so far ahead: at the file's end, or where another begins."""
    if not ahead.peek_at(end - 1, 1):
        return False
    after = ahead.peek_at(end, _LINE_BYTES).lstrip(_PADDING)
    return not after or _LINE.match(after) is not None


def _make_record(line: re.Match[bytes], offset: int, block: bytes) -> ArcRecord:
    digits = line[3][:14].decode().ljust(14, "0")
    date = f"{digits[:4]}-{digits[4:6]}-{digits[6:8]}T{digits[8:10]}:{digits[10:12]}:{digits[12:14]}Z"
    media_type = line[4].split(b" ")[0].decode("latin-1")
    return ArcRecord(offset, url_in_header(line[2]), date if digits.isdigit() else None, media_type, block)


def _skip_to_next(ahead: Forward) -> None:
    """Go forward to where the next record seems to begin, or to the end."""
    ahead.skip(1)
    while chunk := ahead.peek(_SCAN_BYTES):
        line_break = chunk.find(b"\n")  # what comes before is the rest of a line
        match = _LINE.search(chunk, line_break) if line_break >= 0 else None
        if match is not None:
            ahead.skip(match.start(1))
            return
        ahead.skip(len(chunk) if len(chunk) < _SCAN_BYTES else len(chunk) - _LINE_BYTES)


def _next_member(source: SourceFile, offset: int) -> int:
    """Where the first gzip member at or after an offset begins that holds a record; the file's size if none does."""

    def begins(position: int) -> bool:
        start, _ = inflate(zlib.decompressobj(GZIP), source.peek(position, _LINE_BYTES), _LINE_BYTES)
        return _LINE.match(start) is not None

    member_start = next_member(source.peek, offset, begins)
    return source.size if member_start is None else member_start

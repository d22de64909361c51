"""ARC files, the format of web archives before WARC (Internet Archive, 1996): records at byte offsets.

A record is a line (URL, IP address, date, media type, …, length) and so many bytes; compressed files have a gzip member
for each record. What is damaged is skipped up to the next line that looks like a record's.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from crawl.containers import Source
from crawl.inflate import GZIP, inflate
from crawl.payload import MAX_BODY_BYTES

_MAGIC = b"\x1f\x8b\x08"
_LINE = re.compile(
    rb"(?:\A|\n)(([a-z][a-z0-9+.-]{1,20}:[^ \r\n]{1,4096}) [^ \r\n]{0,64} (\d{8,14})"
    rb" ([^\r\n]{0,512}?) ?(\d{1,12}))\r?\n"
)
_SCAN_BYTES = 2**20
_LINE_BYTES = 8 * 1024


@dataclass(frozen=True)
class ArcRecord:
    """A record: where it begins, where the next can, what its line says, and its bytes (at most MAX_BODY_BYTES)."""

    offset: int
    end: int
    uri: str
    date: str | None  # ISO 8601
    media_type: str
    block: bytes
    is_whole: bool


def is_arc(source: Source) -> bool:
    """Whether a file begins as an ARC does: with a record about itself."""
    head = source.peek(0, _LINE_BYTES)
    if head.startswith(_MAGIC):
        head, _ = inflate(zlib.decompressobj(GZIP), head, 64)
    return head.startswith(b"filedesc:")


def read_arc(source: Source, offset: int = 0) -> Iterator[ArcRecord | tuple[int, int]]:
    """The records from an offset on, and for each damage the bytes (start, end) that no record was read from."""
    is_compressed = source.peek(0, len(_MAGIC)) == _MAGIC
    while offset < source.size:
        record = (_member if is_compressed else _plain)(source, offset)
        if record is None or not record.is_whole:
            after = _next(source, offset + 1, is_compressed)
            if record is not None and record.block:
                yield record
            elif not source.peek(offset, _SCAN_BYTES).strip(b"\r\n\x00 ") and after == source.size:
                return  # padding
            yield offset, after
            offset = after
        else:
            yield record
            offset = record.end


def read_arc_at(source: Source, offsets: Sequence[int]) -> Iterator[ArcRecord]:
    """The records at offsets; those that cannot be read are left out."""
    is_compressed = source.peek(0, len(_MAGIC)) == _MAGIC
    for offset in offsets:
        record = (_member if is_compressed else _plain)(source, offset)
        if record is not None:
            yield record


def _plain(source: Source, offset: int) -> ArcRecord | None:
    head = source.peek(offset, _LINE_BYTES)
    line = _LINE.match(head)
    if line is None:
        return None
    start, length = offset + line.end(), int(line[5])
    block = source.peek(start, min(length, MAX_BODY_BYTES))
    end = start + length
    return _made(line, offset, end + len(source.peek(end, 1)), block, end <= source.size)


def _member(source: Source, offset: int) -> ArcRecord | None:
    """The record of the gzip member at an offset."""
    inflater = zlib.decompressobj(GZIP)
    parts: list[bytes] = []
    size, at, is_unharmed = 0, offset, True
    while is_unharmed and not inflater.eof:
        data = inflater.unconsumed_tail
        if not data:
            data = source.peek(at, _SCAN_BYTES if parts else _LINE_BYTES * 2)
            at += len(data)
        if not data:
            is_unharmed = False
            break
        part, is_unharmed = inflate(inflater, data, _SCAN_BYTES)
        parts.append(part)
        size += len(part)
        is_unharmed = is_unharmed and size <= MAX_BODY_BYTES + _LINE_BYTES  # a bomb, or more than is read of any record
    text = b"".join(parts)
    line = _LINE.match(text)
    if line is None:
        return None
    block = text[line.end() : line.end() + min(int(line[5]), MAX_BODY_BYTES)]
    return _made(line, offset, at - len(inflater.unused_data), block, is_unharmed)


def _made(line: re.Match[bytes], offset: int, end: int, block: bytes, is_whole: bool) -> ArcRecord:
    digits = line[3].decode().ljust(14, "0")
    date = f"{digits[:4]}-{digits[4:6]}-{digits[6:8]}T{digits[8:10]}:{digits[10:12]}:{digits[12:14]}Z"
    media_type = line[4].split(b" ")[0].decode("latin-1")
    return ArcRecord(offset, end, line[2].decode("utf-8", "replace"), date, media_type, block, is_whole)


def _next(source: Source, offset: int, is_compressed: bool) -> int:
    """Where the first record at or after an offset seems to begin; the file's size if none does."""
    while offset < source.size:
        chunk = source.peek(offset, _SCAN_BYTES)
        if is_compressed:
            at = chunk.find(_MAGIC)
            while at >= 0:
                start, _ = inflate(zlib.decompressobj(GZIP), source.peek(offset + at, _LINE_BYTES), _LINE_BYTES)
                if _LINE.match(start):
                    return offset + at
                at = chunk.find(_MAGIC, at + 1)
        elif match := _LINE.search(chunk):
            return offset + match.start(1)
        if len(chunk) < _SCAN_BYTES:
            break
        offset += len(chunk) - _LINE_BYTES
    return source.size

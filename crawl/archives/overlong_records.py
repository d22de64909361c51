"""Records that declare more bytes than they have, so that the next record's header stands in their block.

What HTTP says of its own length decides: a header behind the response's end begins a record. Where HTTP says nothing, a
header begins one if none begins where the block is said to end. Else it belongs to the block: archives hold archives.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from itertools import chain, pairwise

from stringzilla import find

from crawl.archives.lenient_records import MAX_HEADER_BYTES, TYPES, VERSION, FoundRecord, declared_length, parse_header
from crawl.archives.payload import chunks_end, parse_response

_MARK = b"WARC/"
_VERSION = re.compile(VERSION)
_FIRST_LINE_BYTES = 16
_FIRST_READ_BYTES = 16 * 1024
_WARC_LINE = re.compile(rb"(?:\A|\n)(" + VERSION + rb")")
_REQUEST = re.compile(rb"[A-Z]{3,16} [^\r\n]{1,8192} HTTP/\d")
_HEADER_END = re.compile(rb"\n\r{0,2}\n")


Inside = Callable[[bytes | bytearray, bool], tuple[int, int] | None]
"""Looks for the header of another record in a block, or its beginning (the block, whether it is whole): where it stands
in the block, and where reading goes on in the file; None if there is none."""


def read_block(record: FoundRecord, limit: int, look: Inside) -> tuple[bytearray, int | None]:
    """Return a record's block, as far as it is its own, and where reading goes on if another record stands within it.

    No more is read than twice what is its own: else a file of many such records would be read once for each.

    Args:
        record: of which nothing is read so far.
        limit: bytes to read at most.
        look: is asked where the block may hold another record.
    """
    limit = min(record.content_length, limit)
    block, step, is_suspect = bytearray(), _FIRST_READ_BYTES, False
    while len(block) < limit and (part := record.reader.read(min(step, limit - len(block)))):
        seen = max(0, len(block) - len(_MARK))
        block += part
        step = len(block)
        is_suspect = is_suspect or find(block, _MARK, seen) >= 0
        if is_suspect and (next_record := look(block, len(block) == limit)) is not None:
            return block[: next_record[0]], next_record[1]
    return block, None


def begins_record(block: bytes | bytearray, position: int) -> bool:
    """Return whether the first line of a record stands in a block, blank lines apart."""
    return _VERSION.match(block[position : position + 2 * _FIRST_LINE_BYTES].lstrip(b"\r\n")) is not None


def header_inside(block: bytes | bytearray, is_whole: bool = True) -> tuple[int, bool] | None:
    """Return where the first header of a WARC record stands in a block that its HTTP message does not claim.

    Args:
        block: a record's block, or its beginning.
        is_whole: which of the two.

    Returns:
        The header's place in the block, and whether HTTP says that the message ends before; None if there is none.
    """
    claimed = http_end(bytes(block))
    if claimed is not None and claimed > len(block):
        if not is_whole:
            return None
        claimed = None
    lines = _WARC_LINE.finditer(block, max(0, (claimed or 0) - 1))
    end = 0  # of the header that a line begins; found once for all lines before it, and parsed for the last of them
    for match, following in pairwise(chain(lines, [None])):
        assert match is not None
        position = match.start(1)
        if end <= position:
            header_end = _HEADER_END.search(block, position)
            end = sys.maxsize if header_end is None else header_end.end()
        if end - position > MAX_HEADER_BYTES:
            if len(block) - position > MAX_HEADER_BYTES:
                continue
            return position, claimed is not None
        if following is not None and following.start(1) < end:
            continue  # no header holds the first line of another
        header = parse_header(bytes(block[position:end]))
        if header is not None and _is_record(header[1]):
            return position, claimed is not None
    return None


def _is_record(fields: dict[bytes, bytes]) -> bool:
    return fields.get(b"warc-type", b"").decode("latin-1").lower() in TYPES and declared_length(fields) is not None


def http_end(block: bytes) -> int | None:
    """Return where an HTTP message ends by its own word, which may be behind what is there of it; None if it does not
    say.
    """
    if _REQUEST.match(block):
        head = _HEADER_END.search(block)
        return head.end() if head and b"content-length" not in block[: head.end()].lower() else None
    response = parse_response(block)
    end = chunks_end(response.body) if response.is_chunked else response.content_length
    return None if end is None else len(block) - len(response.body) + end

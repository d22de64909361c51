"""A text file as UTF-8, in blocks of whole lines, whatever its encoding and however long its lines are."""

from __future__ import annotations

import codecs
import re
import zlib
from collections.abc import Callable, Iterator

from crawl.archives.decoding.inflate import GZIP, GZIP_SIGNATURE, inflate
from crawl.tables.columns import Losses

MAX_LINE_BYTES = 2**20
"""A longer line is none of a table: it is left out and counted."""
HEAD_BYTES = 2**16
"""The first bytes of a file, by which its kind is recognized."""

_BLOCK_BYTES = 2**22
_STEP_BYTES = 2**16
_MAX_CONTROL_SHARE = 0.02  # of the characters of a text; a binary file has ten times as many
_MARKS = (  # UTF-32's begin as UTF-16's do
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_CONTROL = re.compile("[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")


def first_lines(head: bytes) -> list[str]:
    """Return the first lines of a text file that are neither empty nor comments (`#`); none of a binary file's.

    Args:
        head: the file's first bytes, at most HEAD_BYTES, as they are.
    """
    is_cut = len(head) >= HEAD_BYTES
    if head.startswith(GZIP_SIGNATURE):
        head, _ = inflate(zlib.decompressobj(GZIP), head, HEAD_BYTES)
        is_cut = True
    mark, encoding = _encoding(head)
    text = head[len(mark) :].decode(encoding, "replace")
    if len(_CONTROL.findall(text)) > _MAX_CONTROL_SHARE * len(text) + 1:
        return []
    lines = re.split("\r\n|\r|\n", text)
    whole = lines[:-1] if len(lines) > 1 and is_cut else lines
    return [line for line in map(str.strip, whole) if line and not line.startswith("#")]


def _encoding(head: bytes) -> tuple[bytes, str]:
    """A text's byte order mark, if it has one, and its encoding."""
    return next(((mark, name) for mark, name in _MARKS if head.startswith(mark)), (b"", "utf-8"))


def as_utf8(read: Callable[[int], bytes]) -> Callable[[int], bytes]:
    """Reads a text as UTF-8 without byte order mark; if it has none of another encoding, as it is.

    Args:
        read: up to so many bytes of the text, empty at its end.
    """
    longest = max(len(mark) for mark, _ in _MARKS)
    head = b""
    while len(head) < longest and (part := read(longest - len(head))):
        head += part
    mark, encoding = _encoding(head)
    held = head[len(mark) :]
    decoder = None if encoding == "utf-8" else codecs.getincrementaldecoder(encoding)("replace")

    def read_on(count: int) -> bytes:
        nonlocal held, decoder
        data, held = held or read(count), b""
        while decoder is not None:
            text = decoder.decode(data, final=not data)
            if not data:
                decoder = None
            if text or not data:
                return text.encode("utf-8", "replace")
            data = read(count)
        return data

    return read_on


def whole_lines(read: Callable[[int], bytes], losses: Losses) -> Iterator[bytes]:
    """Yield blocks of whole lines of valid UTF-8 that end in a line feed; longer ones than MAX_LINE_BYTES are counted
    alone.

    Args:
        read: up to so many bytes of a text, empty at its end.
        losses: is filled in on the way.
    """
    held = b""  # the beginning of a line
    is_inside = False  # a line goes on that is too long
    while block := _next_block(read):
        held += block
        # A carriage return at the end may be half of a line end.
        data, held = (held[:-1], b"\r") if held.endswith(b"\r") else (held, b"")
        if b"\r" in data:
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        if is_inside:
            end = data.find(b"\n")
            if end < 0:
                continue
            data, is_inside = data[end + 1 :], False
        cut = data.rfind(b"\n") + 1
        held = data[cut:] + held
        yield from _drop_long_lines(data[:cut], losses)
        if len(held) > MAX_LINE_BYTES:
            losses.rows[_TOO_LONG] += 1
            held, is_inside = b"", True
    if held and not is_inside:
        yield from _drop_long_lines(held.rstrip(b"\r") + b"\n", losses)


_TOO_LONG = f"of more than {MAX_LINE_BYTES:,} bytes"


def _next_block(read: Callable[[int], bytes]) -> bytes:
    """The next _BLOCK_BYTES, fewer only at the end."""
    parts: list[bytes] = []
    length = 0
    while length < _BLOCK_BYTES and (part := read(_BLOCK_BYTES - length)):
        parts.append(part)
        length += len(part)
    return b"".join(parts)


def _drop_long_lines(data: bytes, losses: Losses) -> Iterator[bytes]:
    """Whole lines without those that are too long."""
    begin = position = 0
    while len(data) - position > MAX_LINE_BYTES:
        end = data.rfind(b"\n", position, position + MAX_LINE_BYTES + 1) + 1
        if end:
            position = end
            continue
        if position > begin:
            yield _to_valid_utf8(data[begin:position])
        losses.rows[_TOO_LONG] += 1
        begin = position = data.find(b"\n", position) + 1
    if begin < len(data):
        yield _to_valid_utf8(data[begin:])


def _to_valid_utf8(data: bytes) -> bytes:
    """A text as UTF-8; bytes that are not become U+FFFD."""
    try:
        data.decode()
    except UnicodeDecodeError:
        return data.decode("utf-8", "replace").encode()
    return data

"""zlib and gzip that give what stands before damage instead of nothing."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from typing import Any

RAW, ZLIB, GZIP = -15, 15, 31
"""Window bits that say which of the three formats is expected (zlib manual, inflateInit2)."""
GZIP_SIGNATURE = b"\x1f\x8b\x08"
"""How a gzip member begins that is deflated, as all are (RFC 1952, section 2.3.1)."""

_SIGNATURE = re.compile(re.escape(GZIP_SIGNATURE))
_STEP_BYTES = 256
_SCAN_BYTES = 2**20
_MAX_TRIES = 512  # of signatures in so many bytes


def inflate(inflater: Any, data: bytes, limit: int) -> tuple[bytes, bool]:
    """Feed a `zlib.decompressobj`; (at most `limit` decompressed bytes, whether the data is unharmed so far)."""
    before = inflater.copy()
    try:
        return inflater.decompress(data, limit), True
    except zlib.error:
        # The call that meets the damage returns nothing, so come near in small steps, then byte by byte.
        parts: list[bytes] = []
        for step in (_STEP_BYTES, 1):
            position = 0
            while position < len(data) and limit > 0:
                inflater, before = before, before.copy()
                try:
                    part = inflater.decompress(data[position : position + step], limit)
                except zlib.error:
                    break
                before = inflater
                parts.append(part)
                limit -= len(part)
                position += step
            data = data[position:]
        return b"".join(parts), False


class GzipMember:
    """One gzip member of a file."""

    def __init__(self, read_at: Callable[[int, int], bytes], offset: int):
        """read_at: up to so many bytes from an offset of the file on; offset: where the member begins."""
        self._read_at = read_at
        self._at = offset
        self._inflater: Any = zlib.decompressobj(GZIP)
        self.is_damaged = False
        self.length = 0  # of what it has given so far, in bytes

    @property
    def end(self) -> int:
        """Where the member ends, once it is read through."""
        return self._at - len(self._inflater.unused_data)

    def read(self, count: int) -> bytes:
        """Return up to `count` bytes; empty at the end, at damage, and where the file is cut off, which is
        damage, too.
        """
        while not self.is_damaged and not self._inflater.eof:
            data = self._inflater.unconsumed_tail
            if not data:
                data = self._read_at(self._at, 2**16)
                self._at += len(data)
            part, is_unharmed = inflate(self._inflater, data, count) if data else (b"", False)
            self.is_damaged = not is_unharmed
            if part:
                self.length += len(part)
                return part
        return b""


def next_member(peek: Callable[[int, int], bytes], offset: int, begins: Callable[[int], bool]) -> int | None:
    """Return where the first gzip member at or after an offset begins that `begins` takes; None if none does.

    In compressed bytes a signature is there by chance once in 16 MiB. Where they are as many as in no archive, those in
    the middle are passed over: to look behind one costs as much as to look through thousands of bytes.
    """
    overlap = len(GZIP_SIGNATURE) - 1
    while chunk := peek(offset, _SCAN_BYTES):
        places = [signature.start() for signature in _SIGNATURE.finditer(chunk)]
        half = max(_MAX_TRIES // 2, len(places) - _MAX_TRIES // 2)
        for index in (*places[: _MAX_TRIES // 2], *places[half:]):
            if begins(offset + index):
                return offset + index
        if len(chunk) <= overlap:
            break
        offset += len(chunk) - overlap
    return None


class GzipStream:
    """The bytes of one or more gzip members; ends, with `is_damaged` set, where the file is damaged."""

    def __init__(self, read: Callable[[int], bytes]):
        self._read = read
        self._inflater: Any = zlib.decompressobj(GZIP)
        self._data = b""
        self.is_damaged = False
        self.is_cut_off = False

    def read(self, count: int) -> bytes:
        """Return up to `count` bytes; empty at the end."""
        while not self.is_damaged:
            if self._inflater.eof:
                self._data = self._inflater.unused_data.lstrip(b"\x00\r\n") or self._read(2**16).lstrip(b"\x00\r\n")
                if not self._data:
                    return b""
                self._inflater = zlib.decompressobj(GZIP)
            else:
                self._data = self._inflater.unconsumed_tail or self._data or self._read(2**16)
                if not self._data:
                    self.is_cut_off = True
                    return b""
            part, is_unharmed = inflate(self._inflater, self._data, count)
            self._data = b""
            self.is_damaged = not is_unharmed
            if part:
                return part
        return b""

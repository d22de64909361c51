"""Bytes that are read in one direction alone, with what comes next looked at before it is taken."""

from __future__ import annotations

from collections.abc import Callable

_CHUNK_BYTES = 2**16


class Forward:
    """A stream from which bytes are looked at and skipped; it holds no more than was looked at, and a chunk."""

    def __init__(self, read: Callable[[int], bytes], at: int = 0):
        """read: up to so many bytes, empty at the end; at: what the first byte's offset is called."""
        self._read = read
        self._buffer = bytearray()
        self.at = at

    def peek(self, count: int) -> bytes:
        """Return the next bytes, fewer than `count` only at the end."""
        while len(self._buffer) < count and (chunk := self._read(max(_CHUNK_BYTES, count - len(self._buffer)))):
            self._buffer += chunk
        return bytes(memoryview(self._buffer)[:count])

    def peek_at(self, ahead: int, count: int) -> bytes:
        """Return so many bytes from one on that lies ahead, fewer only at the end."""
        while len(self._buffer) < ahead + count and (chunk := self._read(_CHUNK_BYTES)):
            self._buffer += chunk
        return bytes(memoryview(self._buffer)[ahead : ahead + count])

    def skip(self, count: int) -> int:
        """Go forward by so many bytes; by how many, fewer only at the end."""
        held = min(count, len(self._buffer))
        del self._buffer[:held]
        skipped = held
        while skipped < count and (chunk := self._read(_CHUNK_BYTES)):
            self._buffer += chunk[count - skipped :]
            skipped += min(len(chunk), count - skipped)
        self.at += skipped
        return skipped

    def skip_all(self, padding: bytes) -> bool:
        """Go forward to the next byte that is none of these; whether there is one."""
        while chunk := self.peek(_CHUNK_BYTES):
            left = len(chunk.lstrip(padding))
            self.skip(len(chunk) - left)
            if left:
                return True
        return False

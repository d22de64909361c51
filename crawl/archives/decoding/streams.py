"""A source's bytes: as they lie in the file, or decompressed where one stream of gzip, zstd or lz4 holds all of it."""

from __future__ import annotations

import re
import sys
from typing import IO, Any, Literal, cast

import pyarrow as pa
import zstandard
from fastwarc.stream_io import Lz4Reader

from crawl.archives.decoding.inflate import GzipStream
from crawl.archives.payload import MAX_BODY_BYTES

_SCAN_BYTES = 2**20
_KEPT_BYTES = MAX_BODY_BYTES + 2**20  # what is read of a record, its header, and what FastWARC reads ahead
_SLACK_BYTES = 2**22
# A skippable frame before all others holds the dictionary that they were made with, compressed itself or not
# (iipc.github.io/warc-specifications/specifications/warc-zstd): its magic number and length.
_DICTIONARY = re.compile(rb"\x5d\x2a\x4d\x18(....)", re.DOTALL)
_MAX_DICTIONARY_BYTES = 16 * 2**20


class SourceFile:
    """A file as FastWARC reads it, that remembers whether an error was the storage's and not the content's."""

    def __init__(self, file: pa.NativeFile):
        self._file = file
        self.size: int = file.size()
        self.failure: OSError | None = None

    def read(self, count: int = -1) -> bytes:
        try:
            return bytes(self._file.read(count if count >= 0 else None))
        except OSError as error:
            self.failure = error
            raise

    def seek(self, offset: int, whence: int = 0) -> int:
        return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        return int(self._file.tell())

    @property
    def closed(self) -> bool:
        """Whether the file's owner has closed it."""
        return bool(self._file.closed)

    def close(self) -> None:
        """Do nothing: the file's owner closes it."""

    def peek(self, offset: int, count: int) -> bytes:
        """Return up to `count` bytes from an offset on."""
        self.seek(min(offset, self.size))
        return self.read(count)


class DecompressedStream:
    """A compressed file as the bytes that it holds.

    The last ones are kept, so that a reader can go back to where the record began that it finds damaged; going back
    further means decoding from the start.
    """

    def __init__(self, source: SourceFile, compression: Literal["gzip", "zstd", "lz4"]):
        self._source = source
        self._compression = compression
        self.size = sys.maxsize  # unknown until all is decoded
        self.undecodable_bytes = 0  # of the compressed file
        self._reopen()

    @property
    def failure(self) -> OSError | None:
        return self._source.failure

    @property
    def is_cut_off(self) -> bool:
        """Whether a gzip file ended within a member, where reading has come to."""
        return isinstance(self._decoder, GzipStream) and self._decoder.is_cut_off

    def _reopen(self) -> None:
        self._source.seek(0)
        self._at = self._end = 0  # where the next byte is read, and where the decoded ones end
        self._kept = bytearray()  # the decoded bytes up to there
        self._decoder: Any
        if self._compression == "gzip":
            self._decoder = GzipStream(self._source.read)
        elif self._compression == "zstd":
            self._decoder = _zstd_reader(self._source)
        else:
            self._decoder = Lz4Reader(self._source)

    def read(self, count: int = -1) -> bytes:
        wanted = count if count >= 0 else _SCAN_BYTES
        if self._at == self._end:
            self._decode(wanted)
        start = len(self._kept) - (self._end - self._at)
        with memoryview(self._kept) as kept:
            data = bytes(kept[start : start + wanted])
        self._at += len(data)
        return data

    def _decode(self, count: int) -> None:
        """Decode up to so many bytes more."""
        try:
            data: bytes = self._decoder.read(count)
            is_damaged = isinstance(self._decoder, GzipStream) and self._decoder.is_damaged
        except (OSError, zstandard.ZstdError):
            if self.failure is not None:
                raise
            data, is_damaged = b"", True
        if is_damaged:
            self.undecodable_bytes = max(1, self._source.size - self._source.tell())
        if len(self._kept) > _KEPT_BYTES + _SLACK_BYTES:
            del self._kept[:_SLACK_BYTES]
        self._kept += data
        self._end += len(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        if offset < self._end - len(self._kept):
            self._reopen()
        self._at = min(offset, self._end)
        while self._at < offset and self.read(min(offset - self._at, _SCAN_BYTES)):
            pass
        return self._at

    def tell(self) -> int:
        return self._at

    def close(self) -> None:
        """Do nothing: the file's owner closes it."""

    def peek(self, offset: int, count: int) -> bytes:
        if self.seek(offset) < offset:
            return b""
        parts: list[bytes] = []
        while count > 0 and (part := self.read(count)):
            parts.append(part)
            count -= len(part)
        return b"".join(parts)


def _zstd_reader(source: SourceFile) -> Any:
    """A reader of the frames from the file's start on, with the dictionary that it may bring."""
    dictionary = None
    if match := _DICTIONARY.match(source.peek(0, 8)):
        data = source.peek(8, min(int.from_bytes(match[1], "little"), _MAX_DICTIONARY_BYTES))
        if data.startswith(zstandard.FRAME_HEADER):
            reader = zstandard.ZstdDecompressor().stream_reader(data)
            data = reader.read(_MAX_DICTIONARY_BYTES)
        dictionary = zstandard.ZstdCompressionDict(data)
    source.seek(0)
    return zstandard.ZstdDecompressor(dict_data=dictionary).stream_reader(
        cast(IO[bytes], source), read_across_frames=True, closefd=False
    )

"""Records of a WARC that is compressed record by record, a gzip member inflated in one step by libdeflate.

libdeflate inflates in two thirds of zlib's time, but only a member whose end is known and that fits in memory. Ends are
where the next member's signature stands; a member's last four bytes are its inflated size (RFC 1952, section 2.3.1). A
member that is not so, or holds anything but one plainly written record, is left to other readers.
"""

from __future__ import annotations

import re
from collections.abc import Generator

from deflate import DeflateError, gzip_decompress
from stringzilla import find

from crawl.archives.decoding.inflate import GZIP_SIGNATURE
from crawl.archives.decoding.streams import DecompressedStream, SourceFile
from crawl.archives.lenient_records import TYPES

MAX_INFLATED_BYTES = 16 * 2**20
"""What is inflated in one step; a greater record is read as a stream."""

_FIRST_READ_BYTES, _READ_BYTES = 2**16, 2**22
_MAX_TRIES = 4  # of ends: compressed bytes look like a signature once in 16 MiB
_MAX_RATIO = 1032  # by which deflate can compress (zlib's technical notes), and so what a hostile size may ask for
_TRAILER_BYTES = 4
# Fields as WARC 1.1, section 4, has them, in the form that nearly all writers give them.
_HEADER = re.compile(
    rb"WARC/1\.[01]\r\n(?:(?:WARC-Type: ([a-z]+)|Content-Length: (\d{1,9})|[\w-]+: [^\s][^\r\n]*+)\r\n)++\r\n"
)
_RECORD_END = b"\r\n\r\n"


class MemberRecord:
    """A record with its whole member in memory; interface of FoundRecord and of its reader and headers."""

    __slots__ = ("_data", "_header", "_header_bytes", "content_length", "record_type", "stream_pos")

    def __init__(self, stream_pos: int, record_type: str, data: bytearray, header_bytes: int):
        self.stream_pos = stream_pos
        self.record_type = record_type
        self.content_length = len(data) - header_bytes - len(_RECORD_END)
        self._data = data
        self._header_bytes = header_bytes
        self._header: bytes | None = None  # in lower case, once it was asked for

    @property
    def headers(self) -> MemberRecord:
        return self

    @property
    def reader(self) -> MemberRecord:
        return self

    def get_bytes(self, name: bytes) -> bytes | None:
        """Return the value of the first field of a name; case does not matter."""
        if self._header is None:
            self._header = bytes(self._data[: self._header_bytes]).lower()
        begin = self._header.find(b"\r\n%b:" % name.lower())
        if begin < 0:
            return None
        value = begin + len(name) + 3
        return bytes(self._data[value : self._header.index(b"\r\n", value)]).strip()

    def read(self, size: int) -> bytearray:
        """Return the block, or its first bytes; the record can be read once, for it is not copied."""
        block, self._data = self._data, self._data[: self._header_bytes]
        del block[self._header_bytes + min(size, self.content_length) :]
        del block[: self._header_bytes]
        return block


def read_members(source: SourceFile | DecompressedStream, offset: int) -> Generator[MemberRecord, None, int]:
    """Yield the records from an offset on, as long as each is a plain gzip member of its own.

    Returns:
        Where the first member begins that is not read so; the file's size if all are.

    Raises:
        OSError: the storage failed.
    """
    data, begin, step = b"", offset, _FIRST_READ_BYTES  # `data` are the file's bytes from `begin` on
    while offset < source.size:
        position, end, tries = offset - begin, offset - begin, 0
        while True:
            end = find(data, GZIP_SIGNATURE, end + 1)
            if end < 0:
                held = len(data) - position
                if begin + len(data) >= source.size:
                    end = len(data)
                elif held > MAX_INFLATED_BYTES:
                    return offset
                else:
                    more = source.peek(begin + len(data), step)
                    if not more:  # the file has become shorter
                        return offset
                    data, begin, position = data[position:] + more, offset, 0
                    end = max(0, held - len(GZIP_SIGNATURE))
                    step = min(4 * step, _READ_BYTES)
                    continue
            record = _record(memoryview(data)[position:end], offset)
            if record is not None:
                break
            tries += 1
            if tries == _MAX_TRIES or end == len(data):
                return offset
        yield record
        offset += end - position
    return offset


def _record(member: memoryview, offset: int) -> MemberRecord | None:
    size = int.from_bytes(member[-_TRAILER_BYTES:], "little")
    if not 0 < size <= min(MAX_INFLATED_BYTES, _MAX_RATIO * len(member)):
        return None
    try:
        data = gzip_decompress(member, size)
    except DeflateError:
        return None
    header = _HEADER.match(data)
    if header is None or len(data) != size:
        return None
    type_, length = header.groups()
    if type_ is None or length is None or header.end() + int(length) + len(_RECORD_END) != size:
        return None
    name = type_.decode("ascii")
    return MemberRecord(offset, name, data, header.end()) if name in TYPES and data.endswith(_RECORD_END) else None

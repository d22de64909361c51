"""The members of anyone's tar: where each lies and what it is, by one walk over the headers.

A header's numbers are claims: none is believed beyond the file's own length, none is added up or allocated before
that. Formats are those of POSIX.1-1988 and -2001 (ustar, pax) and GNU tar, as Python's `tarfile` reads them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

import pyarrow as pa

BLOCK = 512
_MOST_EXTENDED = 2**20  # bytes of a pax record or of a long name
_STREAM_BYTES = 8 * 2**20  # read at a time over a network, where a tar is read through
_FILES = (b"0", b"\0", b"7")
_WITHOUT_DATA = (b"1", b"2", b"3", b"4", b"5", b"6")  # links, devices, folders and pipes, whatever size they claim
_GNU_SPARSE = b"S"

Read = Callable[[int, int], bytes]
"""Up to that many bytes (the second number) from an offset (the first) on; fewer only at the end."""


def by_offset(file: pa.NativeFile, local: bool) -> Read:
    """Reads of a file by offset; over a network, in order, many small ones are one request."""
    if local:
        return lambda offset, size: bytes(file.read_at(size, offset))
    start, block = 0, b""

    def read(offset: int, size: int) -> bytes:
        nonlocal start, block
        if not start <= offset <= offset + size <= start + len(block):
            file.seek(offset)
            start, block = offset, bytes(file.read(max(size, _STREAM_BYTES)))
        return block[offset - start : offset - start + size]

    return read


class TarMember(NamedTuple):
    """What a tar holds under a name."""

    name: str
    kind: Literal["file", "sparse", "other"]  # a sparse file's bytes are not as they lie; others are no files
    offset: int  # of its first header, long names included
    data: int  # the offset of its bytes
    size: int  # of its bytes as they lie

    @property
    def end(self) -> int:
        """The offset of what follows."""
        return self.data + self.size + -self.size % BLOCK


class DamagedTarError(ValueError):
    """A tar that cannot be read on from a byte on; the message says what stands there."""

    def __init__(self, position: int, what: str, name: str = ""):
        super().__init__(what)
        self.position = position
        self.name = name  # of the member that is damaged, if its header can be read


def members(read: Read, length: int, *, checked: bool = True) -> Iterator[TarMember]:
    """Yield the members of a tar, in its order, up to its two empty blocks or its end.

    Args:
        length: of the file, in bytes.
        checked: whether headers are held against their checksums.
    Raises:
        DamagedTarError: no header stands where one should, or a member reaches beyond the end of the file.
    """
    position = first = 0
    long_name: str | None = None
    pax: dict[str, str] = {}
    while position < length:
        header = read(position, BLOCK)
        if len(header) < BLOCK:
            raise DamagedTarError(position, f"a header is cut off after {len(header)} bytes")
        if header[0] == 0 and not any(header):
            return
        kind, size = header[156:157], _size(header, position, pax, checked)
        data = position + BLOCK
        if kind in (b"L", b"K", b"x", b"X", b"g"):
            content = _extended_header(read, data, size, length)
            if kind == b"L":
                long_name = _text(content.partition(b"\0")[0])
            elif kind in (b"x", b"X"):
                pax = _pax(content, position)
            position = data + size + -size % BLOCK
            continue
        name = pax.get("GNU.sparse.name") or pax.get("path") or long_name or _name(header)
        is_sparse = kind == _GNU_SPARSE or any(key.startswith("GNU.sparse.") for key in pax)
        if kind == _GNU_SPARSE:
            data = _start_behind_map(read, header, data)
        if kind in _WITHOUT_DATA or (kind == b"\0" and name.endswith("/")):
            size = 0
        if data + size > length:
            left = max(0, length - data)
            raise DamagedTarError(first, f"{name[:100]!r} claims {size:,} bytes, of which {left:,} are there", name)
        member = TarMember(name, _kind(kind, is_sparse, name), first, data, size)
        yield member
        position = first = member.end
        long_name, pax = None, {}


def _kind(kind: bytes, is_sparse: bool, name: str) -> Literal["file", "sparse", "other"]:
    if is_sparse:
        return "sparse"
    return "file" if kind in _FILES and not name.endswith("/") else "other"


def _size(header: bytes, position: int, pax: dict[str, str], checked: bool) -> int:
    try:
        if checked and _number(header[148:156]) != sum(header) - sum(header[148:156]) + 8 * ord(" "):
            raise ValueError
        size = int(pax["size"]) if "size" in pax else _number(header[124:136])
    except ValueError:
        raise DamagedTarError(position, "no tar header stands there") from None
    if size < 0:
        name = _name(header)
        raise DamagedTarError(position, f"{name[:100]!r} claims {size:,} bytes", name)
    return size


def _number(field: bytes) -> int:
    """A number in octal digits, or in GNU tar's base 256."""
    if field[0] == 0xFF:
        return int.from_bytes(field, "big", signed=True)
    if field[0] & 0x80:
        return int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big")
    return int(field.partition(b"\0")[0].strip() or b"0", 8)


def _name(header: bytes) -> str:
    name = _text(header[:100].partition(b"\0")[0])
    prefix = _text(header[345:500].partition(b"\0")[0]) if header[257:263] == b"ustar\0" else ""
    return f"{prefix}/{name}" if prefix else name


def _text(name: bytes) -> str:
    return name.decode("utf-8", "backslashreplace")


def _extended_header(read: Read, data: int, size: int, length: int) -> bytes:
    """The content of a header that says more of the next member."""
    if size > _MOST_EXTENDED:
        raise DamagedTarError(data - BLOCK, f"an extended header claims {size:,} bytes")
    if data + size > length:
        raise DamagedTarError(data - BLOCK, "an extended header is cut off")
    return read(data, size)


def _pax(content: bytes, position: int) -> dict[str, str]:
    """The records of a pax header: `length key=value` and a line's end each."""
    fields: dict[str, str] = {}
    offset = 0
    while offset < len(content) and content[offset]:
        digits = content[offset : offset + 8].partition(b" ")[0]
        record = content[offset : offset + int(digits)] if digits.isdigit() else b""
        key, equals, value = record[len(digits) + 1 : -1].partition(b"=")
        if not equals or len(record) < int(digits):
            raise DamagedTarError(position, "an extended header is damaged")
        fields[_text(key)] = _text(value)
        offset += len(record)
    return fields


def _start_behind_map(read: Read, header: bytes, data: int) -> int:
    """Where the bytes of GNU tar's old sparse files begin: behind the further blocks of their map."""
    more = header[482]
    while more:
        block = read(data, BLOCK)
        more = block[504] if len(block) == BLOCK else 0
        data += BLOCK
    return data

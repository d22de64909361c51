"""EXIF's first directory: the orientation, as browsers read it, and who made the image."""

from __future__ import annotations

import struct
from collections.abc import Iterator

_ORIENTATION = 0x0112  # EXIF 2.3, section 4.6.4
ARTIST, COPYRIGHT = 0x013B, 0x8298
_ASCII, _SHORT, _UTF8 = 2, 3, 129  # the last since EXIF 3.0
_ENTRY_BYTES = 12


def orientation(tiff: bytes) -> int:
    """Return the orientation that EXIF gives, 1 to 8, by the first entry of that tag; 1 if it gives none that makes
    sense.

    Args:
        tiff: EXIF's data from its TIFF header on, with or without `Exif` before it.
    """
    for tag, kind, values, data, order in _entries(tiff.removeprefix(b"Exif\0\0")):
        if tag == _ORIENTATION:
            (value,) = struct.unpack_from(f"{order}H", data)
            return value if kind == _SHORT and values == 1 and 1 <= value <= 8 else 1
    return 1


def text(tiff: bytes, tag: int) -> str:
    """Return what a tag of the first directory says in words, such as ARTIST; empty if it says nothing.

    Args:
        tiff: as of `orientation`.
    """
    tiff = tiff.removeprefix(b"Exif\0\0")
    for name, kind, count, data, order in _entries(tiff):
        if name == tag and kind in (_ASCII, _UTF8):
            (start,) = struct.unpack(f"{order}I", data)
            value = data[:count] if count <= 4 else tiff[start : start + count]
            return "; ".join(filter(None, (_decode_text(part).strip() for part in value.split(b"\0"))))
    return ""


def _decode_text(value: bytes) -> str:
    """EXIF says ASCII; what is written is UTF-8 or Latin-1."""
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _entries(tiff: bytes) -> Iterator[tuple[int, int, int, bytes, str]]:
    """Tag, type, count, the four bytes of the value or of where it is, and the order of bytes."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None or len(tiff) < 10:
        return
    (first,) = struct.unpack_from(f"{order}I", tiff, 4)
    if first + 2 > len(tiff):
        return
    (count,) = struct.unpack_from(f"{order}H", tiff, first)
    for index in range(first + 2, min(first + 2 + count * _ENTRY_BYTES, len(tiff) - _ENTRY_BYTES + 1), _ENTRY_BYTES):
        tag, kind, values = struct.unpack_from(f"{order}HHI", tiff, index)
        yield tag, kind, values, tiff[index + 8 : index + 12], order

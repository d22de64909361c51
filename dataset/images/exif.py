"""EXIF's orientation, as browsers read it: the first entry of that tag in the first directory, a short number."""

from __future__ import annotations

import struct

_ORIENTATION = 0x0112  # EXIF 2.3, section 4.6.4
_SHORT = 3
_ENTRY_BYTES = 12


def orientation(tiff: bytes) -> int:
    """From 1 to 8; 1 if EXIF says none that makes sense.

    Args:
        tiff: EXIF's data from its TIFF header on, with or without `Exif` before it.
    """
    tiff = tiff.removeprefix(b"Exif\0\0")
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None or len(tiff) < 10:
        return 1
    (first,) = struct.unpack_from(f"{order}I", tiff, 4)
    if first + 2 > len(tiff):
        return 1
    (count,) = struct.unpack_from(f"{order}H", tiff, first)
    for at in range(first + 2, min(first + 2 + count * _ENTRY_BYTES, len(tiff) - _ENTRY_BYTES + 1), _ENTRY_BYTES):
        tag, kind, values, value = struct.unpack_from(f"{order}HHIH", tiff, at)
        if tag == _ORIENTATION:
            return value if kind == _SHORT and values == 1 and 1 <= value <= 8 else 1
    return 1

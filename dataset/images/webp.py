"""WebP (RFC 9649): its chunks of pixels, without EXIF and XMP."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator

from PIL import Image

from dataset.images.encoded import (
    MAX_NOTE_BYTES,
    Encoded,
    ImageError,
    Notes,
    bytes_missing,
    check_pixels,
    first_notes,
)
from dataset.images.exif import orientation

_MAX_PROFILE_BYTES = 4 * 2**20
_KEPT = frozenset({b"VP8X", b"ICCP", b"ALPH", b"ANIM", b"EXIF", b"XMP "})
_HAS_ALPHA, _HAS_FRAMES = 0x10, 0x02
_LOSSY, _LOSSLESS = b"VP8 ", b"VP8L"


def read(body: bytes, most: int) -> Encoded:
    """See `dataset.images.formats.read`."""
    chunks_by_kind: dict[bytes, bytes] = {}
    frames: list[bytes] = []
    pixels: tuple[bytes, bytes] | None = None
    for kind, data, length in _chunks(body):
        if kind in (_LOSSY, _LOSSLESS, b"ANMF") and len(data) < length:
            raise bytes_missing(length - len(data), length)
        if kind in (_LOSSY, _LOSSLESS):
            pixels = pixels or (kind, data)
        elif kind == b"ANMF":
            frames.append(data)
            if len(frames) > 1:
                break
        elif kind in _KEPT and len(data) == length:
            chunks_by_kind.setdefault(kind, data)
    header = chunks_by_kind.get(b"VP8X", b"")
    canvas = (
        [1 + int.from_bytes(header[offset : offset + 3], "little") for offset in (4, 7)] if len(header) >= 10 else []
    )
    has_alpha = True
    if pixels is not None:
        width, height, has_alpha = _size(*pixels)
    elif frames and canvas:
        width, height = canvas
    else:
        raise ImageError("image_truncated", f"its {len(body):,} bytes end before its pixels begin")
    check_pixels(width, height, most)
    if canvas:
        check_pixels(canvas[0], canvas[1], most)
    if canvas and canvas != [width, height]:
        raise ImageError(
            "image_truncated", f"it has {width} x {height} pixels on a canvas of {canvas[0]} x {canvas[1]}"
        )
    profile = chunks_by_kind.get(b"ICCP")
    profile = profile if profile and len(profile) <= _MAX_PROFILE_BYTES else None
    if pixels is not None and b"ALPH" in chunks_by_kind:
        has_alpha = True
        sides = struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
        kept = [(b"VP8X", bytes([_HAS_ALPHA, 0, 0, 0]) + sides), (b"ALPH", chunks_by_kind[b"ALPH"]), pixels]
    elif pixels is not None:
        kept = [pixels]
    else:
        flags = bytes([_HAS_FRAMES | header[0] & _HAS_ALPHA, 0, 0, 0])
        kept = [(b"VP8X", flags + header[4:10]), (b"ANIM", chunks_by_kind.get(b"ANIM", bytes(6)))]
        kept += [(b"ANMF", frame) for frame in frames[:1]]
    return Encoded(
        "WEBP",
        _riff(kept),
        width,
        height,
        orientation=orientation(chunks_by_kind.get(b"EXIF", b"")),
        notes=Notes(first_notes(chunks_by_kind.get(b"XMP ")), chunks_by_kind.get(b"EXIF", b"")[:MAX_NOTE_BYTES]),
        profile=profile,
        has_alpha=has_alpha,
        is_animated=len(frames) > 1,
        is_plain=pixels is not None and profile is None and not has_alpha,
    )


def _chunks(body: bytes) -> Iterator[tuple[bytes, bytes, int]]:
    """Kinds, data and lengths as they are claimed; of the last one as much data as is there."""
    position = 12
    while position + 8 <= len(body):
        length = int.from_bytes(body[position + 4 : position + 8], "little")
        yield body[position : position + 4], body[position + 8 : position + 8 + length], length
        position += 8 + length + length % 2


def _size(kind: bytes, data: bytes) -> tuple[int, int, bool]:
    """Width, height, and whether some of the pixels may be transparent."""
    if kind == _LOSSY and data[3:6] == b"\x9d\x01\x2a" and len(data) >= 10:
        return *(int.from_bytes(data[offset : offset + 2], "little") & 0x3FFF for offset in (6, 8)), False  # type: ignore[return-value]
    if kind == _LOSSLESS and data[:1] == b"\x2f" and len(data) >= 5:
        bits = int.from_bytes(data[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, bool(bits >> 28 & 1)
    raise ImageError("image_truncated", "its pixels do not begin as they must")


def _riff(chunks: list[tuple[bytes, bytes]]) -> bytes:
    parts = [kind + struct.pack("<I", len(data)) + data + bytes(len(data) % 2) for kind, data in chunks]
    return b"".join([b"RIFF", struct.pack("<I", 4 + sum(map(len, parts))), b"WEBP", *parts])


def decode(image: Encoded) -> Image.Image:
    """Return the pixels, of the first frame if there are several, in one of Pillow's modes."""
    with Image.open(io.BytesIO(image.body), formats=["WEBP"]) as opened:
        opened.load()
    return opened

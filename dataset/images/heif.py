"""AVIF and HEIC: images in ISO's container (ISO/IEC 23008-12), which says by itself how they are turned."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from typing import Any

from PIL import AvifImagePlugin, Image

from dataset.images.encoded import (
    MAX_NOTE_BYTES,
    Encoded,
    ImageError,
    Notes,
    bytes_missing,
    check_pixels,
    first_notes,
    too_many,
)
from dataset.images.exif import orientation
from dataset.images.heif_items import MAX_BOXES, check_items

try:
    import pi_heif
except ImportError:  # HEIC is then no image of an allowed type
    pi_heif = None

_MAX_PROFILE_BYTES = 4 * 2**20
_MAX_BRANDS = 64
_AVIF = frozenset({b"avif", b"avis"})
_HEIC = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx"})
_SEQUENCES = frozenset({b"avis", b"hevc", b"hevx", b"msf1"})

_NEEDED = frozenset({b"ftyp", b"meta", b"moov", b"mdat"})

AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # images are many, and each has its thread already


def kind(body: bytes) -> str | None:
    """Return AVIF or HEIF by the brands that the first box names; None if it names neither."""
    if body[4:8] != b"ftyp":
        return None
    brands = _brands(body)
    if brands & _AVIF:
        return "AVIF"
    return "HEIF" if brands & _HEIC and pi_heif is not None else None


def _brands(body: bytes) -> frozenset[bytes]:
    end = min(int.from_bytes(body[:4], "big"), len(body), 16 + 4 * _MAX_BRANDS)
    return frozenset([body[8:12], *(body[index : index + 4] for index in range(16, end - 3, 4))])


def read(body: bytes, most: int) -> Encoded:
    """See `dataset.images.formats.read`."""
    for box, length, there in _boxes(body):
        if there < length and box in _NEEDED:
            raise bytes_missing(length - there, length)
    check_items(body, most)
    turn, is_animated = 1, body[8:12] in _SEQUENCES
    if kind(body) == "AVIF":
        with Image.open(io.BytesIO(body), formats=["AVIF"]) as opened:
            width, height = opened.size
            profile = opened.info.get("icc_profile")
            notes = _notes(opened.info)
            turn = orientation(opened.info.get("exif", b""))  # what the container says, which Pillow puts there
            is_animated = getattr(opened, "is_animated", False)
            has_alpha = opened.mode == "RGBA"
    else:
        file = pi_heif.open_heif(io.BytesIO(body), convert_hdr_to_8bit=True)
        width, height = file.size
        profile = file.info.get("icc_profile")
        notes = _notes(file.info)
        has_alpha = file.has_alpha
    check_pixels(width, height, most)
    if profile is not None and len(profile) > _MAX_PROFILE_BYTES:
        profile = None
    return Encoded(
        kind(body) or "HEIF",
        body,
        width,
        height,
        orientation=turn,
        profile=profile or None,
        notes=notes,
        has_alpha=has_alpha,
        is_animated=is_animated,
    )


def _notes(info: Mapping[Any, Any]) -> Notes:
    xmp, exif = (value if isinstance(value := info.get(name), bytes) else b"" for name in ("xmp", "exif"))
    return Notes(first_notes(xmp), exif[:MAX_NOTE_BYTES])


def _boxes(body: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Each box of the file: its kind, how many bytes it claims and how many are there."""
    position = count = 0
    while position + 8 <= len(body):
        length = int.from_bytes(body[position : position + 4], "big")
        if length == 1:
            length = int.from_bytes(body[position + 8 : position + 16], "big")
        if length == 0:  # up to the end
            return
        count += 1
        if count > MAX_BOXES:
            raise too_many("boxes", MAX_BOXES)
        if length < 8:
            raise ImageError("image_truncated", f"the box at byte {position:,} claims {length} bytes")
        yield body[position + 4 : position + 8], length, len(body) - position
        position += length


def decode(image: Encoded) -> Image.Image:
    """Return the pixels, of the first frame if there are several, in one of Pillow's modes."""
    if image.kind == "AVIF":
        with Image.open(io.BytesIO(image.body), formats=["AVIF"]) as opened:
            opened.load()
        return opened
    pixels: Image.Image = pi_heif.open_heif(io.BytesIO(image.body), convert_hdr_to_8bit=True).to_pillow()  # turned
    if pixels.size != (image.width, image.height):
        said = f"{image.width} x {image.height}"
        raise ImageError("image_truncated", f"it has {pixels.width} x {pixels.height} pixels, but says {said}")
    return pixels

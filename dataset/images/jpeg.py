"""JPEG (ITU-T T.81): the walk over its segments, and libjpeg-turbo at a fraction of its size.

A scan is a pass over all pixels, however few bytes it has, so scans are counted before any is decoded
(libjpeg-turbo: "Two Issues with the JPEG Standard", 2018).
"""

from __future__ import annotations

import io
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from dataset.images.encoded import (
    MAX_NOTE_BYTES,
    MAX_NOTES,
    Encoded,
    ImageError,
    Notes,
    check_pixels,
    first_notes,
    rows_missing,
    too_many,
)
from dataset.images.exif import orientation

try:
    import simplejpeg
except ImportError:  # Pillow gives the same pixels, in twice the time
    simplejpeg = None

MAX_SCANS = 100
"""The most scans of one image; encoders write about ten."""
MAX_SCANNED = 16
"""How many times a config's `max_pixels` all scans of an image together may pass over."""
_MAX_SEGMENTS = 500_000  # before the first scan, and as many behind it: half a second; most of them are comments
_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_PHOTOSHOP = b"Photoshop 3.0\0"
_MAX_PROFILE_BYTES = 4 * 2**20  # CMYK profiles have up to two
_MARKER = re.compile(rb"\xff[^\x00\xff]")
_MARKER_OF_SCANS = re.compile(rb"\xff[\xc4\xcc\xd9-\xdd\xe0-\xfe]")  # neither a byte of their data nor a restart
_END = b"\xff\xd9"
_FRAMES = frozenset({0xC0, 0xC1, 0xC2})
_PROGRESSIVE = 0xC2
_OTHER_FRAMES = frozenset({0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF})
_TABLES = frozenset({0xC4, 0xCC, 0xDB, 0xDD})  # Huffman, arithmetic, quantization, restart interval
_SCAN = 0xDA
_ALONE = frozenset({0x01, *range(0xD0, 0xD9)})  # markers without a length
_COLOURS = {1: "GRAY", 3: "RGB"}
_GREY = 128  # of a pixel whose block is not there
_HARMLESS = ("extraneous bytes", "revision number", "Adobe color transform")


@dataclass
class _Header:
    """What stands before the first scan."""

    kept: list[bytes] = field(default_factory=lambda: [b"\xff\xd8"])
    frame: int = 0  # its marker
    width: int = 0
    height: int = 0
    components: bytes = b""  # their names
    exif: bytes | None = None
    xmp: list[bytes] = field(default_factory=list)
    photoshop: bytes = b""
    profile: dict[int, bytes] = field(default_factory=dict)
    profile_parts: int = 0


def read(body: bytes, most: int) -> Encoded:
    """See `dataset.images.formats.read`."""
    header = _Header()
    position = _read_header(body, header)
    check_pixels(header.width, header.height, most)
    scans, is_whole, is_partial = _read_scans(body, position, header, most)
    profile = None
    if header.profile and set(header.profile) == set(range(1, header.profile_parts + 1)):
        profile = b"".join(part for _, part in sorted(header.profile.items()))
    return Encoded(
        "JPEG",
        b"".join([*header.kept, *scans]),
        header.width,
        header.height,
        orientation=orientation(header.exif or b""),
        notes=Notes(first_notes(*header.xmp), (header.exif or b"")[:MAX_NOTE_BYTES], header.photoshop),
        profile=profile,
        channels=len(header.components),
        lacks_end=not is_whole,
        is_partial=is_partial,
        is_plain=profile is None and len(header.components) != 4,
    )


def _read_header(body: bytes, header: _Header) -> int:
    """Read up to the first scan; where that begins."""
    position = 2
    for _ in range(_MAX_SEGMENTS):
        marker_match = _MARKER.search(body, position)  # behind what fills the room between segments
        if marker_match is None or marker_match.end() + 2 > len(body):
            raise ImageError("image_truncated", f"its {len(body):,} bytes end before the pixels begin")
        position, marker = marker_match.start(), body[marker_match.start() + 1]
        if marker in _ALONE:
            position += 2
            continue
        if marker == 0xD9:
            raise ImageError("image_truncated", f"it ends at byte {position:,}, without pixels")
        end = position + 2 + int.from_bytes(body[position + 2 : position + 4], "big")
        if marker == _SCAN:
            if not header.frame:
                raise ImageError("image_truncated", "its pixels begin before their size is said")
            return position
        if end > len(body):
            raise ImageError("image_truncated", f"its {len(body):,} bytes end before the pixels begin")
        _read_segment(marker, body[position:end], header)
        position = end
    raise too_many("segments", _MAX_SEGMENTS)


def _read_segment(marker: int, segment: bytes, header: _Header) -> None:
    if marker in _TABLES:
        header.kept.append(segment)
    elif marker in _FRAMES:
        if header.frame or len(segment) < 10:
            raise ImageError("image_truncated", "its size is said twice" if header.frame else "its size is cut off")
        if segment[4] != 8 or segment[9] not in (1, 3, 4):
            raise ImageError("not_an_image", f"a JPEG of {segment[9]} components of {segment[4]} bits")
        header.frame, header.components = marker, segment[10::3][: segment[9]]
        header.height, header.width = (int.from_bytes(segment[offset : offset + 2], "big") for offset in (5, 7))
        header.kept.append(segment)
    elif marker in _OTHER_FRAMES:
        raise ImageError("not_an_image", f"a JPEG of process {marker - 0xC0}, which browsers do not show either")
    elif marker == 0xE0 and segment[4:9] == b"JFIF\0" and len(segment) >= 16:
        header.kept.append(b"\xff\xe0\x00\x10" + segment[4:16] + b"\0\0")  # without its thumbnail
    elif marker == 0xEE and segment[4:9] == b"Adobe":
        header.kept.append(segment)  # it says which colours these are
    elif marker == 0xE1 and segment[4:10] == b"Exif\0\0" and header.exif is None:
        header.exif = segment[10:]
    elif marker == 0xE1 and segment.startswith(_XMP, 4) and len(header.xmp) < MAX_NOTES:
        header.xmp.append(segment[4 + len(_XMP) :])
    elif marker == 0xED and segment.startswith(_PHOTOSHOP, 4) and not header.photoshop:
        header.photoshop = segment
    elif marker == 0xE2 and segment[4:16] == b"ICC_PROFILE\0" and len(segment) > 18:
        header.profile_parts = segment[17]
        if sum(map(len, header.profile.values())) + len(segment) <= _MAX_PROFILE_BYTES:
            header.profile.setdefault(segment[16], segment[18:])


def _read_scans(body: bytes, position: int, header: _Header, most: int) -> tuple[list[bytes], bool, bool]:
    """The scans with their tables, and an end marker; whether that was there; whether scans are missing before it."""
    pieces: list[bytes] = []
    start, scans = position, 0
    missing = np.full((len(header.components), 64), True)  # coefficients of which bits are still to come
    seen = itertools.count()
    while position >= 0 and body[position + 1] != _END[1]:
        end = position + 2 + int.from_bytes(body[position + 2 : position + 4], "big")
        if body[position + 1] == _SCAN:
            scans += 1
            if scans > MAX_SCANS or scans * header.width * header.height > MAX_SCANNED * most:
                said = f"{header.width} x {header.height} pixels in {scans} scans or more"
                raise ImageError("image_too_many_pixels", said)
            if header.frame == _PROGRESSIVE:
                _note(body[position + 4 : end], header.components, missing)
        elif body[position + 1] not in _TABLES:  # it is not of the pixels
            pieces.append(body[start:position])
            start = end
        position = _next_marker(body, end, seen)
    pieces += [body[start : position if position >= 0 else len(body)], _END]
    return pieces, position >= 0, header.frame == _PROGRESSIVE and position < 0 and bool(missing.any())


def _next_marker(body: bytes, position: int, seen: Iterator[int]) -> int:
    """Where the next marker stands that ends a scan's data; -1 if there is none.

    What looks like one within damaged data, and does not lead to another, is data.
    """
    while (marker_match := _MARKER_OF_SCANS.search(body, position)) is not None:
        position, marker = marker_match.start(), body[marker_match.start() + 1]
        if next(seen) > _MAX_SEGMENTS:
            raise too_many("segments", _MAX_SEGMENTS)
        if marker == _END[1]:
            return position
        end = position + 2 + int.from_bytes(body[position + 2 : position + 4], "big")
        if marker == _SCAN and end <= len(body):
            return position
        if marker != _SCAN and body[end : end + 1] == b"\xff":
            return position
        position += 2
    return -1


def _note(scan: bytes, components: bytes, missing: np.ndarray) -> None:
    """Take note of what a progressive scan brings (annex G): a band of coefficients, down to a bit."""
    count = scan[0] if scan else 0
    if len(scan) >= 4 + 2 * count:
        first, last, bits = scan[1 + 2 * count :][:3]
        for name in scan[1 : 1 + 2 * count : 2]:
            if (component := components.find(name)) >= 0:
                missing[component, first : last + 1] = bool(bits & 15)


def decode(image: Encoded, scale: int) -> np.ndarray:
    """Return pixels at 1/scale of the size, rounded up: uint8 of shape (height, width), (height, width, 3) or, of CMYK,
    (height, width, 4).

    Raises:
        ImageError: pixels are missing.
        Exception: whatever else a broken file makes a decoder raise.
    """
    if image.is_partial:
        raise ImageError("image_truncated", f"its {len(image.body):,} bytes end before the last of its scans")
    width, height = -(-image.width // scale), -(-image.height // scale)
    if image.channels == 4 or simplejpeg is None:
        return _decode_by_pillow(image, scale)
    options = {"min_height": height, "min_width": width} if scale > 1 else {}
    try:
        return _flat(simplejpeg.decode_jpeg(image.body, _COLOURS[image.channels], **options))
    except ValueError as error:
        warning = str(error)
    try:
        pixels = _flat(simplejpeg.decode_jpeg(image.body, _COLOURS[image.channels], strict=False, **options))
    except ValueError:  # some that it refuses Pillow knows
        return _decode_by_pillow(image, scale)
    if not any(words in warning for words in _HARMLESS):
        if image.lacks_end or "premature" in warning.lower():
            _check_rows(image, pixels)
        if image.lacks_end:
            raise ImageError("image_truncated", f"its {len(image.body):,} bytes end within the last of its pixels")
    return pixels


def _flat(pixels: np.ndarray) -> np.ndarray:
    return pixels[:, :, 0] if pixels.shape[2] == 1 else pixels


def _decode_by_pillow(image: Encoded, scale: int) -> np.ndarray:
    with Image.open(io.BytesIO(image.body), formats=["JPEG"]) as opened:
        opened.draft(None, (image.width // scale, image.height // scale))
        opened.load()
        pixels = np.asarray(opened)
    if image.lacks_end:
        _check_rows(image, pixels)
    return pixels


def _check_rows(image: Encoded, pixels: np.ndarray) -> None:
    """Raises ImageError if rows at the bottom are not there, of which a decoder makes grey ones."""
    flat = pixels.reshape(len(pixels), -1)
    is_there = np.any((flat < _GREY - 1) | (flat > _GREY + 1), axis=1)
    if not is_there[-1]:
        rows = (int(np.flatnonzero(is_there)[-1]) + 1) * image.height // len(pixels) if np.any(is_there) else 0
        raise rows_missing(image.height - rows, image.height)

"""AVIF and HEIC: images in ISO's container (ISO/IEC 23008-12), which says by itself how they are turned."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
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

try:
    import pi_heif
except ImportError:  # HEIC is then no image of an allowed type
    pi_heif = None

_MAX_PROFILE_BYTES = 4 * 2**20
_MAX_BRANDS = 64
_MAX_BOXES = 10_000  # at the top of a file; writers make about five
_MAX_ITEMS = 2_000  # and as many pieces of them; libavif looks for each among all others, libheif allows no more
_MAX_LISTED = {b"iinf": 2**17, b"ipma": 2**15, b"iref": 2**15}  # bytes that say what items there are; libavif's search
_MAX_SHARED = 4
"""How often a file's bytes may be named as some item's: a decoder copies them each time."""
_MIN_NAMED_BYTES = 2**20  # which cost nothing, however small the file
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
    _check_items(body)
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
        if count > _MAX_BOXES:
            raise too_many("boxes", _MAX_BOXES)
        if length < 8:
            raise ImageError("image_truncated", f"the box at byte {position:,} claims {length} bytes")
        yield body[position + 4 : position + 8], length, len(body) - position
        position += length


def _check_items(body: bytes) -> None:
    """Refuse a file that names more items, or more of its bytes, than a decoder should be given. Raises ImageError."""
    for start, end in _metas(body, 0, len(body), (b"moov", b"trak")):
        left = dict(_MAX_LISTED)
        for kind, first, last in [*_inner_boxes(body, start + 4, end), *_properties(body, start + 4, end)]:
            if kind == b"iloc":
                _check_places(body, first)
            if kind in left:
                left[kind] -= last - first
                if left[kind] < 0:
                    raise too_many(f"bytes of {kind.decode()}", _MAX_LISTED[kind])


def _metas(body: bytes, start: int, end: int, around: Sequence[bytes]) -> Iterator[tuple[int, int]]:
    """Where the content of each `meta` box begins and ends: of the file, of its `moov` and of each `trak` in that,
    however deep a file nests its boxes.
    """
    for kind, first, last in _inner_boxes(body, start, end):
        if kind == b"meta":
            yield first, last
        elif around and kind == around[0]:
            yield from _metas(body, first, last, around[1:])


def _properties(body: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    for kind, first, last in _inner_boxes(body, start, end):
        if kind == b"iprp":
            yield from _inner_boxes(body, first, last)


def _inner_boxes(body: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """The boxes of a part of a file: the kind of each, and where its content begins and ends."""
    for _ in range(_MAX_BOXES):
        if start + 8 > end:
            return
        length, head = int.from_bytes(body[start : start + 4], "big"), 8
        if length == 1:
            length, head = int.from_bytes(body[start + 8 : start + 16], "big"), 16
        length = length or end - start
        if length < head:
            return
        yield body[start + 4 : start + 8], start + head, min(start + length, end)
        start += length
    raise too_many("boxes", _MAX_BOXES)


def _check_places(body: bytes, at: int) -> None:
    """Look through an `iloc` box (ISO/IEC 14496-12, section 8.11.3)."""

    def number(size: int) -> int:
        nonlocal at
        at += size
        return int.from_bytes(body[at - size : at], "big")

    version = number(4) >> 24
    sizes = number(2)
    offset_size, length_size, base_size = sizes >> 12, sizes >> 8 & 15, sizes >> 4 & 15
    index_size = sizes & 15 if version else 0
    items, pieces, named = number(4 if version == 2 else 2), 0, 0
    if items > _MAX_ITEMS:
        raise too_many("items", _MAX_ITEMS)
    for _ in range(items):
        at += (4 if version == 2 else 2) + (2 if version else 0) + 2 + base_size
        of_item = number(2)
        pieces += of_item
        if pieces > _MAX_ITEMS:
            raise too_many("pieces of items", _MAX_ITEMS)
        for _ in range(of_item):
            at += index_size + offset_size
            named += number(length_size) or len(body)  # 0: to the end of the file
    if named > max(_MAX_SHARED * len(body), _MIN_NAMED_BYTES):
        raise too_many("bytes of items", _MAX_SHARED * len(body))


def decode(image: Encoded) -> Image.Image:
    """Return the pixels, of the first frame if there are several, in one of Pillow's modes."""
    if image.kind == "AVIF":
        with Image.open(io.BytesIO(image.body), formats=["AVIF"]) as opened:
            opened.load()
        return opened
    return pi_heif.open_heif(io.BytesIO(image.body), convert_hdr_to_8bit=True).to_pillow()  # turned already

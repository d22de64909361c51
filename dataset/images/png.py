"""PNG (W3C, third edition): the walk over its chunks, transparency of one colour, and how many rows are there."""

from __future__ import annotations

import contextlib
import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from PIL import Image

from dataset.images.encoded import (
    MAX_NOTE_BYTES,
    MAX_NOTES,
    Encoded,
    ImageError,
    Notes,
    bytes_missing,
    check_pixels,
    first_notes,
    rows_missing,
    too_many,
)
from dataset.images.exif import orientation

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_MAX_PROFILE_BYTES = 4 * 2**20
_GREY, _COLOUR, _PALETTE, _GREY_ALPHA, _COLOUR_ALPHA = 0, 2, 3, 4, 6
_SAMPLES = {_GREY: 1, _COLOUR: 3, _PALETTE: 1, _GREY_ALPHA: 2, _COLOUR_ALPHA: 4}
_DEPTHS = {_GREY: (1, 2, 4, 8, 16), _PALETTE: (1, 2, 4, 8)}
_PASSES = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))  # Adam7
_DEPTH_AT = 24  # of a file whose first chunk is IHDR
_PIECE = 2**14
_STRIP_PIXELS = 2**20  # that are compared at a time
_MOST_FRAMES = 2**31
_MAX_PARTS = 200_000  # of the pixels; encoders write about one for 8 kB
_CHECKED = frozenset({b"IHDR", b"PLTE", b"tRNS", b"iCCP", b"eXIf", b"acTL", b"fcTL"})
_TEXT, _XMP = b"iTXt", b"XML:com.adobe.xmp\0"
_REQUIRED = frozenset({b"IHDR", b"PLTE"})


def read(body: bytes, most: int) -> Encoded:
    """See `dataset.images.formats.read`."""
    chunks_by_kind: dict[bytes, bytes] = {}
    pixels: list[bytes] = []
    xmp: list[bytes] = []
    for kind, data in _chunks(body):
        if kind == b"IDAT":
            pixels.append(data)
        elif kind == _TEXT:
            if len(xmp) < MAX_NOTES:
                xmp.append(_xmp(data))
        elif pixels and kind != b"eXIf":
            continue
        elif kind == b"acTL" and kind in chunks_by_kind:  # which of them counts, nobody knows
            chunks_by_kind[kind] = b""
        else:
            chunks_by_kind.setdefault(kind, data)
    header = chunks_by_kind.get(b"IHDR", b"")
    if len(header) < 13:
        raise ImageError("image_truncated", f"its {len(body):,} bytes end before its size is said")
    width, height, depth, colour = struct.unpack(">IIBB", header[:10])
    check_pixels(width, height, most)
    if depth not in _DEPTHS.get(colour, (8, 16)) or colour not in _SAMPLES or not pixels:
        what = f"samples of {depth} bits of colour type {colour}" if pixels else "no pixels"
        raise ImageError("image_truncated", f"a PNG with {what}")
    transparent = chunks_by_kind.get(b"tRNS")
    kept = [_chunk(b"IHDR", header[:13])]
    if b"PLTE" in chunks_by_kind:
        kept.append(_chunk(b"PLTE", chunks_by_kind[b"PLTE"]))
    if transparent is not None and colour == _PALETTE:
        kept.append(_chunk(b"tRNS", transparent))
    is_key = transparent is not None and len(transparent) == 2 * _SAMPLES[colour] and colour in (_GREY, _COLOUR)
    return Encoded(
        "PNG",
        b"".join([SIGNATURE, *kept, _chunk(b"IDAT", b"".join(pixels)), _chunk(b"IEND", b"")]),
        width,
        height,
        orientation=orientation(chunks_by_kind.get(b"eXIf", b"")),
        notes=Notes(first_notes(*xmp), chunks_by_kind.get(b"eXIf", b"")[:MAX_NOTE_BYTES]),
        profile=_profile(chunks_by_kind.get(b"iCCP", b"")),
        has_alpha=is_key or colour >= _GREY_ALPHA or (colour == _PALETTE and transparent is not None),
        is_animated=_is_animated(chunks_by_kind),
        transparent=transparent if is_key else None,
    )


def _is_animated(chunks_by_kind: dict[bytes, bytes]) -> bool:
    """Whether there are several frames, or one that is not the image itself, which fcTL before the pixels makes it; a
    number of frames that cannot be is none."""
    frames = int.from_bytes(chunks_by_kind.get(b"acTL", b"")[:4], "big")
    return 0 < frames <= _MOST_FRAMES and (frames > 1 or b"fcTL" not in chunks_by_kind)


def _chunks(body: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kinds and data, up to the end or to where the bytes end: of the last one what is there.

    A damaged chunk that browsers pass over is passed over; of pixels, the compressed stream has a checksum of its own.
    Texts may be as many as there is room for: none but XMP is kept.
    """
    position, parts = len(SIGNATURE), 0
    while position + 8 <= len(body):
        length, kind = int.from_bytes(body[position : position + 4], "big"), body[position + 4 : position + 8]
        end = position + 8 + length
        if kind == b"IEND":
            return
        if kind == b"IDAT":
            parts += 1
            if parts > _MAX_PARTS:
                raise too_many("parts of its pixels", _MAX_PARTS)
            yield kind, body[position + 8 : end]
        elif kind == _TEXT and body.startswith(_XMP, position + 8):  # damaged or not: it may hold its owner's wish
            yield kind, body[position + 8 : end]
        elif kind in _CHECKED and end + 4 <= len(body):
            data = body[position + 8 : end]
            if zlib.crc32(data, zlib.crc32(kind)) == int.from_bytes(body[end : end + 4], "big"):
                yield kind, data
            elif kind in _REQUIRED:
                raise ImageError("image_truncated", f"its chunk {kind.decode()} at byte {position:,} is damaged")
        position = end + 4


def _xmp(data: bytes) -> bytes:
    """The XMP packet of an iTXt chunk (11.3.3.4): it may be compressed, and languages stand before it."""
    flags = data[len(_XMP) : len(_XMP) + 2]
    text = data[len(_XMP) + 2 :].split(b"\0", 2)[-1]
    if flags[:1] != b"\1":
        return text[:MAX_NOTE_BYTES]
    with contextlib.suppress(zlib.error):
        return zlib.decompressobj().decompress(text, MAX_NOTE_BYTES)
    return b""


def _chunk(kind: bytes, data: bytes) -> bytes:
    return b"".join([struct.pack(">I", len(data)), kind, data, struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))])


def _profile(chunk: bytes) -> bytes | None:
    """An iCCP chunk's profile; none that is damaged, or larger than any that is of use."""
    packed = chunk.partition(b"\0")[2][1:]
    try:
        inflate = zlib.decompressobj()
        profile = inflate.decompress(packed, _MAX_PROFILE_BYTES)
    except zlib.error:
        return None
    return profile if profile and inflate.eof else None


def decode(image: Encoded) -> Image.Image:
    """Return pixels in one of Pillow's modes, with 8 bits a sample; where a colour stands for transparency, on white
    already.

    Raises:
        ImageError: rows are missing.
    """
    try:
        return _decode(image)
    except Exception:  # of a stream whose end is damaged all pixels may be there
        return _decode(replace(image, body=_recompress(image.body)))


def _decode(image: Encoded) -> Image.Image:
    opened = _decode_by_pillow(image.body)
    if opened.mode == "RGBA" and image.body[_DEPTH_AT + 1] == _GREY_ALPHA:
        return opened.convert("LA")  # as Pillow has it of 8 bits
    if image.transparent is None and not opened.mode.startswith("I"):
        return opened
    samples = np.asarray(opened.convert("L") if opened.mode == "1" else opened)
    low = samples[:0]
    if image.transparent is not None and samples.ndim == 3 and image.body[_DEPTH_AT] == 16:
        low = np.asarray(_decode_by_pillow(image.body, "RGB;16L"))  # the bytes that Pillow leaves out
    shown = np.empty(samples.shape, np.uint8)
    rows = max(1, _STRIP_PIXELS // image.width)
    for top in range(0, image.height, rows):
        shown[top : top + rows] = _compose_rows(image, samples[top : top + rows], low[top : top + rows])
    return Image.fromarray(shown)


def _compose_rows(image: Encoded, samples: np.ndarray, low: np.ndarray) -> np.ndarray:
    """Some rows as bytes, white where they have the transparent colour."""
    shown = samples if samples.dtype == np.uint8 else (samples >> 8).astype(np.uint8)
    if image.transparent is None:
        return shown
    depth = image.body[_DEPTH_AT]
    key = np.frombuffer(image.transparent, ">u2").astype(np.int64) & ((1 << depth) - 1)
    if depth < 8:
        key *= 255 // ((1 << depth) - 1)  # as samples of fewer bits are spread
    elif len(low):
        samples = samples.astype(np.uint16) << 8 | low
    is_clear = (samples == key).all(2, keepdims=True) if samples.ndim == 3 else samples == key[0]
    return np.where(is_clear, np.uint8(255), shown)


def _decode_by_pillow(body: bytes, layout: str = "") -> Image.Image:
    """A file's pixels as Pillow decodes them; or with another layout of a pixel's bytes in the file."""
    with Image.open(io.BytesIO(body), formats=["PNG"]) as opened:
        if layout:
            opened.tile = [tile._replace(args=layout) for tile in opened.tile]
        opened.load()
        return opened.copy() if layout else opened


def _recompress(body: bytes) -> bytes:
    """A file with its samples compressed again. Raises ImageError if some are missing."""
    end = len(body) - len(_chunk(b"IEND", b""))
    start = body.index(b"IDAT", 33 - 8)  # behind IHDR, PLTE and tRNS
    while int.from_bytes(body[start - 4 : start], "big") != end - 4 - (start + 4):  # PLTE may hold these letters
        start = body.index(b"IDAT", start + 1)
    height, lengths = int.from_bytes(body[20:24], "big"), _row_lengths(body)
    wanted, there = sum(lengths), 0
    deflate = zlib.compressobj(1)
    packed = []
    for part in _inflate(body[start + 4 : end - 4]):
        part = part[: wanted - there]
        there += len(part)
        packed.append(deflate.compress(part))
        if there == wanted:
            break
    if there < wanted:
        rows = int(np.searchsorted(np.cumsum(lengths), there, "right"))
        raise rows_missing(height - rows, height) if len(lengths) == height else bytes_missing(wanted - there, wanted)
    return body[: start - 4] + _chunk(b"IDAT", b"".join([*packed, deflate.flush()])) + _chunk(b"IEND", b"")


def _inflate(stream: bytes) -> Iterator[bytes]:
    """What a zlib stream holds up to where it is damaged, to the byte; its checksum is not asked."""
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    for offset in range(2, len(stream), _PIECE):
        piece = stream[offset : offset + _PIECE]
        while piece and not inflate.eof:
            before = inflate.copy()
            try:
                yield inflate.decompress(piece, 2 * _PIECE)
                piece = inflate.unconsumed_tail
            except zlib.error:
                with contextlib.suppress(zlib.error):
                    while byte := before.decompress(piece, 1):
                        yield byte
                        piece = before.unconsumed_tail
                return
    with contextlib.suppress(zlib.error):
        yield inflate.flush()


def _row_lengths(body: bytes) -> list[int]:
    """The bytes of each row of samples, its filter's included; interlaced, those of each pass."""
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", body[16:29])
    rows: list[int] = []
    for top, left, down, right in _PASSES if interlaced else ((0, 0, 1, 1),):
        across = -(-(width - left) // right)
        if across > 0:
            rows += [1 + -(-across * depth * _SAMPLES[colour] // 8)] * -(-(height - top) // down)
    return rows

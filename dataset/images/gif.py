"""GIF89a: its first frame, without comments and application data."""

from __future__ import annotations

import io
import itertools
import re
from collections.abc import Iterator

from PIL import Image

from dataset.images.encoded import Encoded, ImageError, check_pixels, too_many

_EXTENSION, _FRAME, _END = 0x21, 0x2C, 0x3B
_CONTROL = 0xF9
_BLOCK = re.compile(rb"[!,;]")
_MAX_BLOCKS = 500_000  # of up to 255 bytes; encoders fill them


def read(body: bytes, most: int) -> Encoded:
    """See `dataset.images.formats.read`."""
    if len(body) < 13:
        raise ImageError("image_truncated", f"its {len(body)} bytes end within its header")
    position = 13 + _table_bytes(body[10])
    kept, control = [body[:position]], b""
    frame: tuple[int, int, int, int] | None = None
    is_animated = False
    blocks = itertools.count()
    while position < len(body) and body[position] != _END and next(blocks) <= _MAX_BLOCKS:
        start = position
        if body[start] == _EXTENSION:
            position = _skip_blocks(body, start + 2, blocks)
            if body[start + 1 : start + 2] == bytes([_CONTROL]) and frame is None:
                control = body[start:position]
        elif body[start] == _FRAME and start + 10 <= len(body):
            if frame is not None:
                is_animated = True
                break
            left, top, across, down = (
                int.from_bytes(body[start + offset : start + offset + 2], "little") for offset in (1, 3, 5, 7)
            )
            frame = left, top, across, down
            position = _skip_blocks(body, start + 10 + _table_bytes(body[start + 9]) + 1, blocks)
            size = body[start + 5 : start + 9]
            kept[0] = body[:6] + size + kept[0][10:]  # the canvas is the frame's
            kept += [control, body[start : start + 1] + bytes(4) + body[start + 5 : position]]
        else:  # between blocks, as all decoders pass over it
            block = _BLOCK.search(body, position + 1)
            position = block.start() if block else len(body)
    if frame is None:
        if position < len(body) and body[position] != _END:
            raise too_many("blocks", _MAX_BLOCKS)
        raise ImageError("image_truncated", f"its {len(body):,} bytes end before its pixels begin")
    left, top, across, down = frame
    width = max(int.from_bytes(body[6:8], "little"), left + across)
    height = max(int.from_bytes(body[8:10], "little"), top + down)
    check_pixels(across, down, most)
    check_pixels(width, height, most)
    place = (left, top) if (across, down) != (width, height) else None
    return Encoded(
        "GIF",
        b"".join([*kept, bytes([0, _END])]),
        width,
        height,
        has_alpha=len(control) > 3 and bool(control[3] & 1),
        is_animated=is_animated,
        place=place,
    )


def _table_bytes(flags: int) -> int:
    """The length of the table of colours that follows."""
    return 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0


def _skip_blocks(body: bytes, position: int, blocks: Iterator[int]) -> int:
    """What follows a run of blocks, each with its length before it and an empty one at the end."""
    while position < len(body) and body[position]:
        position += 1 + body[position]
        if next(blocks) > _MAX_BLOCKS:
            raise too_many("blocks", _MAX_BLOCKS)
    return min(position + 1, len(body))


def decode(image: Encoded) -> Image.Image:
    """Return the first frame, in one of Pillow's modes."""
    with Image.open(io.BytesIO(image.body), formats=["GIF"]) as opened:
        opened.load()
    return opened

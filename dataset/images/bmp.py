"""BMP, as Windows writes it: whether all rows are there."""

from __future__ import annotations

import io

from PIL import Image

from dataset.images.encoded import Encoded, check_pixels, rows_missing, too_many

_CORE = 12  # bytes of the oldest header, whose fields are shorter
_MAX_RUN_BYTES = 8 * 2**20  # of pixels in runs, which Pillow reads one by one: 3 seconds
_PADDING = bytes(3)  # which fills the last row up to four bytes, and may be missing


def read(body: bytes, most: int) -> Encoded:
    """See `dataset.images.formats.read`."""
    with Image.open(io.BytesIO(body), formats=["BMP"]) as opened:
        width, height = opened.size
        check_pixels(width, height, most)
        codec, _, start, layout = opened.tile[0]
        has_alpha = opened.mode == "RGBA"
    if codec == "bmp_rle" and len(body) > _MAX_RUN_BYTES:
        raise too_many("bytes of runs", _MAX_RUN_BYTES)
    if codec == "raw" and isinstance(layout, tuple):
        position = 24 if int.from_bytes(body[14:18], "little") == _CORE else 28
        row_bytes = -(-width * int.from_bytes(body[position : position + 2], "little") // 8)
        whole, rest = divmod(max(0, len(body) - start), layout[1])
        rows = whole + (rest >= row_bytes)
        if rows < height:
            raise rows_missing(height - rows, height)
    return Encoded("BMP", body + _PADDING, width, height, has_alpha=has_alpha)


def decode(image: Encoded) -> Image.Image:
    """Return the pixels, in one of Pillow's modes."""
    with Image.open(io.BytesIO(image.body), formats=["BMP"]) as opened:
        opened.load()
    return opened

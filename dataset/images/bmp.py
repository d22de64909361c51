"""BMP, as Windows writes it: whether all rows are there."""

from __future__ import annotations

import io
import struct

from PIL import Image

from dataset.images.encoded import Encoded, ImageError, check_pixels, rows_missing

_CORE = 12  # bytes of the oldest header, with sizes of 16 bits
_UNCOMPRESSED = (0, 3, 6)
_PADDING = bytes(3)


def read(body: bytes, most: int) -> Encoded:
    """See `dataset.images.formats.read`."""
    if len(body) < 34:
        raise ImageError("image_truncated", f"its {len(body)} bytes end within its header")
    start, header = struct.unpack_from("<II", body, 10)
    width, height, _, bits = struct.unpack_from("<HHHH" if header == _CORE else "<iiHH", body, 18)
    compression = 0 if header == _CORE else int.from_bytes(body[30:34], "little")
    height = abs(height)
    check_pixels(width, height, most)
    if compression in _UNCOMPRESSED:
        row = (width * bits + 31) // 32 * 4
        whole, rest = divmod(max(0, len(body) - start), row) if row else (0, 0)
        rows = whole + (rest >= -(-width * bits // 8))
        if rows < height:
            raise rows_missing(height - rows, height)
        body = body[: start + height * row] + _PADDING  # of the last row, what fills it up may be missing
    return Encoded("BMP", body, width, height)


def decode(image: Encoded) -> Image.Image:
    """The pixels, in one of Pillow's modes."""
    with Image.open(io.BytesIO(image.body), formats=["BMP"]) as opened:
        opened.load()
    return opened

"""An image's bytes as the pixels that a browser would show, whoever made them."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from dataset.images.decode import SCALES, decode, in_srgb, upright
from dataset.images.formats import FORMATS, read

_BY_PILLOW = tuple(kind for kind in FORMATS if kind != "HEIF")


def to_rgb(body: bytes, most: int, side: int) -> np.ndarray:
    """Return RGB pixels, upright and in sRGB, what is transparent on white: uint8 of shape (height, width, 3).

    Args:
        most: pixels that the image may have.
        side: the pixels that its shorter side will need: a large JPEG is then decoded at 1/2, 1/4 or 1/8 of its scale.
    Raises:
        ImageError: the bytes are no image of a format that is read, are cut short, or claim too many pixels.
    """
    image = read(body, most)
    scale = next((scale for scale in SCALES if min(image.width, image.height) // side >= scale), 1)
    return upright(in_srgb(decode(image, scale), image.profile), image.orientation)


def open_stored(body: bytes) -> Image.Image:
    """Return an image that was taken in before, as Pillow has it. Of other formats, some of which run programs (EPS),
    it tries none, for the store that it comes from may be anybody's.

    Raises OSError: it is of none that is read.
    """
    return Image.open(io.BytesIO(body), formats=_BY_PILLOW)

"""Pixels: of whichever format, without transparency, upright and in sRGB."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Mapping

import numpy as np
from PIL import Image, ImageCms

from dataset.images import bmp, gif, heif, jpeg, png, webp
from dataset.images.encoded import Encoded, ImageError
from dataset.images.formats import words

SCALES = (8, 4, 2, 1)
"""The factors by which an image may be decoded smaller than it is. Only JPEGs can be: some of their pixels are then
never made."""
_STRIP_PIXELS = 2**20  # that are put on white at a time, so that a large image is not in memory four times
_SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
_MODES = {1: "L", 3: "RGB", 4: "CMYK"}
_OTHERS: Mapping[str, Callable[[Encoded], Image.Image]] = {
    "PNG": png.decode,
    "WEBP": webp.decode,
    "AVIF": heif.decode,
    "HEIF": heif.decode,
    "GIF": gif.decode,
    "BMP": bmp.decode,
}


def decode(image: Encoded, scale: int = 1) -> np.ndarray:
    """Return pixels as they lie, in the colours of their profile, what is transparent on white: uint8 of shape (height,
    width) if they are grey, (height, width, 3), or (height, width, 4) of CMYK.

    Args:
        scale: one of SCALES: a JPEG is then decoded at that fraction, rounded up.
    Raises:
        ImageError: it ends too early or is damaged.
    """
    try:
        if image.kind == "JPEG":
            return jpeg.decode(image, scale)
        pixels = _compose_on_white(_OTHERS[image.kind](image))
    except ImageError:
        raise
    except Exception as error:  # decoders raise whatever a broken file makes them
        raise ImageError("image_truncated", words(error)) from None
    if image.place is None:
        return pixels
    canvas = np.full((image.height, image.width, *pixels.shape[2:]), 255, np.uint8)
    left, top = image.place
    canvas[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels
    return canvas


def _compose_on_white(image: Image.Image) -> np.ndarray:
    if not image.has_transparency_data:
        return np.asarray(
            image if image.mode in ("L", "RGB", "CMYK") else image.convert("L" if image.mode == "1" else "RGB")
        )
    width, height = image.size
    pixels = np.empty((height, width, 3), np.uint8)
    rows = max(1, _STRIP_PIXELS // width)
    for top in range(0, height, rows):
        strip = image.crop((0, top, width, min(height, top + rows))).convert("RGBA")
        white = Image.new("RGBA", strip.size, "white")
        pixels[top : top + rows] = np.asarray(Image.alpha_composite(white, strip).convert("RGB"))
    return pixels[:, :, 0] if image.mode == "LA" else pixels


def in_srgb(pixels: np.ndarray, profile: bytes | None) -> np.ndarray:
    """Return RGB pixels in sRGB, uint8 of shape (height, width, 3); a profile that is broken, or of another colour
    space than the pixels, is ignored.
    """
    if pixels.ndim == 3 and pixels.shape[2] == 3 and profile is None:
        return pixels
    image = Image.fromarray(np.ascontiguousarray(pixels), _MODES[pixels.shape[2] if pixels.ndim == 3 else 1])
    if profile:
        with contextlib.suppress(ImageCms.PyCMSError, OSError, ValueError):
            profiles = ImageCms.ImageCmsProfile(io.BytesIO(profile)), _SRGB
            converted = ImageCms.profileToProfile(image, *profiles, outputMode="RGB")
            if converted is not None:
                return np.asarray(converted)
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Return pixels as a viewer shows them, by EXIF's orientation."""
    if orientation == 1:
        return pixels
    if orientation >= 5:  # the first row is a side
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)

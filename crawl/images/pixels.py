"""Pixels of a stored image: decoded at about the size that is asked for, reduced, measured, and encoded again.

Decoding and reducing are where a fetch spends its CPU. A JPEG is decoded by libjpeg-turbo at 1/2, 1/4 or 1/8 (its DCT
is scaled, whole blocks are never made), then reduced by OpenCV.
"""

from __future__ import annotations

import io

import cv2
import numpy as np
import simplejpeg
import xxhash
from PIL import Image

from dataset.images import SCALES, Encoded, decode, in_srgb, upright

_CHROMA = "420"  # what cameras, Pillow and OpenCV write

cv2.setNumThreads(1)  # images are many, and each has its thread already


def decode_at(image: Encoded, size: tuple[int, int]) -> np.ndarray:
    """Return RGB pixels in sRGB, decoded and reduced to a size (width, height), then upright. uint8 (height, width, 3).

    Raises:
        ImageError: the image ends too early or is damaged.
    """
    scale = next(s for s in SCALES if s == 1 or (-(-image.width // s) >= size[0] and -(-image.height // s) >= size[1]))
    pixels = decode(image, scale)
    pixels = _resize_finely(pixels, size) if image.has_alpha else resize(pixels, size)
    # Few pixels are converted to sRGB faster than many, and a reduced image is none the worse for it.
    return upright(in_srgb(pixels, image.profile), image.orientation)


def resize(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize pixels to a size (width, height); the same array if it has that size.

    Up to a half, bicubic: behind a scaled DCT it is nearer to Lanczos over the whole image than Pillow's antialiased
    bilinear and Hamming filters (36.5 dB against 35.5 on 150 photographs), and four times as fast. Further down, the
    mean of what each pixel covers, as img2dataset has it; enlarged, Lanczos, as it has that.
    """
    height, width = pixels.shape[:2]
    if (width, height) == size:
        return pixels
    least = min(width / size[0], height / size[1])
    if least < 1:
        return cv2.resize(pixels, size, interpolation=cv2.INTER_LANCZOS4)
    return cv2.resize(pixels, size, interpolation=cv2.INTER_CUBIC if least <= 2 else cv2.INTER_AREA)


def _resize_finely(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The same by Pillow's antialiased bicubic, slowly: what is transparent is mostly figures and screenshots, whose
    lines of one pixel `resize` would tear."""
    height, width = pixels.shape[:2]
    if (width, height) == size:
        return pixels
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC, reducing_gap=3.0))


def mean(pixels: np.ndarray) -> bytes:
    """Return the mean colour, rounded: three bytes."""
    return bytes(int(value + 0.5) for value in cv2.mean(pixels)[:3])  # of doubles, so the sums are exact


def fingerprint(pixels: np.ndarray) -> bytes:
    """Return 128 bits that two images share if their pixels and sizes are the same: XXH3, for its speed. It is not
    cryptographic: who wants to can make another image that shares it.
    """
    digest = xxhash.xxh3_128(repr(pixels.shape).encode())
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.digest()


def encode(pixels: np.ndarray, kind: str, quality: int) -> bytes:
    """Return a JPEG or WebP that holds pixels and nothing else. Standard Huffman tables: optimized ones save 4 % of the
    bytes and take as long again as the rest of the encoder.
    """
    if kind == "webp":
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "WEBP", quality=quality, method=4)
        return buffer.getvalue()
    return simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), quality, "RGB", _CHROMA)

"""Pixels: decoded at about the size that is asked for, resized, upright, in sRGB, and encoded again.

Decoding and reducing are where a fetch spends its CPU. A JPEG in YCbCr, which is most of the web, is decoded by
libjpeg-turbo at 1/2, 1/4 or 1/8 (its DCT is scaled, whole blocks are never made), then reduced by OpenCV; everything
else goes through Pillow, which knows every mode that a file may have.
"""

from __future__ import annotations

import contextlib
import io

import cv2
import numpy as np
import simplejpeg
import xxhash
from PIL import Image, ImageCms
from PIL.JpegImagePlugin import JpegImageFile

_DCT_SCALES = (8, 4, 2, 1)
_MAX_PROFILE_BYTES = 4 * 2**20  # CMYK profiles have up to two
_ORIENTATION = 0x0112  # EXIF 2.3, section 4.6.4
_SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
_CHROMA = "420"  # what cameras, Pillow and OpenCV write

cv2.setNumThreads(1)  # images are many, and each has its thread already


def decode(body: bytes, image: Image.Image, size: tuple[int, int]) -> np.ndarray:
    """RGB pixels in sRGB, at a size. uint8 (height, width, 3).

    Args:
        body: the file.
        image: the same, opened by Pillow and not loaded.
        size: width and height.

    Raises:
        Exception: whatever a broken file makes a decoder raise.
    """
    if isinstance(image, JpegImageFile) and image.mode == "RGB":
        pixels = resize(_decode_jpeg(body, image, size), size)
        return _in_srgb(Image.fromarray(pixels), image) if "icc_profile" in image.info else pixels
    image.load()
    return _in_srgb(_to_size(image, size), image)


def _decode_jpeg(body: bytes, image: Image.Image, size: tuple[int, int]) -> np.ndarray:
    """All pixels, or those of the least DCT scale that still has enough of them."""
    width, height = image.size
    scale = next(s for s in _DCT_SCALES if s == 1 or (-(-width // s) >= size[0] and -(-height // s) >= size[1]))
    try:
        return simplejpeg.decode_jpeg(body, "RGB", min_height=-(-height // scale), min_width=-(-width // scale))
    except ValueError:
        # Strict, so that a cut file is told from a whole one. Pillow passes over what is odd but harms no pixel.
        image.draft(None, (-(-width // scale), -(-height // scale)))
        image.load()
        return np.asarray(image)


def resize(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Pixels at a size (width, height); the same array if it has that size.

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


def orientation(image: Image.Image) -> int:
    """EXIF's orientation, 1 to 8; 1 if there is none that makes sense."""
    if isinstance(image, JpegImageFile) and "exif" not in image.info and "xmp" not in image.info:
        return 1  # without asking for EXIF that is not there
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # broken EXIF does not spoil the pixels
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Pixels as a viewer shows them, by EXIF's orientation."""
    if orientation >= 5:  # the first row is a side
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def mean(pixels: np.ndarray) -> bytes:
    """The mean colour, rounded: three bytes."""
    return bytes(int(value + 0.5) for value in cv2.mean(pixels)[:3])  # of doubles, so the sums are exact


def fingerprint(pixels: np.ndarray) -> bytes:
    """128 bits that two images share if their pixels and sizes are the same: XXH3, for its speed. It is not
    cryptographic: who wants to can make another image that shares it."""
    digest = xxhash.xxh3_128(repr(pixels.shape).encode())
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.digest()


def encode(pixels: np.ndarray, kind: str, quality: int) -> bytes:
    """A JPEG or WebP that holds pixels and nothing else. Standard Huffman tables: optimized ones save 4 % of the bytes
    and take as long again as the rest of the encoder."""
    if kind == "webp":
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "WEBP", quality=quality, method=4)
        return buffer.getvalue()
    return simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), quality, "RGB", _CHROMA)


def _to_size(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Pixels in a mode that a colour profile may speak of, without transparency, at a size."""
    if image.mode.startswith("I"):  # 16 bits of grey; Pillow would clip them to 8
        image = Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).clip(0, 255).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
    elif image.mode not in ("RGB", "L", "CMYK"):
        image = image.convert("RGB")
    if image.mode != "RGBA":
        return image if size == image.size else Image.fromarray(resize(np.asarray(image), size), image.mode)
    if size != image.size:
        image = image.resize(size, Image.Resampling.BICUBIC, reducing_gap=3.0)  # weights colours by their alpha
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


def _in_srgb(image: Image.Image, source: Image.Image) -> np.ndarray:
    """RGB pixels; the source's profile is ignored if it is broken or of another colour space than the pixels."""
    profile = source.info.get("icc_profile")
    if profile and len(profile) <= _MAX_PROFILE_BYTES:
        with contextlib.suppress(ImageCms.PyCMSError, OSError, ValueError):
            profiles = ImageCms.ImageCmsProfile(io.BytesIO(profile)), _SRGB
            converted = ImageCms.profileToProfile(image, *profiles, outputMode="RGB")
            if converted is not None:
                return np.asarray(converted)
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))

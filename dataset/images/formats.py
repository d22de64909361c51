"""Which format a file is of, told from its bytes, and what reads it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from PIL import Image

from dataset.images import bmp, gif, heif, jpeg, png, webp
from dataset.images.encoded import Encoded, ImageError

Read = Callable[[bytes, int], Encoded]

FORMATS: Mapping[str, tuple[str, Read]] = {
    "JPEG": ("image/jpeg", jpeg.read),
    "PNG": ("image/png", png.read),
    "WEBP": ("image/webp", webp.read),
    "AVIF": ("image/avif", heif.read),
    "HEIF": ("image/heic", heif.read),
    "GIF": ("image/gif", gif.read),
    "BMP": ("image/bmp", bmp.read),
}
"""The media type of each format, by Pillow's name, and what reads it."""


def sniff(body: bytes) -> str | None:
    """Return the format of a body by its first bytes, as Pillow names it; None if it is none that is read."""
    if body.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if body.startswith(png.SIGNATURE):
        return "PNG"
    if body.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    if body.startswith(b"RIFF") and body[8:12] == b"WEBP":
        return "WEBP"
    if body.startswith(b"BM") and body[6:10] == bytes(4):
        return "BMP"
    return heif.kind(body)


def read(body: bytes, most: int) -> Encoded:
    """Return an image, ready to be decoded; no pixel is.

    Args:
        body: the file.
        most: pixels that it may have.
    Raises:
        ImageError: it is none, has too many pixels, or ends before they do.
    """
    kind = sniff(body)
    if kind is None:
        raise ImageError("not_an_image", f"begins with {body[:16]!r}" if body else "an empty body")
    try:
        return FORMATS[kind][1](body, most)
    except ImageError:
        raise
    except Image.DecompressionBombError as error:
        raise ImageError("image_too_many_pixels", str(error)) from None
    except Exception as error:  # decoders raise whatever a broken file makes them
        raise ImageError("image_truncated", words(error)) from None


def words(error: BaseException) -> str:
    """Return an error in at most 200 characters, without addresses in memory; its class if it says nothing."""
    said = " ".join(str(error).split())[:200]
    return said if said and " at 0x" not in said else type(error).__name__

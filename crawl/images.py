"""From the bytes that a server calls an image to pixels that are safe to keep.

The order matters. Hash lists see the bytes before anything else does; the type is told from the bytes, never from
a header; the size is known before a pixel is decoded; and what is stored holds pixels only: no EXIF, no GPS, no
comments, no colour profile.
"""

from __future__ import annotations

import hashlib
import io
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image, ImageCms

from crawl.observations import Ingested, Refusal

FINGERPRINT_SIDE = 512
"""Pixels of the longer side at which fingerprints are taken; what PDQ's authors downsample to before hashing
(github.com/facebook/ThreatExchange, hashing/hashing.pdf, section on image resizing)."""

_MAX_SIDE = 16_383  # WebP's limit; JPEG's is higher
_MAX_PROFILE_BYTES = 4 * 2**20  # CMYK profiles have up to two
_MEDIA_TYPES = {
    "JPEG": "image/jpeg",
    "PNG": "image/png",
    "GIF": "image/gif",
    "WEBP": "image/webp",
    "BMP": "image/bmp",
}
_ORIENTATION = 0x0112  # EXIF 2.3, section 4.6.4
_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_FOREIGN = re.compile(rb"\xff[\xd8\xe0-\xef\xfe]")  # JPEG markers of another image, application data or a comment
_SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))

warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # `max_pixels` says it, as a reason

Fingerprint = Callable[[np.ndarray], tuple[bytes, int]]
"""PDQ of RGB pixels, uint8 of shape (height, width, 3): 32 bytes, and its quality from 0 to 100."""
Listed = Callable[[bytes, bytes | None], str | None]
"""Which hash list holds an image: asked with the body and None before it is decoded, with its PDQ after."""


@dataclass(frozen=True)
class ImageConfig:
    """What is kept of an image."""

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012

    max_pixels: int = 64_000_000
    """An image with more is not decoded."""
    store_size: int = 256
    """Pixels of the shorter side to which a larger image is reduced before it is stored; 0 keeps every size."""
    store_format: Literal["jpeg", "webp"] = "jpeg"
    """What is stored. An image of this format that needs no change is stored without a new generation of loss."""
    quality: int = 92
    """Of the encoder, from 1 to 100."""

    def __post_init__(self) -> None:
        if self.max_pixels < 1:
            raise ValueError(f"max_pixels must be at least 1, not {self.max_pixels}")
        if not 0 <= self.store_size <= _MAX_SIDE:
            raise ValueError(f"store_size must be from 0 to {_MAX_SIDE}, not {self.store_size}")
        if self.store_format not in ("jpeg", "webp"):
            raise ValueError(f"store_format must be jpeg or webp, not {self.store_format!r}")
        if not 1 <= self.quality <= 100:
            raise ValueError(f"quality must be from 1 to 100, not {self.quality}")


def ingest(body: bytes, config: ImageConfig, fingerprint: Fingerprint, listed: Listed) -> Ingested | Refusal:
    """Accept an image, ready to be stored, or say why not. The same body gives the same bytes.

    Raises:
        Whatever `fingerprint` and `listed` raise; nothing because of the body.
    """
    hit = listed(body, None)
    if hit is not None:
        return Refusal("hash_list_match", hit)
    kind = sniff(body)
    if kind is None:
        return Refusal("not_an_image", f"begins with {body[:16]!r}" if body else "an empty body")
    try:
        image = Image.open(io.BytesIO(body), formats=[kind])
    except Image.DecompressionBombError as error:
        return Refusal("image_too_many_pixels", str(error))
    except Exception as error:  # decoders raise whatever a broken file makes them
        return Refusal("image_truncated", _words(error))
    with image:
        return _ingest(body, kind, image, config, fingerprint, listed)


def _ingest(
    body: bytes, kind: str, image: Image.Image, config: ImageConfig, fingerprint: Fingerprint, listed: Listed
) -> Ingested | Refusal:
    width, height = image.size
    if width * height > config.max_pixels:
        return Refusal("image_too_many_pixels", f"{width} x {height}")
    # Cameras put previews behind a JPEG; these are not frames. The others' decoders answer without reading all frames.
    try:
        if kind != "JPEG" and getattr(image, "is_animated", False):
            return Refusal("image_animated", f"{kind} with more than one frame")
        size = _stored_size(width, height, config.store_size)
        if max(size) > _MAX_SIDE:
            return Refusal("image_too_many_pixels", f"{width} x {height}: a side over {_MAX_SIDE}")
        profile = image.info.get("icc_profile")
        if size != (width, height):
            image.draft(None, size)  # a JPEG is decoded at the 1/2, 1/4 or 1/8 that still has enough pixels
        image.load()
        orientation = _orientation(image)
        reduced = _reduce(image, size)
        rgb = _to_srgb(reduced, profile)
    except Exception as error:  # decoders raise whatever a broken file makes them
        return Refusal("image_truncated", _words(error))
    if orientation in _TRANSPOSE:
        rgb = rgb.transpose(_TRANSPOSE[orientation])
        if orientation >= 5:
            width, height = height, width

    thumbnail = rgb
    if max(rgb.size) > FINGERPRINT_SIDE:
        thumbnail = rgb.copy()
        thumbnail.thumbnail((FINGERPRINT_SIDE, FINGERPRINT_SIDE), Image.Resampling.BICUBIC)
    pdq, quality = fingerprint(np.asarray(thumbnail))
    hit = listed(body, pdq)
    if hit is not None:
        return Refusal("hash_list_match", hit)

    same_pixels = reduced is image and size == (width, height) and orientation not in _TRANSPOSE
    if same_pixels and profile is None and image.mode in ("RGB", "L") and config.store_format == kind.lower():
        stored = _plain_jpeg(body) if kind == "JPEG" else _plain_webp(body)
    else:
        stored = None
    return Ingested(
        md5=hashlib.md5(body, usedforsecurity=False).digest(),
        sha256=hashlib.sha256(body).digest(),
        media_type=_MEDIA_TYPES[kind],
        original_width=width,
        original_height=height,
        width=rgb.width,
        height=rgb.height,
        pdq=pdq,
        pdq_quality=quality,
        mean_rgb=_mean(thumbnail),
        body=stored if stored is not None else _encode(rgb, config),
    )


def sniff(body: bytes) -> str | None:
    """The format of a body by its first bytes, as Pillow names it; None if it is none that is accepted."""
    if body.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if body.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if body.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    if body.startswith(b"RIFF") and body[8:12] == b"WEBP":
        return "WEBP"
    if body.startswith(b"BM") and body[6:10] == bytes(4):
        return "BMP"
    return None


def _stored_size(width: int, height: int, shorter: int) -> tuple[int, int]:
    """The size with the shorter side reduced to `shorter`, aspect kept; as it is if that is no reduction."""
    least = min(width, height)
    if not shorter or least <= shorter:
        return width, height
    return max(1, round(width * shorter / least)), max(1, round(height * shorter / least))


def _orientation(image: Image.Image) -> int:
    """EXIF's orientation, 1 to 8; 1 if there is none that makes sense."""
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # broken EXIF does not spoil the pixels
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _reduce(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Pixels in a mode that can be averaged, at the size to store; the very image if nothing is to be done."""
    if image.mode.startswith("I"):  # 16 bits of grey; Pillow would clip them to 8
        image = Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).clip(0, 255).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
    elif image.mode not in ("RGB", "L", "CMYK"):
        image = image.convert("RGB")
    if size != image.size:
        image = image.resize(size, Image.Resampling.BICUBIC, reducing_gap=3.0)
    if image.mode == "RGBA":  # after the resize, which weights colours by their alpha
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image).convert("RGB")
    return image


def _to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """RGB pixels in sRGB; a profile that is broken or of another colour space than the pixels is ignored."""
    if profile and len(profile) <= _MAX_PROFILE_BYTES:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            converted = ImageCms.profileToProfile(image, source, _SRGB, outputMode="RGB")
        except (ImageCms.PyCMSError, OSError, ValueError):
            converted = None
        if converted is not None:
            return converted
    return image if image.mode == "RGB" else image.convert("RGB")


def _mean(image: Image.Image) -> bytes:
    """Mean colour, rounded, of RGB pixels; of their histogram, so that it is exact and in C."""
    counts = np.asarray(image.histogram(), dtype=np.int64).reshape(3, 256)
    pixels = image.width * image.height
    return bytes(((counts @ np.arange(256) + pixels // 2) // pixels).astype(np.uint8))


def _encode(image: Image.Image, config: ImageConfig) -> bytes:
    image.info.clear()  # nothing that the source said about itself travels along
    buffer = io.BytesIO()
    if config.store_format == "webp":
        image.save(buffer, "WEBP", quality=config.quality, method=4)
    else:
        image.save(buffer, "JPEG", quality=config.quality, optimize=True)
    return buffer.getvalue()


def _plain_jpeg(body: bytes) -> bytes | None:
    """A JPEG without application segments (but JFIF's and Adobe's) and comments, not a pixel changed (ITU-T T.81,
    annex B); None if that takes a new encoding."""
    kept = [b"\xff\xd8"]
    position = 2
    while position + 4 <= len(body) and body[position] == 0xFF:
        marker = body[position + 1]
        if marker == 0xFF:  # a fill byte
            position += 1
            continue
        if marker == 0xDA:  # the scan: up to the end of the image there are only pixels
            end = body.find(b"\xff\xd9", position)
            scans = body[position : end + 2]
            return b"".join([*kept, scans]) if end > 0 and _FOREIGN.search(scans) is None else None
        end = position + 2 + int.from_bytes(body[position + 2 : position + 4], "big")
        is_jfif = marker == 0xE0 and body[position + 4 : position + 9] == b"JFIF\0"
        is_adobe = marker == 0xEE and body[position + 4 : position + 9] == b"Adobe"
        if is_jfif:
            kept.append(b"\xff\xe0\x00\x10" + body[position + 4 : position + 16] + b"\0\0")  # without its thumbnail
        elif is_adobe or not (0xE0 <= marker <= 0xEF or marker == 0xFE):
            kept.append(body[position:end])
        position = end
    return None


def _plain_webp(body: bytes) -> bytes | None:
    """A WebP of the simple format (one chunk of pixels, no metadata) and nothing behind it (RFC 9649,
    section 2.5); None if it is more than that."""
    if body[12:16] not in (b"VP8 ", b"VP8L") or int.from_bytes(body[4:8], "little") + 8 != len(body):
        return None
    chunk = int.from_bytes(body[16:20], "little")
    return body if 20 + chunk + chunk % 2 == len(body) else None


def _words(error: BaseException) -> str:
    """An error in at most 200 characters; its class if it says nothing."""
    return " ".join(str(error).split())[:200] or type(error).__name__

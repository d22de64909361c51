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
from PIL import Image

from crawl import pixels
from crawl.observations import Ingested, Refusal
from crawl.resize import MODES, ResizeMode, framed, is_resized, scaled

FINGERPRINT_SIDE = 512
"""Pixels of the longer side at which fingerprints are taken; what PDQ's authors downsample to before hashing
(github.com/facebook/ThreatExchange, hashing/hashing.pdf, section on image resizing)."""

_MAX_SIDE = 16_383  # WebP's limit; JPEG's is higher
_MEDIA_TYPES = {
    "JPEG": "image/jpeg",
    "PNG": "image/png",
    "GIF": "image/gif",
    "WEBP": "image/webp",
    "BMP": "image/bmp",
}
_MAX_SCANS = 100
"""Of a progressive JPEG. Encoders write about ten; each takes a pass over all pixels, so that a few megabytes of empty
ones take hours (libjpeg-turbo: "Two Issues with the JPEG Standard", 2018)."""
_FOREIGN = re.compile(rb"\xff[\xd8\xe0-\xef\xfe]")  # JPEG markers of another image, application data or a comment

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
    """Pixels of a side to which an image is brought before it is stored; 0 keeps every size."""
    resize_mode: ResizeMode = "keep_ratio"
    """Which side that is, by img2dataset's names: the shorter one (keep_ratio) or the longer one (keep_ratio_largest);
    center_crop then takes the square in the middle, border puts the image on a white square; no keeps every size.
    Whatever is stored, hashes that find an image again are taken of all of it."""
    resize_only_if_bigger: bool = True
    """Whether an image whose side is no longer than that stays as it is; else it is enlarged, too."""
    store_format: Literal["jpeg", "webp"] = "jpeg"
    """What is stored. An image of this format that needs no change is stored without a new generation of loss."""
    quality: int = 92
    """Of the encoder, from 1 to 100."""

    def __post_init__(self) -> None:
        if self.max_pixels < 1:
            raise ValueError(f"max_pixels must be at least 1, not {self.max_pixels}")
        if not 0 <= self.store_size <= _MAX_SIDE:
            raise ValueError(f"store_size must be from 0 to {_MAX_SIDE}, not {self.store_size}")
        if self.resize_mode not in MODES:
            raise ValueError(f"resize_mode must be one of {', '.join(MODES)}, not {self.resize_mode!r}")
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
    if image.info.get("progressive") and body.count(b"\xff\xda") > _MAX_SCANS:
        return Refusal("image_too_many_pixels", f"{width} x {height} in more than {_MAX_SCANS} scans")
    # Cameras put previews behind a JPEG; these are not frames. The others' decoders answer without reading all frames.
    try:
        if kind != "JPEG" and getattr(image, "is_animated", False):
            return Refusal("image_animated", f"{kind} with more than one frame")
        mode, side = config.resize_mode, config.store_size
        resized = is_resized(width, height, mode, side, only_if_bigger=config.resize_only_if_bigger)
        size = scaled(width, height, mode, side) if resized else (width, height)
        if max(size) > _MAX_SIDE or size[0] * size[1] > config.max_pixels:
            return Refusal("image_too_many_pixels", f"{width} x {height}, to be stored as {size[0]} x {size[1]}")
        is_plain = image.mode in ("RGB", "L") and not image.has_transparency_data and "icc_profile" not in image.info
        decoded = pixels.decode(body, image, size)
        turn = pixels.orientation(image)
    except Exception as error:  # decoders raise whatever a broken file makes them
        return Refusal("image_truncated", _words(error))
    shown = decoded if turn == 1 else pixels.upright(decoded, turn)
    original = (height, width) if turn >= 5 else (width, height)

    thumbnail = _thumbnail(shown)
    pdq, quality = fingerprint(thumbnail)
    hit = listed(body, pdq)
    if hit is not None:
        return Refusal("hash_list_match", hit)

    if resized:
        shown = framed(shown, mode, side)
    stored: bytes | None = None
    if is_plain and turn == 1 and shown.shape[:2] == (height, width) and config.store_format == kind.lower():
        stored = _plain_jpeg(body) if kind == "JPEG" else _plain_webp(body)
    if stored is None:
        stored = pixels.encode(shown, config.store_format, config.quality)
    return Ingested(
        md5=hashlib.md5(body, usedforsecurity=False).digest(),
        sha256=hashlib.sha256(body).digest(),
        media_type=_MEDIA_TYPES[kind],
        original_width=original[0],
        original_height=original[1],
        width=shown.shape[1],
        height=shown.shape[0],
        pdq=pdq,
        pdq_quality=quality,
        mean_rgb=pixels.mean(thumbnail),
        pixel_hash=pixels.fingerprint(shown),
        body=stored,
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


def _thumbnail(shown: np.ndarray) -> np.ndarray:
    """Pixels with no side over FINGERPRINT_SIDE."""
    height, width = shown.shape[:2]
    share = FINGERPRINT_SIDE / max(height, width)
    return shown if share >= 1 else pixels.resize(shown, (max(1, round(width * share)), max(1, round(height * share))))


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

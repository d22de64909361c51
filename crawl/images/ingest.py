"""From the bytes that a server calls an image to pixels that are safe to keep.

The order matters. Hash lists see the bytes before anything else does; the type is told from the bytes, never from
a header; the size, and what the file says of its use, are known before a pixel is decoded; and what is stored holds
pixels only: no EXIF, no GPS, no comments, no colour profile.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image

from crawl.images import pixels
from crawl.images.c2pa import training_mining
from crawl.images.observations import Ingested, RefusedBody
from crawl.images.parallel import Allowance
from crawl.images.resize import MODES, ResizeMode, is_resized, make_square, scaled_size
from crawl.images.rights import Heeds, file_refusal, rights
from dataset.images import FORMATS, ImageError, read

FINGERPRINT_SIDE = 512
"""Pixels of the longer side at which fingerprints are taken; what PDQ's authors downsample to before hashing
(github.com/facebook/ThreatExchange, hashing/hashing.pdf, section on image resizing)."""

HEEDS = Heeds()
_PIXELS = Allowance(2**27)  # that threads decode at once: half a gigabyte
_MAX_SIDE = 16_383  # WebP's limit; JPEG's is higher
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # `max_pixels` says it, as a reason

Fingerprint = Callable[[np.ndarray], tuple[bytes, int]]
"""PDQ of RGB pixels, uint8 of shape (height, width, 3): 32 bytes, and its quality from 0 to 100."""
Listed = Callable[[bytes, bytes | None], str | None]
"""Which hash list holds an image: asked with the body and None before it is decoded, with its PDQ after."""


@dataclass(frozen=True)
class ImageConfig:
    """What is kept of an image."""

    max_pixels: int = 64_000_000
    """An image with more pixels than this is not decoded."""
    store_size: int = 256
    """How many pixels long a side of the image is made before it is stored (`resize_mode` says which side); 0 keeps
    every size."""
    resize_mode: ResizeMode = "keep_ratio"
    """Which side `store_size` is of, by img2dataset's names: the shorter one (keep_ratio) or the longer one
    (keep_ratio_largest). center_crop then keeps the square in the middle, border puts the image on a white square, and
    no keeps every size. Perceptual hashes are always taken of the whole image."""
    resize_only_if_bigger: bool = True
    """Whether an image that is smaller than `store_size` stays as it is; if false it is enlarged."""
    store_format: Literal["jpeg", "webp"] = "jpeg"
    """The format in which images are stored. An image that has it already and needs no change is not compressed
    anew."""
    quality: int = 92
    """The quality at which images are compressed, from 1 to 100."""

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


def ingest(
    body: bytes, config: ImageConfig, fingerprint: Fingerprint, listed: Listed, heeds: Heeds = HEEDS
) -> Ingested | RefusedBody:
    """Accept an image, ready to be stored, or say why not. The same body gives the same bytes.

    heeds: which wishes in its file count.

    Raises:
        Whatever `fingerprint` and `listed` raise; nothing because of the body.
    """
    hit = listed(body, None)
    if hit is not None:
        return RefusedBody("hash_list_match", hit)
    try:
        image = read(body, config.max_pixels)
        said = rights(image.notes, training_mining(body), heeds.mask)
        refusal, unread = file_refusal(said, heeds)
        if refusal is not None:
            return refusal
        if image.is_animated:
            return RefusedBody("image_animated", f"{image.kind} with more than one frame")
        mode, side = config.resize_mode, config.store_size
        width, height = image.width, image.height
        resized = is_resized(width, height, mode, side, only_if_bigger=config.resize_only_if_bigger)
        size = scaled_size(width, height, mode, side) if resized else (width, height)
        if max(size) > _MAX_SIDE or size[0] * size[1] > config.max_pixels:
            return RefusedBody("image_too_many_pixels", f"{width} x {height}, to be stored as {size[0]} x {size[1]}")
        with _PIXELS.of(width * height):
            shown = pixels.decode_at(image, size)
    except ImageError as error:
        return RefusedBody(error.reason, str(error))
    original = (height, width) if image.orientation >= 5 else (width, height)

    thumbnail = _thumbnail(shown)
    pdq, quality = fingerprint(thumbnail)
    hit = listed(body, pdq)
    if hit is not None:
        return RefusedBody("hash_list_match", hit)

    if resized:
        shown = make_square(shown, mode, side)
    is_stored_as_it_is = image.is_plain and image.orientation == 1 and shown.shape[:2] == (height, width)
    return Ingested(
        md5=hashlib.md5(body, usedforsecurity=False).digest(),
        sha256=hashlib.sha256(body).digest(),
        media_type=FORMATS[image.kind][0],
        original_width=original[0],
        original_height=original[1],
        width=shown.shape[1],
        height=shown.shape[0],
        pdq=pdq,
        pdq_quality=quality,
        mean_rgb=pixels.mean(thumbnail),
        pixel_hash=pixels.fingerprint(shown),
        body=image.body
        if is_stored_as_it_is and config.store_format == image.kind.lower()
        else pixels.encode(shown, config.store_format, config.quality),
        data_mining=said.data_mining or said.c2pa,
        other_constraints=said.other_constraints,
        creator=said.creator,
        credit=said.credit,
        copyright_notice=said.copyright_notice,
        rights_url=said.rights_url,
        unread=unread,
    )


def _thumbnail(shown: np.ndarray) -> np.ndarray:
    """Pixels with no side over FINGERPRINT_SIDE."""
    height, width = shown.shape[:2]
    share = FINGERPRINT_SIDE / max(height, width)
    return shown if share >= 1 else pixels.resize(shown, (max(1, round(width * share)), max(1, round(height * share))))

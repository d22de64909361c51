"""What is known of an image before a pixel of it is decoded, and why it may be none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

ImageReason = Literal["not_an_image", "image_truncated", "image_too_many_pixels", "image_animated"]


class ImageError(ValueError):
    """Bytes that do not come to pixels; `reason` is one of those in `dataset.reasons`."""

    def __init__(self, reason: ImageReason, detail: str):
        super().__init__(detail)
        self.reason: ImageReason = reason


MAX_NOTE_BYTES = 256 * 1024
"""How much is kept of one note; a JPEG's segment has a quarter of that at most."""
MAX_NOTES = 4
"""How many notes of a kind are kept."""


class Notes(NamedTuple):
    """What the file says of the image beside its pixels, as it lies there: foreign bytes, bounded, not looked into."""

    xmp: tuple[bytes, ...] = ()
    exif: bytes = b""  # from its TIFF header on, with or without `Exif` before it
    photoshop: bytes = b""  # of a JPEG: Photoshop's resources, with IPTC's data sets in them


NO_NOTES = Notes()


def first_notes(*notes: bytes | None) -> tuple[bytes, ...]:
    """Return the first notes that say anything, each cut at MAX_NOTE_BYTES."""
    return tuple(note[:MAX_NOTE_BYTES] for note in notes if note)[:MAX_NOTES]


@dataclass(frozen=True)
class Encoded:
    """An image that is not decoded yet."""

    kind: str  # as Pillow names formats
    body: bytes  # a file of this kind that holds pixels and nothing else
    width: int  # as they lie, not turned yet
    height: int
    orientation: int = 1  # EXIF's, from 1 to 8
    profile: bytes | None = None  # of its colours (ICC)
    has_alpha: bool = False  # some of its pixels may be transparent
    is_animated: bool = False  # the first frame is what is decoded
    channels: int = 3  # of a JPEG: 1, 3 or 4
    lacks_end: bool = False  # of a JPEG: its end marker is not there, and was added
    is_partial: bool = False  # of a JPEG without an end: not all of its scans are there
    transparent: bytes | None = None  # of a PNG: the grey or the colour that stands for transparency
    place: tuple[int, int] | None = None  # of a GIF: left and top of its frame, which leaves some of the canvas open
    notes: Notes = NO_NOTES
    is_plain: bool = False  # `body` can be stored as it is: no profile, no transparency


def rows_missing(missing: int, height: int) -> ImageError:
    """Return the error of an image of which rows are not there."""
    return ImageError("image_truncated", f"its pixels end too early: {missing:,} of {height:,} rows are missing")


def bytes_missing(missing: int, length: int) -> ImageError:
    """Return the error of an image that has fewer bytes than it claims, by the number that is missing."""
    return ImageError("image_truncated", f"it ends too early: {missing:,} of {length:,} bytes are missing")


def too_many(parts: str, most: int) -> ImageError:
    """Return the error of an image that has more parts than `most`, the most that are read of any image."""
    return ImageError("image_truncated", f"it has more than {most:,} {parts}, the most that are read of an image")


def check_pixels(width: int, height: int, most: int) -> None:
    """Raise ImageError if an image has no pixels, or too many to be decoded."""
    if width < 1 or height < 1:
        raise ImageError("image_truncated", f"it says that it has {width} x {height} pixels")
    if width * height > most:
        raise ImageError("image_too_many_pixels", f"{width} x {height}")

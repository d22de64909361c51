"""An image's bytes, as anyone made them, and the pixels that a browser would show of them.

Every file is read in two steps. First its container is walked, once and from front to back, and what makes pixels is
taken out: sizes, tables, samples, the colour profile, EXIF and XMP. Other text, previews and application data are left
behind before a decoder is started, so neither their number, their size nor their checksums can cost anything. Then the
format's decoder sees a file that holds pixels and nothing else.
"""

from dataset.images.decode import SCALES, decode, in_srgb, upright
from dataset.images.encoded import Encoded, ImageError, ImageReason, Notes
from dataset.images.formats import FORMATS, read, sniff
from dataset.images.rgb import open_stored, to_rgb

__all__ = [
    "FORMATS",
    "SCALES",
    "Encoded",
    "ImageError",
    "ImageReason",
    "Notes",
    "decode",
    "in_srgb",
    "open_stored",
    "read",
    "sniff",
    "to_rgb",
    "upright",
]

"""From an image's bytes to the pixels that a model sees: decode at the least scale that suffices, crop, then resize.

Cropping before resizing leaves fewer pixels to resize, and the resampling is torch's bicubic on bytes: antialiased, and
0.06/255 from Pillow's on photographs of 256 pixels (mean absolute difference), in a quarter of its time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dataset.ids import hash64, mix64
from dataset.images import ImageError, read, to_rgb
from dataset.webdataset.shards import IMAGE_PARTS, DamagedSampleError

MAX_PIXELS = 2**26
"""An image with more is a bomb, not a sample."""
DRAWS = 24
"""Random numbers a sample: a flip, a square crop's three or a resized crop's ten tries of two and its place."""
_TRIES = 10
_LOG_RATIO = math.log(4 / 3)
"""Crops are from 3:4 to 4:3, as torchvision's RandomResizedCrop has them by default."""


class Box(NamedTuple):
    """A part of an image, in pixels."""

    left: int
    top: int
    width: int
    height: int


@dataclass(frozen=True)
class Augment:
    """How a sample's pixels vary from epoch to epoch."""

    size: int  # pixels of the side of what the model sees
    crop: str = "square"  # one of those of train.config, which says what they are
    crop_min: float = 0.9
    flip: float = 0.0  # the probability that left and right are exchanged

    @property
    def least_side(self) -> int:
        """The pixels of an image's shorter side from which any crop is still reduced to `size`, but for the crops
        of the most extreme shapes."""
        shrink = {"square": self.crop_min, "resized": math.sqrt(self.crop_min), "center": 1.0}[self.crop]
        return math.ceil(self.size / shrink)

    def write(self, data: bytes, draws: Sequence[float], out: Tensor) -> None:
        """Decode an image and write what the model sees of it.

        Args:
            draws: DRAWS numbers of [0, 1).
            out: uint8 of shape (1, 3, size, size), with channels innermost in memory.
        Raises:
            DamagedSampleError: the bytes are no image that can be decoded.
        """
        pixels = decode_pixels(data, self.least_side)
        if self.crop == "center":
            pixels = _resize_whole(pixels, self.size)
        box = crop_box(pixels.shape[1], pixels.shape[0], self, draws[1:])
        part = pixels[box.top : box.top + box.height, box.left : box.left + box.width]
        resize(part[:, ::-1] if draws[0] < self.flip else part, out)

    def crop_undecoded(self, data: bytes, draws: Sequence[float]) -> tuple[bytes, list[int]] | None:
        """Return a JPEG that a GPU may decode, and its crop as `train.data.gpu_decode.Jpegs` has it; None of other
        images.

        Raises:
            DamagedSampleError: the bytes are no image.
        """
        try:
            image = read(data, MAX_PIXELS)
        except ImageError as error:
            raise DamagedSampleError(f"{error.reason}: {error}") from None
        if image.kind != "JPEG" or image.channels != 3 or image.profile is not None or image.lacks_end:
            return None
        width, height = (image.height, image.width) if image.orientation >= 5 else (image.width, image.height)
        if self.crop == "center":
            side = min(width, height)
            box = Box((width - side) // 2, (height - side) // 2, side, side)
        else:
            box = crop_box(width, height, self, draws[1:])
        return image.body, [*box, int(draws[0] < self.flip), image.orientation]


def draw(seed: int, epochs: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return each sample's random numbers in its epoch; float64 of [0, 1), of shape (n, DRAWS)."""
    base = np.empty(len(rows), np.uint64)
    for epoch in np.unique(epochs):
        of_epoch = epochs == epoch
        base[of_epoch] = mix64(rows[of_epoch], hash64("augment", seed, epoch) >> 1)
    with np.errstate(over="ignore"):
        counters = base[:, None] + np.arange(DRAWS, dtype=np.uint64)
    return (mix64(counters, 0) >> np.uint64(11)) / 2.0**53  # as many bits as a float has: never 1


def image_part(parts: Mapping[str, bytes]) -> bytes:
    """Return a sample's image, whatever its format. Raises DamagedSampleError if it has none."""
    for part in IMAGE_PARTS:
        if part in parts:
            return parts[part]
    raise DamagedSampleError("it has no image")


def decode(data: bytes, size: int | None = None) -> Image.Image:
    """Return an image's bytes as RGB.

    Args:
        size: the pixels that its shorter side will need: a large JPEG is then decoded at 1/2, 1/4 or 1/8 of its scale.
    Raises:
        DamagedSampleError: the bytes are no image, are cut short, or claim too many pixels.
    """
    return Image.fromarray(decode_pixels(data, MAX_PIXELS if size is None else size))


def decode_pixels(data: bytes, size: int) -> np.ndarray:
    """Return an image's bytes as RGB, uint8 of shape (height, width, 3), as `decode` has them: as a browser shows them,
    and as the datasets that we build store them; of an animation the first frame.
    """
    try:
        return to_rgb(data, MAX_PIXELS, size)
    except ImageError as error:
        raise DamagedSampleError(f"{error.reason}: {error}") from None


def crop_box(width: int, height: int, augment: Augment, draws: Sequence[float]) -> Box:
    """Return the part of an image that a sample shows.

    Args:
        draws: numbers of [0, 1): a square's side and place; or a resized crop's tries and place.
    """
    if augment.crop == "center":  # as torchvision's CenterCrop rounds
        size = augment.size
        return Box(round((width - size) / 2), round((height - size) / 2), size, size)
    if augment.crop == "square":
        side = max(1, round(min(width, height) * (augment.crop_min + (1 - augment.crop_min) * draws[0])))
        return _place_crop(width, height, side, side, draws[1:3])
    # torchvision's RandomResizedCrop.get_params: a share of the area and a ratio, ten times, else the whole middle.
    for turn in range(_TRIES):
        share, ratio = draws[2 + 2 * turn : 4 + 2 * turn]
        area = width * height * (augment.crop_min + (1 - augment.crop_min) * share)
        aspect = math.exp((2 * ratio - 1) * _LOG_RATIO)
        crop = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < crop[0] <= width and 0 < crop[1] <= height:
            return _place_crop(width, height, *crop, draws[:2])
    crop = min(width, max(1, round(height * 4 / 3))), min(height, max(1, round(width * 4 / 3)))
    return Box((width - crop[0]) // 2, (height - crop[1]) // 2, *crop)


def _place_crop(width: int, height: int, crop_width: int, crop_height: int, draws: Sequence[float]) -> Box:
    left, top = int((width - crop_width + 1) * draws[0]), int((height - crop_height + 1) * draws[1])
    return Box(left, top, crop_width, crop_height)


def resize(pixels: np.ndarray, out: Tensor) -> None:
    """Write pixels, uint8 of shape (height, width, 3), at the size of `out`: uint8, (1, 3, height, width).

    It takes half the time where `out` has its channels innermost in memory, as pixels have.
    """
    part = np.ascontiguousarray(pixels)
    if not part.flags.writeable:  # torch has no read-only tensors
        part = part.copy()
    source = torch.from_numpy(part).unsqueeze(0).permute(0, 3, 1, 2)
    # What torch.nn.functional.interpolate(mode="bicubic", antialias=True) calls; it would allocate, and reorder memory.
    torch.ops.aten._upsample_bicubic2d_aa(source, list(out.shape[2:]), False, None, None, out=out)


def _resize_whole(pixels: np.ndarray, size: int) -> np.ndarray:
    """The whole image with a shorter side of `size` pixels, as torchvision's Resize rounds the longer one."""
    height, width = pixels.shape[:2]
    shape = (size, size * width // height) if height <= width else (size * height // width, size)
    out = torch.empty((1, *shape, 3), dtype=torch.uint8)
    resize(pixels, out.permute(0, 3, 1, 2))
    return out[0].numpy()

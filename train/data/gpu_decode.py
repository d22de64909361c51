"""JPEGs that a GPU decodes, crops and resizes (`decode: gpu`): by nvJPEG, through torchvision.

Never run on a GPU so far: tests have torchvision decode on the CPU, and a GPU that computes nothing in its place. What
is no plain JPEG (three components, no colour profile, whole) the readers decode as they do without the option, and so
does the training process with each image that the GPU refuses. nvJPEG rounds otherwise than libjpeg, so a run keeps to
the decoder with which it was begun.
"""

from __future__ import annotations

import io
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from PIL import Image
from torch import Tensor, nn

if TYPE_CHECKING:
    from train.data.loader import Batch

AT_ONCE = 64
"""JPEGs that are decoded at a time: their pixels, at full size, lie on the GPU together."""


@dataclass(frozen=True)
class Jpegs:
    """Those images of a part of a batch that are still to be decoded."""

    part: int  # its number
    places: Tensor  # int64, (n,): which of the part's images they are
    files: Tensor  # uint8: one file behind the other
    ends: Tensor  # int64, (n,): where each ends
    crops: Tensor  # int64, (n, 6): left, top, width, height of the upright image; whether it is flipped; orientation

    def map(self, function: Callable[[Tensor], Tensor]) -> Jpegs:
        """Return the same with a function of each tensor."""
        tensors = (function(tensor) for tensor in (self.places, self.files, self.ends, self.crops))
        return Jpegs(self.part, *tensors)


def collect(part: int, jpegs: Sequence[tuple[int, bytes, Sequence[int]]]) -> Jpegs | None:
    """Return the JPEGs of a part, each with its place and its crop; None if there are none."""
    if not jpegs:
        return None
    places, files, crops = zip(*jpegs, strict=True)
    ends = torch.tensor([len(file) for file in files]).cumsum(0)
    whole = torch.frombuffer(bytearray(b"".join(files)), dtype=torch.uint8)
    return Jpegs(part, torch.tensor(places), whole, ends, torch.tensor(crops))


class GpuDecoder:
    """Decodes what the readers left to the GPU.

    Args:
        again: (part, places) -> those samples as the CPU decodes them, or replaces them where they are damaged.
    """

    def __init__(self, again: Callable[[int, Sequence[int]], Batch]):
        self._again = again

    def finish(self, parts: Sequence[Batch], batch: Batch) -> Batch:
        """Put into a batch on the device the images of its parts that are still to be decoded."""
        first, damaged = 0, list(batch.damaged)
        for part in parts:
            if part.jpegs is not None:
                for place in decode_onto(part.jpegs, batch.images[first : first + len(part.rows)]):
                    sample = self._again(part.jpegs.part, [place])
                    batch.images[first + place].copy_(sample.images[0])
                    batch.texts[first + place].copy_(sample.texts[0])
                    batch.rows[first + place] = sample.rows[0]
                    damaged += sample.damaged
            first += len(part.rows)
        return replace(batch, damaged=damaged, jpegs=None)


def check(device: torch.device) -> None:
    """Raise ValueError if this machine's torchvision decodes nothing on the device."""
    if device.type != "cuda":
        raise ValueError("decode must be cpu where the model is trained on the CPU, not 'gpu'")
    file = io.BytesIO()
    Image.new("RGB", (16, 16)).save(file, "jpeg")
    try:
        _decode([torch.frombuffer(bytearray(file.getvalue()), dtype=torch.uint8)], device)
    except (ImportError, AttributeError, RuntimeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"decode must be cpu here: torchvision decodes no JPEG on {device}: {reason}") from None


def decode_onto(jpegs: Jpegs, images: Tensor) -> list[int]:
    """Write the pixels of JPEGs into their places among a part's images; returns the places of those that are refused.

    Args:
        images: uint8, (n, 3, size, size), on the device that decodes.
    """
    refused = []
    files = [part.clone() for part in torch.tensor_split(jpegs.files, jpegs.ends[:-1])]  # each in memory of its own
    places, crops = jpegs.places.tolist(), jpegs.crops.tolist()
    for first in range(0, len(files), AT_ONCE):
        some = slice(first, first + AT_ONCE)
        pixels = _decode_each(files[some], images.device)
        for place, crop, whole in zip(places[some], crops[some], pixels, strict=True):
            if whole is None or not _write(whole, crop, images[place : place + 1]):
                refused.append(place)
    return refused


def _decode_each(files: list[Tensor], device: torch.device) -> list[Tensor | None]:
    """Each file's pixels, uint8 of shape (3, height, width); None of one that the device refuses."""
    try:
        return list(_decode(files, device))
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:  # torchvision gives nothing of any if it refuses one
        if len(files) == 1:
            reason = (str(error).splitlines() or [""])[0]
            print(f"decoded on the CPU, for {device} refuses it: {reason}", file=sys.stderr, flush=True)
            return [None]
    return [pixels for file in files for pixels in _decode_each([file], device)]


def _decode(files: list[Tensor], device: torch.device) -> list[Tensor]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchvision 0.29 says that its decoders will go; `check` says when they have
        from torchvision.io import ImageReadMode, decode_jpeg

        return decode_jpeg(files, mode=ImageReadMode.RGB, device=device)


def _write(pixels: Tensor, crop: Sequence[int], out: Tensor) -> bool:
    """Write the crop of a file's pixels, of shape (3, height, width); False if the crop is not within them."""
    left, top, width, height, flipped, orientation = crop
    if orientation >= 5:  # the first row is a side; see dataset.images.decode.upright
        pixels = pixels.transpose(1, 2)
    turned = [axis for axis, which in ((1, (3, 4, 7, 8)), (2, (2, 3, 6, 7))) if orientation in which]
    part = pixels.flip(turned)[:, top : top + height, left : left + width]
    if part.shape != (3, height, width):
        return False
    if flipped:
        part = part.flip(2)
    size = list(out.shape[2:])
    resized = nn.functional.interpolate(part[None].float(), size, mode="bicubic", antialias=True, align_corners=False)
    out.copy_(resized.round_().clamp_(0, 255))
    return True

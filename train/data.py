"""Training samples: which ones a step sees, in which order and through which crop.

All of it is a function of (seed, epoch, sample index), so neither the number of processes nor of readers, nor a stop
in the middle, changes what is learned. The order is a permutation that is computed where it is needed: it never lies
in memory, however large the dataset.
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from dataset.ids import hash64, mix64
from dataset.shards import IMAGE_PARTS, DamagedSampleError, Index, parse_sample, read_raw_samples
from dataset.storage import Storage

ROUNDS = 6
"""Feistel rounds; four already pass for random (Luby and Rackoff 1988)."""
MAX_PIXELS = 2**26
"""An image with more is a bomb, not a sample."""
MAX_REPLACEMENTS = 32
"""A sample whose replacements are all damaged too means that the shards are, not the sample."""


def shuffled(positions: np.ndarray, count: int, seed: int) -> np.ndarray:
    """The values at some positions of a seeded permutation of 0 … count-1; int64, of the shape of `positions`.

    A Feistel network over the next even power of two, walked until it lands below `count`.
    """
    half = max(1, ((count - 1).bit_length() + 1) // 2)
    mask, shift = np.uint64(2**half - 1), np.uint64(half)
    values = positions.astype(np.uint64)
    outside = np.ones(values.shape, dtype=bool)
    while outside.any():
        left, right = values[outside] >> shift, values[outside] & mask
        for turn in range(ROUNDS):
            left, right = right, left ^ (mix64(right, seed + turn) & mask)
        values[outside] = left << shift | right
        outside = values >= count
    return values.astype(np.int64)


def epoch_order(positions: np.ndarray, count: int, seed: int, epoch: int) -> np.ndarray:
    """Which of `count` samples stand at some positions of an epoch."""
    return shuffled(positions, count, hash64("order", seed, epoch) >> 1)


def image_part(parts: Mapping[str, bytes]) -> bytes:
    """A sample's image, whatever its format. Raises DamagedSampleError if it has none."""
    for part in IMAGE_PARTS:
        if part in parts:
            return parts[part]
    raise DamagedSampleError("it has no image")


def decode(data: bytes, size: int | None = None) -> Image.Image:
    """An image's bytes as RGB.

    Args:
        size: the pixels that its shorter side will need: a large JPEG is then decoded at 1/2, 1/4 or 1/8 of its scale.
    Raises:
        DamagedSampleError: the bytes are no image, are cut short, or claim too many pixels.
    """
    try:
        image = Image.open(io.BytesIO(data))
        if image.width * image.height > MAX_PIXELS:
            raise DamagedSampleError(f"{image.width}x{image.height} pixels are more than {MAX_PIXELS}")
        if size is not None:
            image.draft("RGB", (size, size))
        return image.convert("RGB")
    except DamagedSampleError:
        raise
    except UnidentifiedImageError:  # its message has a memory address, so no two runs would say the same
        raise DamagedSampleError("its bytes are no image that Pillow knows") from None
    except Exception as error:  # Pillow's decoders raise anything on damaged bytes
        raise DamagedSampleError(f"{type(error).__name__}: {error}") from None


def random_crop(image: Image.Image, size: int, crop_min: float, draws: np.ndarray) -> np.ndarray:
    """A square of the image, scaled to uint8 of shape (3, size, size).

    Args:
        crop_min: the least side of the square as a share of the shorter side.
        draws: three numbers of [0, 1): its side, its place along x and along y.
    """
    side = min(image.size) * (crop_min + (1 - crop_min) * draws[0])
    left, top = (image.width - side) * draws[1], (image.height - side) * draws[2]
    box = (left, top, min(left + side, image.width), min(top + side, image.height))
    pixels = np.asarray(image.resize((size, size), Image.Resampling.BICUBIC, box, reducing_gap=3.0))
    return pixels.transpose(2, 0, 1)


@dataclass(frozen=True)
class Batch:
    """One process's share of a step."""

    images: Tensor  # uint8, (n, 3, size, size)
    texts: Tensor  # int64, (n, context length)
    rows: Tensor  # int64, (n,): which samples of the index
    damaged: list[str]  # samples that could not be read, named with the reason, and were replaced

    def pin_memory(self) -> Batch:
        """The same batch in page-locked memory, from which a GPU copies while it computes."""
        return Batch(self.images.pin_memory(), self.texts.pin_memory(), self.rows, self.damaged)


class Samples(Dataset[Batch]):
    """The steps of a run, by number; any step can be had at any time, on any process.

    Raises:
        ValueError: the index is of the held-out split, which is never trained on.
    """

    def __init__(
        self,
        storage: Storage,
        index: Index,
        tokenize: Callable[[list[str]], Tensor],
        *,
        image_size: int,
        batch_size: int,
        seed: int,
        crop_min: float,
        rank: int = 0,
        processes: int = 1,
    ):
        if index.split == "heldout":
            raise ValueError("the split heldout is for evaluation; training must read the split train")
        if batch_size % processes:
            raise ValueError(f"batch_size must be divisible by the {processes} processes, not {batch_size}")
        self.url, self.index, self.tokenize = storage.url, index, tokenize
        self.image_size, self.batch_size, self.seed, self.crop_min = image_size, batch_size, seed, crop_min
        self.rank, self.processes = rank, processes
        self.steps_per_epoch = len(index) // batch_size
        self._storage: tuple[int, Storage] | None = None

    def storage(self) -> Storage:
        """The dataset's store, opened in this process: Arrow's clients do not survive a fork."""
        if self._storage is None or self._storage[0] != os.getpid():
            self._storage = (os.getpid(), Storage(self.url))
        return self._storage[1]

    def rows(self, step: int) -> tuple[int, np.ndarray]:
        """(epoch, this process's sample indices) of a step."""
        epoch, step = divmod(step, self.steps_per_epoch)
        share = self.batch_size // self.processes
        first = step * self.batch_size + self.rank * share
        return epoch, epoch_order(np.arange(first, first + share), len(self.index), self.seed, epoch)

    def __getitem__(self, step: int) -> Batch:
        epoch, rows = self.rows(step)
        damaged: list[str] = []
        images = np.empty((len(rows), 3, self.image_size, self.image_size), np.uint8)
        texts: list[str] = []
        for place, raw in enumerate(read_raw_samples(self.storage(), self.index, rows)):
            row = int(rows[place])
            for attempt in range(MAX_REPLACEMENTS):
                try:
                    images[place], text = self._sample(raw, row, epoch)
                    break
                except DamagedSampleError as error:
                    damaged.append(f"{self.index.name(row)}: {error}")
                    row = hash64("replacement", self.seed, epoch, rows[place], attempt) % len(self.index)
                    (raw,) = read_raw_samples(self.storage(), self.index, [row])
            else:
                raise DamagedSampleError(f"too many damaged samples in {self.url}; the last one is {damaged[-1]}")
            rows[place] = row
            texts.append(text)
        return Batch(torch.from_numpy(images), self.tokenize(texts), torch.from_numpy(rows), damaged)

    def _sample(self, raw: bytes, row: int, epoch: int) -> tuple[np.ndarray, str]:
        parts = parse_sample(raw, self.index.key(row))
        if "txt" not in parts:
            raise DamagedSampleError("it has no txt")
        image = decode(image_part(parts), math.ceil(self.image_size / self.crop_min))
        draws = mix64(np.arange(3, dtype=np.uint64), hash64("crop", self.seed, epoch, row)) / 2.0**64
        return random_crop(image, self.image_size, self.crop_min, draws), parts["txt"].decode(errors="replace")


def batches(samples: Samples, first_step: int, steps: int, workers: int, pin_memory: bool) -> Iterator[Batch]:
    """The batches of the steps first_step … steps-1, in order, read ahead by worker processes."""
    return iter(
        DataLoader(
            samples,
            sampler=range(first_step, steps),
            batch_size=None,
            num_workers=min(workers, steps - first_step),
            pin_memory=pin_memory,
            prefetch_factor=4 if min(workers, steps - first_step) else None,
        )
    )

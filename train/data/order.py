"""Which sample stands at which position of an epoch, computed where it is needed: no order ever lies in memory.

An order is a function of (seed, epoch, position), so neither the number of processes nor of readers, nor a stop in the
middle, changes it.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np

from dataset.ids import hash64, mix64

ROUNDS = 6
"""Feistel rounds; four already pass for random (Luby and Rackoff 1988)."""


class Order(Protocol):
    """The order of a dataset's samples in every epoch."""

    def rows(self, positions: np.ndarray, epoch: int) -> np.ndarray:
        """Return the samples at some positions (int64, of shape (n,)) of an epoch."""

    def neighbours(self, position: int, epoch: int) -> range:
        """Return the positions among whose samples that of a position was shuffled."""

    def shards_ahead(self, position: int, epoch: int) -> list[int]:
        """Return the shards that are read at a position and soon after it, by number; none if any may be."""


def permute(positions: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Return the values at some positions of a seeded permutation of 0 … count-1; int64, of the shape of `positions`.

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


class FullShuffle:
    """A permutation of all samples: any one may stand anywhere. What storage with random access deserves."""

    def __init__(self, count: int, seed: int):
        self.count, self.seed = count, seed

    def rows(self, positions: np.ndarray, epoch: int) -> np.ndarray:
        """See `Order`."""
        return permute(positions, self.count, hash64("order", self.seed, epoch) >> 1)

    def neighbours(self, position: int, epoch: int) -> range:
        """See `Order`: all."""
        return range(self.count)

    def shards_ahead(self, position: int, epoch: int) -> list[int]:
        """See `Order`."""
        return []


class _Layout(NamedTuple):
    """An epoch's shards, in the order of reading."""

    shards: np.ndarray  # int64 of shape (shards,)
    ends: np.ndarray  # int64 of shape (shards + 1,): the position at which each begins, then the number of samples
    bounds: np.ndarray  # int64 of shape (blocks + 1,): the same of blocks


class BlockShuffle:
    """A permutation that reads a few shards at a time: for storage on which a seek or a request is dear.

    Each epoch permutes the shards, cuts that order into blocks of `block` shards, and permutes the samples of a block.
    A sample may move anywhere in the epoch together with its shard's block, and within it through all of block ×
    samples per shard positions. Mixing quality: two samples of a batch are from one shard with probability 1/block,
    whatever the batch. Measured on 64 shards of 10,000 samples with batches of 256: 6.2 % with block = 16 and 12.5 %
    with 8; a full shuffle has 1.6 %, open_clip's buffer of 5,000 samples 57 %.
    """

    def __init__(self, shard: np.ndarray, seed: int, block: int):
        """`shard`: the number of each sample's shard, int32 of shape (n,)."""
        self.seed, self.block = seed, block
        self.sizes = np.bincount(shard) if len(shard) else np.zeros(0, np.int64)
        self.first = np.concatenate([[0], np.cumsum(self.sizes)])
        # Samples by shard; an index that lists them so needs no table.
        self.by_shard = None if np.all(shard[:-1] <= shard[1:]) else np.argsort(shard, kind="stable")
        self._of_epoch: tuple[int, _Layout] | None = None

    def _layout(self, epoch: int) -> _Layout:
        if self._of_epoch is None or self._of_epoch[0] != epoch:
            count = len(self.sizes)
            shards = permute(np.arange(count), count, hash64("shards", self.seed, epoch) >> 1)
            ends = np.concatenate([[0], np.cumsum(self.sizes[shards])])
            bounds = ends[:: self.block]
            if count % self.block:
                bounds = np.append(bounds, ends[-1])
            self._of_epoch = epoch, _Layout(shards, ends, bounds)
        return self._of_epoch[1]

    def rows(self, positions: np.ndarray, epoch: int) -> np.ndarray:
        """See `Order`."""
        layout = self._layout(epoch)
        places = np.empty(len(positions), np.int64)
        blocks = np.searchsorted(layout.bounds, positions, side="right") - 1
        for block in np.unique(blocks):
            of_block = blocks == block
            start, end = layout.bounds[block : block + 2]
            seed = hash64("block", self.seed, epoch, block) >> 1
            places[of_block] = start + permute(positions[of_block] - start, int(end - start), seed)
        turn = np.searchsorted(layout.ends, places, side="right") - 1
        rows = self.first[layout.shards[turn]] + places - layout.ends[turn]
        return rows if self.by_shard is None else self.by_shard[rows]

    def neighbours(self, position: int, epoch: int) -> range:
        """See `Order`: those of the position's block."""
        bounds = self._layout(epoch).bounds
        block = int(np.searchsorted(bounds, position, side="right")) - 1
        return range(int(bounds[block]), int(bounds[block + 1]))

    def shards_ahead(self, position: int, epoch: int) -> list[int]:
        """See `Order`: those of the position's block, then those of the next."""
        layout = self._layout(epoch)
        block = int(np.searchsorted(layout.bounds, position, side="right")) - 1
        ahead: list[int] = layout.shards[block * self.block : (block + 2) * self.block].tolist()
        if (block + 1) * self.block >= len(layout.shards):
            ahead += self._layout(epoch + 1).shards[: self.block].tolist()
        return ahead

"""What a run draws from: one dataset, or several by weight. Sample k of the run is a function of (seed, k)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from dataset.ids import checksum, hash64
from dataset.store.storage import Storage
from dataset.webdataset.shards import Index
from train.data.order import Order

UNITS = 2**20
"""Weights are rounded to whole numbers that add up to about this."""


@dataclass(frozen=True)
class CorpusPart:
    """One dataset of a run."""

    storage: Storage
    index: Index
    weight: float = 1.0


class Selection(NamedTuple):
    """Which samples some positions of a run have; int64, each of shape (n,)."""

    source: np.ndarray  # the number of the dataset
    epoch: np.ndarray  # of that dataset: how often all its samples were seen before
    position: np.ndarray  # in that epoch
    row: np.ndarray  # in that dataset's index


class Corpus:
    """The datasets of a run.

    Raises:
        ValueError: an index is of the held-out split, which is never trained on, or is empty.
    """

    def __init__(self, sources: Sequence[CorpusPart], seed: int, order: Callable[[Index, int], Order]):
        for source in sources:
            if source.index.split == "heldout":
                raise ValueError("the split heldout is for evaluation; training must read the split train")
            if not len(source.index):
                raise ValueError(f"{source.storage.url} has no training samples")
        self.sources = tuple(sources)
        self.seed = seed
        self.orders = [order(source.index, seed + number) for number, source in enumerate(sources)]
        self.first = np.cumsum([0, *(len(source.index) for source in sources)])
        total = sum(source.weight for source in sources)
        self.units = [max(1, round(source.weight / total * UNITS)) for source in sources]

    def __len__(self) -> int:
        return int(self.first[-1])

    @property
    def fingerprint(self) -> str:
        """The fingerprint of exactly these samples, in the order of their indexes, and of their weights."""
        if len(self.sources) == 1:
            return self.sources[0].index.fingerprint
        parts = [f"{source.index.fingerprint} {units}" for source, units in zip(self.sources, self.units, strict=True)]
        return checksum("\n".join(parts).encode())

    def choose(self, positions: np.ndarray) -> Selection:
        """Return the samples at some positions of the run.

        Any stretch of n positions has n × weight samples of each dataset, give or take one for each dataset; a dataset
        runs through its own epochs, without repetition within one.
        """
        source, ordinal = place_in_mixture(positions, self.units, self.seed)
        epoch, place, row = (np.empty_like(ordinal) for _ in range(3))
        for number, order in enumerate(self.orders):
            of_source = source == number
            epoch[of_source], position = np.divmod(ordinal[of_source], len(self.sources[number].index))
            rows = np.empty_like(position)
            for turn in np.unique(epoch[of_source]):
                of_epoch = epoch[of_source] == turn
                rows[of_epoch] = order.rows(position[of_epoch], int(turn))
            place[of_source], row[of_source] = position, rows
        return Selection(source, epoch, place, row)

    def other(self, source: int, epoch: int, position: int, attempt: int, nearby: bool) -> int:
        """Return the row of a sample to take instead of one that is damaged, the same one for each attempt.

        Args:
            nearby: it is one of those among which the damaged one was shuffled.
        """
        order = self.orders[source]
        among = order.neighbours(position, epoch) if nearby else range(len(self.sources[source].index))
        place = among[hash64("replacement", self.seed, source, epoch, position, attempt) % len(among)]
        return int(order.rows(np.array([place]), epoch)[0])

    def shards_ahead(self, position: int) -> list[tuple[int, int]]:
        """Return the (dataset, shard) that are read at a position of the run and soon after it; none if any may be."""
        ahead: list[tuple[int, int]] = []
        for number, ordinal in enumerate(samples_before(position, self.units, self.seed)):
            epoch, place = divmod(ordinal, len(self.sources[number].index))
            ahead += [(number, shard) for shard in self.orders[number].shards_ahead(place, epoch)]
        return ahead

    def name(self, source: int, row: int) -> str:
        """Return a sample's name for people: shard/key, behind its dataset's URL if there are several."""
        name = self.sources[source].index.name(row)
        return name if len(self.sources) == 1 else f"{self.sources[source].storage.url}: {name}"

    @cached_property
    def pair_id(self) -> np.ndarray:
        """All samples' pair_ids, uint64 of shape (n, 2), big-endian halves; `Batch.rows` are places in it."""
        ids = [source.index.pair_id for source in self.sources]
        return ids[0] if len(ids) == 1 else np.concatenate(ids)

    def pair_ids(self, rows: np.ndarray) -> list[str]:
        """Return the pair_ids, as people write them, of samples by their place among all datasets' (`Batch.rows`)."""
        return [f"{high:016x}{low:016x}" for high, low in self.pair_id[rows].tolist()]

    def image_keys(self, rows: np.ndarray) -> np.ndarray:
        """Return what tells samples' images apart, the URLs' half of their pair_ids: int64 (n,); rows as of
        `pair_ids`.
        """
        keys: np.ndarray = self.pair_id[rows, 0].view(np.int64)
        return keys

    def locate(self, number: int) -> tuple[int, int]:
        """Return (dataset, row of its index) of a sample by its place among all datasets'."""
        source = int(np.searchsorted(self.first, number, side="right")) - 1
        return source, number - int(self.first[source])


def place_in_mixture(positions: np.ndarray, units: Sequence[int], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return each position's dataset, and how many samples of that dataset stand before it; int64, of shape (n,).

    The first dataset, of a of all b units, takes position k where (k·a + phase) // b is about to rise (a Sturmian word:
    as even as can be); the others share what is left in the same way.

    Args:
        units: each dataset's weight, in whole numbers.
    """
    source = np.empty(positions.shape, np.int64)
    ordinal = np.empty(positions.shape, np.int64)
    places = np.arange(len(positions))
    left = positions.astype(np.int64)
    for number, unit in enumerate(units[:-1]):
        whole = sum(units[number:])
        phase = hash64("mixture", seed, number) % whole
        before = (left * unit + phase) // whole
        taken = ((left + 1) * unit + phase) // whole > before
        source[places[taken]], ordinal[places[taken]] = number, before[taken]
        places, left = places[~taken], (left - before)[~taken]
    source[places], ordinal[places] = len(units) - 1, left
    return source, ordinal


def samples_before(position: int, units: Sequence[int], seed: int) -> list[int]:
    """Return how many samples of each dataset stand before a position."""
    counts = []
    for number, unit in enumerate(units[:-1]):
        whole = sum(units[number:])
        counts.append((position * unit + hash64("mixture", seed, number) % whole) // whole)
        position -= counts[-1]
    return [*counts, position]

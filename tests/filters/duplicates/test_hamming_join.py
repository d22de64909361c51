"""The join by Hamming distance."""

from __future__ import annotations

from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.duplicates import hamming_join
from filters.duplicates.components import least_node
from filters.duplicates.hamming_join import Likeness, connect, forest
from filters.images.perceptual import hamming
from tests.filters.pictures import flip


def rows_of(hashes: np.ndarray, likeness: Likeness) -> tuple[np.ndarray, np.ndarray]:
    """Return rows as the exchange brings them: each hash once for each of its chunks (halves); which hash, and
    which chunk.
    """
    count = likeness.bits // (8 if likeness.halved else 16)
    chunk, row = np.meshgrid(np.arange(count), np.arange(len(hashes)), indexing="ij")
    return row.ravel(), chunk.ravel().astype(np.uint8)


def components(hashes: np.ndarray, colours: np.ndarray, likeness: Likeness) -> np.ndarray:
    """What brute force connects."""
    a, b = np.triu_indices(len(hashes), 1)
    like = hamming(hashes[a], hashes[b]) <= likeness.max_hamming
    like &= np.abs(colours[a] - colours[b]).max(axis=1, initial=0) <= likeness.max_colour_distance
    return least_node(len(hashes), a[like], b[like])


@settings(max_examples=12)
@given(
    seed=st.integers(0, 10**6),
    limit=st.sampled_from([3, 15, 16, 31]),
    crowd=st.sampled_from([3, 8, 512]),
    rounds=st.sampled_from([1, 4]),
    block=st.sampled_from([16, 16_384]),
)
def test_it_connects_what_brute_force_connects(seed: int, limit: int, crowd: int, rounds: int, block: int) -> None:
    """Crowds about few centres, which themselves are near; cut into small crowds, rounds and blocks."""
    rng = np.random.default_rng(seed)
    centre = rng.integers(0, 256, (1, 32), dtype=np.uint8)
    centres = np.concatenate([centre, *[flip(centre, int(rng.integers(0, 3 * limit + 1)), rng) for _ in range(3)]])
    made = [flip(centres[rng.integers(4)][None], int(rng.integers(0, limit + 2)), rng) for _ in range(70)]
    hashes = np.concatenate(made).view(">u8").astype(np.uint64)
    colours = rng.choice([100, 106, 112], (70, 3), p=[0.8, 0.1, 0.1]).astype(np.int16)
    likeness = Likeness(limit, 10)
    row, chunk = rows_of(hashes, likeness)
    with (
        patch.object(hamming_join, "_CROWD_ROWS", crowd),
        patch.object(hamming_join, "_CROWD_ROUNDS", rounds),
        patch.object(hamming_join, "_BLOCK_ROWS", block),
        patch.object(hamming_join, "_HELD_EDGES", block),
    ):
        a, b, distance = connect(hashes[row], colours[row], chunk, likeness)
    a, b = row[a], row[b]
    assert (distance == hamming(hashes[a], hashes[b])).all()
    assert (distance <= limit).all()
    assert (np.abs(colours[a] - colours[b]).max(axis=1, initial=0) <= 10).all()
    assert (least_node(70, a, b) == components(hashes, colours, likeness)).all()


@pytest.mark.parametrize("limit", [15, 31])
def test_edges_are_a_forest_however_large_the_crowd(limit: int) -> None:
    rng = np.random.default_rng(0)
    hashes = flip(np.repeat(rng.integers(0, 256, (1, 32), dtype=np.uint8), 1_200, axis=0), 5, rng)
    words = hashes.view(">u8").astype(np.uint64)
    likeness = Likeness(limit, 0)
    row, chunk = rows_of(words, likeness)
    keep = chunk < 2
    a, _, _ = connect(words[row[keep]], np.zeros((keep.sum(), 3), np.int16), chunk[keep], likeness)
    assert len(a) < keep.sum()


def test_a_forest_drops_the_most_distant_edge_of_a_cycle() -> None:
    a, b, distance = (np.array(values) for values in ([9, 5, 5, 7], [7, 9, 7, 9], [2, 1, 0, 3]))
    got = forest(a, b, distance)
    assert [list(map(int, part)) for part in got] == [[5, 5], [7, 9], [0, 1]]
    assert [len(part) for part in forest(a[:0], b[:0], distance[:0])] == [0, 0, 0]

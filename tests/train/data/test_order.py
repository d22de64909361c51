"""An epoch's order is a permutation, and a block shuffle's reads few shards at a time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from train.data.order import BlockShuffle, FullShuffle, Order, permute

SIZES = st.lists(st.integers(0, 9), min_size=1, max_size=9).filter(any)
"""How many samples each shard has."""


def shards_of(sizes: list[int]) -> np.ndarray:
    return np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)


def from_one_shard(order: Order, shard: np.ndarray, batch: int) -> float:
    """The share of pairs of a batch that are from one shard."""
    shares = []
    for first in range(0, len(shard) - batch + 1, batch):
        counts = np.bincount(shard[order.rows(np.arange(first, first + batch), 0)])
        shares.append((counts * (counts - 1)).sum() / (batch * (batch - 1)))
    return float(np.mean(shares))


@settings(max_examples=60)
@given(st.integers(1, 400), st.integers(0, 2**63))
def test_the_shuffle_is_a_permutation(count: int, seed: int) -> None:
    assert sorted(permute(np.arange(count), count, seed)) == list(range(count))


@settings(max_examples=60)
@given(SIZES, st.integers(1, 5), st.integers(0, 3), st.integers(0, 2**40), st.booleans())
def test_a_block_shuffle_is_a_permutation_of_uneven_and_scattered_shards(
    sizes: list[int], block: int, epoch: int, seed: int, scattered: bool
) -> None:
    shard = shards_of(sizes)
    if scattered:
        shard = np.random.default_rng(seed).permutation(shard)
    order = BlockShuffle(shard, seed, block)
    positions = np.arange(len(shard))
    rows = order.rows(positions, epoch)
    assert sorted(rows.tolist()) == positions.tolist()
    picked = np.random.default_rng(0).permutation(positions)[:5]
    assert order.rows(picked, epoch).tolist() == rows[picked].tolist()


@settings(max_examples=30)
@given(SIZES.map(lambda sizes: [size + 1 for size in sizes]), st.integers(1, 4), st.integers(0, 3))
def test_what_a_block_reads_was_announced(sizes: list[int], block: int, epoch: int) -> None:
    shard = shards_of(sizes)
    order = BlockShuffle(shard, 7, block)
    for position in range(len(shard)):
        ahead = order.shards_ahead(position, epoch)
        assert shard[order.rows(np.array([position]), epoch)[0]] in ahead[:block]
        assert len(ahead) <= 2 * block + len(sizes)
        neighbours = order.neighbours(position, epoch)
        assert position in neighbours
        assert set(shard[order.rows(np.array(neighbours), epoch)]) <= set(ahead[:block])
    first_of_next = shard[order.rows(np.array([0]), epoch + 1)[0]]
    assert first_of_next in order.shards_ahead(len(shard) - 1, epoch)


def test_no_more_shards_than_a_blocks_are_read_at_a_time() -> None:
    shard = shards_of([50] * 12)
    rows = BlockShuffle(shard, 1, 4).rows(np.arange(600), 0)
    assert [len(set(shard[rows[first : first + 200]])) for first in (0, 200, 400)] == [4, 4, 4]


@pytest.mark.parametrize("block", [4, 16])
def test_two_of_a_batch_are_from_one_shard_as_rarely_as_stated(block: int) -> None:
    shard = shards_of([1000] * 64)
    assert from_one_shard(BlockShuffle(shard, 1, block), shard, 256) == pytest.approx(1 / block, rel=0.05)
    assert from_one_shard(FullShuffle(len(shard), 1), shard, 256) == pytest.approx(1 / 64, rel=0.05)


@pytest.mark.parametrize("kind", ["full", "blocks"])
def test_each_epoch_has_its_own_order_and_each_seed_too(kind: str) -> None:
    shard = shards_of([10] * 5)

    def rows(seed: int, epoch: int) -> tuple[int, ...]:
        order: Order = BlockShuffle(shard, seed, 2) if kind == "blocks" else FullShuffle(50, seed)
        return tuple(order.rows(np.arange(50), epoch).tolist())

    assert len({rows(seed, epoch) for seed, epoch in ((0, 0), (0, 1), (1, 0))}) == 3

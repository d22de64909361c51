"""Who stands for whom."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.duplicates.representatives import Alike, Key, representatives


def keys_of(hashes: np.ndarray, *, but_one: bool) -> list[Key]:
    """The two chunks of hashes of 32 bits."""

    def key(shift: int) -> Key:
        return Key(lambda rows: (np.arange(len(rows)), (hashes[rows] >> shift).astype(np.uint16)), but_one)

    return [key(0), key(16)]


def alike_within(hashes: np.ndarray, bits: int, seen: list[int] | None = None) -> Alike:
    """Whether two hashes differ in so many bits at most; `seen` is told how many pairs were asked about."""

    def alike(i: np.ndarray, j: np.ndarray) -> np.ndarray:
        if seen is not None:
            seen.append(len(i))
        near: np.ndarray = np.bitwise_count(hashes[i] ^ hashes[j]) <= bits
        return near

    return alike


def greedy(group: np.ndarray, hashes: np.ndarray, bits: int) -> list[int]:
    """The rule, in plain Python."""
    stands: list[int] = []
    for row, own in enumerate(group):
        earlier = (i for i in range(row) if stands[i] == i and group[i] == own)
        stands.append(next((i for i in earlier if int(hashes[i] ^ hashes[row]).bit_count() <= bits), row))
    return stands


@settings(max_examples=15)
@given(
    seed=st.integers(0, 10**6), rows=st.integers(0, 500), bits=st.sampled_from([0, 1, 2, 3]), groups=st.integers(1, 4)
)
@pytest.mark.parametrize("spread", [3, 12])
def test_each_row_stays_unless_one_before_it_that_stays_is_like_it(
    seed: int, rows: int, bits: int, groups: int, spread: int
) -> None:
    rng = np.random.default_rng(seed)
    centre = rng.integers(0, 2**32, 3, dtype=np.uint32)[rng.integers(0, 3, rows)]
    flips = (np.uint32(1) << rng.integers(0, spread, (rows, 5), dtype=np.uint32)) * rng.integers(
        0, 2, (rows, 5), dtype=np.uint32
    )
    hashes = centre ^ np.bitwise_xor.reduce(flips, axis=1)
    group = np.sort(rng.integers(0, groups, rows))
    found = representatives(group, alike_within(hashes, bits), keys_of(hashes, but_one=bits > 1))
    assert found.tolist() == greedy(group, hashes, bits)


def test_of_many_rows_that_stay_few_are_compared() -> None:
    hashes = np.random.default_rng(0).permutation(2**16)[:10_000].astype(np.uint32) * np.uint32(65_537)
    seen: list[int] = []
    found = representatives(np.zeros(10_000), alike_within(hashes, 0, seen), keys_of(hashes, but_one=False))
    assert (found == np.arange(10_000)).all()
    assert sum(seen) < 10_000 * 100  # of 50 million pairs

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.duplicates import semantic
from filters.duplicates.semantic import SemanticConfig, assign, centres, duplicates, is_sampled
from filters.images.embeddings import unit


def around(middle: np.ndarray, count: int, spread: float, seed: int) -> np.ndarray:
    """Unit vectors about a direction. float32 (count, d)."""
    noise = np.random.default_rng(seed).normal(size=(count, len(middle)))
    return unit((middle + spread * noise).astype(np.float32))


@settings(max_examples=30)
@given(st.integers(0, 40), st.integers(0, 1000), st.floats(0.3, 1.0), st.integers(1, 7))
def test_who_goes_is_like_one_that_stays_and_who_stays_is_like_none(
    count: int, seed: int, min_cosine: float, block: int
) -> None:
    vectors = around(np.ones(4), count, 0.8, seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(semantic, "_BLOCK", block)
        stands, cosine = duplicates(vectors, min_cosine)
    stays = stands == np.arange(count)
    assert stays[stands].all()
    near = vectors @ vectors.T
    for row in range(count):
        earlier = [near[row, other] for other in range(row) if stays[other]]
        if stays[row]:
            assert max(earlier, default=-1.0) < min_cosine + 1e-6
        else:
            assert cosine[row] == pytest.approx(max(earlier), abs=1e-6)
            assert cosine[row] == pytest.approx(near[row, stands[row]], abs=1e-6)
            assert cosine[row] >= min_cosine - 1e-6 and stands[row] < row


def test_cells_are_the_groups_that_are_there_whatever_the_threads() -> None:
    middles = np.eye(8, dtype=np.float32)[:4]
    vectors = np.concatenate([around(middle, 50, 0.05, seed) for seed, middle in enumerate(middles)])
    found = centres(vectors, 4, seed=0)
    cell, cosine = assign(vectors, found)
    assert sorted(len(set(cell[at : at + 50])) for at in range(0, 200, 50)) == [1, 1, 1, 1]
    assert len(set(cell)) == 4 and cosine.min() > 0.9
    assert (centres(vectors, 4, seed=0) == found).all()
    assert centres(vectors[:3], 10, 0).shape == (3, 8)
    assert centres(vectors, 1, 0) == pytest.approx(unit(vectors.mean(axis=0, keepdims=True)), abs=1e-6)


@given(st.integers(0, 50), st.floats(0, 1.5), st.integers(0, 5))
def test_a_sample_is_of_the_images_not_of_their_place(count: int, share: float, seed: int) -> None:
    ids = np.random.default_rng(count).integers(0, 2**63, count).astype(np.uint64)
    chosen = is_sampled(ids, share, seed)
    assert (is_sampled(ids[::-1], share, seed)[::-1] == chosen).all()
    assert chosen.all() or share < 1
    assert not chosen.any() or share > 0


def test_a_config_that_makes_no_sense_is_refused() -> None:
    assert not SemanticConfig().wanted
    assert SemanticConfig(images_per_cell=100).cells(1000) == 10
    for wrong in ({"min_cosine": 0.0}, {"min_cosine": 1.1}, {"images_per_cell": 0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            SemanticConfig(**wrong)

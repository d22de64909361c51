"""Connected components and the held-out split."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.duplicates.components import caption_keys, heldout


def key(number: int) -> bytes:
    """A 32-byte image key."""
    return np.random.default_rng(number).bytes(32)


def split(images: list[int], captions: list[int], share: float, seed: int = 0) -> np.ndarray:
    return heldout(
        pa.array([key(i) for i in images], pa.binary(32)),
        pa.array([key(-c + 10**6)[:16] for c in captions], pa.binary(16)),
        share,
        seed,
    )


@settings(max_examples=40)
@given(
    pairs=st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=1, max_size=60),
    share=st.floats(0, 1),
    order=st.randoms(),
)
def test_no_image_and_no_caption_is_on_both_sides_in_any_order(
    pairs: list[tuple[int, int]], share: float, order: Any
) -> None:
    images, captions = (list(column) for column in zip(*pairs, strict=True))
    held = split(images, captions, share)
    for column in (images, captions):
        for value in set(column):
            assert len({bool(h) for h, v in zip(held, column, strict=True) if v == value}) == 1
    shuffled = list(range(len(pairs)))
    order.shuffle(shuffled)
    again = split([images[i] for i in shuffled], [captions[i] for i in shuffled], share)
    assert again.tolist() == held[shuffled].tolist()


def test_about_the_share_is_held_out_and_the_seed_chooses() -> None:
    images = list(range(4000))
    one, two = split(images, images, 0.1), split(images, images, 0.1, seed=1)
    assert 330 < one.sum() < 470
    assert (one & two).sum() < 100
    assert not split(images, images, 0.0).any()
    assert split(images, images, 1.0).all()


def test_a_larger_share_holds_out_more_of_the_same() -> None:
    images = list(range(500))
    assert not (split(images, images, 0.1) & ~split(images, images, 0.3)).any()


def test_a_heavy_caption_is_trained_on() -> None:
    images = list(range(1000))
    captions = [0] * 200 + images[200:]
    assert not split(images, captions, 0.9)[:200].any()
    assert split(images, [0] * 10 + images[10:], 1.0)[:10].all()


def test_a_pair_without_a_key_cannot_be_split() -> None:
    with pytest.raises(ValueError, match="without an image key"):
        heldout(pa.array([None], pa.binary(32)), pa.array([b"1" * 16], pa.binary(16)), 0.1, 0)
    with pytest.raises(ValueError, match="1 images, but 0 captions"):
        heldout(pa.array([key(1)], pa.binary(32)), pa.array([], pa.binary(16)), 0.1, 0)


def test_captions_that_people_read_as_the_same_have_one_key() -> None:
    texts = pa.chunked_array([["Der KÖNIG", "der  könig "], ["Der Ko\u0308nig", "ﬁsh", "FISH", "fishes"]])
    keys = caption_keys(texts).to_pylist()
    assert keys[0] == keys[1] == keys[2]
    assert keys[3] == keys[4] != keys[5]
    assert len(keys[0]) == 16

"""What perceptual hashing makes of the demo's pictures."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from demo.files import resembling
from demo.world import HELD_OUT, Scene, encode, render, scene
from filters.images.perceptual import pdq


def bits(image: Image.Image) -> np.ndarray:
    return np.unpackbits(np.frombuffer(pdq(np.asarray(image))[0], np.uint8))


@pytest.fixture(scope="module")
def pictures() -> list[tuple[Scene, Image.Image]]:
    views = [scene(7, f"look {k}") for k in range(240)]
    return [(view, render(7, view)) for view in views]


def test_different_scenes_are_not_near_duplicates(pictures: list[tuple[Scene, Image.Image]]) -> None:
    hashes = np.stack([bits(image) for _, image in pictures])
    distance = (hashes[:, None] != hashes[None]).sum(2)
    assert distance[~np.eye(len(hashes), dtype=bool)].min() > 31


def test_copies_are_near_duplicates_whatever_was_done_to_them(pictures: list[tuple[Scene, Image.Image]]) -> None:
    near = 0
    for number, (_, image) in enumerate(pictures):
        original = Image.open(BytesIO(encode(image, "JPEG")))
        copy = Image.open(BytesIO(resembling(original, number)[1]))
        near += int((bits(original) != bits(copy)).sum() <= 15)
    assert near >= 0.95 * len(pictures)


def test_no_scene_shows_a_held_out_combination(pictures: list[tuple[Scene, Image.Image]]) -> None:
    assert not {(view.colour, view.shape) for view, _ in pictures} & HELD_OUT

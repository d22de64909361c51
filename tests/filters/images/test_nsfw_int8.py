"""open_nsfw in 8-bit integers first."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from filters.images import nsfw_int8
from filters.images.config import ImageFilterConfig
from filters.images.models import OPEN_NSFW, load
from filters.images.nsfw_int8 import Screened, doubts
from filters.lines import locate


class Fixed:
    """Answers what an image says, and remembers which were asked about."""

    def __init__(self, factor: float):
        self.factor, self.asked = factor, 0

    def __call__(self, images: Sequence[np.ndarray]) -> np.ndarray:
        self.asked += len(images)
        unsafe = np.array([float(image) for image in images], np.float32) * self.factor
        return np.stack([1 - unsafe, unsafe], axis=1)


def test_the_next_model_answers_for_all_that_is_not_clearly_harmless_to_the_one_before() -> None:
    glance, look, full = Fixed(1), Fixed(0.5), Fixed(2)
    images = [np.float32(value) for value in (0.001, 0.1, 0.3, 0.05, 0.4)]
    steps = [cast(Any, (glance, 0.1)), cast(Any, (look, 0.1)), cast(Any, (full, np.inf))]
    answers = Screened(*steps)(cast(Any, images))
    assert answers[:, 1].tolist() == pytest.approx([0.001, 0.05, 0.6, 0.05, 0.8])
    assert (glance.asked, look.asked, full.asked) == (5, 3, 2)
    assert Screened(*steps)([]).shape == (0, 2)


def test_it_is_made_of_the_packaged_model_the_same_each_time_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nsfw_int8, "own_folder", lambda: tmp_path)
    path = Path(locate(OPEN_NSFW.path))
    made = nsfw_int8.quantize_model(path, nsfw_int8.RANGES)
    (kept,) = tmp_path.iterdir()
    assert kept.read_bytes() == made
    assert len(made) < path.stat().st_size / 3
    kept.unlink()
    assert nsfw_int8.quantize_model(path, nsfw_int8.RANGES) == made == kept.read_bytes()
    kept.write_bytes(b"as it was kept")
    assert nsfw_int8.quantize_model(path, nsfw_int8.RANGES) == b"as it was kept"


def test_its_scores_are_near_the_full_models_and_equal_where_they_matter() -> None:
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:96, :96]
    skin = np.stack([200 + 20 * np.sin(x / 9), 150 + 20 * np.sin(y / 7), 120 + 0 * x], axis=2).astype(np.uint8)
    images = [rng.integers(0, 256, (64, 80, 3), np.uint8), skin, np.full((32, 32, 3), 255, np.uint8)]
    screened = nsfw_int8.load_screened(OPEN_NSFW, "k", "", 0.01, 0.05)(images)
    full = load(OPEN_NSFW, "k")(images)
    assert screened == pytest.approx(full, abs=0.05)
    sure = screened[:, 1] >= 0.05
    assert np.array_equal(screened[sure], full[sure])


def test_an_image_is_the_same_at_a_glance_whatever_stands_beside_it() -> None:
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (90, 64 + number, 3), np.uint8) for number in range(11)]
    glance, _ = nsfw_int8._fast(OPEN_NSFW, "k", "")
    assert np.array_equal(glance(images), np.concatenate([glance([image]) for image in images]))


def test_it_is_for_the_builtin_model_alone_and_can_be_switched_off() -> None:
    assert ImageFilterConfig().nsfw_doubts == doubts(0.8)
    assert ImageFilterConfig(nsfw_exact=True).nsfw_doubts is None
    assert ImageFilterConfig(nsfw_model="").nsfw_doubts is None


def test_a_lower_threshold_trusts_the_8_bit_model_less_and_a_very_low_one_not_at_all() -> None:
    bounds = [doubts(threshold) for threshold in (0.8, 0.5, 0.49, 0.1)]
    assert bounds == sorted([each for each in bounds if each], reverse=True)
    assert bounds[0] == bounds[1] != bounds[2] == bounds[3]
    for threshold in np.arange(0.1, 0.96, 0.01):
        assert max(doubts(threshold) or (1,)) <= threshold  # what only looks unsafe at a lower one is the full model's
    assert doubts(0.09) is None
    assert ImageFilterConfig(max_nsfw_probability=0.09).nsfw_doubts is None

"""open_nsfw in 8-bit integers first."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from filters.images import nsfw_int8
from filters.images.config import ImageFilterConfig
from filters.images.models import OPEN_NSFW, Predictor, load
from filters.images.nsfw_int8 import CONFIRM_ABOVE, Screened
from filters.lines import locate


class Fixed:
    """Answers what an image says, and remembers which were asked about."""

    def __init__(self, factor: float):
        self.factor, self.asked = factor, 0

    def __call__(self, images: Sequence[np.ndarray]) -> np.ndarray:
        self.asked += len(images)
        unsafe = np.array([float(image) for image in images], np.float32) * self.factor
        return np.stack([1 - unsafe, unsafe], axis=1)


def test_the_full_model_answers_for_all_that_is_not_clearly_harmless() -> None:
    fast, full = Fixed(1), Fixed(0.5)
    images = [np.float32(value) for value in (0.0, CONFIRM_ABOVE, 0.04, 0.9)]
    answers = Screened(cast(Predictor, fast), cast(Predictor, full))(cast(Any, images))
    assert answers[:, 1].tolist() == pytest.approx([0, CONFIRM_ABOVE / 2, 0.04, 0.45])
    assert (fast.asked, full.asked) == (4, 2)
    assert len(Screened(cast(Predictor, fast), cast(Predictor, full))([])) == 0


def test_it_is_made_of_the_packaged_model_the_same_each_time_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nsfw_int8, "own_folder", lambda: tmp_path)
    path = Path(locate(OPEN_NSFW.path))
    made = nsfw_int8.quantized(path, nsfw_int8.RANGES)
    (kept,) = tmp_path.iterdir()
    assert kept.read_bytes() == made == nsfw_int8.make(path, nsfw_int8.RANGES)
    assert len(made) < path.stat().st_size / 3
    kept.write_bytes(b"as it was kept")
    assert nsfw_int8.quantized(path, nsfw_int8.RANGES) == b"as it was kept"


def test_its_scores_are_near_the_full_models_and_equal_where_they_matter() -> None:
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:96, :96]
    skin = np.stack([200 + 20 * np.sin(x / 9), 150 + 20 * np.sin(y / 7), 120 + 0 * x], axis=2).astype(np.uint8)
    images = [rng.integers(0, 256, (64, 80, 3), np.uint8), skin, np.full((32, 32, 3), 255, np.uint8)]
    screened, full = nsfw_int8.load_screened(OPEN_NSFW, "k")(images), load(OPEN_NSFW, "k")(images)
    assert screened == pytest.approx(full, abs=0.05)
    sure = screened[:, 1] >= CONFIRM_ABOVE
    assert np.array_equal(screened[sure], full[sure])


def test_it_is_for_the_builtin_model_alone_and_can_be_switched_off() -> None:
    assert ImageFilterConfig().is_screened
    assert not ImageFilterConfig(nsfw_exact=True).is_screened
    assert not ImageFilterConfig(nsfw_model="").is_screened

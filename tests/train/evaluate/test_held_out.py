"""Retrieval over held-out pairs: what is asked, and by which rank the answer is counted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.train import tiny
from train.evaluate.examine import held_out_row
from train.evaluate.held_out import held_out_ranks
from train.evaluate.results.row import Row
from train.evaluate.sets import SetError

NAMES = list(tiny.COLOURS)
SIDES = len(NAMES)


class Perfect:
    """Reads the colours of a picture's halves, and of a text's first two colour words."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def images(self, images: Iterable[Image.Image]) -> np.ndarray:
        palette = np.array(list(tiny.COLOURS.values()))
        rows = [np.zeros((0, 2 * SIDES), np.float32)]
        for image in images:
            pixels = [np.array(image.getpixel((x, 18))) for x in (5, 34)]
            rows.append(self._row([int(((palette - pixel) ** 2).sum(1).argmin()) for pixel in pixels]))
        return np.concatenate(rows)

    def texts(self, texts: Sequence[str]) -> np.ndarray:
        self.asked += texts
        words = [
            [NAMES.index(word) for word in text.casefold().replace(".", " ").split() if word in NAMES] for text in texts
        ]
        return np.concatenate([self._row(found) for found in words])

    def _row(self, colours: list[int]) -> np.ndarray:
        row = np.zeros((1, 2 * SIDES), np.float32)
        row[0, [colours[0], SIDES + colours[1]]] = 2**-0.5
        return row


class Collapsed:
    """Gives everything the same features."""

    value = 0.5

    def images(self, images: Iterable[Image.Image]) -> np.ndarray:
        return np.concatenate([self.texts([""]) for _ in images])

    def texts(self, texts: Sequence[str]) -> np.ndarray:
        return np.full((len(texts), 4), self.value, np.float32)


def examined(encoder: Any, url: str, samples: int = 500) -> Row:
    return held_out_row(url, *held_out_ranks(encoder, url, samples))


def test_only_captions_that_occur_once_are_asked(tmp_path: Path) -> None:
    once = tiny.CAPTIONS[:12]
    twice = ["red blue", "Red  Blue", "pink gray", "pink gray"]  # in any case and spacing
    url = tiny.write_dataset(tmp_path, heldout=[*twice, *once])
    perfect = Perfect()
    found = examined(perfect, url).figures
    assert sorted(perfect.asked) == sorted(once)
    for direction in ("image", "text"):
        for k in (1, 5, 10):
            figure = found[f"{direction}_retrieval_recall@{k}"]
            assert (figure.value, figure.chance, figure.n) == (1.0, k / 12, 12)
        median = found[f"{direction}_retrieval_median_rank"]
        assert (median.value, median.chance) == (1.0, 6.5)


def test_a_similarity_made_by_hand_is_ranked(tmp_path: Path) -> None:
    """Both directions: image 0 has its own text second, text 0 its own image first."""

    class ByHand:
        def images(self, images: Iterable[Image.Image]) -> np.ndarray:
            return np.array([[0.6, 0.8, 0], [0, 1, 0], [0, 0, 1]][: len(list(images))])

        def texts(self, texts: Sequence[str]) -> np.ndarray:
            return np.eye(3)

    found = examined(ByHand(), tiny.write_dataset(tmp_path, heldout=tiny.CAPTIONS[:3])).metrics
    assert found["text_retrieval_recall@1"] == pytest.approx(2 / 3)
    assert found["image_retrieval_recall@1"] == 1
    assert found["text_retrieval_recall@5"] == 1


def test_the_pairs_asked_are_the_same_for_every_model(tiny_dataset: str) -> None:
    first, second = Perfect(), Perfect()
    for encoder in (first, second):
        assert examined(encoder, tiny_dataset, 5).figures["text_retrieval_recall@1"].n == 5
    assert first.asked == second.asked


def test_two_captions_are_needed(tmp_path: Path) -> None:
    url = tiny.write_dataset(tmp_path, heldout=["red blue", "red blue", "pink gray"])
    with pytest.raises(ValueError, match="retrieval needs at least 2"):
        examined(Perfect(), url)


def test_a_collapsed_model_is_at_chance_and_one_whose_features_are_no_numbers_has_no_figure(tiny_dataset: str) -> None:
    collapsed = Collapsed()
    for figure in examined(collapsed, tiny_dataset).figures.values():
        assert figure.value == figure.chance
    collapsed.value = float("nan")
    with pytest.raises(SetError, match="held-out images are no numbers"):
        examined(collapsed, tiny_dataset)

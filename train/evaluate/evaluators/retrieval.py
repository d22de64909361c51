"""Retrieval of texts by images and of images by texts; any of an image's captions is a hit, as in CLIP's own figures.

A caption counts for the image that it was written for, also where another image has the same one, as in CLIP_benchmark;
the row says how many those are. Of equal scores the one that stands first in the set comes first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dataset.ids import hash64
from train.evaluate.results.row import Figure, Row, bits, median, share
from train.evaluate.sets import ImageSet, SetError
from train.evaluate.view import View, ranks

OPTIONS: Mapping[str, Any] = {"pairs": 0}  # how many images are asked; 0: all
LEAST = {"pairs": 0}
_CUTS = (1, 5, 10)
_AT_ONCE = 2048


def refuses(what: ImageSet, shared: Mapping[str, Any]) -> str:
    """Return why a set cannot be examined; empty if it can."""
    return "" if what.test.captions is not None else "its images have no captions"


def evaluate(view: View) -> Row:
    """Return image_retrieval_recall@1, 5, 10 (by text), text_retrieval_recall@… (by image), and median ranks."""
    split = view.what.test
    if view.options["pairs"] and len(split) > view.options["pairs"]:
        order = sorted(range(len(split)), key=lambda row: hash64("retrieval", split.pictures[row].name))
        split = split.take(np.array(sorted(order[: view.options["pairs"]])))
    images = view.features_of(split, f"{view.what.name} test")
    assert split.captions is not None
    if len(images.rows) < 2:
        raise SetError(f"{view.what.name} has one image with a caption that can be read; retrieval needs at least 2")
    captions = [split.captions[row] for row in images.rows]
    owner = np.repeat(np.arange(len(captions)), [len(texts_of_image) for texts_of_image in captions])
    texts = [text for texts_of_image in captions for text in texts_of_image]
    features = view.features.texts(texts)
    by_text, by_image = rank_both(images.embeddings, features, owner)
    figures = recalls(by_text, by_image, owner)
    shared = sum(count for count in _owners(captions).values() if count > 1)
    notes = [f"N = {len(images.rows)} images, {len(texts)} captions; any of an image's captions is a hit"]
    if shared:
        notes.append(f"{shared} captions are those of several images; each counts for its own image alone")
    asked = split.take(images.rows).identity()
    return view.row(figures, "image_retrieval_recall@1", images, notes=notes, asked=asked, right=bits(by_text == 1))


def rank_both(images: np.ndarray, texts: np.ndarray, owner: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (the rank of each text's image, the best rank of each image's texts).

    Args:
        owner: which image each text is of; those of an image stand together.
    """
    by_text = [
        ranks(texts[first : first + _AT_ONCE] @ images.T, owner[first : first + _AT_ONCE])
        for first in range(0, len(texts), _AT_ONCE)
    ]
    starts = np.searchsorted(owner, np.arange(len(images)))
    ends = np.searchsorted(owner, np.arange(len(images)), "right")
    best = []
    for first in range(0, len(images), _AT_ONCE):
        scores = images[first : first + _AT_ONCE] @ texts.T
        nearest = [
            start + int(row[start:end].argmax())
            for row, start, end in zip(
                scores, starts[first : first + _AT_ONCE], ends[first : first + _AT_ONCE], strict=True
            )
        ]
        best.append(ranks(scores, np.array(nearest)))
    return np.concatenate(by_text), np.concatenate(best)


def recalls(by_text: np.ndarray, by_image: np.ndarray, owner: np.ndarray) -> dict[str, Figure]:
    """Return the figures of ranks, each with what guessing gives."""
    images, texts = len(by_image), len(by_text)
    texts_per_image = np.bincount(owner, minlength=images)
    figures = {}
    for cut in _CUTS:
        figures[f"image_retrieval_recall@{cut}"] = share(by_text <= cut, min(1.0, cut / images))
    for cut in _CUTS:
        figures[f"text_retrieval_recall@{cut}"] = share(
            by_image <= cut, 1 - float(_chance_of_miss(texts, texts_per_image, cut).mean())
        )
    figures["image_retrieval_median_rank"] = median(by_text, (images + 1) / 2)
    half = next(cut for cut in range(1, texts + 1) if _chance_of_miss(texts, texts_per_image, cut).mean() <= 0.5)
    figures["text_retrieval_median_rank"] = median(by_image, float(half))
    return figures


def _chance_of_miss(texts: int, texts_per_image: np.ndarray, cut: int) -> np.ndarray:
    """The probability that a guess of `cut` texts has none of the image's own."""
    most = int(texts_per_image.max())
    chances = np.ones(most + 1)
    for count in range(1, most + 1):  # one more of its own must be among the others
        left = texts - cut - (count - 1)
        chances[count] = chances[count - 1] * max(0.0, left / (texts - (count - 1)))
    return chances[texts_per_image]


def _owners(captions: Sequence[Sequence[str]]) -> Counter[str]:
    """How many images each caption belongs to."""
    return Counter(text for texts_of_image in captions for text in set(texts_of_image))

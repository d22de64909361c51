"""The training, validation and test images of a set for probes, with what a set lacks of them made in a stated way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from dataset.ids import hash64
from train.evaluate.features import ImageFeatures
from train.evaluate.probe import validation_rows
from train.evaluate.sets import ImageSet, SetError, Split
from train.evaluate.view import View


@dataclass(frozen=True)
class Parts:
    """Features before the projection, and labels, of what a probe learns from and is asked."""

    train: np.ndarray
    train_labels: np.ndarray
    validation: np.ndarray  # bool over train: which samples choose λ
    test: np.ndarray
    test_labels: np.ndarray
    asked: ImageFeatures  # the test images, with their embeddings for zero-shot
    identity: str  # of the images that are asked
    notes: list[str]


def parts_of(view: View) -> Parts:
    """Return a set's parts. Raises SetError if they are too few to learn from."""
    what, notes = view.what, []
    test = what.test
    if "train" in what.splits:
        train = what.splits["train"]
        seen, asked = view.images("train"), view.images()
        train_labels, test_labels = _labels(train, seen), _labels(test, asked)
        features, tested = seen.before_projection, asked.before_projection
        identity = test.take(asked.rows).identity()
    else:
        asked = view.images()
        labels = _labels(test, asked)
        learns = half(test, asked.rows, labels)
        if not learns.any() or learns.all():
            raise SetError(f"{what.name} has no training images, and too few test images to learn from half of them")
        notes.append("the set has no training part: half of each class, by a hash of the files' names, trains")
        features, train_labels = asked.before_projection[learns], labels[learns]
        tested, test_labels = asked.before_projection[~learns], labels[~learns]
        asked = ImageFeatures(asked.rows[~learns], asked.embeddings[~learns], tested, asked.damaged)
        identity = test.take(asked.rows).identity()
    if "val" in what.splits:
        validates = view.images("val")
        validation = np.repeat([False, True], [len(features), len(validates.rows)])
        features = np.concatenate([features, validates.before_projection])
        train_labels = np.concatenate([train_labels, _labels(what.splits["val"], validates)])
    else:
        validation = validation_rows(train_labels)
        notes.append("λ is chosen on a fifth of the training images: every fifth of each class")
    if len(np.unique(train_labels)) < 2:
        raise SetError(f"{what.name} has training images of fewer than two classes; a probe learns nothing from them")
    untaught = set(np.unique(test_labels)) - set(np.unique(train_labels))
    if untaught:
        notes.append(f"{len(untaught)} classes have test images and no training image; of these all answers are wrong")
    return Parts(features, train_labels, validation, tested, test_labels, asked, identity, notes)


def half(split: Split, rows: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return which of some images train: of each class, the half whose names have the least hashes; bool."""
    hashes = np.array([hash64("probe", split.pictures[row].name) for row in rows], np.uint64)
    chosen = np.zeros(len(rows), bool)
    for label in np.unique(labels):
        of_label = np.flatnonzero(labels == label)
        chosen[of_label[np.argsort(hashes[of_label], kind="stable")][: len(of_label) // 2]] = True
    return chosen


def can_be_split(what: ImageSet, shared: Mapping[str, Any]) -> str:
    """Return why a set has nothing to learn from; empty if it has."""
    if not what.is_classified:
        return "its images have not one class each"
    return ""


def _labels(split: Split, images: ImageFeatures) -> np.ndarray:
    assert split.labels is not None
    labels: np.ndarray = split.labels[images.rows]
    return labels

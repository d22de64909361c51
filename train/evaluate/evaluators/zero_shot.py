"""Zero-shot classification: the class whose prompts' mean is nearest to the image (Radford et al. 2021, §3.1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from train.evaluate.row import Figure, Row, bits, mean, mean_share, places, share, wilson
from train.evaluate.sets import ImageSet
from train.evaluate.view import View, ranks

OPTIONS: Mapping[str, Any] = {}
_MOST_CONFUSED = 50
"""Classes up to which the whole confusion matrix is kept; of more, the most frequent confusions."""
_WORST = ("region", "group", "location")
"""Attributes of which DataComp takes the worst value: FMoW's regions, Camelyon17's and Dollar Street's groups."""


def refuses(what: ImageSet, shared: Mapping[str, Any]) -> str:
    """Why a set cannot be examined; empty if it can."""
    return "" if what.is_classified or what.is_multilabel else "its images have no classes"


def evaluate(view: View) -> Row:
    """acc1, acc5, mean_per_class_recall; of sets with several classes an image, mean_average_precision."""
    images = view.images()
    labels = view.what.test.labels
    assert labels is not None
    scores = images.embeddings @ view.class_features().T
    template_note = f"templates: {len(view.what.templates)}, {view.what.template_source}"
    if view.what.is_multilabel:
        found = average_precisions(scores, labels[images.rows])
        chance = float(labels[images.rows].mean())
        figures = {"mean_average_precision": mean(found[np.isfinite(found)], chance, "share")}
        return view.row(figures, "mean_average_precision", images, notes=[template_note])
    labels = labels[images.rows]
    classes = view.what.classes
    rank = ranks(scores, labels)
    right = rank == 1
    figures = {"acc1": share(right, 1 / len(classes))}
    figures["acc5"] = share(rank <= 5, 5 / len(classes)) if len(classes) >= 5 else Figure(None, len(rank))
    figures["mean_per_class_recall"] = mean_share(right, labels, 1 / len(classes))
    figures |= worst(
        right, {name: [values[row] for row in images.rows] for name, values in view.what.test.columns.items()}
    )
    answers = scores.argmax(1)
    tables = {"per_class": per_class(classes, labels, answers), "confusion": confusion(classes, labels, answers)}
    asked = f"{view.what.test.take(images.rows).identity()} {len(classes)}"
    return view.row(
        figures, main_metric(view.what), images, notes=[template_note], tables=tables, asked=asked, right=bits(right)
    )


def main_metric(what: ImageSet) -> str:
    """The metric that DataComp takes for a set; top-1 accuracy for any other."""
    plain = what.name.lower().replace("-", "_").removeprefix("wds_").removesuffix("_test")
    if what.is_multilabel:
        return "mean_average_precision"
    if plain in _MEAN_PER_CLASS:
        return "mean_per_class_recall"
    return next((f"acc1_worst_{name}" for name in _WORST if name in what.test.columns), "acc1")


_MEAN_PER_CLASS = frozenset(
    {"fgvc_aircraft", "vtab_caltech101", "caltech101", "vtab_flowers", "flowers", "flowers102", "vtab_pets", "pets"}
)
"""Sets of which DataComp reports mean_per_class_recall (its tasklist.yml)."""


def worst(right: np.ndarray, columns: Mapping[str, Sequence[str]]) -> dict[str, Figure]:
    """Accuracy in the group where it is least, for every attribute that sets have for it."""
    found = {}
    for name in _WORST:
        if name in columns:
            groups = [share(right[where], None) for where in places(columns[name]).values()]
            found[f"acc1_worst_{name}"] = min(groups, key=lambda figure: figure.value or 0.0)
    return found


def average_precisions(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Each class's average precision; no number for a class that no image shows. labels: bool (images, classes)."""
    order = np.argsort(-scores, axis=0, kind="stable")
    truth = np.take_along_axis(labels, order, 0).astype(float)
    precision = truth.cumsum(0) / np.arange(1, len(truth) + 1)[:, None]
    with np.errstate(invalid="ignore"):
        found: np.ndarray = (precision * truth).sum(0) / truth.sum(0)
    return found


def per_class(classes: Sequence[str], labels: np.ndarray, answers: np.ndarray) -> list[dict[str, Any]]:
    """A row a class: how many images, the share that is right with its interval, what it is mostly taken for."""
    rows = []
    for number, name in enumerate(classes):
        own = answers[labels == number]
        if not len(own):
            rows.append({"class": name, "n": 0, "accuracy": None, "low": None, "high": None, "mostly_taken_for": None})
            continue
        value = float((own == number).mean())
        low, high = wilson(value, len(own))
        wrong = np.bincount(own[own != number], minlength=len(classes))
        mostly = classes[int(wrong.argmax())] if wrong.any() else None
        rows.append(
            {"class": name, "n": len(own), "accuracy": value, "low": low, "high": high, "mostly_taken_for": mostly}
        )
    return rows


def confusion(classes: Sequence[str], labels: np.ndarray, answers: np.ndarray) -> Any:
    """How often each class (a row) is answered by each (a column); of many classes the most frequent confusions."""
    if len(classes) <= _MOST_CONFUSED:
        counts = np.zeros((len(classes), len(classes)), np.int64)
        np.add.at(counts, (labels, answers), 1)
        return counts.tolist()
    wrong = labels != answers
    codes, counts = np.unique(labels[wrong] * len(classes) + answers[wrong], return_counts=True)
    top = np.argsort(-counts, kind="stable")[:_MOST_CONFUSED]
    return [
        {"class": classes[codes[i] // len(classes)], "answer": classes[codes[i] % len(classes)], "n": int(counts[i])}
        for i in top
    ]

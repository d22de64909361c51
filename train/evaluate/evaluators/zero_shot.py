"""Zero-shot classification: the class whose prompts' mean is nearest to the image (Radford et al. 2021, §3.1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from train.evaluate.datacomp import WORST, task_of
from train.evaluate.results.row import Figure, Row, bits, mean, mean_share, places, share, wilson
from train.evaluate.sets import ImageSet
from train.evaluate.view import View, ranks

OPTIONS: Mapping[str, Any] = {}
_MOST_CONFUSED = 50
"""Classes up to which the whole confusion matrix is kept; of more, the most frequent confusions."""


def refuses(what: ImageSet, shared: Mapping[str, Any]) -> str:
    """Return why a set cannot be examined; empty if it can."""
    return "" if what.is_classified or what.is_multilabel else "its images have no classes"


def evaluate(view: View) -> Row:
    """Return acc1, acc5, mean_per_class_recall; of sets with several classes an image, mean_average_precision."""
    images = view.images()
    labels = view.what.test.labels
    assert labels is not None
    scores = images.embeddings @ view.class_features().T
    template_note = f"templates: {len(view.what.templates)}, {view.what.template_source}"
    if view.what.is_multilabel:
        precisions = average_precisions(scores, labels[images.rows])
        chance = float(labels[images.rows].mean())
        figures = {"mean_average_precision": mean(precisions[np.isfinite(precisions)], chance, "share")}
        return view.row(figures, "mean_average_precision", images, notes=[template_note])
    labels = labels[images.rows]
    classes = view.what.classes
    rank = ranks(scores, labels)
    right = rank == 1
    figures = {"acc1": share(right, 1 / len(classes))}
    figures["acc5"] = share(rank <= 5, 5 / len(classes)) if len(classes) >= 5 else Figure(None, len(rank))
    figures["mean_per_class_recall"] = mean_share(right, labels, 1 / len(classes))
    answers = scores.argmax(1)
    columns = {name: [values[row] for row in images.rows] for name, values in view.what.test.columns.items()}
    figures |= worst(right, columns, "acc1")
    metric = main_metric(view.what)
    if metric.startswith("acc5_worst"):
        figures |= worst(rank <= 5, columns, "acc5")
    if metric == "f1_macro":
        figures[metric] = f1_macro(labels, answers, len(classes))
    metric = metric if metric in figures else "acc1"  # the set lacks the attribute
    tables = {"per_class": per_class(classes, labels, answers), "confusion": confusion(classes, labels, answers)}
    asked = f"{view.what.test.take(images.rows).identity()} {len(classes)}"
    return view.row(figures, metric, images, notes=[template_note], tables=tables, asked=asked, right=bits(right))


def main_metric(what: ImageSet) -> str:
    """Return the figure by which DataComp counts a set; of others that of the worst group if they have groups, else
    acc1.
    """
    if what.is_multilabel:
        return "mean_average_precision"
    task = task_of(what.name)
    if task is not None:
        return task.metric or "acc1"
    return next((f"acc1_worst_{name}" for name in WORST if name in what.test.columns), "acc1")


def worst(right: np.ndarray, columns: Mapping[str, Sequence[str]], metric: str) -> dict[str, Figure]:
    """Return the share that is right in the group where it is least, for every attribute that sets have for it."""
    shares = {}
    for name in WORST:
        if name in columns:
            groups = [share(right[where], None) for where in places(columns[name]).values()]
            shares[f"{metric}_worst_{name}"] = min(groups, key=lambda figure: figure.value or 0.0)
    return shares


def f1_macro(labels: np.ndarray, answers: np.ndarray, classes: int) -> Figure:
    """Return the mean of F1 over the classes that images have, as WILDS counts iWildCam; its interval by a
    bootstrap.
    """

    def mean_f1(rows: np.ndarray) -> float:
        truth, said = labels[rows], answers[rows]
        hits = np.bincount(truth[truth == said], minlength=classes)
        both = np.bincount(truth, minlength=classes) + np.bincount(said, minlength=classes)
        present = np.bincount(truth, minlength=classes) > 0
        return float((2 * hits[present] / both[present]).mean())

    rng, n = np.random.default_rng(0), len(labels)
    value = mean_f1(np.arange(n))
    low, high = np.quantile([mean_f1(rng.integers(0, n, n)) for _ in range(200)], [0.025, 0.975])
    return Figure(value, n, None, min(float(low), value), max(float(high), value))


def average_precisions(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return each class's average precision; no number for a class that no image shows. labels: bool (images,
    classes).
    """
    order = np.argsort(-scores, axis=0, kind="stable")
    truth = np.take_along_axis(labels, order, 0).astype(float)
    precision = truth.cumsum(0) / np.arange(1, len(truth) + 1)[:, None]
    with np.errstate(invalid="ignore"):
        averages: np.ndarray = (precision * truth).sum(0) / truth.sum(0)
    return averages


def per_class(classes: Sequence[str], labels: np.ndarray, answers: np.ndarray) -> list[dict[str, Any]]:
    """Return a row a class: how many images, the share that is right with its interval, what it is mostly taken for."""
    rows = []
    for number, name in enumerate(classes):
        of_class = answers[labels == number]
        if not len(of_class):
            rows.append({"class": name, "n": 0, "accuracy": None, "low": None, "high": None, "mostly_taken_for": None})
            continue
        value = float((of_class == number).mean())
        low, high = wilson(value, len(of_class))
        wrong = np.bincount(of_class[of_class != number], minlength=len(classes))
        mostly = classes[int(wrong.argmax())] if wrong.any() else None
        rows.append(
            {"class": name, "n": len(of_class), "accuracy": value, "low": low, "high": high, "mostly_taken_for": mostly}
        )
    return rows


def confusion(classes: Sequence[str], labels: np.ndarray, answers: np.ndarray) -> Any:
    """Return how often each class (a row) is answered by each (a column); of many classes the most frequent
    confusions.
    """
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

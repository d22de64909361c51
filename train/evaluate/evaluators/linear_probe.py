"""A linear probe: logistic regression on what the image tower gives before its projection (the paper's A.3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from train.evaluate.evaluators._splits import can_be_split as refuses
from train.evaluate.evaluators._splits import parts_of
from train.evaluate.evaluators.zero_shot import per_class
from train.evaluate.probe import SWEEP_TOLERANCE, Probe, Score, fit, lambda_of, sweep
from train.evaluate.results.row import Figure, Row, bits, mean_share, share
from train.evaluate.sets import ImageSet
from train.evaluate.view import View, ranks

OPTIONS: Mapping[str, Any] = {}
__all__ = ["OPTIONS", "evaluate", "refuses"]


def runs_by_default(what: ImageSet, shared: Mapping[str, Any]) -> bool:
    """Return whether a set has a training part of its own; without one, a probe is fitted only where it is asked
    for."""
    return "train" in what.splits


def evaluate(view: View) -> Row:
    """Return acc1, acc5, mean_per_class_recall; the λ that validation chose, and all that were tried."""
    parts = parts_of(view)
    classes, device = len(view.what.classes), view.features.device
    learns = ~parts.validation
    last: Probe | None = None

    def score(strength: float) -> Score:
        nonlocal last
        last = fit(parts.train[learns], parts.train_labels[learns], classes, strength, last, device, SWEEP_TOLERANCE)
        return last.score(parts.train[parts.validation], parts.train_labels[parts.validation])

    step, tried = sweep(score)
    strength = lambda_of(step)
    probe = fit(parts.train, parts.train_labels, classes, strength, last, device)
    scores = probe.scores(parts.test)
    rank = ranks(scores, parts.test_labels)
    right = rank == 1
    figures = {"acc1": share(right, 1 / classes)}
    figures["acc5"] = share(rank <= 5, 5 / classes) if classes >= 5 else Figure(None, len(rank))
    figures["mean_per_class_recall"] = mean_share(right, parts.test_labels, 1 / classes)
    figures["lambda"] = Figure(strength, len(parts.train), unit="number")
    tables = {
        "per_class": per_class(view.what.classes, parts.test_labels, scores.argmax(1)),
        "sweep": [{"lambda": lambda_of(each), "validation_acc1": tried[each][0]} for each in sorted(tried)],
    }
    notes = [f"{len(parts.train):,} training images, {probe.iterations} iterations at λ = {strength:.3g}", *parts.notes]
    if step in (0, np.max(list(tried))) and len(set(tried.values())) > 1:
        notes.append("the best λ is the last one that was tried: validation would have it still smaller or larger")
    return view.row(figures, "acc1", parts.asked, notes=notes, tables=tables, asked=parts.identity, right=bits(right))

"""What prompts do (Radford et al. 2021, figure 4): a class's bare name, one template, and two ways to ensemble many."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from train.evaluate.results.row import Row, mean_share, share
from train.evaluate.sets import ImageSet
from train.evaluate.view import View, ensemble, ranks

OPTIONS: Mapping[str, Any] = {}
ONE = "a photo of a {}."
"""The paper's template, for sets whose own templates do not have it."""


def refuses(what: ImageSet, shared: Mapping[str, Any]) -> str:
    """Return why a set cannot be examined; empty if it can."""
    return "" if what.is_classified else "its images have not one class each"


def evaluate(view: View) -> Row:
    """Return acc1 and mean_per_class_recall of four ways to ask the same classes."""
    images = view.images()
    assert view.what.test.labels is not None
    labels = view.what.test.labels[images.rows]
    classes = view.what.classes
    one = next((template for template in view.what.templates if template.casefold() == ONE), ONE)
    prompts = view.prompts(classes, view.what.templates)
    ways = {
        "name_only": images.embeddings @ ensemble(view.prompts(classes, ["{}"])).T,
        "one_template": images.embeddings @ ensemble(view.prompts(classes, [one])).T,
        "ensemble_probability": _mean_probability(images.embeddings, prompts, view.features.logit_scale),
        "ensemble_embedding": images.embeddings @ ensemble(prompts).T,
    }
    figures = {}
    for way, scores in ways.items():
        right = ranks(scores, labels) == 1
        figures[f"acc1_{way}"] = share(right, 1 / len(classes))
        figures[f"mean_per_class_recall_{way}"] = mean_share(right, labels, 1 / len(classes))
    notes = [f"one template: {one!r}", f"ensemble: {len(view.what.templates)}, {view.what.template_source}"]
    return view.row(figures, "acc1_ensemble_embedding", images, notes=notes)


def _mean_probability(images: np.ndarray, prompts: np.ndarray, scale: float) -> np.ndarray:
    """The mean over templates of the softmax over classes: (images, classes)."""
    total = np.zeros((len(images), len(prompts)), np.float64)
    for number in range(prompts.shape[1]):
        logits = scale * (images @ prompts[:, number].T).astype(np.float64)
        logits -= logits.max(1, keepdims=True)
        chances = np.exp(logits)
        total += chances / chances.sum(1, keepdims=True)
    return total / prompts.shape[1]

"""Few-shot probes (Radford et al. 2021, figures 6 to 8): 1 to 16 images a class, and where they meet zero-shot.

λ is one for all, 1/0.316, that of the example in CLIP's own repository: so few images cannot choose it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from train.evaluate.evaluators._splits import can_be_split as refuses
from train.evaluate.evaluators._splits import parts_of
from train.evaluate.evaluators.linear_probe import runs_by_default
from train.evaluate.probe import fit
from train.evaluate.results.row import Figure, Row, Z, share, wilson
from train.evaluate.view import View, ranks

OPTIONS: Mapping[str, Any] = {"shots": [1, 2, 4, 8, 16], "seeds": 3}
LEAST = {"shots": 1, "seeds": 1}
STRENGTH = 1 / 0.316
__all__ = ["OPTIONS", "evaluate", "refuses", "runs_by_default"]


def evaluate(view: View) -> Row:
    """Return acc1@K, the mean over seeds, for each number of shots K; zero_shot_acc1 and shots_to_match_zero_shot."""
    parts = parts_of(view)
    classes = len(view.what.classes)
    smallest = int(np.unique(parts.train_labels, return_counts=True)[1].min())
    scores = parts.asked.embeddings @ view.class_features().T
    zero_shot = ranks(scores, parts.test_labels) == 1
    figures: dict[str, Figure] = {}
    curve: list[tuple[int, float]] = []
    notes = [*(note for note in parts.notes if "λ" not in note), f"λ = 1/0.316, {view.options['seeds']} seeds"]
    for shots in sorted(set(view.options["shots"])):
        if shots > smallest:
            notes.append(f"{shots} shots are more than the {smallest} training images of the smallest class")
            figures[f"acc1@{shots}"] = Figure(None, 0, 1 / classes)
            continue
        accuracies = []
        for seed in range(view.options["seeds"]):
            rows = draw_shots(parts.train_labels, shots, view.shared.get("seed", 0) + seed)
            probe = fit(parts.train[rows], parts.train_labels[rows], classes, STRENGTH, device=view.features.device)
            accuracies.append(float((probe.scores(parts.test).argmax(1) == parts.test_labels).mean()))
        figures[f"acc1@{shots}"] = over_seeds(accuracies, len(parts.test), 1 / classes)
        curve.append((shots, float(np.mean(accuracies))))
    figures["zero_shot_acc1"] = share(zero_shot, 1 / classes)
    meets = shots_to_reach(curve, float(zero_shot.mean()))
    figures["shots_to_match_zero_shot"] = Figure(meets, len(parts.test), unit="number")
    if curve and meets is None:
        notes.append(f"up to {curve[-1][0]} shots a probe stays below zero-shot")
    main = f"acc1@{curve[-1][0]}" if curve else "zero_shot_acc1"
    return view.row(figures, main, parts.asked, notes=notes)


def draw_shots(labels: np.ndarray, shots: int, seed: int) -> np.ndarray:
    """Draw so many samples of each class, by a seed; more shots hold those of fewer."""
    rows = []
    for label in np.unique(labels):
        of_label = np.flatnonzero(labels == label)
        rows.append(np.random.default_rng([seed, int(label)]).permutation(of_label)[:shots])
    return np.concatenate(rows)


def over_seeds(accuracies: Sequence[float], images: int, chance: float) -> Figure:
    """Return the mean over seeds, whose interval is that of the images and of the seeds together."""
    value = float(np.mean(accuracies))
    low, high = wilson(value, images)
    between = Z * float(np.std(accuracies, ddof=1)) / math.sqrt(len(accuracies)) if len(accuracies) > 1 else 0.0
    down, up = math.hypot(value - low, between), math.hypot(high - value, between)
    return Figure(value, images, chance, max(0.0, value - down), min(1.0, value + up))


def shots_to_reach(curve: Sequence[tuple[int, float]], level: float) -> float | None:
    """Return at how many shots a curve reaches a level, interpolated in the logarithm of shots; None if it
    never does.
    """
    before: tuple[int, float] | None = None
    for shots, accuracy in curve:
        if accuracy >= level:
            if before is None:
                return float(shots)
            part = (level - before[1]) / (accuracy - before[1])
            return float(2 ** (math.log2(before[0]) + part * (math.log2(shots) - math.log2(before[0]))))
        before = (shots, accuracy)
    return None

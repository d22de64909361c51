"""Runs evaluators on sets: the model's figures, and beside each that of the same architecture with random weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from train.checkpoints.load import Encoder
from train.evaluate.encoders import random_init, shown_name
from train.evaluate.features import Features, Progress
from train.evaluate.held_out import held_out_ranks
from train.evaluate.registry import Evaluator
from train.evaluate.results.row import HELD_OUT, Row, bits, median, share, with_random_init
from train.evaluate.sets import ImageSet, SetError
from train.evaluate.view import View


@dataclass(frozen=True)
class Examination:
    """What is to be examined, and by what.

    Attributes:
        dataset: URL of a dataset of ours, whose held-out pairs are retrieved among `pairs` of them.
        baseline: whether random weights are examined, too.
        shared: what evaluators are told besides their options: in_distribution, references, hierarchy, seed.
        skipped: called with a sentence for each evaluator that cannot examine a set. One that was asked for and finds
            that a set lacks what it needs only when it reads it raises instead.
    """

    name: str
    sets: Sequence[ImageSet]
    evaluators: Sequence[Evaluator]
    dataset: str | None = None
    pairs: int = 500
    baseline: bool = True
    seed: int = 0
    shared: Mapping[str, Any] = field(default_factory=dict)
    asked_for: bool = False  # whether the evaluators were named, and are not merely all that the data allows
    skipped: Callable[[str], None] = lambda sentence: None


def examine(
    encoder: Encoder, examination: Examination, features: Path | None = None, progress: Progress | None = None
) -> list[Row]:
    """Return the rows, set by set.

    Args:
        features: the folder that keeps features; None keeps none.
    Raises:
        ValueError, FileNotFoundError: a set, the dataset or an option does not allow what was asked for.
    """
    sees = [Features(encoder, features, progress)]
    if examination.baseline:
        sees.append(Features(random_init(encoder, examination.seed), features, progress))
    shared = {**examination.shared, "sets": examination.sets}
    rows = []
    ran: set[str] = set()
    for what in examination.sets:
        for evaluator in examination.evaluators:
            if not examination.asked_for and not evaluator.by_default(what, shared):
                continue
            if reason := evaluator.module.refuses(what, shared):
                if examination.asked_for:
                    examination.skipped(f"{evaluator.name} passes over {what.name}: {reason}")
                continue
            views = [View(evaluator.name, what, seen, evaluator.options, shared) for seen in sees]
            try:
                found_rows = [evaluator.module.evaluate(view) for view in views]
            except SetError as error:
                if examination.asked_for:
                    raise
                examination.skipped(f"{evaluator.name} passes over {what.name}: {error}")
                continue
            ran.add(evaluator.name)
            rows.append(with_random_init(*found_rows) if len(found_rows) == 2 else found_rows[0])
    wants_held_out = any(each.name == "retrieval" for each in examination.evaluators)
    if examination.dataset is not None and wants_held_out:
        ranked = [held_out_ranks(each.encoder, examination.dataset, examination.pairs) for each in sees]
        found_rows = [held_out_row(examination.dataset, *each) for each in ranked]
        ran.add("retrieval")
        rows.append(with_random_init(*found_rows) if len(found_rows) == 2 else found_rows[0])
    if examination.sets and not rows and not examination.asked_for:
        raise SetError(f"nothing can be examined on {', '.join(what.name for what in examination.sets)}")
    if examination.asked_for and (idle := [each.name for each in examination.evaluators if each.name not in ran]):
        reasons = [
            reason for what in examination.sets if (reason := _explain_refusal(examination, idle[0], what, shared))
        ]
        raise SetError(
            f"{idle[0]} can examine none of the sets: {'; '.join(dict.fromkeys(reasons)) or 'there is none'}"
        )
    model, pretrained = shown_name(examination.name)
    for row in rows:
        row.model, row.pretrained = model, pretrained
    return rows


def _explain_refusal(examination: Examination, name: str, what: ImageSet, shared: Mapping[str, Any]) -> str:
    """Why an evaluator cannot examine a set."""
    return next(each.module.refuses(what, shared) for each in examination.evaluators if each.name == name)


def held_out_row(dataset: str, by_direction: Mapping[str, np.ndarray], damaged: int) -> Row:
    """Return retrieval over a dataset's held-out pairs, whose captions occur once, of what `held_out_ranks` found."""
    figures = {}
    for name, rank in (
        ("image_retrieval", by_direction["text_to_image"]),
        ("text_retrieval", by_direction["image_to_text"]),
    ):
        count = len(rank)
        for cut in (1, 5, 10):
            figures[f"{name}_recall@{cut}"] = share(rank <= cut, min(1.0, cut / count))
        figures[f"{name}_median_rank"] = median(rank.astype(np.float64), (count + 1) / 2)
    notes = [f"N = {count} held-out pairs, whose captions occur once"]
    right = bits(by_direction["text_to_image"] == 1)
    return Row(
        HELD_OUT,
        "retrieval",
        figures,
        "image_retrieval_recall@1",
        damaged,
        notes,
        asked=f"{dataset} {count}",
        right=right,
    )

"""The rows as RUN/evaluation.json has them: a figure a line, of zero-shot and of retrieval over held-out pairs.

It is what the report, the model card and TensorBoard read.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypedDict

from train.evaluate.results.row import HELD_OUT, Row


class FlatFigure(TypedDict):
    """One figure."""

    task: str  # the set's name, or "retrieval"
    metric: str  # top1, top5, image_to_text_r1, text_to_image_median_rank, ...
    value: float  # a share of 1, or a rank
    chance: float  # what guessing gives
    samples: int  # images asked, or pairs ranked
    candidates: int  # answers to choose from
    damaged: int  # images that could not be read, and so were not asked


_ZERO_SHOT = {"acc1": "top1", "acc5": "top5"}
_RETRIEVAL = {"text_retrieval": "image_to_text", "image_retrieval": "text_to_image"}


def results(rows: Iterable[Row]) -> list[FlatFigure]:
    """Return the figures that evaluation.json keeps."""
    figures: list[FlatFigure] = []
    for row in rows:
        for name, figure in row.figures.items():
            metric = _metric(row, name)
            if metric is None:
                continue
            classes = row.tables.get("per_class")
            candidates = len(classes) if classes is not None else figure.n
            task = "retrieval" if row.dataset == HELD_OUT else row.dataset
            # Of fewer than five classes each is among the first five, which CLIP_benchmark gives no figure.
            value, chance = (1.0, 1.0) if figure.value is None else (figure.value, figure.chance or 0.0)
            figures.append(FlatFigure(task=task, metric=metric, value=value, chance=chance, samples=figure.n,
                                candidates=candidates, damaged=row.damaged))  # fmt: skip
    return figures


def _metric(row: Row, name: str) -> str | None:
    if row.task == "zero_shot":
        return _ZERO_SHOT.get(name)
    if row.task != "retrieval" or row.dataset != HELD_OUT:
        return None
    kind, _, rest = name.partition("_retrieval_")
    rest = rest.replace("recall@", "r")
    return f"{_RETRIEVAL[f'{kind}_retrieval']}_{rest}"

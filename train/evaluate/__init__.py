"""Examines a model, with the chance level beside each figure.

`evaluators/` has a file for each kind of examination, `sets/` reads evaluation sets, `examine` runs the one on the
other. Importing this package imports no torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from train.evaluate.result import Result, format_table
from train.evaluate.retrieval import retrieval
from train.evaluate.zero_shot import zero_shot

__all__ = ["Result", "evaluate", "format_table", "retrieval", "zero_shot"]


def evaluate(
    checkpoint: str,
    tasks: Sequence[str | Path] = (),
    dataset: str | None = None,
    *,
    samples: int = 500,
    batch_size: int = 256,
    device: str = "auto",
    weights: str = "auto",
) -> list[Result]:
    """Examine a checkpoint.

    Args:
        checkpoint: a run's directory (its latest checkpoint), one of its checkpoints, or what `train.export` wrote.
        tasks: directories of zero-shot tasks, see `train.evaluate.zero_shot`.
        dataset: URL of a dataset, for retrieval over its held-out split.
        samples: N, the pairs that retrieval ranks.
        device: auto (a GPU if there is one), cpu or cuda.
        weights: model, ema or auto; see `load`.
    Raises:
        ValueError, FileNotFoundError: the checkpoint, a task or the dataset is not there or not what it should be.
    """
    from train.load import load  # with torch, which usage errors are told before

    encoder = load(checkpoint, device, batch_size, weights)
    results: list[Result] = []
    for task in tasks:
        results += zero_shot(encoder, task)
    if dataset is not None:
        results += retrieval(encoder, dataset, samples)
    return results

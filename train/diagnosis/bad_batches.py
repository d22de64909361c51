"""Steps whose loss or gradient is no number: their samples are named, and the run stops or goes on without them."""

from __future__ import annotations

import json
import math
import sys
from typing import NamedTuple

import torch

from dataset.store.storage import Storage
from train.config import TrainConfig
from train.data.mixture import Corpus
from train.distributed.processes import Processes
from train.failure import TrainingError

MAX_NAMED = 20
"""Samples of a bad batch that an error names; the file has all."""
BAD_BATCHES = "bad_batches.jsonl"


class StepOutcome(NamedTuple):
    """A step of which it is not yet known whether its loss and gradient were numbers."""

    step: int
    loss: torch.Tensor  # scalar
    is_finite: torch.Tensor  # bool
    rows: torch.Tensor  # this process's samples


def name_bad_batch(
    run_dir: Storage,
    processes: Processes,
    corpus: Corpus,
    outcome: StepOutcome,
    config: TrainConfig,
    skipped: int,
) -> None:
    """Write a bad batch's pair_ids to RUN/bad_batches.jsonl; raises TrainingError if the run is to stop."""
    step, value, rows = outcome.step, outcome.loss.item(), outcome.rows
    names = [name for part in processes.gather(corpus.pair_ids(rows.numpy())) for name in part]
    if processes.rank == 0:
        before = run_dir.read(BAD_BATCHES) if run_dir.exists(BAD_BATCHES) else b""
        run_dir.write(BAD_BATCHES, before + json.dumps({"step": step, "pair_ids": names}).encode() + b"\n")
    what = f"the loss is {value}" if not math.isfinite(value) else "a gradient is no number"
    samples = f"on the samples {', '.join(names[:MAX_NAMED])}{' …' if len(names) > MAX_NAMED else ''}"
    if config.training.on_nan == "skip" and skipped <= config.training.max_skipped:
        if processes.rank == 0:
            print(f"step {step} skipped: {what} {samples}", file=sys.stderr, flush=True)
        return
    advice = (
        f"{skipped} steps were skipped, more than training.max_skipped"
        if config.training.on_nan == "skip"
        else f"try a lower optimizer.learning_rate than {config.optimizer.learning_rate}"
    )
    raise TrainingError(f"{what} at step {step}, {samples}; all are in {run_dir.url_of(BAD_BATCHES)}; {advice}")

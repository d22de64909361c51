"""One model of an experiment: trained and examined, here or in a task of Ray's. Such a task imports no more."""

from __future__ import annotations

import json
from typing import Any

STOPPED = "it was stopped; the same command goes on there"


def train_and_examine(job: dict[str, Any]) -> str:
    """Train a model, or go on where it was, examine it, and write what was found.

    Args:
        job: `config`, the keys of a TrainConfig; `run`, the run's URL; `result`, the URL of the file of rows;
            `tasks` and `evaluators`; `progress`, called with log records, or None.

    Returns:
        Why there is no result: a sentence; empty if there is one.
    """
    from dataset.store.storage import Storage
    from train.config import load
    from train.evaluate import registry
    from train.evaluate.encoders import open_encoder
    from train.evaluate.examine import Examination, examine
    from train.evaluate.sets.open import open_set
    from train.failure import outlet
    from train.loop import train

    config, seed = load(job["config"]), int(job["config"]["seed"])
    try:
        quiet = job.get("progress") or (lambda record: None)
        result = train(config, job["run"], quiet)
        if result.step < result.steps:
            return STOPPED
        # Random weights of the same seed are those that the run began with.
        examination = Examination(
            job["run"],
            [open_set(task) for task in job["tasks"]],
            registry.evaluators({name: {} for name in job["evaluators"]}),
            baseline=True,
            seed=seed,
            asked_for=True,
        )
        rows = examine(open_encoder(job["run"], config.compute.device), examination)
    except Exception as error:
        return outlet(error)
    folder, _, file = job["result"].rpartition("/")
    Storage(folder).write(file, json.dumps([row.to_dict() for row in rows]).encode())
    return ""

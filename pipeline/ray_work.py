"""What a process that Ray Train placed does: this is all that it imports, and an import is most of a restart's time."""

from __future__ import annotations

from typing import Any

from train.config import load
from train.loop import RunResult, TrainingError, train


def work(given: dict[str, Any]) -> RunResult | Exception:
    """One process's part. An error of the config or the data is an answer; only what may pass is tried again.

    Args:
        given: `config`, the keys and values of a TrainConfig, and `run`, the URL of the run's directory.
    """
    try:
        return train(load(given["config"]), given["run"])
    except (ValueError, FileNotFoundError, TrainingError) as error:
        return type(error)(str(error))

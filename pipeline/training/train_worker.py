"""What a process that Ray Train placed does: this is all that it imports, and an import is most of a restart's time."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any


def work(given: dict[str, Any]) -> dict[str, Any] | Exception:
    """One process's part. An error of the config or the data is an answer; only what may pass is tried again.

    Args:
        given: `config`, the keys and values of a TrainConfig, and `run`, the URL of the run's directory.

    Returns:
        The fields of a RunResult, or the error.
    """
    # Here, for Ray's process that directs the others reads this module, too, and needs no torch.
    from train.config import load
    from train.loop import TrainingError, train

    try:
        return asdict(train(load(given["config"]), given["run"]))
    except (ValueError, FileNotFoundError, TrainingError) as error:
        return type(error)(str(error))

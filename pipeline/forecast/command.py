"""`wit plan`: its arguments, and what it says."""

from __future__ import annotations

import argparse
import contextlib

from pipeline import config as configs
from pipeline.config_errors import ConfigError
from pipeline.forecast import answer, assumptions, forecast, rates


def plan(arguments: argparse.Namespace) -> str:
    """Return what a build by a config costs, as text or JSON. Raises ConfigError."""
    config = configs.load(arguments.config, arguments.set)
    trial = rates.measure_rates(arguments.trial or config.out)
    if not arguments.deadline > 0:
        raise ConfigError(f"--deadline takes hours above 0, not {arguments.deadline:g}")
    base = assumptions.Assumptions(
        pairs_per_partition=config.run.pairs_per_partition, piece_megabytes=config.run.piece_bytes / 1e6
    )
    models = len(config.image.models) + bool(config.image.embedding_model) + (config.image.nsfw is not None)
    whole = forecast.forecast(
        trial,
        pairs(arguments.pairs),
        assumptions.override_assumptions(base, arguments.assume),
        gpu_models=models if config.run.gpus_per_model_task else 0,
    )
    as_wanted = answer.as_json if arguments.format == "json" else answer.as_text
    return as_wanted(trial, whole, arguments.deadline)


def pairs(text: str | None) -> float | None:
    """Return how many pairs are meant by `400e6`. Raises ConfigError."""
    if text is None:
        return None
    with contextlib.suppress(ValueError):
        if 1 <= (count := float(text.replace("_", "").replace(",", ""))) < float("inf"):
            return count
    raise ConfigError(f"--pairs takes a number such as 400e6, not {text!r}")

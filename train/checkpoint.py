"""Checkpoints and the log of a run, as files below its directory.

RUN/config.yaml                     the effective config
RUN/log.jsonl                       one JSON object per log line
RUN/checkpoints/step-00000500.pt    weights, optimizer, step, config
RUN/checkpoints/latest              the file name of the newest one
"""

from __future__ import annotations

import io
import json
import time
from dataclasses import asdict
from typing import Any

import torch
import yaml

from dataset.storage import Storage
from train.config import RESUMABLE_CHANGES, TrainConfig

FOLDER = "checkpoints"
LATEST = "checkpoints/latest"
LOG_SECONDS = 10.0
"""The log is written at most this often, and with every checkpoint."""


def name_of(step: int) -> str:
    """The name, in its run, of the checkpoint after a step."""
    return f"{FOLDER}/step-{step:08d}.pt"


def write(run: Storage, state: dict[str, Any], keep: int) -> str:
    """Write a checkpoint, point `latest` to it, delete all but the `keep` newest; returns its name in the run."""
    name = name_of(state["step"])
    buffer = io.BytesIO()
    torch.save(state, buffer)
    run.write(name, buffer.getbuffer())
    run.write(LATEST, (name.rsplit("/", 1)[1] + "\n").encode())
    steps = [info.name for info in run.list(FOLDER) if info.name.endswith(".pt")]
    run.delete([old for old in steps if old < name][: -keep + 1 or None])
    return name


def read(run: Storage, name: str | None = None) -> dict[str, Any]:
    """A checkpoint of a run, by default the latest, with its tensors on the CPU.

    Raises:
        FileNotFoundError: the run has none.
        ValueError: the file is no checkpoint.
    """
    name = name or f"{FOLDER}/{run.read(LATEST).decode().strip()}"
    try:
        state: dict[str, Any] = torch.load(io.BytesIO(run.read(name)), map_location="cpu", weights_only=True)
        if not {"step", "model", "name", "model_config", "preprocess"} <= set(state):
            raise KeyError
    except FileNotFoundError:
        raise
    except Exception:  # torch.load raises anything on bytes that it did not write
        raise ValueError(f"{run.url_of(name)} is not a checkpoint of this trainer") from None
    return state


def check_resumable(run: Storage, state: dict[str, Any], config: TrainConfig, index_fingerprint: str) -> None:
    """Raises ValueError, in a sentence, if a run's checkpoint was made from another config or dataset."""
    if state["index_fingerprint"] != index_fingerprint:
        raise ValueError(f"{run.url} was trained on another version of {config.dataset}; give the new run another name")
    new = asdict(config)
    for key, old in state["config"].items():
        if key in new and key not in RESUMABLE_CHANGES | {"dataset"} and new[key] != old:
            raise ValueError(f"{run.url} was begun with {key} {old!r}, not {new[key]!r}; give the new run another name")


def write_config(run: Storage, config: TrainConfig) -> None:
    """Write the effective config."""
    run.write("config.yaml", yaml.safe_dump(asdict(config), sort_keys=False).encode())


class Log:
    """The run's log.jsonl: whole lines, each step's once however often the run was stopped."""

    def __init__(self, run: Storage, first_step: int):
        self.run = run
        self._lines: list[str] = []
        self._written = time.monotonic()
        if first_step and run.exists("log.jsonl"):
            kept = run.read("log.jsonl").decode().splitlines()
            self._lines = [line for line in kept if json.loads(line)["step"] <= first_step]

    def add(self, record: dict[str, Any]) -> None:
        """Add one record; it must have a step."""
        self._lines.append(json.dumps(record))
        if time.monotonic() - self._written > LOG_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write the file."""
        self.run.write("log.jsonl", "".join(f"{line}\n" for line in self._lines).encode())
        self._written = time.monotonic()

"""The log of a run: RUN/log.jsonl always, TensorBoard and Weights & Biases beside it."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dataset.storage import Storage
from train.config import TrainConfig

FILE = "log.jsonl"
LOG_SECONDS = 10.0
"""log.jsonl is written at most this often, and with every checkpoint."""


class Log:
    """The run's log: whole lines, each step's once however often the run was stopped."""

    def __init__(self, run: Storage, first_step: int, config: TrainConfig):
        self.run = run
        self._lines: list[str] = []
        self._written = time.monotonic()
        if first_step and run.exists(FILE):
            kept = run.read(FILE).decode().splitlines()
            self._lines = [line for line in kept if json.loads(line)["step"] <= first_step]
        self._board = _tensorboard(run, first_step) if config.tensorboard and run.local else None
        self._wandb = _wandb(config, run) if config.wandb else None

    def add(self, record: dict[str, Any]) -> None:
        """Add one record; it must have a step."""
        self._lines.append(json.dumps(record))
        numbers = {name: value for name, value in record.items() if isinstance(value, (int, float)) and name != "step"}
        if self._board is not None:
            for name, value in numbers.items():
                self._board.add_scalar(name, value, record["step"])
        if self._wandb is not None:
            self._wandb.log(numbers, step=record["step"])
        if time.monotonic() - self._written > LOG_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write what was added."""
        self.run.write(FILE, "".join(f"{line}\n" for line in self._lines).encode())
        self._written = time.monotonic()
        if self._board is not None:
            self._board.flush()

    def __enter__(self) -> Log:
        return self

    def __exit__(self, *error: object) -> None:
        self.flush()
        if self._board is not None:
            self._board.close()
        if self._wandb is not None:
            self._wandb.finish()


def _tensorboard(run: Storage, first_step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        print("TensorBoard is not installed; log.jsonl has all that it would show", file=sys.stderr, flush=True)
        return None
    # Events after the step at which a stopped run goes on are those of the steps that it does again.
    return SummaryWriter(run.path("tensorboard"), purge_step=first_step + 1)


def _wandb(config: TrainConfig, run: Storage) -> Any:
    try:
        import wandb
    except ImportError:
        raise ValueError("wandb needs the package wandb, which is not installed") from None
    folder = run.path(".") if run.local else None
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
    identity = "".join(letter if letter.isalnum() else "-" for letter in run.url)[-64:]
    return wandb.init(
        project=config.wandb, name=config.name, id=identity, resume="allow", config=asdict(config), dir=folder
    )


def print_record(record: dict[str, Any]) -> None:
    """A log record as one line."""
    minutes, seconds = divmod(record["eta_seconds"], 60)
    mfu = "" if record["mfu"] is None else f"  MFU {record['mfu']:.1%}"
    print(
        f"step {record['step']:>6}/{record['steps']}  epoch {record['epoch']:6.2f}  loss {record['loss']:.4f}  "
        f"logit scale {record['logit_scale']:6.2f}  {record['samples_per_second']:8.1f} samples/s  "
        f"{record['samples_per_second_per_device']:8.1f} a device  data wait {record['data_wait_share']:4.0%}{mfu}  "
        f"memory {record['memory_bytes'] / 1e9:.1f} GB  ETA {minutes}:{seconds:02d}",
        flush=True,
    )

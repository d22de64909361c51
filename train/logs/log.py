"""The log of a run: RUN/log.jsonl and RUN/evaluations.jsonl always, TensorBoard and Weights & Biases beside them."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataset.store.storage import Storage
from train.sections import LogConfig

if TYPE_CHECKING:
    from train.evaluate.results.flat import FlatFigure
    from train.evaluate.results.row import Row

FILE = "log.jsonl"
EVALUATIONS = "evaluations.jsonl"
"""What examinations during the run have found: a figure a line, or why there is none."""
_RECALL = re.compile(r"_r(\d+)$")
TRAIN, VAL = "train/", "val/"
TAGS = {
    "loss": ("loss", "contrastive_loss"),
    "logit_scale": ("scale",),
    "learning_rate": ("lr",),
    "samples_per_second_per_device": ("samples_per_second_per_gpu",),
    "step_seconds": ("batch_time",),
    "data_wait_seconds": ("data_time",),
}
"""What open_clip_train calls, in TensorBoard and in Weights & Biases, that which our records name otherwise."""
LOG_SECONDS = 10.0
"""log.jsonl is written at most this often, and with every checkpoint."""


class Log:
    """The run's log: whole lines, each step's once however often the run was stopped.

    Args:
        whole: the run's config as a mapping, for Weights & Biases.
    """

    def __init__(self, run: Storage, first_step: int, config: LogConfig, whole: Mapping[str, Any]):
        self.run = run
        self._written = time.monotonic()
        self._lines = _lines_until(run, FILE, first_step)
        self._evaluated = _lines_until(run, EVALUATIONS, first_step)
        self._board = _tensorboard(run, first_step) if config.tensorboard and run.local else None
        self._wandb = _wandb(config.wandb, whole, run) if config.wandb else None

    def add(self, record: dict[str, Any]) -> None:
        """Add one record; it must have a step."""
        self._lines.append(json.dumps(record))
        numbers = {
            f"{TRAIN}{tag}": value
            for name, value in record.items()
            if isinstance(value, (int, float)) and name != "step"
            for tag in TAGS.get(name, (name,))
        }
        if self._board is not None:
            for tag, value in numbers.items():
                self._board.add_scalar(tag, value, record["step"])
        if self._wandb is not None:
            self._wandb.log(numbers, step=record["step"])
        if time.monotonic() - self._written > LOG_SECONDS:
            self.flush()

    def add_rows(self, step: int, samples_seen: int, rows: Sequence[Row], failures: Sequence[dict[str, str]]) -> None:
        """Add what an examination after a step has found, and what failed: `dataset`, `task` and `error` of each."""
        from train.evaluate.results.flat import results
        from train.evaluate.results.formats import flat

        where = {"step": step, "samples_seen": samples_seen}
        figures = [{name: value for name, value in line.items() if value is not None} for line in flat(rows)]
        self._evaluated += [json.dumps({**where, **line}) for line in (*figures, *failures)]
        self.run.write(EVALUATIONS, "".join(f"{line}\n" for line in self._evaluated).encode())
        tags = {f"{VAL}{line['dataset']}/{line['task']}/{line['metric']}": line.get("value") for line in figures}
        tags |= {f"{VAL}{_tag(result)}": result["value"] for result in results(rows)}
        numbers = {tag: value for tag, value in tags.items() if value is not None}
        if self._board is not None:
            for tag, value in numbers.items():
                self._board.add_scalar(tag, value, step)
        if self._wandb is not None:
            self._wandb.log(numbers, step=step)

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


def _lines_until(run: Storage, file: str, step: int) -> list[str]:
    """The lines of a file of the run's up to a step; none of a run that begins."""
    kept = run.read(file).decode().splitlines() if step and run.exists(file) else []
    return [line for line in kept if json.loads(line)["step"] <= step]


def recorded_steps(run: Storage) -> set[int]:
    """Return the steps after which the model was examined."""
    lines = run.read(EVALUATIONS).decode().splitlines() if run.exists(EVALUATIONS) else []
    return {json.loads(line)["step"] for line in lines}


def _tag(result: FlatFigure) -> str:
    """What open_clip_train calls a figure in TensorBoard."""
    tag = _RECALL.sub(r"_R@\1", result["metric"])
    return tag if result["task"] == "retrieval" else f"{result['task']}-zeroshot-val-{tag}"


def add_evaluation(run: Storage, step: int, results: Sequence[FlatFigure]) -> None:
    """Write to a run's TensorBoard what an examination of its checkpoint found, by open_clip_train's tags and, as
    there, by epoch."""
    if not run.local or not run.exists(FILE) or (board := _tensorboard(run)) is None:
        return
    log = map(json.loads, run.read(FILE).decode().splitlines())
    epoch = max((record["epoch"] for record in log if record["step"] <= step), default=0.0)
    for result in results:
        board.add_scalar(f"{VAL}{_tag(result)}", result["value"], round(epoch))
    board.close()


def _tensorboard(run: Storage, first_step: int | None = None) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        print("TensorBoard is not installed; log.jsonl has all that it would show", file=sys.stderr, flush=True)
        return None
    # Events after the step at which a stopped run goes on are those of the steps that it does again.
    return SummaryWriter(run.path("tensorboard"), purge_step=None if first_step is None else first_step + 1)


def _wandb(project: str, whole: Mapping[str, Any], run: Storage) -> Any:
    try:
        import wandb
    except ImportError:
        raise ValueError(
            "log.wandb needs the package wandb, which is not installed: pip install 'openwit[wandb]', "
            "or leave the key out"
        ) from None
    folder = run.path(".") if run.local else None
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
    identity = "".join(letter if letter.isalnum() else "-" for letter in run.url)[-64:]
    return wandb.init(project=project, name=whole["name"], id=identity, resume="allow", config=dict(whole), dir=folder)


def print_record(record: dict[str, Any]) -> None:
    """Print a log record as one line."""
    minutes, seconds = divmod(record["eta_seconds"], 60)
    mfu = "" if record["mfu"] is None else f"  MFU {record['mfu']:.1%}"
    print(
        f"step {record['step']:>6}/{record['steps']}  epoch {record['epoch']:6.2f}  loss {record['loss']:.4f}  "
        f"logit scale {record['logit_scale']:6.2f}  {record['samples_per_second']:8.1f} samples/s  "
        f"{record['samples_per_second_per_device']:8.1f} a device  data wait {record['data_wait_share']:4.0%}{mfu}  "
        f"limited by {record['bottleneck']} {record[record['bottleneck'] + '_share']:.0%}  "
        f"memory {record['memory_bytes'] / 1e9:.1f} GB  ETA {minutes}:{seconds:02d}",
        flush=True,
    )

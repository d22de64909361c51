"""TensorBoard shows a run as it shows open_clip_train's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dataset.store.storage import Storage
from train.logs.log import FILE, Log, add_evaluation
from train.sections import LogConfig

RECORD: dict[str, Any] = {
    "step": 10, "epoch": 1.6, "loss": 2.5, "logit_scale": 14.3, "learning_rate": 5e-4, "samples_per_second": 100.0,
    "samples_per_second_per_device": 50.0, "step_seconds": 0.32, "data_wait_seconds": 0.08, "mfu": None,
}  # fmt: skip


def scalars(run: Path) -> dict[str, tuple[int, float]]:
    """The last (step, value) of each tag."""
    board = EventAccumulator(str(run / "tensorboard")).Reload()
    return {tag: (board.Scalars(tag)[-1].step, board.Scalars(tag)[-1].value) for tag in board.Tags()["scalars"]}


def test_a_record_has_open_clip_trains_tags(tmp_path: Path) -> None:
    with Log(Storage(str(tmp_path)), 0, LogConfig(), {}) as log:
        log.add(RECORD)
    found = scalars(tmp_path)
    assert {tag: value for tag, (_, value) in found.items() if tag != "train/epoch"} == pytest.approx(
        {
            "train/loss": 2.5,
            "train/contrastive_loss": 2.5,
            "train/scale": 14.3,
            "train/lr": 5e-4,
            "train/samples_per_second": 100,
            "train/samples_per_second_per_gpu": 50,
            "train/batch_time": 0.32,
            "train/data_time": 0.08,
        }
    )
    assert {step for step, _ in found.values()} == {10}
    assert json.loads((tmp_path / FILE).read_text()) == RECORD  # log.jsonl keeps our own words


def test_an_examination_has_open_clip_trains_tags_by_epoch(tmp_path: Path) -> None:
    records = [{"step": step, "epoch": step / 5} for step in (5, 10, 15)]
    (tmp_path / FILE).write_text("".join(f"{json.dumps(record)}\n" for record in records))
    figures = {
        ("retrieval", "image_to_text_r10"): 0.5,
        ("retrieval", "text_to_image_median_rank"): 3.0,
        ("imagenet", "top1"): 0.25,
    }
    results: list[Any] = [{"task": task, "metric": name, "value": value} for (task, name), value in figures.items()]
    add_evaluation(Storage(str(tmp_path)), 10, results)
    assert scalars(tmp_path) == {
        "val/image_to_text_R@10": (2, 0.5),
        "val/text_to_image_median_rank": (2, 3.0),
        "val/imagenet-zeroshot-val-top1": (2, 0.25),
    }

"""The trainer takes the steps that open_clip's own pieces take."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.processes.parity import apart
from tests.train import tiny
from train.config import from_keys

STEPS, BATCH = 20, 16


@pytest.mark.parametrize("micro_batch", [0, 6])
def test_twenty_steps_are_those_of_open_clips_pieces(micro_batch: int, tiny_dataset: str, tmp_path: Path) -> None:
    config = from_keys(
        tiny_dataset,
        model=tiny.MODEL,
        batch_size=BATCH,
        micro_batch=micro_batch,
        samples_seen=BATCH * STEPS,
        warmup_steps=5,
        learning_rate=1e-3,
        workers=0,
        device="cpu",
        log_every=1,
        tensorboard=False,
    )
    found = apart(config, str(tmp_path))
    assert found.loss <= 1e-6
    assert found.weights <= 1e-6

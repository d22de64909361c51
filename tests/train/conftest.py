"""One tiny model, dataset and run for all tests of training."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.train import tiny
from train import loop
from train.config import from_keys
from train.loop import train
from train.models.clip import Clip


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    """Sums must not depend on how many cores the machine has."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True, scope="session")
def counted_once() -> Iterator[None]:
    """Hundreds of trainings begin here, for a few steps each: a model's operations are counted once."""
    count, counted = loop.flops_per_sample, dict[Any, float]()

    def known(clip: Clip) -> float:
        learns = tuple(parameter.requires_grad for parameter in clip.model.parameters())
        key = (str(clip.model), clip.image_size, clip.config["text_cfg"].get("context_length"), learns)
        if key not in counted:
            counted[key] = count(clip)
        return counted[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "flops_per_sample", known)
        yield


@pytest.fixture(autouse=True, scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The config file of the tiny transformer, which is registered with the tiny ResNet."""
    return tiny.register(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="session")
def tiny_dataset(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A dataset of 64 training and 16 held-out pairs, not to be changed."""
    return tiny.write_dataset(tmp_path_factory.mktemp("dataset"))


@pytest.fixture(scope="session")
def tiny_run(tiny_dataset: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A short finished run on it."""
    config = from_keys(tiny_dataset, model=tiny.MODEL, batch_size=16, epochs=2, workers=0, device="cpu")
    return train(config, str(tmp_path_factory.mktemp("run")), progress=lambda record: None).run


@pytest.fixture
def patches(tmp_path: Path) -> str:
    """The config of a model that sees half of the patches."""
    config = {**tiny.CONFIG, "vision_cfg": {**tiny.CONFIG["vision_cfg"], "patch_dropout": 0.5, "patch_size": 8}}
    (tmp_path / "test-patches.json").write_text(json.dumps(config))
    return str(tmp_path / "test-patches.json")


@pytest.fixture(scope="module")
def apart() -> Iterator[ProcessPoolExecutor]:
    """A process for steps on tensors without numbers (`FakeTensorMode`): torch believes from then on that there is a
    GPU, and the next backward pass starts a thread for it, after which it forbids to fork. Other tests fork."""
    with ProcessPoolExecutor(1, mp_context=get_context("fork"), initializer=gc.disable) as pool:  # a tenth faster
        yield pool

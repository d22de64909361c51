"""What a log line says: the share of the peak, repeated pairs, gradients by tower."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.train import tiny
from tests.train.test_loop import config_of, log_of, quiet
from train.distributed.collectives import Peers
from train.logs.metrics import duplicate_share, flops_per_sample
from train.loop import train
from train.models.clip import create
from train.optimizers import gradient_norms


def test_mfu_is_the_share_of_the_devices_peak(tiny_dataset: str, tmp_path: Path) -> None:
    train(config_of(tiny_dataset, epochs=1, peak_tflops=0.001), str(tmp_path), quiet)
    record = log_of(tmp_path)[-1]
    flops = flops_per_sample(create(tiny.MODEL))
    assert record["mfu"] == pytest.approx(record["samples_per_second_per_device"] * flops / 1e9, rel=1e-3)
    assert record["memory_bytes"] > 1e7


def test_the_operations_of_a_sample_are_those_of_the_formula() -> None:
    """Per block 12·d² products a token (Kaplan et al. 2020, §2.1) and 2·n·d for attention; then the projections."""

    def blocks(tokens: int, width: int) -> float:
        return 2 * tokens * (12 * width**2 + 2 * tokens * width)

    patches, width, length, text_width = 4, 32, 12, 8
    forward = 2 * patches * 3 * 16**2 * width + blocks(patches + 1, width) + 2 * width * 16
    forward += blocks(length, text_width) + 2 * text_width * 16
    clip = create(tiny.MODEL)
    assert flops_per_sample(clip) == pytest.approx(3 * forward, rel=0.02)
    clip.model.lock_image_tower()  # type: ignore[operator]
    assert flops_per_sample(clip) < 3 * forward


def share_of_duplicates(images: list[int], texts: list[list[int]]) -> float:
    peers = Peers(len(images), torch.device("cpu"))
    return duplicate_share(torch.tensor(images), torch.tensor(texts), peers).item()


def test_pairs_that_share_an_image_or_text_are_duplicates() -> None:
    assert share_of_duplicates([1, 1, 2, 3, 4], [[1], [2], [3], [4], [4]]) == pytest.approx(0.8)
    assert share_of_duplicates([1, 2, 2], [[1, 2], [1, 2], [3, 4]]) == 1.0
    assert share_of_duplicates([2, 3], [[1, 2], [2, 1]]) == 0.0


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 5), st.lists(st.integers(0, 3), min_size=3, max_size=3)), min_size=1))
def test_their_share_is_that_of_counting(pairs: list[tuple[int, list[int]]]) -> None:
    images, texts = Counter(image for image, _ in pairs), Counter(tuple(text) for _, text in pairs)
    expected = sum(images[image] > 1 or texts[tuple(text)] > 1 for image, text in pairs) / len(pairs)
    assert share_of_duplicates([i for i, _ in pairs], [t for _, t in pairs]) == pytest.approx(expected)


def test_gradients_norms_are_by_tower() -> None:
    model = create(tiny.MODEL).model
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    model.visual.proj.grad.flatten()[:4] = 1  # type: ignore[union-attr]
    model.logit_scale.grad.fill_(3)  # type: ignore[union-attr, operator]
    norms = {tower: norm.item() for tower, norm in gradient_norms(model).items()}
    assert norms == pytest.approx({"image": 2, "text": 0, "rest": 3, "all": math.sqrt(13)})

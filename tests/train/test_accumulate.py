"""The gradients of micro-batches are those of the whole batch, whatever the towers draw or normalise by."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dataset.ids import hash64
from tests.train import tiny
from tests.train.test_loss import relative_error
from train.accumulate import backward
from train.config import from_keys
from train.loop import train
from train.loss import LOSSES, softmax_loss
from train.models.clip import create

SAMPLES = 23


def batch(size: int = 32) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(SAMPLES, 3, size, size, generator=generator)
    return images, torch.randint(1, 500, (SAMPLES, 12), generator=generator)


def gradients(model: nn.Module) -> dict[str, Tensor]:
    found = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}
    model.zero_grad()
    return found


def assert_equal(here: dict[str, Tensor], there: dict[str, Tensor], most: float = 1e-5) -> None:
    assert set(here) == set(there)
    whole = [torch.cat([found[name].flatten() for name in there]) for found in (here, there)]
    assert relative_error(*whole) <= most
    assert relative_error(here["logit_scale"], there["logit_scale"]) <= most


class Noisy(nn.Module):
    """A CLIP with dropout behind its towers."""

    def __init__(self, clip: nn.Module):
        super().__init__()
        self.clip = clip
        self.logit_scale = clip.logit_scale

    def forward(self, images: Tensor, texts: Tensor) -> tuple[Tensor, ...]:
        image_features, text_features, *rest = self.clip(images, texts)
        dropped = (nn.functional.dropout(features, 0.3) for features in (image_features, text_features))
        return *(nn.functional.normalize(features, dim=1) for features in dropped), *rest


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("micro_batch", [1, 4, 8, 22, 23, 100])
def test_micro_batches_have_the_gradients_of_one_batch(micro_batch: int, loss: str) -> None:
    model = create(tiny.MODEL, loss=loss).model
    whole = backward(model, *batch(), loss=LOSSES[loss], seed=0)
    there = gradients(model)
    value = backward(model, *batch(), loss=LOSSES[loss], seed=0, micro_batch=micro_batch)
    assert value.item() == pytest.approx(whole.item(), rel=1e-6)
    assert_equal(gradients(model), there)


@pytest.mark.parametrize("tower", ["image", "text"])
def test_a_locked_tower_has_no_gradients(tower: str) -> None:
    model: Any = create(tiny.MODEL).model
    (model.lock_image_tower if tower == "image" else model.lock_text_tower)()
    backward(model, *batch(), loss=softmax_loss, seed=0)
    there = gradients(model)
    backward(model, *batch(), loss=softmax_loss, seed=0, micro_batch=8)
    assert_equal(gradients(model), there)
    assert any(name.startswith("visual.") for name in there) == (tower == "text")


def dense_over_parts(model: nn.Module, parts: Any, seed: int) -> Tensor:
    """One dense loss over the features of micro-batches, each under the random numbers that it is owed."""
    outputs = []
    for number, (images, texts) in enumerate(parts):
        torch.manual_seed(hash64("micro_batch", seed, number) >> 1)
        outputs.append(model(images, texts))
    logits = outputs[0][2] * torch.cat([found[0] for found in outputs]) @ torch.cat([found[1] for found in outputs]).T
    answer = torch.arange(len(logits))
    loss = nn.functional.cross_entropy(logits, answer) + nn.functional.cross_entropy(logits.T, answer)
    (loss / 2).backward()
    return loss.detach() / 2


def parts_of(images: Tensor, texts: Tensor, count: int) -> Iterator[tuple[Tensor, Tensor]]:
    edges = [len(images) * number // count for number in range(count + 1)]
    for first, end in pairwise(edges):
        yield images[first:end], texts[first:end]


@pytest.mark.parametrize("kind", ["dropout", "patch dropout"])
def test_dropout_drops_the_same_in_both_passes(kind: str, patches: str) -> None:
    model = Noisy(create(tiny.MODEL).model) if kind == "dropout" else create(patches).model
    reference = dense_over_parts(model.train(), parts_of(*batch(), 5), seed=7)
    there = gradients(model)
    value = backward(model, *batch(), loss=softmax_loss, seed=7, micro_batch=5)
    assert value.item() == pytest.approx(reference.item(), rel=1e-6)
    assert_equal(gradients(model), there)
    backward(model, *batch(), loss=softmax_loss, seed=8, micro_batch=5)
    assert relative_error(gradients(model)["logit_scale"], there["logit_scale"]) > 1e-3


def test_batchnorm_takes_each_micro_batch_once() -> None:
    model = create(tiny.RESNET).model.train()
    start = {name: value.clone() for name, value in model.state_dict().items()}
    images, texts = batch(64)
    dense_over_parts(model, parts_of(images, texts, 3), seed=0)
    there, buffers = gradients(model), dict(model.named_buffers())
    expected = {name: value.clone() for name, value in buffers.items()}
    model.load_state_dict(start)
    backward(model, images, texts, loss=softmax_loss, seed=0, micro_batch=8)
    assert_equal(gradients(model), there)
    counts = {name: value.item() for name, value in buffers.items() if name.endswith("num_batches_tracked")}
    assert set(counts.values()) == {3}
    assert all(torch.equal(buffers[name], value) for name, value in expected.items())


def test_bfloat16_is_rounded_alike_in_both_passes() -> None:
    model = create(tiny.MODEL).model
    found = []
    for micro_batch in (0, 6):
        autocast = torch.autocast("cpu", torch.bfloat16)
        value = backward(model, *batch(), loss=softmax_loss, seed=0, micro_batch=micro_batch, autocast=autocast)
        assert value.dtype == torch.float32
        found.append((value.item(), gradients(model)))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-3)
    # Sums over samples are rounded to bfloat16 in each micro-batch.
    assert_equal(found[1][1], found[0][1], 2e-2)


@pytest.mark.parametrize("micro_batch", [0, 6])
def test_a_scaler_scales_gradients_and_not_the_value(micro_batch: int) -> None:
    model = create(tiny.MODEL).model
    value = backward(model, *batch(), loss=softmax_loss, seed=0, micro_batch=micro_batch)
    there = {name: gradient * 1024 for name, gradient in gradients(model).items()}
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    scaled = backward(model, *batch(), loss=softmax_loss, seed=0, micro_batch=micro_batch, scaler=scaler)
    assert scaled == value
    assert_equal(gradients(model), there)


def test_images_are_prepared_by_the_micro_batch() -> None:
    model = create(tiny.MODEL).model
    images, texts = batch()
    seen: list[int] = []

    def prepare(part: Tensor) -> Tensor:
        seen.append(len(part))
        return part

    backward(model, images, texts, loss=softmax_loss, seed=0, micro_batch=8, prepare=prepare)
    assert seen == [7, 8, 8] * 2


def test_a_runs_config_says_loss_and_micro_batch(tiny_dataset: str, tmp_path: Path, patches: str) -> None:
    def losses(**changes: Any) -> list[float]:
        seen: list[float] = []
        config = from_keys(
            tiny_dataset, batch_size=16, epochs=1, workers=0, device="cpu", log_every=1, name=str(len(runs)), **changes
        )
        train(config, str(tmp_path / str(len(runs))), lambda record: seen.append(record["loss"]))
        runs.append(seen)
        return seen

    runs: list[list[float]] = []
    whole = losses(model=tiny.MODEL)
    assert losses(model=tiny.MODEL, micro_batch=5) == pytest.approx(whole, rel=1e-4)
    assert losses(model=patches, micro_batch=5) != pytest.approx(losses(model=patches), rel=1e-4)
    assert losses(model=tiny.MODEL, loss="sigmoid")[0] > 5  # SigLIP starts by calling nothing a match

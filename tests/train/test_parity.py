"""Processes with unequal shares of a batch learn what one process learns from the whole of it."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing
from torch import Tensor, nn

from tests.train import tiny
from tests.train.test_loss import dense, features, relative_error
from train.accumulate import backward
from train.config import from_keys
from train.distributed.batch_norm import synchronise
from train.distributed.parallelize import full_tensor, parallelize
from train.distributed.processes import Processes
from train.loss import LOSSES
from train.models.clip import create
from train.optimizers import make_optimizers

SAMPLES = 26
SHARES = {1: [26], 2: [9, 17], 3: [5, 14, 7]}
"""Samples of each rank, by the number of ranks."""
STEPS = [
    (tiny.MODEL, "softmax", 0),
    (tiny.MODEL, "softmax", 4),
    (tiny.MODEL, "sigmoid", 4),
    (tiny.WIDER_RESNET, "softmax", 0),
]
"""Models (a transformer, a ResNet with BatchNorm), losses and micro-batches."""
TOLERANCES = {tiny.MODEL: 1e-5, tiny.WIDER_RESNET: 1e-4}
"""Some gradients below a BatchNorm are small differences of large sums."""


def samples(model: str) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    side = 32 if model == tiny.MODEL else 64
    images = torch.randn(SAMPLES, 3, side, side, generator=generator)
    return images, torch.randint(1, 500, (SAMPLES, 12), generator=generator)


def step(towers: nn.Module, images: Tensor, texts: Tensor, loss: str, micro_batch: int) -> dict[str, Any]:
    """Loss, gradients and parameters of one optimizer step, as whole tensors by name."""
    (adamw,) = make_optimizers(towers, from_keys("out", learning_rate=1e-3).optimizer)
    value = backward(towers, images, texts, loss=LOSSES[loss], seed=0, micro_batch=micro_batch)
    gradients = {name: full_tensor(parameter.grad).clone() for name, parameter in named(towers)}
    adamw.step()
    return {
        "loss": value,
        "gradients": gradients,
        "parameters": {name: full_tensor(parameter).detach().clone() for name, parameter in named(towers)},
        "statistics": {
            name.removeprefix("module."): value.clone() for name, value in towers.named_buffers() if "running" in name
        },
    }


@cache
def single_step(model: str, loss: str) -> dict[str, Any]:
    """The step of one process, of the whole batch at once."""
    return step(synchronise(create(model, loss=loss).model.train()), *samples(model), loss, 0)


def named(towers: nn.Module) -> list[tuple[str, Any]]:
    return [(name.removeprefix("module."), parameter) for name, parameter in towers.named_parameters()]


def _rank(rank: int, ranks: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=ranks)
    first = sum(SHARES[ranks][:rank])
    mine = slice(first, first + SHARES[ranks][rank])
    results: dict[Any, Any] = {}
    images, texts = (tensor[mine] for tensor in features(SAMPLES))
    for name, loss in LOSSES.items():
        for scale in (14.3, 100.0):
            leaves = [
                leaf.clone().requires_grad_() for leaf in (images, texts, torch.tensor(scale), torch.tensor(-9.0))
            ]
            value = loss(*leaves, tile=5 + rank)
            results[name, scale] = value.detach(), *torch.autograd.grad(value, leaves, allow_unused=True)
    for model, loss_name, micro_batch in STEPS:
        images, texts = (tensor[mine] for tensor in samples(model))
        for kind in ("ddp", "fsdp"):
            made = create(model, loss=loss_name).model.train()
            if ranks > 1:
                made = parallelize(synchronise(made), kind, Processes(rank, ranks, torch.device("cpu")))
            results[model, loss_name, kind, micro_batch] = step(made, images, texts, loss_name, micro_batch)
    images, texts = (tensor[mine] for tensor in samples(tiny.MODEL))
    try:
        backward(create(tiny.MODEL).model, images, texts, loss=LOSSES["softmax"], seed=0, micro_batch=1)
        results["refused"] = ""
    except ValueError as error:
        results["refused"] = str(error)
    torch.save(results, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module", params=SHARES)
def results(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[dict[Any, Any]]:
    """What each of a number of ranks found."""
    folder = tmp_path_factory.mktemp("ranks")
    ranks = request.param
    multiprocessing.start_processes(_rank, (ranks, str(folder)), nprocs=ranks, start_method="fork")
    return [torch.load(folder / f"{rank}.pt") for rank in range(ranks)]


@pytest.mark.parametrize("scale", [14.3, 100.0])
@pytest.mark.parametrize("loss", LOSSES)
def test_the_loss_is_that_of_one_process(results: list[dict[Any, Any]], loss: str, scale: float) -> None:
    reference = dense(*features(SAMPLES), scale, loss, -9.0)
    values, images, texts, *numbers = zip(*(found[loss, scale] for found in results), strict=True)
    assert len({value.item() for value in values}) == 1
    assert relative_error(values[0], reference[0]) <= 1e-5
    # Gradients are the global loss's times the number of processes, which the averaging of DDP divides again.
    assert relative_error(torch.cat(images) / len(results), reference[1]) <= 1e-5
    assert relative_error(torch.cat(texts) / len(results), reference[2]) <= 1e-5
    for number, expected in zip(numbers, reference[3:], strict=True):
        assert sum(number).item() / len(results) == pytest.approx(expected.item(), rel=1e-5, abs=1e-6)


@pytest.mark.parametrize(("model", "loss", "micro_batch"), STEPS)
@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_a_step_is_that_of_one_process(
    results: list[dict[Any, Any]], model: str, loss: str, kind: str, micro_batch: int
) -> None:
    single = single_step(model, loss)
    for found in (rank[model, loss, kind, micro_batch] for rank in results):
        assert found["loss"].item() == pytest.approx(single["loss"].item(), rel=1e-5)
        for what in ("gradients", "parameters"):
            assert set(found[what]) == set(single[what])
            here, there = (
                torch.cat([values[what][name].flatten() for name in single[what]]) for values in (found, single)
            )
            assert relative_error(here, there) <= TOLERANCES[model]
        for what in ("gradients", "statistics"):
            assert set(found[what]) == set(single[what])
            for name, expected in single[what].items():
                # What lies below a block that starts as the identity has no gradient yet; that of keys' biases is zero.
                if expected.any() and "k_proj.bias" not in name:
                    assert relative_error(found[what][name], expected) <= TOLERANCES[model], name


def test_micro_batches_that_a_process_cannot_fill_are_refused_by_all(results: list[dict[Any, Any]]) -> None:
    shares = SHARES[len(results)]
    message = (
        f"micro_batch must be larger than 1: it makes {max(shares)} micro-batches on a process "
        f"where another has {min(shares)} samples"
    )
    assert {found["refused"] for found in results} == {message if len(results) > 1 else ""}

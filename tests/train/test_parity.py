"""Processes with unequal shares of a batch learn what one process learns from the whole of it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from tests.train import tiny
from tests.train.test_loss import dense, features, relative_error
from train.accumulate import backward
from train.config import TrainConfig
from train.loss import LOSSES
from train.model import create
from train.optim import optimizers
from train.parallel import shard, whole

SAMPLES = 26
SHARES = {1: [26], 2: [9, 17], 3: [5, 14, 7]}
"""Samples of each rank, by the number of ranks."""
STEPS = [("softmax", 0), ("softmax", 4), ("sigmoid", 4)]
"""Losses and micro-batches."""


def samples() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(SAMPLES, 3, 32, 32, generator=generator)
    return images, torch.randint(1, 500, (SAMPLES, 12), generator=generator)


def step(towers: nn.Module, images: Tensor, texts: Tensor, loss: str, micro_batch: int) -> dict[str, Any]:
    """Loss, gradients and parameters of one optimizer step, as whole tensors by name."""
    (adamw,) = optimizers(towers, TrainConfig("out", learning_rate=1e-3))
    value = backward(towers, images, texts, loss=LOSSES[loss], seed=0, micro_batch=micro_batch)
    gradients = {name: whole(parameter.grad).clone() for name, parameter in named(towers)}
    adamw.step()
    return {
        "loss": value,
        "gradients": gradients,
        "parameters": {name: whole(parameter).detach().clone() for name, parameter in named(towers)},
    }


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
    images, texts = (tensor[mine] for tensor in samples())
    for loss_name, micro_batch in STEPS:
        for kind in (DistributedDataParallel, shard):
            towers = kind(create(tiny.MODEL, loss=loss_name).model)
            results[loss_name, kind.__name__, micro_batch] = step(towers, images, texts, loss_name, micro_batch)
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


@pytest.mark.parametrize(("loss", "micro_batch"), STEPS)
@pytest.mark.parametrize("kind", [DistributedDataParallel, shard])
def test_a_step_is_that_of_one_process(results: list[dict[Any, Any]], loss: str, kind: Any, micro_batch: int) -> None:
    single = step(create(tiny.MODEL, loss=loss).model, *samples(), loss, 0)
    for found in (rank[loss, kind.__name__, micro_batch] for rank in results):
        assert found["loss"].item() == pytest.approx(single["loss"].item(), rel=1e-5)
        for what in ("gradients", "parameters"):
            assert set(found[what]) == set(single[what])
            here, there = (
                torch.cat([values[what][name].flatten() for name in single[what]]) for values in (found, single)
            )
            assert relative_error(here, there) <= 1e-5
        for name, gradient in single["gradients"].items():
            assert relative_error(found["gradients"][name], gradient) <= 1e-5, name


def test_micro_batches_that_a_process_cannot_fill_are_refused_by_all(results: list[dict[Any, Any]]) -> None:
    shares = SHARES[len(results)]
    message = (
        f"micro_batch must be larger than 1: it makes {max(shares)} micro-batches on a process "
        f"where another has {min(shares)} samples"
    )
    assert {found["refused"] for found in results} == {message if len(results) > 1 else ""}

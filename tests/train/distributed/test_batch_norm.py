"""BatchNorm by the kernels that torch has for GPUs: each is stood in for by what its documentation says it computes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.train import ranks
from train.distributed.batch_norm import BatchNorm, _ByKernels

SHARES = ([0, 5], [5, 12])
CHANNELS, EPS, MOMENTUM = 3, 1e-3, 0.2
SIDES = (2, 3)  # all but channels


def channels(values: Tensor) -> Tensor:
    return values.transpose(0, 1).flatten(1)


def across(numbers: Tensor) -> Tensor:
    return numbers.view(1, -1, 1, 1)


def stats(values: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    rows = channels(values)
    return rows.mean(1), (rows.var(1, correction=0) + eps).rsqrt()


def gathered(
    values: Tensor, means: Tensor, scales: Tensor, mean: Tensor, variance: Tensor, momentum: float, eps: float,
    counts: Tensor,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    share = (counts / counts.sum())[:, None]
    all_mean = (share * means).sum(0)
    all_variance = (share * (scales**-2 - eps + (means - all_mean) ** 2)).sum(0)
    mean.lerp_(all_mean, momentum)
    variance.lerp_(all_variance * (counts.sum() / (counts.sum() - 1)), momentum)
    return all_mean, (all_variance + eps).rsqrt()


def normalised(values: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, scale: Tensor, eps: float) -> Tensor:
    return (values - across(mean)) * across(scale * weight) + across(bias)


def reduced(
    gradient: Tensor, values: Tensor, mean: Tensor, scale: Tensor, weight: Tensor, *_: bool
) -> tuple[Tensor, ...]:
    moved = (channels(gradient) * channels(values - across(mean))).sum(1)
    return channels(gradient).sum(1), moved, moved * scale, channels(gradient).sum(1)


def toward(
    gradient: Tensor, values: Tensor, mean: Tensor, scale: Tensor, weight: Tensor, sums: Tensor, moved: Tensor,
    counts: Tensor,
) -> Tensor:  # fmt: skip
    assert counts.dtype == torch.int32
    shared = across(sums / counts.sum()) + (values - across(mean)) * across(scale**2 * moved / counts.sum())
    return (gradient - shared) * across(scale * weight)


@pytest.fixture
def kernels(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, function in {
        "batch_norm_stats": stats,
        "batch_norm_gather_stats_with_counts": gathered,
        "batch_norm_elemt": normalised,
        "batch_norm_backward_reduce": reduced,
        "batch_norm_backward_elemt": toward,
    }.items():
        monkeypatch.setattr(torch, name, function)
    yield


def made(values: Tensor, by_kernels: bool, norm: Any) -> dict[str, Tensor]:
    values = values.clone().requires_grad_()
    running = norm.running_mean, norm.running_var
    if by_kernels:
        outcome = _ByKernels.apply(values, norm.weight, norm.bias, *running, norm.momentum, norm.eps)
    else:
        outcome = norm(values)
    (outcome * torch.arange(outcome.numel()).view(outcome.shape).cos()).sum().backward()
    found = {"outcome": outcome.detach(), "mean": norm.running_mean, "variance": norm.running_var}
    return found | {"values": values.grad, "weight": norm.weight.grad, "bias": norm.bias.grad}


def plain() -> nn.BatchNorm2d:
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(CHANNELS, EPS, MOMENTUM)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    return norm


def test_alone_it_is_torchs_own(kernels: None) -> None:
    values = torch.randn(6, CHANNELS, *SIDES, generator=torch.Generator().manual_seed(1))
    expected, found = made(values, False, plain()), made(values, True, BatchNorm(plain()))
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-5, atol=1e-5, msg=name)


def test_two_processes_with_unequal_shares_normalise_by_all_samples(kernels: None) -> None:
    values = torch.randn(12, CHANNELS, *SIDES, generator=torch.Generator().manual_seed(1))

    def work() -> None:
        import torch.distributed as dist

        dist.init_process_group("gloo")
        mine = slice(*SHARES[dist.get_rank()])
        ours, theirs = (made(values[mine], by_kernels, BatchNorm(plain())) for by_kernels in (True, False))
        for name, tensor in theirs.items():  # the one for CPUs, which test_parity.py holds against one process
            torch.testing.assert_close(ours[name], tensor, rtol=1e-5, atol=1e-5, msg=name)
        dist.destroy_process_group()

    ranks.run(2, work)

"""The tiled loss is the dense one, in value and gradients, in one process and in two."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing
from torch import Tensor
from torch.nn.functional import cross_entropy, logsigmoid, normalize
from torch.utils._python_dispatch import TorchDispatchMode

from train.loss import LOSSES, softmax_loss

Case = tuple[Tensor, ...]


def features(count: int, width: int = 16, noise: float = 1.0, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Images' and texts' features, of unit length; the more noise, the less they match."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(count, width, generator=generator, dtype=torch.float64)
    others = torch.randn(count, width, generator=generator, dtype=torch.float64)
    return normalize(images, dim=1).float(), normalize(images + noise * others, dim=1).float()


def dense(images: Tensor, texts: Tensor, scale: float, kind: str = "softmax", bias: float = 0.0) -> Case:
    """(loss, gradients of images, texts, scale and bias) by the N x N logits, in float64: Figure 3 of CLIP's paper, or
    Algorithm 1 of SigLIP's."""
    leaves = [tensor.double().requires_grad_() for tensor in (images, texts, torch.tensor(scale), torch.tensor(bias))]
    logits = leaves[2] * leaves[0] @ leaves[1].T + leaves[3]
    answer = torch.arange(len(images))
    if kind == "softmax":
        loss = (cross_entropy(logits, answer) + cross_entropy(logits.T, answer)) / 2
    else:
        loss = -logsigmoid(logits * (2 * torch.eye(len(images)) - 1)).sum() / len(images)
    return loss.detach(), *torch.autograd.grad(loss, leaves)


def tiled(
    images: Tensor, texts: Tensor, scale: float, tile: int, kind: str = "softmax", bias: float | None = None
) -> Case:
    leaves = [tensor.clone().requires_grad_() for tensor in (images, texts, torch.tensor(scale))]
    leaves += [] if bias is None else [torch.tensor(bias, requires_grad=True)]
    loss = LOSSES[kind](*leaves, tile=tile)
    return loss.detach(), *torch.autograd.grad(loss, leaves)


def relative_error(value: Tensor, reference: Tensor) -> float:
    return float((value.double() - reference).norm() / reference.norm())


@pytest.mark.parametrize("scale", [14.3, 100.0])
@pytest.mark.parametrize(("count", "tile"), [(1, 4), (7, 1), (37, 5), (37, 64), (131, 32), (64, 16)])
def test_tiles_give_the_dense_loss_and_gradients(count: int, tile: int, scale: float) -> None:
    images, texts = features(count)
    reference = dense(images, texts, scale)
    result = tiled(images, texts, scale, tile)
    if count == 1:  # one pair has nothing to be told from: loss and gradients are zero
        assert all(value.abs().max() < 1e-4 for value in result)
    else:
        assert max(map(relative_error, result, reference)) <= 1e-5


def test_gradients_survive_a_hundredfold_scale_of_the_loss() -> None:
    images, texts = features(19)
    leaf = images.clone().requires_grad_()
    (100 * softmax_loss(leaf, texts, torch.tensor(14.3), tile=4)).backward()
    assert leaf.grad is not None
    assert relative_error(leaf.grad, 100 * dense(images, texts, 14.3)[1]) <= 1e-5


class LargestTensor(TorchDispatchMode):
    """Notes the most elements that any operation's result has."""

    elements = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, list | tuple) else [result]:
            if isinstance(tensor, Tensor):
                self.elements = max(self.elements, tensor.numel())
        return result


def test_all_logits_at_once_never_exist() -> None:
    count, width, tile = 300, 4, 20
    images, texts = features(count, width)
    with LargestTensor() as largest:
        tiled(images, texts, 14.3, tile)
    assert largest.elements == max(count * width, tile * tile)


def test_the_loss_is_float32_within_autocast() -> None:
    images, texts = features(33)
    with torch.autocast("cpu", torch.bfloat16):
        loss = softmax_loss(images.bfloat16().float(), texts, torch.tensor(100.0), tile=8)
    assert loss.dtype == torch.float32
    assert relative_error(loss, dense(images.bfloat16().float(), texts, 100.0)[0]) <= 1e-5


def _rank(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    images, texts = features(26)
    mine = slice(13 * rank, 13 * rank + 13)
    results = [tiled(images[mine], texts[mine], scale, 5) for scale in (14.3, 100.0)]
    torch.save(results, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_two_processes_give_the_loss_of_one(tmp_path: Path) -> None:
    multiprocessing.start_processes(_rank, (str(tmp_path),), nprocs=2, start_method="fork")
    ranks = [torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1)]
    images, texts = features(26)
    for first, second, scale in zip(*ranks, (14.3, 100.0), strict=True):
        reference = dense(images, texts, scale)
        assert first[0] == second[0]
        assert relative_error(first[0], reference[0]) <= 1e-5
        # Gradients are the global loss's times the number of processes, which the averaging of DDP divides again.
        for place in (1, 2):
            both = torch.cat([first[place], second[place]]) / 2
            assert relative_error(both, reference[place]) <= 1e-5
        assert relative_error((first[3] + second[3]) / 2, reference[3]) <= 1e-5

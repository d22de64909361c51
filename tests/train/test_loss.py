"""The tiled losses are the dense ones, in value and gradients; tests/train/test_parity.py has several processes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import cross_entropy, logsigmoid, normalize
from torch.utils._python_dispatch import TorchDispatchMode

from train.loss import LOSSES, sigmoid_loss, softmax_loss

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


@pytest.mark.parametrize("kind", LOSSES)
@pytest.mark.parametrize(("scale", "noise"), [(14.3, 1.5), (100.0, 6.0), (100.0, 30.0)])
def test_features_of_a_models_width_have_exact_gradients(kind: str, scale: float, noise: float) -> None:
    images, texts = features(1024, 512, noise)
    bias = -10.0 if kind == "sigmoid" else None
    reference = dense(images, texts, scale, kind, bias or 0.0)
    assert reference[0] > 0.1
    assert all(
        relative_error(*pair) <= 1e-5
        for pair in zip(tiled(images, texts, scale, 300, kind, bias), reference, strict=False)
    )


@settings(deadline=None, max_examples=40)
@given(
    kind=st.sampled_from(sorted(LOSSES)),
    count=st.integers(2, 40),
    width=st.integers(1, 9),
    tile=st.integers(1, 50),
    scale=st.floats(0.1, 100),
    noise=st.floats(0, 30),
)
def test_no_tile_changes_the_result(kind: str, count: int, width: int, tile: int, scale: float, noise: float) -> None:
    images, texts = features(count, width, noise)
    reference = dense(images, texts, scale, kind, -3.0)
    for value, expected in zip(tiled(images, texts, scale, tile, kind, -3.0), reference, strict=True):
        assert torch.allclose(value.double(), expected, rtol=1e-4, atol=3e-5 * scale)


def test_gradients_survive_a_hundredfold_scale_of_the_loss() -> None:
    images, texts = features(19)
    leaf = images.clone().requires_grad_()
    (100 * softmax_loss(leaf, texts, torch.tensor(14.3), tile=4)).backward()
    assert leaf.grad is not None
    assert relative_error(leaf.grad, 100 * dense(images, texts, 14.3)[1]) <= 1e-5


def test_a_scale_and_bias_of_one_element_will_do() -> None:
    images, texts = features(5)
    scale, bias = (torch.tensor([value], requires_grad=True) for value in (14.3, -9.0))
    sigmoid_loss(images, texts, scale, bias).backward()
    reference = dense(images, texts, 14.3, "sigmoid", -9.0)
    for leaf, expected in ((scale, reference[3]), (bias, reference[4])):
        assert leaf.grad is not None
        assert leaf.grad.tolist() == [pytest.approx(expected.item(), rel=1e-5)]


class LargestTensor(TorchDispatchMode):
    """Notes the most elements that any operation's result has."""

    elements = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, list | tuple) else [result]:
            if isinstance(tensor, Tensor):
                self.elements = max(self.elements, tensor.numel())
        return result


@pytest.mark.parametrize("kind", LOSSES)
def test_all_logits_at_once_never_exist(kind: str) -> None:
    count, width, tile = 300, 4, 20
    images, texts = features(count, width)
    with LargestTensor() as largest:
        tiled(images, texts, 14.3, tile, kind)
    assert largest.elements == max(count * width, tile * tile)


@pytest.mark.parametrize("kind", LOSSES)
def test_without_gradients_only_the_value_is_computed(kind: str) -> None:
    images, texts = features(40)
    scale = torch.tensor(14.3, requires_grad=True)
    with torch.no_grad(), LargestTensor() as largest:
        value = LOSSES[kind](images, texts, scale, tile=5)
    assert relative_error(value, dense(images, texts, 14.3, kind)[0]) <= 1e-5
    assert largest.elements <= images.numel()
    assert not value.requires_grad


@pytest.mark.parametrize("kind", LOSSES)
def test_the_loss_is_float32_within_autocast_and_where_products_may_be_less(kind: str) -> None:
    images, texts = (tensor.bfloat16() for tensor in features(33))
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", torch.bfloat16):
            loss = LOSSES[kind](images, texts, torch.tensor(14.3), tile=8)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)
    assert loss.dtype == torch.float32
    assert relative_error(loss, dense(images.float(), texts.float(), 14.3, kind)[0]) <= 1e-5

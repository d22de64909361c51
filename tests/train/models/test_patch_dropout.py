"""Patches are left out as open_clip leaves them out, and the choice waits for nothing."""

from __future__ import annotations

from typing import Any

import open_clip
import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tests.train import tiny
from train.models.clip import create
from train.models.patch_dropout import PatchDropout


@pytest.mark.parametrize("share", [0.1, 0.5, 0.75, 0.99])
def test_values_and_gradients_are_those_of_open_clips(share: float) -> None:
    tokens = torch.randn(5, 1 + 16, 3)
    toward = torch.randn(5, 1 + max(1, int(16 * (1 - share))), 3)
    found = []
    for module in (PatchDropout(share), open_clip.transformer.PatchDropout(share)):
        torch.manual_seed(7)
        leaf = tokens.clone().requires_grad_()
        kept = module(leaf)
        kept.backward(toward)
        found.append((kept, leaf.grad))
    assert torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][1], found[1][1])
    assert torch.equal(PatchDropout(share).eval()(tokens), tokens)


def test_each_patch_is_kept_as_often_as_any_other_and_none_twice() -> None:
    patches = torch.arange(9.0).expand(4000, 9)[..., None]  # 0 is the class token
    kept = PatchDropout(0.5)(patches)[..., 0]
    assert kept[:, 0].count_nonzero() == 0
    counts = kept[:, 1:].long().flatten().bincount(minlength=9)
    assert counts[0] == 0
    assert (counts[1:] - 2000).abs().max() < 200  # 6 deviations of the binomial distribution
    assert all(len(set(row)) == 5 for row in kept[:100].tolist())


def test_models_have_it_in_the_place_of_open_clips() -> None:
    def kinds(model: nn.Module) -> set[str]:
        return {type(module).__module__ for module in model.modules() if type(module).__name__ == "PatchDropout"}

    assert kinds(create(tiny.MODEL, patch_dropout=0.5).model) == {"train.models.patch_dropout"}
    assert kinds(create(tiny.MODEL).model) == set()


class Devices(TorchDispatchMode):
    """Takes note of where tensors are made."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.seen |= {leaf.device.type for leaf in tree_leaves(out) if isinstance(leaf, Tensor)}
        return out


@pytest.mark.parametrize(
    ("module", "devices"),
    [(PatchDropout(0.5), {"cuda"}), (open_clip.transformer.PatchDropout(0.5), {"cuda", "cpu"})],
    ids=["ours", "open_clip's"],
)
def test_the_choice_is_made_on_the_device(module: nn.Module, devices: set[str]) -> None:
    """Of what lies on the CPU an index would have to be fetched, and the device be waited for."""
    with FakeTensorMode():
        tokens = torch.zeros(4, 17, 3, device="cuda")
        with Devices() as found:
            module(tokens)
    assert found.seen == devices

"""Gradient checkpointing: a tower's blocks keep their inputs alone, and are computed once more in the backward pass."""

from __future__ import annotations

from functools import partial
from typing import Any

from open_clip.modified_resnet import ModifiedResNet
from open_clip.timm_model import TimmModel
from torch import nn
from torch.utils.checkpoint import checkpoint


def recompute(model: nn.Module) -> None:
    """Switch gradient checkpointing on in both towers of an open_clip model, in place.

    Raises:
        ValueError: a tower cannot; open_clip itself would keep all activations then and say nothing.
    """
    towers: Any = model
    visual = towers.visual
    try:
        towers.set_grad_checkpointing()
        if isinstance(visual, TimmModel):  # whose own method swallows the error
            trunk: Any = visual.trunk
            trunk.set_grad_checkpointing(True)
    except Exception as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"grad_checkpointing must be false for this model, which cannot do it: {reason}") from None
    if isinstance(visual, ModifiedResNet):  # whose own method does nothing
        _compute_twice(visual, "stem")
        for layer in (visual.layer1, visual.layer2, visual.layer3, visual.layer4):
            for block in layer:
                _compute_twice(block, "forward")


def _compute_twice(module: Any, method: str) -> None:
    """Have a module's method keep no activations. Its BatchNorms meet the same samples twice: see train.accumulate."""
    setattr(module, method, partial(checkpoint, getattr(module, method), use_reentrant=False))

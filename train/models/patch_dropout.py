"""Training without some of an image's patches (Li et al. 2023, FLIP), chosen where the image is.

open_clip's own chooses them on the CPU, and indexes with that: a step would wait for the device in each forward and
backward pass. This one leaves out patches with the same probabilities, and on a CPU the very same patches.
"""

from __future__ import annotations

import open_clip
import torch
from torch import Tensor, nn


class PatchDropout(nn.Module):
    """Keeps the class token and a random choice of the patches, anew for each image and call, in a random order.

    Args:
        share: of the patches, that is left out.
    """

    def __init__(self, share: float):
        super().__init__()
        self.share = share

    def forward(self, tokens: Tensor) -> Tensor:
        """Turn (n, 1 + patches, width) into (n, 1 + kept, width); all of them where the model is evaluated."""
        if not self.training:
            return tokens
        images, length, width = tokens.shape
        patches = length - 1
        kept = max(1, int(patches * (1 - self.share)))
        chosen = torch.randn(images, patches, device=tokens.device).topk(kept, dim=1).indices + 1
        places = torch.cat([torch.zeros_like(chosen[:, :1]), chosen], dim=1)
        places = places + length * torch.arange(images, device=tokens.device)[:, None]
        return tokens.reshape(-1, width).index_select(0, places.flatten()).view(images, 1 + kept, width)


def without_waits(model: nn.Module) -> nn.Module:
    """Return the model, with this in the place of open_clip's patch dropout."""
    for module in model.modules():
        for name, child in module.named_children():
            if isinstance(child, open_clip.transformer.PatchDropout) and child.exclude_first_token:
                setattr(module, name, PatchDropout(child.prob))
    return model

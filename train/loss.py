"""The contrastive loss of CLIP (Radford et al. 2021, §2.3 and Figure 3), exact at any batch size.

Over N pairs with logits l_ij = s · I_i · T_j, the loss is the mean of two cross-entropies: each image's over all texts,
each text's over all images. The N×N logits never exist: they are computed in tiles, forward for the log-sum-exps of
rows and columns, and once more backward for the gradient. Memory is O(N·d + tile²); all of it is float32.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

TILE = 4096
"""Rows and columns of a tile: 64 MiB of float32."""


def contrastive_loss(images: Tensor, texts: Tensor, scale: Tensor, tile: int = TILE) -> Tensor:
    """The loss over the pairs of all processes; the same value on each.

    Args:
        images, texts: this process's features, of unit length, shape (n, d); n is the same on every process.
        scale: the logit scale s (not its logarithm), a scalar.

    The gradients are those of the global loss times the number of processes, so that averaging parameters' gradients,
    as DistributedDataParallel does, gives the gradient of the global loss. No communication happens backward.
    """
    with torch.autocast(images.device.type, enabled=False):
        loss: Tensor = _ContrastiveLoss.apply(images.float(), texts.float(), scale.float(), tile)
    return loss


class _ContrastiveLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, texts: Tensor, scale: Tensor, tile: int) -> Tensor:
        all_images, all_texts = _gather(images), _gather(texts)
        image_lse = _logsumexp(images, all_texts, scale, tile)
        text_lse = _logsumexp(texts, all_images, scale, tile)
        all_lse = _gather(image_lse), _gather(text_lse)  # now, so that no process waits for another one backward
        ctx.save_for_backward(images, texts, scale, all_images, all_texts, image_lse, text_lse, *all_lse)
        ctx.tile = tile
        matched = scale * (images * texts).sum(1)
        return _mean_over_processes(((image_lse + text_lse) / 2 - matched).mean())

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        images, texts, scale, all_images, all_texts, image_lse, text_lse, all_image_lse, all_text_lse = (
            ctx.saved_tensors
        )
        processes = len(all_images) // len(images)
        factor = gradients[0] * processes / len(all_images)  # = gradient / n: see contrastive_loss
        image_gradient = _weighted(images, all_texts, scale, image_lse, all_text_lse, ctx.tile) - texts
        text_gradient = _weighted(texts, all_images, scale, text_lse, all_image_lse, ctx.tile) - images
        scale_gradient = (image_gradient * images).sum()
        return factor * scale * image_gradient, factor * scale * text_gradient, factor * scale_gradient, None


def _logsumexp(rows: Tensor, columns: Tensor, scale: Tensor, tile: int) -> Tensor:
    """log Σ_j exp(s · rows_i · columns_j). Shape (n,)."""
    answer = rows.new_empty(len(rows))
    for i in range(0, len(rows), tile):
        block = scale * rows[i : i + tile]
        total = block.new_full((len(block),), -torch.inf)
        for j in range(0, len(columns), tile):
            total = torch.logaddexp(total, (block @ columns[j : j + tile].T).logsumexp(1))
        answer[i : i + tile] = total
    return answer


def _weighted(rows: Tensor, columns: Tensor, scale: Tensor, row_lse: Tensor, column_lse: Tensor, tile: int) -> Tensor:
    """Σ_j ½ (softmax over columns + softmax over rows)_ij · columns_j. Shape (n, d)."""
    answer = torch.zeros_like(rows)
    for i in range(0, len(rows), tile):
        block = scale * rows[i : i + tile]
        for j in range(0, len(columns), tile):
            logits = block @ columns[j : j + tile].T
            weights = (logits - row_lse[i : i + tile, None]).exp_()
            weights += (logits - column_lse[None, j : j + tile]).exp_()
            answer[i : i + tile].addmm_(weights, columns[j : j + tile], alpha=0.5)
    return answer


def _distributed() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def _gather(local: Tensor) -> Tensor:
    """All processes' rows, in the order of their ranks."""
    if not _distributed():
        return local
    parts = [torch.empty_like(local) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, local.contiguous())
    return torch.cat(parts)


def _mean_over_processes(value: Tensor) -> Tensor:
    if _distributed():
        dist.all_reduce(value)
        value /= dist.get_world_size()
    return value

"""The contrastive loss of CLIP (Radford et al. 2021, §2.3 and Figure 3), exact at any batch size.

Over N pairs with logits l_ij = s · I_i · T_j, the loss is the mean of two cross-entropies: each image's over all texts,
each text's over all images. The N×N logits never exist: they are computed in tiles, forward for the sums of rows and
columns, and once more backward for the gradient. Memory is O(N·d + tile²); all of it is float32.

A pair's own logit is subtracted first: log Σ_j exp(l_ij) - l_ii = log(1 + Σ_{j≠i} exp(l_ij - l_ii)) keeps its digits
where the model is nearly right and the loss nearly zero, and so does the gradient.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.functional import softplus

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
        matched = scale * (images * texts).sum(1)
        all_images, all_texts, all_matched = _gather(images), _gather(texts), _gather(matched)
        first = _first_row(len(images))
        image_loss = _cross_entropy(images, all_texts, scale, matched, first, tile)
        text_loss = _cross_entropy(texts, all_images, scale, matched, first, tile)
        # Gathered now, so that no process waits for another one backward.
        all_losses = _gather(image_loss), _gather(text_loss)
        ctx.save_for_backward(images, texts, scale, all_images, all_texts, all_matched, *all_losses)
        ctx.first, ctx.tile = first, tile
        return _mean_over_processes((image_loss + text_loss).mean() / 2)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        images, texts, scale, all_images, all_texts, matched, image_loss, text_loss = ctx.saved_tensors
        factor = gradients[0] / len(images)  # of the global mean, times the number of processes: see contrastive_loss
        image_gradient = _gradient(images, all_texts, scale, matched, image_loss, text_loss, ctx.first, ctx.tile)
        text_gradient = _gradient(texts, all_images, scale, matched, text_loss, image_loss, ctx.first, ctx.tile)
        scale_gradient = (image_gradient * images).sum()
        return factor * scale * image_gradient, factor * scale * text_gradient, factor * scale_gradient, None


def _cross_entropy(rows: Tensor, columns: Tensor, scale: Tensor, matched: Tensor, first: int, tile: int) -> Tensor:
    """log(1 + Σ_{j≠i} exp(l_ij - l_ii)) of each row. Shape (n,).

    Args:
        matched: l_ii of the rows.
        first: the column that belongs to the first row.
    """
    others = torch.full_like(matched, -torch.inf)
    for i in range(0, len(rows), tile):
        for j in range(0, len(columns), tile):
            logits = (scale * rows[i : i + tile]) @ columns[j : j + tile].T
            logits -= matched[i : i + tile, None]
            logits.diagonal(first + i - j).fill_(-torch.inf)
            others[i : i + tile] = torch.logaddexp(others[i : i + tile], logits.logsumexp(1))
    return softplus(others)


def _gradient(
    rows: Tensor,
    columns: Tensor,
    scale: Tensor,
    matched: Tensor,
    row_loss: Tensor,
    column_loss: Tensor,
    first: int,
    tile: int,
) -> Tensor:
    """Σ_j (½ softmax over columns + ½ softmax over rows - 1 if j = i)_ij · columns_j. Shape (n, d).

    Args:
        matched, row_loss, column_loss: of all processes' pairs.
    """
    mine = slice(first, first + len(rows))
    own = (torch.expm1(-row_loss[mine]) + torch.expm1(-column_loss[mine])) / 2
    answer = own[:, None] * columns[mine]
    for i in range(0, len(rows), tile):
        for j in range(0, len(columns), tile):
            logits = (scale * rows[i : i + tile]) @ columns[j : j + tile].T
            weights = (logits - matched[mine][i : i + tile, None]).sub_(row_loss[mine][i : i + tile, None]).exp_()
            weights += logits.sub_(matched[None, j : j + tile]).sub_(column_loss[None, j : j + tile]).exp_()
            weights.diagonal(first + i - j).zero_()
            answer[i : i + tile].addmm_(weights, columns[j : j + tile], alpha=0.5)
    return answer


def _distributed() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def _first_row(rows: int) -> int:
    """Where this process's rows begin among all processes' rows."""
    return dist.get_rank() * rows if _distributed() else 0


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

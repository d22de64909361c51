"""The contrastive losses, exact at any batch size: CLIP's softmax (Radford et al. 2021, §2.3 and Figure 3) and SigLIP's
sigmoid (Zhai et al. 2023, §3.2).

Over N pairs with logits l_ij = s · I_i · T_j, CLIP's loss is the mean of two cross-entropies: each image's over all
texts, each text's over all images. SigLIP's asks of every l_ij + b by itself whether i = j. The N×N logits never exist:
they are computed in tiles, once for the sums of rows and columns (softmax alone needs these) and once more for the
gradient. Memory is O(N·d + tile²), the backward pass multiplies the gradients that the forward pass made, and all of it
is float32.

A pair's own logit is kept apart: log Σ_j exp(l_ij) - l_ii = log(1 + Σ_{j≠i} exp(l_ij - l_ii)) keeps its digits where
the model is nearly right and the loss nearly zero, and so does the gradient.

Of several processes each computes the rows of its images against all texts, which it gathers; the gradients of its
texts come back by a reduction. Processes may have unequal numbers of pairs.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import softplus

from train.distributed.collectives import Peers

Loss = Callable[..., Tensor]
"""(images, texts, scale, bias or None, counts=…) -> the loss over the pairs of all processes."""

CPU_TILE, GPU_TILE = 512, 8192
"""Rows and columns of a tile: 1 MiB of float32, which a core's cache holds; 256 MiB on a GPU."""


def softmax_loss(
    images: Tensor,
    texts: Tensor,
    scale: Tensor,
    bias: Tensor | None = None,
    tile: int | None = None,
    counts: Sequence[int] | None = None,
) -> Tensor:
    """Return CLIP's loss over the pairs of all processes; the same value on each.

    Args:
        images, texts: this process's features, of unit length, shape (n, d); n may differ between processes.
        scale: the logit scale s (not its logarithm), one number.
        bias: changes no softmax; its gradient is zero but for rounding.
        tile: rows and columns of logits that exist at a time; by the kind of device if not given.
        counts: how many pairs each process has, by rank; if not given, they ask each other and the device waits.

    The gradients are those of the global loss times the number of processes, so that averaging parameters' gradients,
    as DistributedDataParallel and FSDP do, gives the gradient of the global loss. No communication happens backward.
    """
    return _loss(_softmax, images, texts, scale, bias, tile, counts)


def sigmoid_loss(
    images: Tensor,
    texts: Tensor,
    scale: Tensor,
    bias: Tensor | None = None,
    tile: int | None = None,
    counts: Sequence[int] | None = None,
) -> Tensor:
    """Return SigLIP's loss, -1/N Σ_ij log σ(±(s · I_i · T_j + b)), with a plus where i = j; arguments as of
    softmax_loss.
    """
    return _loss(_sigmoid, images, texts, scale, bias, tile, counts)


LOSSES: dict[str, Loss] = {"softmax": softmax_loss, "sigmoid": sigmoid_loss}


def _loss(
    kind: _Kind,
    images: Tensor,
    texts: Tensor,
    scale: Tensor,
    bias: Tensor | None,
    tile: int | None,
    counts: Sequence[int] | None,
) -> Tensor:
    leaves = [tensor.float() for tensor in (images, texts, scale.reshape(()))]
    leaves.append(torch.zeros_like(leaves[2]) if bias is None else bias.float().reshape(()))
    tile = tile or (GPU_TILE if images.is_cuda else CPU_TILE)
    to_learn = torch.is_grad_enabled() and any(leaf.requires_grad for leaf in leaves)
    with torch.autocast(images.device.type, enabled=False), _full_precision():
        loss: Tensor = _Contrast.apply(*leaves, kind, tile, to_learn, counts)
    return loss


class _Contrast(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        images: Tensor,
        texts: Tensor,
        scale: Tensor,
        bias: Tensor,
        kind: _Kind,
        tile: int,
        to_learn: bool,
        counts: Sequence[int] | None,
    ) -> Tensor:
        peers = Peers(len(images), images.device, counts)
        logits = _Logits(images, texts, scale, bias, peers, tile)
        loss, gradient = kind(logits, to_learn)
        if gradient is not None:
            # Of the global mean, times the number of processes: see softmax_loss.
            factor = peers.processes / peers.total
            by_scale = (gradient.images * images).sum()
            ctx.save_for_backward(
                gradient.images.mul_(scale * factor),
                peers.scatter_sum(gradient.texts).mul_(scale * factor),
                by_scale * factor,
                gradient.bias * factor,
            )
        return peers.sum(loss) / peers.total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor | None, ...]:
        return *(outer * gradient for gradient in ctx.saved_tensors), None, None, None, None


class _Logits:
    """This process's images against all texts, a tile at a time."""

    def __init__(self, images: Tensor, texts: Tensor, scale: Tensor, bias: Tensor, peers: Peers, tile: int):
        self.images, self.scale, self.bias, self.peers, self.tile = images, scale, bias, peers, tile
        self.texts = peers.gather(texts)
        self.own = scale * (images * texts).sum(1) + bias  # of this process's pairs, (n,)

    def tiles(self) -> Iterator[tuple[slice, slice, Tensor]]:
        """(rows, columns, their logits); a pair's own logit, kept apart, is minus infinity here."""
        first = self.peers.mine.start
        for i in range(0, len(self.images), self.tile):
            rows = slice(i, i + self.tile)
            images = self.scale * self.images[rows]
            for j in range(0, len(self.texts), self.tile):
                columns = slice(j, j + self.tile)
                logits = torch.addmm(self.bias, images, self.texts[columns].T)
                logits.diagonal(first + i - j).fill_(-torch.inf)
                yield rows, columns, logits


class _Gradient:
    """The gradient of the summed loss by the logits over the scale, carried on to features and bias a tile at a time.

    Args:
        own: the loss's derivative by each pair's own logit, (n,).
    """

    def __init__(self, logits: _Logits, weights: Tensor):
        self._logits = logits
        mine = logits.peers.mine
        self.bias = weights.sum()
        self.images = weights[:, None] * logits.texts[mine]  # (n, d)
        self.texts = torch.zeros_like(logits.texts)  # (N, d): this process's part of everyone's
        self.texts[mine] = weights[:, None] * logits.images

    def add(self, rows: slice, columns: slice, weights: Tensor) -> None:
        """Add the derivatives by a tile's logits."""
        self.images[rows].addmm_(weights, self._logits.texts[columns])
        self.texts[columns].addmm_(weights.T, self._logits.images[rows])
        self.bias += weights.sum()


_Kind = Callable[[_Logits, bool], tuple[Tensor, _Gradient | None]]
"""(logits, whether to learn) -> the loss summed over this process's pairs, and its gradient."""


def _softmax(logits: _Logits, to_learn: bool) -> tuple[Tensor, _Gradient | None]:
    peers = logits.peers
    all_own = peers.gather(logits.own)
    of_rows = torch.full_like(logits.own, -torch.inf)  # log Σ_{j≠i} exp(l_ij)
    of_columns = torch.full_like(all_own, -torch.inf)
    for rows, columns, tile in logits.tiles():
        of_rows[rows] = of_rows[rows].logaddexp(tile.logsumexp(1))
        of_columns[columns] = of_columns[columns].logaddexp(tile.logsumexp(0))
    image_losses = softplus(of_rows - logits.own)
    text_losses = softplus(peers.logsumexp(of_columns) - all_own)
    mine = text_losses[peers.mine]
    loss = (image_losses.sum() + mine.sum()) / 2
    if not to_learn:
        return loss, None
    gradient = _Gradient(logits, (torch.expm1(-image_losses) + torch.expm1(-mine)) / 2)
    row_sums, column_sums = (logits.own + image_losses)[:, None], all_own + text_losses
    for rows, columns, tile in logits.tiles():
        weights = (tile - row_sums[rows]).exp_()
        weights += tile.sub_(column_sums[columns]).exp_()
        gradient.add(rows, columns, weights.mul_(0.5))
    return loss, gradient


def _sigmoid(logits: _Logits, to_learn: bool) -> tuple[Tensor, _Gradient | None]:
    loss = softplus(-logits.own).sum()
    gradient = _Gradient(logits, -torch.sigmoid(-logits.own)) if to_learn else None
    for rows, columns, tile in logits.tiles():
        loss += softplus(tile).sum()
        if gradient is not None:
            gradient.add(rows, columns, tile.sigmoid_())
    return loss, gradient


@contextlib.contextmanager
def _full_precision() -> Iterator[None]:
    """Products of float32 in float32, also where TF32 or bfloat16 are allowed: these have three digits."""
    backends: tuple[Any, ...] = (torch.backends.cuda.matmul, torch.backends.mkldnn.matmul)  # type: ignore[attr-defined]
    before = [backend.fp32_precision for backend in backends]
    for backend in backends:
        backend.fp32_precision = "ieee"
    try:
        yield
    finally:
        for backend, precision in zip(backends, before, strict=True):
            backend.fp32_precision = precision

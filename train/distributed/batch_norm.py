"""BatchNorm over the samples of all processes, so that a model learns the same on any number of them.

On GPUs it is torch's SyncBatchNorm, which has no code for CPUs; there it is ours, with the same results.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from train.distributed.collectives import travels


def synchronise(model: nn.Module) -> nn.Module:
    """Make every BatchNorm in a model, in place, one over all processes; parameters and their names stay."""
    for name, child in model.named_children():
        if isinstance(child, _BatchNorm):
            setattr(model, name, _synchronised(child))
        else:
            synchronise(child)
    return model


def _synchronised(norm: _BatchNorm) -> nn.Module:
    if next((values.device.type for values in norm.buffers()), "cpu") == "cuda":
        from timm.layers import convert_sync_batchnorm  # torch's own, and timm's that include the activation

        converted: nn.Module = convert_sync_batchnorm(norm)
        return converted
    return BatchNorm(norm)


class BatchNorm(nn.Module):
    """A BatchNorm over all processes' samples, on any device.

    Args:
        norm: the one whose parameters and statistics it takes over; timm's may include an activation.
    """

    def __init__(self, norm: _BatchNorm):
        super().__init__()
        assert norm.momentum is not None  # as nobody's image tower has it
        self.eps, self.momentum, self.training = norm.eps, norm.momentum, norm.training
        self.weight, self.bias = norm.weight, norm.bias
        self.running_mean: Tensor
        self.running_var: Tensor
        self.num_batches_tracked: Tensor
        for name in ("running_mean", "running_var", "num_batches_tracked"):
            self.register_buffer(name, getattr(norm, name))
        self.drop, self.act = (getattr(norm, name, nn.Identity()) for name in ("drop", "act"))

    def forward(self, values: Tensor) -> Tensor:
        """(n, channels, …) -> the same shape."""
        running = self.running_mean, self.running_var
        if not self.training:
            made = nn.functional.batch_norm(values, *running, self.weight, self.bias, eps=self.eps)
        else:
            count, mean, variance = _statistics(values.detach())
            with torch.no_grad():
                unbiased = variance * (count / (count - 1).clamp(min=1))
                for average, now in zip(running, (mean, unbiased), strict=True):
                    average.lerp_(now.to(average.dtype), self.momentum)
                self.num_batches_tracked += 1
            made = _Normalise.apply(values, self.weight, self.bias, mean, variance, count, self.eps)
        result: Tensor = self.act(self.drop(made))
        return result


def _statistics(values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """How many numbers all processes have of a channel (scalar), and their mean and variance, of shape (channels,)."""
    rows = values.float().transpose(0, 1).flatten(1)  # each channel's sum is then pairwise, and hardly rounds
    count = rows.new_tensor(rows.shape[1])
    mean = rows.mean(1)
    variance = (rows - mean[:, None]).square_().mean(1)
    if _alone():
        return count, mean, variance
    mine = torch.cat([count[None], mean, variance])
    parts = [torch.empty_like(mine) for _ in range(dist.get_world_size())]
    with travels.measured(mine.device):
        dist.all_gather(parts, mine)
    everyone = torch.stack(parts)
    counts, means, variances = everyone[:, :1], *everyone[:, 1:].chunk(2, 1)
    count = counts.sum()
    mean = (counts * means).sum(0) / count
    return count, mean, (counts * (variances + (means - mean).square())).sum(0) / count


def _alone() -> bool:
    return not dist.is_initialized() or dist.get_world_size() == 1


class _Normalise(torch.autograd.Function):
    """(values - mean) / √(variance + eps) · weight + bias, with the mean and variance of all processes' values."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, weight: Tensor, bias: Tensor, *given: Any) -> Tensor:
        mean, variance, count, eps = given
        ctx.save_for_backward(values, weight, mean, (variance + eps).rsqrt(), count)
        return nn.functional.batch_norm(values, mean, variance, weight, bias, eps=eps)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        values, weight, mean, scale, count = ctx.saved_tensors
        gradient = gradients[0].float()
        normal = (values.float() - _by_channel(mean, values)).mul_(_by_channel(scale, values))
        rows = gradient.transpose(0, 1).flatten(1)
        toward_bias, toward_weight = rows.sum(1), (rows * normal.transpose(0, 1).flatten(1)).sum(1)
        sums = torch.stack([toward_bias, toward_weight])
        if not _alone():
            with travels.measured(sums.device):
                dist.all_reduce(sums)
        shared = torch.addcmul(_by_channel(sums[0] / count, values), normal, _by_channel(sums[1] / count, values))
        toward = (gradient - shared).mul_(_by_channel(scale * weight, values))
        return toward.to(values.dtype), toward_weight.to(weight.dtype), toward_bias.to(weight.dtype), *[None] * 4


def _by_channel(numbers: Tensor, values: Tensor) -> Tensor:
    return numbers.view(1, -1, *[1] * (values.ndim - 2))

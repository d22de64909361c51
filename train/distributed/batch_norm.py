"""BatchNorm over the samples of all processes, so that a model learns the same on any number of them.

On GPUs it computes by the kernels of torch's SyncBatchNorm. That class itself waits for the device three times in each
layer, to leave out processes without samples, which no process of a run is; this one waits for nothing. Elsewhere,
where there are no such kernels, it puts the same together from torch's common operations.
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
            setattr(model, name, BatchNorm(child))
        else:
            synchronise(child)
    return model


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
        """Normalise values of shape (n, channels, …); the result has the same shape."""
        running = self.running_mean, self.running_var
        if not self.training:
            normalised = nn.functional.batch_norm(values, *running, self.weight, self.bias, eps=self.eps)
        elif values.is_cuda:
            self.num_batches_tracked += 1
            normalised = _ByKernels.apply(values, self.weight, self.bias, *running, self.momentum, self.eps)
        else:
            count, mean, variance = _statistics(values.detach())
            with torch.no_grad():
                unbiased = variance * (count / (count - 1).clamp(min=1))
                for average, now in zip(running, (mean, unbiased), strict=True):
                    average.lerp_(now.to(average.dtype), self.momentum)
                self.num_batches_tracked += 1
            normalised = _Normalise.apply(values, self.weight, self.bias, mean, variance, count, self.eps)
        result: Tensor = self.act(self.drop(normalised))
        return result


def _statistics(values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """How many numbers all processes have of a channel (scalar), and their mean and variance, of shape (channels,)."""
    rows = values.float().transpose(0, 1).flatten(1)  # each channel's sum is then pairwise, and hardly rounds
    count = rows.new_tensor(rows.shape[1])
    mean = rows.mean(1)
    variance = (rows - mean[:, None]).square_().mean(1)
    if _is_alone():
        return count, mean, variance
    everyone = _everyones(torch.cat([count[None], mean, variance]), dist.get_world_size())
    channels = len(mean)
    counts, means, variances = everyone.split([1, channels, channels], dim=1)
    count = counts.sum()
    mean = (counts * means).sum(0) / count
    return count, mean, (counts * (variances + (means - mean).square())).sum(0) / count


def _is_alone() -> bool:
    return not dist.is_initialized() or dist.get_world_size() == 1


# Operators of their own, into which torch.compile does not look: collectives would break its graphs.
@torch.library.custom_op("openwit::everyones", mutates_args=())
def _everyones(mine: Tensor, processes: int) -> Tensor:
    """All processes' values, shape (…) -> (processes, …)."""
    parts = [torch.empty_like(mine) for _ in range(processes)]
    with travels.measure(mine.device):
        dist.all_gather(parts, mine)
    return torch.stack(parts)


@_everyones.register_fake
def _(mine: Tensor, processes: int) -> Tensor:
    return mine.new_empty(processes, *mine.shape)


@torch.library.custom_op("openwit::sums", mutates_args=())
def _sums(mine: Tensor) -> Tensor:
    """The sums over all processes."""
    sums = mine.clone()
    with travels.measure(sums.device):
        dist.all_reduce(sums)
    return sums


@_sums.register_fake
def _(mine: Tensor) -> Tensor:
    return torch.empty_like(mine)


class _Normalise(torch.autograd.Function):
    """(values - mean) / √(variance + eps) · weight + bias, with the mean and variance of all processes' values."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, weight: Tensor, bias: Tensor, *options: Any) -> Tensor:
        mean, variance, count, eps = options
        ctx.save_for_backward(values, weight, mean, (variance + eps).rsqrt(), count)
        return nn.functional.batch_norm(values, mean, variance, weight, bias, eps=eps)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        values, weight, mean, scale, count = ctx.saved_tensors
        gradient = gradients[0].float()
        normal = (values.float() - _along_channels(mean, values)).mul_(_along_channels(scale, values))
        rows = gradient.transpose(0, 1).flatten(1)
        toward_bias, toward_weight = rows.sum(1), (rows * normal.transpose(0, 1).flatten(1)).sum(1)
        sums = torch.stack([toward_bias, toward_weight])
        if not _is_alone():
            sums = _sums(sums)
        shared = torch.addcmul(
            _along_channels(sums[0] / count, values), normal, _along_channels(sums[1] / count, values)
        )
        toward = (gradient - shared).mul_(_along_channels(scale * weight, values))
        return toward.to(values.dtype), toward_weight.to(weight.dtype), toward_bias.to(weight.dtype), *[None] * 4


class _ByKernels(torch.autograd.Function):
    """The same by the kernels that torch has for it on GPUs, which also move the running statistics."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, weight: Tensor, bias: Tensor, *options: Any) -> Tensor:
        running_mean, running_variance, momentum, eps = options
        values, channels = _dense(values), values.shape[1]
        mean, scale = torch.batch_norm_stats(values, eps)
        mine = torch.cat([mean, scale, mean.new_full((1,), values.numel() // channels)])
        everyone = mine[None] if _is_alone() else _everyones(mine, dist.get_world_size())
        means, scales, counts = everyone.split([channels, channels, 1], dim=1)
        mean, scale = torch.batch_norm_gather_stats_with_counts(
            values, means, scales, running_mean, running_variance, momentum, eps, counts.flatten()
        )
        ctx.save_for_backward(values, weight, mean, scale, counts.flatten().int())
        normalised: Tensor = torch.batch_norm_elemt(values, weight, bias, mean, scale, eps)
        return normalised

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        values, weight, mean, scale, counts = ctx.saved_tensors
        gradient = _dense(gradients[0])
        of_mine, of_mine_moved, toward_weight, toward_bias = torch.batch_norm_backward_reduce(
            gradient, values, mean, scale, weight, True, True, True
        )
        sums = torch.cat([of_mine, of_mine_moved])
        if not _is_alone():
            sums = _sums(sums)
        of_all, of_all_moved = sums.chunk(2)
        toward = torch.batch_norm_backward_elemt(gradient, values, mean, scale, weight, of_all, of_all_moved, counts)
        return toward, toward_weight, toward_bias, *[None] * 4


def _dense(values: Tensor) -> Tensor:
    """Values as the kernels want them: channels innermost or outermost, and nothing left out."""
    return values if values.is_contiguous(memory_format=torch.channels_last) else values.contiguous()


def _along_channels(numbers: Tensor, values: Tensor) -> Tensor:
    return numbers.view(1, -1, *[1] * (values.ndim - 2))

"""From a batch to the gradients of its loss, by micro-batches where the batch is too large for the device.

A contrastive loss sees all pairs at once, so gradients of micro-batches' own losses do not add up to that of the batch.
GradCache (Gao et al. 2021, §3.2) does: the features of all micro-batches, without their graphs; the loss and its
gradient by the features; then each micro-batch once more, backward from its features' gradient. Each micro-batch draws
the same random numbers both times, so dropout and patch dropout leave out the same.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from dataset.ids import hash64
from train.distributed.collectives import Peers
from train.loss import Loss


def backward(
    towers: nn.Module,
    images: Tensor,
    texts: Tensor,
    *,
    loss: Loss,
    seed: int,
    micro_batch: int = 0,
    counts: Sequence[int] | None = None,
    prepare: Callable[[Tensor], Tensor] = lambda images: images,
    autocast: AbstractContextManager[Any] | None = None,
    scaler: torch.amp.GradScaler | None = None,
) -> Tensor:
    """Add the gradients of a batch's loss to the parameters' `.grad`; returns the loss, the same on each process.

    Args:
        towers: (images, texts) -> (image features, text features, logit scale), with a logit bias if it has one; also
            compiled, in DistributedDataParallel, or sharded by fully_shard.
        images, texts: this process's share of the batch, on the device; shares may differ in size.
        loss: one of train.loss.LOSSES.
        seed: of the random numbers of this process at this step; torch's global state is set from it.
        micro_batch: the most samples that go through the towers at a time, on each process; 0 is all of them.
        counts: how many samples each process has, by rank; if not given, they ask each other and the device waits.
        prepare: makes a micro-batch's images what the towers take, such as normalised floats.
        autocast: in which the towers run; it is entered once for each micro-batch.
        scaler: scales the loss before the gradients are taken, and not what is returned.
    Raises:
        ValueError: a process has fewer samples than others have micro-batches.

    The gradients are those of one large batch, up to the order of float sums. BatchNorm normalises by the statistics of
    one micro-batch of all processes, and its running ones take each micro-batch once. Between processes gradients are
    averaged once, with the last micro-batch. The logit scale and bias get theirs once.
    """
    counts = counts or Peers(len(images), images.device).counts
    parts = _micro_batches(len(images), micro_batch, counts)
    autocast = autocast or contextlib.nullcontext()

    def forward(number: int, part: slice) -> tuple[Tensor, ...]:
        torch.manual_seed(hash64("micro_batch", seed, number) >> 1)
        with autocast:
            outputs: tuple[Tensor, ...] = towers(prepare(images[part]), texts[part])
        return outputs

    if len(parts) == 1:
        with _average_gradients(towers, True):
            value = loss(*forward(0, parts[0]), counts=counts)
            with _restore_buffers(towers):  # blocks that are computed again see the same samples again
                _scale(value, scaler).backward()
        return value.detach()

    # The first time with gradients switched on as well, and the graph dropped at once: what computes in another way
    # without them (attention, compiled code) would draw other random numbers or round otherwise.
    with _average_gradients(towers, False):
        seen = [[output.detach() for output in forward(number, part)] for number, part in enumerate(parts)]
    rest = seen[0][2:]  # logit scale and bias
    features = [torch.cat([outputs[tower] for outputs in seen]) for tower in (0, 1)]
    leaves = [leaf.requires_grad_() for leaf in (*features, *rest)]
    del seen
    value = loss(*leaves, counts=counts)
    gradients = torch.autograd.grad(_scale(value, scaler), leaves)

    with _restore_buffers(towers):  # the running statistics have had these samples already
        for number, part in enumerate(parts):
            last = number == len(parts) - 1
            with _average_gradients(towers, last):
                outputs = forward(number, part)
                toward = [gradients[0][part], gradients[1][part], *(gradients[2:] if last else ())]
                learning = [place for place in range(len(toward)) if outputs[place].requires_grad]  # no locked tower's
                torch.autograd.backward([outputs[place] for place in learning], [toward[place] for place in learning])
    return value.detach()


def _micro_batches(samples: int, micro_batch: int, counts: Sequence[int]) -> list[slice]:
    """Nearly equal parts of a process's share, as many on each process: the towers may wait for each other."""
    if micro_batch == 0:
        return [slice(0, samples)]
    count, fewest = -(-max(counts) // micro_batch), min(counts)
    if fewest < count:
        raise ValueError(
            f"micro_batch must be larger than {micro_batch}: it makes {count} micro-batches on a process "
            f"where another has {fewest} samples"
        )
    edges = [samples * number // count for number in range(count + 1)]
    return [slice(first, end) for first, end in pairwise(edges)]


@contextlib.contextmanager
def _restore_buffers(towers: nn.Module) -> Iterator[None]:
    """Afterwards buffers, such as running statistics, are what they were."""
    buffers = list(towers.buffers())
    before = [buffer.clone() for buffer in buffers]
    yield
    with torch.no_grad():
        for buffer, values in zip(buffers, before, strict=True):
            buffer.copy_(values)


@contextlib.contextmanager
def _average_gradients(towers: Any, wanted: bool) -> Iterator[None]:
    """Whether a backward pass averages gradients between processes."""
    if hasattr(towers, "set_requires_gradient_sync"):  # fully_shard's
        towers.set_requires_gradient_sync(wanted)
        yield
    elif hasattr(towers, "no_sync") and not wanted:  # DistributedDataParallel's
        with towers.no_sync():
            yield
    else:
        yield


def _scale(loss: Tensor, scaler: torch.amp.GradScaler | None) -> Tensor:
    if scaler is None:
        return loss
    scaled: Tensor = scaler.scale(loss)
    return scaled

"""How much of a GPU's memory a training step takes, found without a GPU.

The step of `train.accumulate` runs on tensors that have shapes and no numbers (torch's FakeTensorMode), in the types
that autocast gives on a GPU, and the storages that are alive at a time are counted. What does not lie in the towers is
arithmetic: weights, optimizer, buckets, batches and the loss. docs/training.md says how near this comes to what CUDA's
allocator counts.
"""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from train.accumulate import backward
from train.config import TrainConfig, with_changes
from train.distributed.parallelize import blocks
from train.loss import GPU_TILE
from train.memory.recompute import recompute
from train.models.clip import Clip, create_configured
from train.optimizers import make_optimizers

FRAGMENTS = 1.2
"""What CUDA's allocator takes of the device for each byte that is allocated. Measured with stand-ins for the kernels
(docs/training.md): 1.02 to 1.16 for transformers, and for ResNets that are not computed twice."""
CONVOLUTION_FRAGMENTS = 1.4
"""The same where a tower is of convolutions, whose activations are of many sizes: 1.37 of an RN50 computed twice."""
CONTEXT_BYTES = 800_000_000
"""What CUDA, cuBLAS and NCCL take beside it."""
SPARE = 0.1
"""The share of a GPU that stays free where a step fits."""
_GRAIN = 512  # bytes to which CUDA's allocator rounds
_TILES = 4  # tiles of logits that the loss has at a time


@dataclass(frozen=True)
class Memory:
    """What a GPU holds at the moment of a step when it holds most, by part, in bytes."""

    weights: int  # and running statistics
    gradients: int  # and the buckets in which DistributedDataParallel averages them
    optimizer: int
    moving_average: int
    batches: int  # two: one that is computed with, one that is copied
    activations: int  # and all else that comes and goes: features, tiles of logits, unsharded weights
    fragments: float = FRAGMENTS  # times what is allocated is taken

    @property
    def allocated(self) -> int:
        """All parts together: torch.cuda.max_memory_allocated()."""
        between = self.weights + self.gradients + self.optimizer + self.moving_average
        return between + self.batches + self.activations

    @property
    def needed(self) -> int:
        """All parts, with what the allocator and CUDA's libraries take besides."""
        return round(self.allocated * self.fragments) + CONTEXT_BYTES

    def fits(self, gpu_bytes: float) -> bool:
        """Return whether a GPU has enough, and a tenth to spare."""
        return self.needed <= (1 - SPARE) * gpu_bytes


class MemoryForecast:
    """What a config's step takes of each GPU.

    Args:
        gpus: how many share a batch.
    Raises:
        ValueError: the config's model is none, or cannot do what the config says.
    """

    def __init__(self, config: TrainConfig, gpus: int):
        batch_size = config.training.batch_size
        if batch_size < gpus:
            raise ValueError(f"training.batch_size must be at least the number of processes, {gpus}, not {batch_size}")
        self.config, self.gpus = config, gpus
        self._known: dict[str, Memory] = {}

    @property
    def share(self) -> int:
        """The most samples of a step that one GPU has."""
        return -(-self.config.training.batch_size // self.gpus)

    def memory(self, micro_batch: int, **changes: Any) -> Memory:
        """Return the memory of a step with so many samples at a time, 0 for all, and other keys changed."""
        at_once = min(micro_batch or self.share, self.share)
        key = repr((at_once, changes))
        if key not in self._known:
            self._known[key] = _memory(with_changes(self.config, **changes), at_once, self.share, self.gpus)
        return self._known[key]

    def largest(self, gpu_bytes: float, **changes: Any) -> int | None:
        """Return the most samples at a time that fit a GPU: all, or a half, a quarter … of them; None if not even one
        does.
        """
        at_once = self.share
        while not self.memory(at_once, **changes).fits(gpu_bytes):
            if at_once == 1:
                return None
            at_once = -(-at_once // 2)
        return at_once


def shapes_of(config: TrainConfig) -> Clip:
    """Return a config's model without numbers, as it is when images and texts have their largest size."""
    model = config.model
    clip = create_configured(model, loss=config.training.loss, final=model.final_share > 0, device="meta")
    if model.lock != "none":
        getattr(clip.model, f"lock_{model.lock}_tower")(model.unlocked_groups)
    return clip


def _memory(config: TrainConfig, at_once: int, share: int, gpus: int) -> Memory:
    """The memory of one of some GPUs whose step has `share` samples, `at_once` of them at a time."""
    clip = shapes_of(config)
    model: Any = clip.model
    if config.compute.grad_checkpointing:
        recompute(model)
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    learnt = _bytes(learning)
    count = -(-share // at_once)  # of micro-batches
    sharded = config.distributed.parallel == "fsdp" and gpus > 1
    gradients = learnt if count > 1 or not sharded else 0  # whole ones, of this GPU's samples alone
    averaged = 0 if gpus == 1 else learnt // gpus if sharded else learnt
    parts = gpus if sharded else 1

    towers = _simulate(clip, config.compute.precision, -(-share // count), accumulating=count > 1, sharded=sharded)
    features = share * towers.feature_bytes
    loss = _loss_bytes(share, gpus, towers.dimensions)
    peak = max(2 * features + towers.peak, features + loss) if count > 1 else max(towers.peak, towers.held + loss)
    if sharded:
        peak += _unsharded_bytes(model, sums=count == 1)
    batch = share * (3 * clip.image_size**2 + 8 * model.context_length)
    return Memory(
        weights=_bytes([*model.parameters(), *model.buffers()]) // parts,
        gradients=gradients + averaged,
        optimizer=_optimizer_bytes(model, config) // parts,
        moving_average=_bytes(model.parameters()) // parts if config.optimizer.ema else 0,
        batches=2 * batch,
        activations=max(0, peak - gradients),
        fragments=CONVOLUTION_FRAGMENTS if _convolves(model) else FRAGMENTS,
    )


def _convolves(model: nn.Module) -> bool:
    """Whether a tower has more convolutions than the one with which a vision transformer cuts an image into patches."""
    return sum(isinstance(module, nn.Conv2d) for module in model.modules()) > 1


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(_round_up(tensor.nbytes) for tensor in tensors)


def _round_up(size: int) -> int:
    return -(-size // _GRAIN) * _GRAIN


def _optimizer_bytes(model: nn.Module, config: TrainConfig) -> int:
    """AdamW's two moments of each parameter, Muon's one."""
    of_kind = {torch.optim.AdamW: 2, torch.optim.Muon: 1}
    return sum(
        of_kind[type(optimizer)]
        * _bytes(parameter for group in optimizer.param_groups for parameter in group["params"])
        for optimizer in make_optimizers(model, config.optimizer)
    )


def _loss_bytes(rows: int, gpus: int, dimensions: int) -> int:
    """What train.loss has at most, without the features that it is given: everyone's texts, gradients, tiles."""
    one_gpu, all_gpus = 4 * rows * dimensions, 4 * rows * gpus * dimensions
    tiles = 4 * _TILES * min(rows, GPU_TILE) * min(rows * gpus, GPU_TILE)
    if gpus == 1:
        return 3 * one_gpu + tiles
    return 3 * one_gpu + max(3 * all_gpus, 2 * all_gpus + tiles)


def _unsharded_bytes(model: nn.Module, sums: bool) -> int:
    """What fully_shard puts together: what is in no block, for the whole step; a block, the next and its buffer.

    Args:
        sums: the gradients, too, are put together in buffers, to be summed at once.
    """
    block_bytes = [_bytes(block.parameters()) for block in blocks(model)]
    rest = _bytes(model.parameters()) - sum(block_bytes)
    return (2 if sums else 1) * rest + (5 if sums else 3) * max(block_bytes, default=0)


@dataclass(frozen=True)
class _Towers:
    """What a pass through both towers and back takes, in bytes."""

    held: int  # when the features are made
    peak: int  # at most, gradients included
    feature_bytes: int  # of a sample, both towers'
    dimensions: int


def _simulate(clip: Clip, precision: str, samples: int, accumulating: bool, sharded: bool) -> _Towers:
    """The pass of one micro-batch.

    Args:
        accumulating: there are gradients already, to which those of these samples are added.
        sharded: of one pass, gradients leave for other GPUs as they come.
    """
    model: Any = clip.model
    half = torch.float16 if precision == "fp16" else torch.bfloat16
    sizes: dict[str, int] = {}
    with FakeTensorMode(), _gpu_types(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _fake(model)
        model.train()
        size = clip.image_size
        images = torch.empty((samples, size, size, 3), dtype=torch.uint8).permute(0, 3, 1, 2)
        texts = torch.empty((samples, model.context_length), dtype=torch.int64)
        one = torch.ones(1, 3, 1, 1)
        count = _Count()

        def loss(images: Tensor, texts: Tensor, *scale: Tensor, counts: Any) -> Tensor:
            sizes.update(held=count.now, dimensions=images.shape[1], feature_bytes=_bytes([images, texts]) // samples)
            return images.sum() + texts.sum() + sum(value.sum() for value in scale)

        for parameter in model.parameters():
            if accumulating and parameter.requires_grad:
                parameter.grad = torch.empty_like(parameter)
                count.add(parameter.grad)
            elif sharded and parameter.requires_grad:
                parameter.register_post_accumulate_grad_hook(_drop_gradient)
        with count:
            backward(
                model,
                images,
                texts,
                loss=loss,
                seed=0,
                counts=[samples],
                prepare=lambda images: (images * one).sub_(one),
                autocast=torch.autocast("cpu", half, enabled=precision != "fp32"),
            )
    return _Towers(peak=count.peak, **sizes)


def _fake(model: nn.Module) -> None:
    """Give a model of shapes tensors that claim to lie on the CPU, in the FakeTensorMode that is on."""
    for module in model.modules():
        for kind in (module._parameters, module._buffers):
            for name, tensor in kind.items():
                if tensor is not None:
                    empty = torch.empty(tensor.shape, dtype=tensor.dtype)
                    learns = tensor.requires_grad
                    fresh: Any = nn.Parameter(empty, learns) if isinstance(tensor, nn.Parameter) else empty
                    kind[name] = fresh


def _drop_gradient(parameter: Tensor) -> None:
    parameter.grad = None


@contextmanager
def _gpu_types() -> Iterator[None]:
    """Let autocast follow, while the block runs, a GPU's rules where they differ from a CPU's: LayerNorm
    computes in float32.
    """
    functions: Any = nn.functional
    plain = functions.layer_norm

    def layer_norm(values: Tensor, *more: Any, **named: Any) -> Tensor:
        normalised: Tensor = plain(values.float() if torch.is_autocast_enabled("cpu") else values, *more, **named)
        return normalised

    functions.layer_norm = layer_norm
    try:
        yield
    finally:
        functions.layer_norm = plain


class _Count(TorchDispatchMode):
    """The bytes of all storages that operations within it make and that are alive."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._alive: dict[int, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.prim.device.default:  # half of all calls, and makes nothing
            return args[0].fake_device
        result = func(*args, **(kwargs or {}))
        for value in tree_leaves(result):
            if isinstance(value, Tensor):
                self.add(value)
        return result

    def add(self, tensor: Tensor) -> None:
        """Count a tensor's storage from now on until nothing refers to it."""
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key not in self._alive:
            self._alive[key] = _round_up(storage.nbytes())
            self.now += self._alive[key]
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._drop, key)

    def _drop(self, key: int) -> None:
        self.now -= self._alive.pop(key)

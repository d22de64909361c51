"""One model on several processes: copies that average their gradients, or shards of one."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from open_clip.modified_resnet import Bottleneck
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.parallel import DistributedDataParallel

from train.distributed.processes import Processes

_KINDS_OF_BLOCKS = 32
"""A ResNet's bottlenecks are of eight kinds, micro-batches of two sizes; torch would give up after eight."""
_NEVER = 2**31 - 1
"""DDP times its first ten steps and every hundredth, by events for which the process waits. The first ten remain."""


def parallelize(model: nn.Module, kind: str, processes: Processes, deterministic: bool = False) -> Any:
    """Return the model as the processes run it; itself where there is only one.

    Args:
        kind: ddp, a whole copy on each; or fsdp, FSDP2: parameters, gradients and optimizer states in shards.
        deterministic: gradients are added in the same order at a run's first step as at later ones.
    """
    if processes.count == 1:
        return model
    if kind == "fsdp":
        return shard(model)
    # After its first step DDP deals gradients to buckets anew, in their order of arrival, so a resumed run's first
    # step would add them in another order than the unbroken run did. It does not where parameters may be unused.
    devices = [processes.device] if processes.device.type == "cuda" else None
    copies: Any = DistributedDataParallel(
        model,
        device_ids=devices,
        find_unused_parameters=deterministic,
        broadcast_buffers=False,  # BatchNorm's statistics are everyone's
    )
    copies._set_ddp_runtime_logging_sample_rate(_NEVER)
    return copies


def shard(model: nn.Module) -> nn.Module:
    """Shard a model's parameters over all processes, in place: each block by itself, then what is left.

    Scalars (the logit scale) stay whole; their gradients are averaged as they come.
    """
    kind = next(model.parameters()).device.type  # by default the mesh would be of GPUs wherever there are any
    mesh = init_device_mesh(kind, (dist.get_world_size(),))
    scalars = {parameter for parameter in model.parameters() if parameter.ndim == 0}
    for block in blocks(model):
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh, ignored_params=scalars)
    for method in ("encode_image", "encode_text"):  # by which the model is examined
        register_fsdp_forward_method(model, method)
    for parameter in scalars:
        if parameter.requires_grad:
            parameter.register_post_accumulate_grad_hook(_average)
    return model


def compile_blocks(model: nn.Module) -> None:
    """Compile what each block computes, in place, before it is sharded or computed twice: what puts its parameters
    together then stays outside, where torch.compile would break the graph."""
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, _KINDS_OF_BLOCKS)
    for block in blocks(model):
        block.forward = torch.compile(block.forward, dynamic=False)


def blocks(model: nn.Module) -> list[nn.Module]:
    """Return the layers of which towers have many alike: a transformer's, and a ResNet's bottlenecks."""
    transformers = [block for module in model.modules() if isinstance(module, nn.ModuleList) for block in module]
    return transformers + [module for module in model.modules() if isinstance(module, Bottleneck)]


def _average(parameter: Tensor) -> None:
    assert parameter.grad is not None
    dist.all_reduce(parameter.grad)
    parameter.grad /= dist.get_world_size()


def full_tensor(value: Tensor) -> Tensor:
    """Return a tensor as a plain one, whether or not it is in shards."""
    plain: Tensor = value.full_tensor() if isinstance(value, DTensor) else value
    return plain


@torch.no_grad()
def fill(target: Tensor, values: Tensor) -> None:
    """Copy a plain tensor into one of the same shape, of which this process may have a shard; all take part then."""
    if isinstance(target, DTensor):
        values = distribute_tensor(
            values.to(target.device, target.dtype).contiguous(), target.device_mesh, target.placements
        )
    target.copy_(values)

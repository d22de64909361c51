"""What a checkpoint is written from: copies of a run's tensors, which training then changes."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Shard, distribute_tensor

from tests.train import ranks
from train.checkpoints.staging import Staging

CPU = torch.device("cpu")


def test_copies_keep_values_types_and_shapes_while_the_tensors_change() -> None:
    tensors = {
        "matrix": torch.randn(5, 3),
        "scalar": torch.tensor(7.0, dtype=torch.float64),
        "flag": torch.tensor(True),
        "channels last": torch.randn(4, 3, 2, 2).to(memory_format=torch.channels_last),
        "part": torch.randn(6, 6)[1:3, 2:],
        "empty": torch.empty(0, 3),
        "half": torch.randn(3).bfloat16().requires_grad_(),
    }
    before = {name: tensor.detach().clone() for name, tensor in tensors.items()}
    staging = Staging(CPU)
    copies = staging.copy(tensors)
    for tensor in tensors.values():
        tensor.detach().zero_()
    staging.wait()
    assert list(copies) == list(before)
    for name, copied in copies.items():
        assert copied.dtype == before[name].dtype and copied.shape == before[name].shape, name
        assert torch.equal(copied, before[name]), name
        assert not copied.requires_grad


def test_shards_are_copied_as_shards() -> None:
    def work() -> None:
        dist.init_process_group("gloo")
        shards = distribute_tensor(torch.arange(12.0).view(4, 3), init_device_mesh("cpu", (2,)), [Shard(0)])
        copied = Staging(CPU).copy({"weight": shards})["weight"]
        before = shards.to_local().clone()
        shards.to_local().zero_()
        assert isinstance(copied, DTensor)
        assert copied.placements == shards.placements and copied.shape == (4, 3)
        assert copied.to_local().shape == (2, 3) and torch.equal(copied.to_local(), before)
        dist.destroy_process_group()

    ranks.run(2, work)

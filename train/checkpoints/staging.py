"""A copy of a run's tensors in the machine's memory, from which a checkpoint is written while training goes on."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

_ALIGNMENT = 64  # bytes; views of any dtype begin at a multiple of its size


class Staging:
    """One buffer for the copies of all tensors, filled by a GPU on a stream of its own.

    Whoever calls `copy` waits for nothing: the device itself begins its next step when the copies are whole, and a
    thread that needs them waits by `wait`. On a GPU the buffer is page-locked, and kept from one copy to the next.
    """

    def __init__(self, device: torch.device):
        self._device = device
        self._buffer = torch.empty(0, dtype=torch.uint8)
        self._copied: torch.cuda.Event | None = None
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def copy(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the tensors as they are now, on the CPU; of shards, this process's. Copies from before are
        overwritten.
        """
        parts = {name: tensor.detach() for name, tensor in tensors.items()}
        parts = {name: part.to_local() if isinstance(part, DTensor) else part for name, part in parts.items()}
        places, end = {}, 0
        for name, part in parts.items():
            places[name] = slice(end, end + part.nbytes)
            end = -(-places[name].stop // _ALIGNMENT) * _ALIGNMENT
        buffer = self._room(end)
        copies = {name: buffer[places[name]].view(part.dtype).view(part.shape) for name, part in parts.items()}
        if self._stream is None:
            for name, part in parts.items():
                copies[name].copy_(part)
        else:
            computing = torch.cuda.current_stream(self._device)
            self._stream.wait_stream(computing)
            with torch.cuda.stream(self._stream):
                for name, part in parts.items():
                    copies[name].copy_(part.contiguous(), non_blocking=True)  # or torch would wait for each
                self._copied = self._stream.record_event()
            computing.wait_stream(self._stream)  # before the weights change
        return {name: _like(tensor, copies[name]) for name, tensor in tensors.items()}

    def _room(self, size: int) -> Tensor:
        if self._stream is None:
            return torch.empty(size, dtype=torch.uint8)
        if len(self._buffer) < size:
            self._buffer = torch.empty(size, dtype=torch.uint8, pin_memory=True)
        return self._buffer

    def wait(self) -> None:
        """Wait until the last copies are whole."""
        if self._copied is not None:
            self._copied.synchronize()


def _like(tensor: Tensor, copied: Tensor) -> Tensor:
    """A copied part, as a part of the same whole."""
    if not isinstance(tensor, DTensor):
        return copied
    return DTensor(copied, tensor._spec, requires_grad=False)  # `from_local` would take it to the mesh's device

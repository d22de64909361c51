"""Batches on the device: copied while the one before is computed with, in the memory of two batches and no more."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence

import torch

from train.data.gpu_decode import GpuDecoder
from train.data.loader import Batch, join


def on_device(
    stream: Iterable[Sequence[Batch]], device: torch.device, decoder: GpuDecoder | None = None
) -> Generator[Batch]:
    """Yield batches on a device, each joined from its parts, with what is still to be decoded by a decoder.

    On CUDA a batch is valid until the next one is asked for: two buffers take turns. While the device computes with
    one, the other is filled on a stream of its own, and the CPU waits for neither.
    """
    if device.type != "cuda":
        for parts in stream:
            batch = join([part.to(device) for part in parts])
            yield batch if decoder is None else decoder.finish(parts, batch)
        return
    buffers = (_Buffer(device), _Buffer(device))
    ready: _Buffer | None = None
    for number, parts in enumerate(stream):
        coming = buffers[number % 2]
        coming.fill(parts, decoder)
        if ready is not None:
            yield ready.lend()
            ready.give_back()
        ready = coming
    if ready is not None:
        yield ready.lend()


def send_tensor(values: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Return the CPU's tensor on a device, without waiting for it, as a copy from memory that is not
    page-locked would.
    """
    return (values.pin_memory() if device.type == "cuda" else values).to(device, non_blocking=True)


class _Buffer:
    """The memory of one batch on a GPU, and the events that say who may use it."""

    def __init__(self, device: torch.device):
        self._device = device
        self._copying = torch.cuda.Stream(device)
        self._copied, self._computed = torch.cuda.Event(), torch.cuda.Event()
        self._memory: Batch | None = None
        self._batch: Batch | None = None

    def fill(self, parts: Sequence[Batch], decoder: GpuDecoder | None = None) -> None:
        """Begin to copy a batch's parts, as soon as the step that had this memory is computed."""
        rows = torch.cat([part.rows for part in parts])
        damaged = [name for part in parts for name in part.damaged]
        if self._memory is None or len(self._memory.rows) < len(rows):
            self._memory = self._room(parts[0], rows)
        images, texts = self._memory.images[: len(rows)], self._memory.texts[: len(rows)]
        with torch.cuda.stream(self._copying):
            self._copying.wait_event(self._computed)
            first = 0
            for part in parts:
                end = first + len(part.rows)
                images[first:end].copy_(part.images, non_blocking=True)
                texts[first:end].copy_(part.texts, non_blocking=True)
                first = end
            batch = Batch(images, texts, rows, damaged)
            self._batch = batch if decoder is None else decoder.finish(parts, batch)
            self._copied.record()

    def _room(self, part: Batch, rows: torch.Tensor) -> Batch:
        """Memory for as many samples as there are rows, channels innermost, as convolutions are faster."""
        images, texts = part.images, part.texts
        room = Batch(
            torch.empty(
                (len(rows), *images.shape[1:]),
                dtype=images.dtype,
                device=self._device,
                memory_format=torch.channels_last,
            ),
            torch.empty((len(rows), *texts.shape[1:]), dtype=texts.dtype, device=self._device),
            rows,
            [],
        )
        for tensor in (room.images, room.texts):  # or it could be given out again while it is still written to
            tensor.record_stream(self._copying)
        self._computed.record(torch.cuda.current_stream(self._device))  # who had this memory before is done with it
        return room

    def lend(self) -> Batch:
        """The batch, for the stream that computes."""
        assert self._batch is not None
        torch.cuda.current_stream(self._device).wait_event(self._copied)
        return self._batch

    def give_back(self) -> None:
        """What is under way is the last that computes with the batch."""
        self._computed.record(torch.cuda.current_stream(self._device))
        self._batch = None

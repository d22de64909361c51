"""The rows that all processes have together, in the order of their ranks; each may have another number of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor

from train.distributed.spans import Spans

travels = Spans()
"""The time that this process's collectives take on the device."""


class Peers:
    """Where this process's rows lie among everyone's, and how rows and sums travel.

    Every process must make one and call the same methods in the same order.

    Args:
        rows: how many this process has.
        counts: how many each process has, by rank, where that is known; else they ask each other, and wait.
    """

    def __init__(self, rows: int, device: torch.device, counts: Sequence[int] | None = None):
        self.counts = [rows]
        self.rank = 0
        if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
            self.rank = dist.get_rank()
            if counts is not None:
                self.counts = list(counts)
                return
            asked = torch.zeros(dist.get_world_size(), dtype=torch.int64, device=device)
            asked[self.rank] = rows
            with travels.measure(device):
                dist.all_reduce(asked)
            self.counts = asked.tolist()

    @property
    def processes(self) -> int:
        """How many processes there are."""
        return len(self.counts)

    @property
    def total(self) -> int:
        """How many rows all processes have."""
        return sum(self.counts)

    @property
    def mine(self) -> slice:
        """This process's rows among all."""
        first = sum(self.counts[: self.rank])
        return slice(first, first + self.counts[self.rank])

    def gather(self, rows: Tensor) -> Tensor:
        """Return everyone's rows, from this process's, shape (n, …) -> (total, …)."""
        if self.processes == 1:
            return rows
        padded = self._pad(rows)
        parts = [torch.empty_like(padded) for _ in self.counts]
        with travels.measure(rows.device):
            dist.all_gather(parts, padded)
        return torch.cat([part[:count] for part, count in zip(parts, self.counts, strict=True)])

    def scatter_sum(self, rows: Tensor) -> Tensor:
        """Return this process's rows of the sum over processes, shape (total, …) -> (n, …)."""
        if self.processes == 1:
            return rows
        padded = torch.cat([self._pad(part) for part in rows.split(self.counts)])
        mine = torch.empty_like(padded[: max(self.counts)])
        with travels.measure(rows.device):
            dist.reduce_scatter_tensor(mine, padded)
        return mine[: self.counts[self.rank]]

    def sum(self, values: Tensor) -> Tensor:
        """Return the sum over processes; `values` is overwritten."""
        if self.processes > 1:
            with travels.measure(values.device):
                dist.all_reduce(values)
        return values

    def logsumexp(self, values: Tensor) -> Tensor:
        """Return log Σ exp over processes, of each value."""
        if self.processes == 1:
            return values
        largest = values.clone()
        with travels.measure(values.device):
            dist.all_reduce(largest, dist.ReduceOp.MAX)
        largest.clamp_(min=torch.finfo(values.dtype).min)  # where all are -inf, -inf - -inf would be no number
        return self.sum((values - largest).exp()).log() + largest

    def _pad(self, rows: Tensor) -> Tensor:
        """Pad to as many rows as the largest process has; the backends want them equal."""
        missing = max(self.counts) - len(rows)
        return torch.cat([rows, rows.new_zeros(missing, *rows.shape[1:])]) if missing else rows.contiguous()

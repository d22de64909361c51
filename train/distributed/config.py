"""The section `distributed`: the processes of a run."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from dataset.config_check import require


@dataclass(frozen=True)
class DistributedConfig:
    """How many processes there are, who starts them, how they share the model and watch each other."""

    ranks: int | tuple[int, ...] | None = None
    """How many processes `wit train` has Ray start; or the least and the most as [2, 8], of which Ray takes what the
    cluster has room for. `python -m train` leaves it to torchrun's own command line, so that one file serves both."""
    address: str | None = None
    """The Ray cluster (`auto`, host:port) on which `wit train` starts them; empty for Ray on this machine."""
    parallel: Literal["ddp", "fsdp"] = "ddp"
    """ddp: every process has a whole model; fsdp (FSDP2): they share one, in shards."""
    timeout_s: float = 60.0
    """How long a process of the run may give no sign of life before all end; samples and collectives may take ten and
    twenty times as long."""

    def __post_init__(self) -> None:
        require(0 < self.timeout_s < math.inf, "timeout_s", "above 0", self.timeout_s)
        ranks = self.ranks
        fits = ranks is None or (
            ranks >= 1 if isinstance(ranks, int) else len(ranks) == 2 and 1 <= ranks[0] <= ranks[1]
        )
        shown = list(ranks) if isinstance(ranks, tuple) else ranks
        require(fits, "ranks", "a number of processes, or the least and the most as [2,8]", shown)

    @property
    def by_ray(self) -> bool:
        """Whether `wit train` has Ray start the processes."""
        return self.ranks is not None or bool(self.address)

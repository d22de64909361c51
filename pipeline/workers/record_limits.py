"""The budget of a record: how much CPU time and memory one page, row or image may take before it is dropped.

`pipeline.workers.children` measures what a record takes, and ends the child that exceeds its limits.
"""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.workers.failures import MEMORY, TIME, Lost


@dataclass(frozen=True)
class RecordLimits:
    """How much CPU time, in seconds, and memory, in bytes, one record may take; see `pipeline.config.RunConfig`."""

    seconds: float = 10.0
    memory_bytes: int = 1_250_000_000

    def exceeds(self, lost: Lost) -> bool:
        """Return whether these limits are wider than those by which a unit was left out, so that it deserves another
        try.
        """
        mine = {TIME: self.seconds, MEMORY: self.memory_bytes}.get(lost.reason, 0)
        return mine > lost.limit > 0

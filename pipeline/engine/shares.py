"""A large partition is measured in shares, so that all CPUs of a laptop work even where there is but one partition.

Partitions of pairs are cut by hosts, for a host's budget is divided among its partitions; what measures images needs no
such cut. A share is a task of the same phase over some of the partition's units. The partition's own task comes after
them and takes what they have measured, as it takes what an earlier run has (see `reuse`); so its result is the same
bytes with shares and without.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pipeline.engine.phase import Task
from pipeline.engine.sources.plan import LAPTOP_CPUS

LEAST_UNITS = 256
"""Fewer are not worth a task of their own: a model's batch."""


def shares(tasks: Sequence[Task], partitions: int) -> list[Task]:
    """Return the shares of those tasks that are large, if their phase has few partitions: a function of the input
    alone.

    Args:
        tasks: of a phase that reuses its measures.
        partitions: how many the phase has.
    """
    most = -(-LAPTOP_CPUS // max(1, partitions))
    parts = []
    for task in tasks:
        count = min(most, task.units // LEAST_UNITS)
        parts += [replace(task, share=(number, count)) for number in range(count if count > 1 else 0)]
    return parts

"""How much room there is for the parts of batches that readers hand over, and how large the parts may be in it."""

from __future__ import annotations

import os
from typing import NamedTuple

FOLDER = "/dev/shm"  # noqa: S108 - where Linux keeps what processes share
PREFETCH = 2
"""Parts that each reader has ready or under way; more if all readers together would hold less than a batch."""
_TENSORS = 3  # of a part, each in a file of whole pages
_PAGE_BYTES = 4096
_SHARE = 3  # one in so many bytes is planned with: as much may be on its way to the trainer, and NCCL wants some, too


class ReaderPlan(NamedTuple):
    """How a process's readers read."""

    part: int  # samples that one makes at a time
    prefetch: int  # parts that each has ready or under way
    note: str = ""  # what to tell the user, if there is less room than would be best


def free_bytes(folder: str = FOLDER) -> int | None:
    """Return the room that is left for what processes share; None where the system has no such folder."""
    try:
        status = os.statvfs(folder)
    except OSError:
        return None
    return status.f_bavail * status.f_frsize


def plan(sample_bytes: int, samples: int, workers: int, free: int | None, most: int) -> ReaderPlan:
    """Return how a process's share of a batch is read, in a third of the room that is left for it.

    The samples of a batch are the same however it is cut into parts.

    Args:
        sample_bytes: of one sample, as a reader hands it over.
        samples: of the process's share of a batch.
        workers: the process's readers; 0 shares nothing.
        free: the room for this process, in bytes; None is no limit.
        most: samples of a part where there is room enough.
    Raises:
        ValueError: not even parts of one sample fit; the sentence says what does.
    """
    part = min(most, samples)
    prefetch = _prefetch(samples, part, workers)
    wanted = _SHARE * max(1, workers) * prefetch * _part_bytes(part, sample_bytes)
    if workers == 0 or free is None or wanted <= free:
        return ReaderPlan(part, prefetch)
    each = free // _SHARE // workers
    part = min(part, (each // PREFETCH - _part_bytes(0, sample_bytes)) // sample_bytes)
    if part < 1:
        needed = _SHARE * workers * PREFETCH * _part_bytes(1, sample_bytes)
        raise ValueError(
            f"{FOLDER} has {in_megabytes(free)} left for each process of the run, whose {workers} readers need at "
            f"least {in_megabytes(needed)} and best {in_megabytes(wanted)}; {remedy()}"
        )
    prefetch = min(_prefetch(samples, part, workers), max(PREFETCH, each // _part_bytes(part, sample_bytes)))
    note = (
        f"{FOLDER} has {in_megabytes(free)} left for each process of the run, where {in_megabytes(wanted)} are best: "
        f"its readers hand over {part:,} samples at a time and keep {workers * prefetch * part:,} ready; {remedy()}"
    )
    return ReaderPlan(part, prefetch, note)


def _prefetch(samples: int, part: int, workers: int) -> int:
    parts = -(-samples // part)
    return max(PREFETCH, -(-parts // max(1, workers)))


def _part_bytes(samples: int, sample_bytes: int) -> int:
    return samples * sample_bytes + _TENSORS * _PAGE_BYTES


def in_megabytes(size: int) -> str:
    """Return a size for people, rounded up."""
    return f"{-(-size // 10**6):,} MB"


def remedy() -> str:
    """Return what to do about too little shared memory."""
    return "give the container more (docker run --shm-size=8g), or set workers lower, or to 0"

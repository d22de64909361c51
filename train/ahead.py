"""Work that processes of their own do ahead of the training process, in its order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from torch.utils.data import DataLoader, Dataset

from train.processes import outlast_signals

T = TypeVar("T")


class _Answers(Dataset["T | Exception"], Generic[T]):
    """Answers by number, or what went wrong: as itself, where DataLoader would make a page of a traceback of it."""

    def __init__(self, make: Callable[[int], T]):
        self._make = make

    def __getitem__(self, number: int) -> T | Exception:
        try:
            return self._make(number)
        except (OSError, ValueError) as error:
            return error


def read_ahead(
    make: Callable[[int], T], numbers: range, workers: int, *, prefetch: int, pin_memory: bool = False
) -> Iterator[T]:
    """What `make` says of each number, in order.

    Args:
        make: may be called in another process. What it returns goes between processes by shared memory where it is made
            of tensors; a worker whose reader has been killed would wait for ever to be rid of a pipeful of arrays.
        workers: processes; 0 does it in this one, when asked.
        prefetch: answers that each of them has ready or under way.

    Raises:
        OSError, ValueError: `make` did.
    """
    workers = min(workers, len(numbers))
    loader = DataLoader(
        _Answers(make),
        sampler=numbers,
        batch_size=None,
        num_workers=workers,
        pin_memory=pin_memory,
        prefetch_factor=prefetch if workers else None,
        worker_init_fn=outlast_signals,
    )
    for answer in loader:
        if isinstance(answer, Exception):
            raise answer
        yield answer

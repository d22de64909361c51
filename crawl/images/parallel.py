"""Images taken in by threads: decoding and hashing are C and drop the GIL, so all CPUs of a laptop work on one task."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

Key = TypeVar("Key")
T = TypeVar("T")

_MOST_THREADS = 8
_AHEAD_BYTES = 64 * 2**20  # of bodies that wait for a thread, and their results for their turn


def ingest_threads() -> ThreadPoolExecutor:
    """Return a thread for each CPU of a laptop, to be closed by a `with`."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return ThreadPoolExecutor(max(2, min(cpus, _MOST_THREADS)), thread_name_prefix="ingest")


def in_order(work: Iterable[tuple[Key, int, Callable[[], T]]]) -> Iterator[tuple[Key, T]]:
    """Do pieces of work by threads and yield their results in the order of the work, of which little is drawn ahead.

    Args:
        work: what each piece is about, the bytes that it holds until it is done, and the piece.

    Raises:
        Whatever a piece of work raises.
    """
    with ingest_threads() as threads:
        waiting: deque[tuple[Key, int, Future[T]]] = deque()
        held = 0
        try:
            for key, size, piece in work:
                waiting.append((key, size, threads.submit(piece)))
                held += size
                while len(waiting) > 2 * _MOST_THREADS or held > _AHEAD_BYTES:
                    first, its_size, result = waiting.popleft()
                    held -= its_size
                    yield first, result.result()
            while waiting:
                first, _, result = waiting.popleft()
                yield first, result.result()
        finally:
            for _, _, result in waiting:
                result.cancel()


class Allowance:
    """An amount that threads may use at once. Who wants more than all of it is let in alone."""

    def __init__(self, size: int):
        self._size = size
        self._used = 0
        self._changed = threading.Condition()

    @contextmanager
    def of(self, amount: int) -> Iterator[None]:
        """Use some of it while the block runs; waits until so much is free."""
        amount = min(amount, self._size)
        with self._changed:
            self._changed.wait_for(lambda: self._used + amount <= self._size)
            self._used += amount
        try:
            yield
        finally:
            with self._changed:
                self._used -= amount
                self._changed.notify_all()

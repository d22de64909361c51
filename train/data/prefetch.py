"""Work that processes of their own do ahead of the training process, in its order."""

from __future__ import annotations

import math
import threading
import time
import traceback
from collections.abc import Callable, Generator
from typing import Generic, TypeVar

from torch.utils.data import DataLoader, Dataset
from torch.utils.data._utils import signal_handling
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from train.distributed.processes import outlast_signals
from train.failure import ReaderError, sentence

T = TypeVar("T")
_PINNING_SECONDS = 6.0  # the thread looks every five whether it is to end
_KILLED_SECONDS = 1.0  # what is killed is soon gone, but where it waits for a storage that does not answer


class _Answers(Dataset["T | Exception"], Generic[T]):
    """Answers by number, or what went wrong: as itself, where DataLoader would make a page of a traceback of it."""

    def __init__(self, make: Callable[[int], T]):
        self._make = make

    def __getitem__(self, number: int) -> T | Exception:
        try:
            return self._make(number)
        except (OSError, ValueError) as error:
            return error
        except Exception as error:
            return ReaderError(f"a process that reads samples failed: {sentence(error)}", traceback.format_exc())


def read_ahead(
    make: Callable[[int], T],
    numbers: range,
    workers: int,
    *,
    prefetch: int,
    pin_memory: bool = False,
    timeout_s: float = 0,
) -> Generator[T]:
    """Yield what `make` says of each number, in order.

    Args:
        make: may be called in another process. What it returns goes between processes by shared memory where it is made
            of tensors; a worker whose reader has been killed would wait for ever to be rid of a pipeful of arrays.
        workers: processes; 0 does it in this one, when asked.
        prefetch: answers that each of them has ready or under way.
        timeout_s: how long one may be waited for; 0 is for ever.

    Raises:
        OSError, ValueError: `make` did.
        RuntimeError: `make` raised another error, a worker was killed, or none answered in time.
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
    answers = iter(loader)
    patience = _Patience(answers, timeout_s)
    try:
        while True:
            with patience:
                answer = next(answers, None)
            if answer is None:
                return
            if isinstance(answer, Exception):
                raise answer
            yield answer
    finally:
        patience.close()
        if isinstance(answers, _MultiProcessingDataLoaderIter):
            _end(answers)


class _Patience:
    """A block in which the workers may give nothing for so long; then they are killed, and a ReaderError says it.

    DataLoader has a timeout, too, but waits without one for the file descriptor of an answer's memory.
    """

    def __init__(self, answers: object, seconds: float):
        self._workers = answers._workers if isinstance(answers, _MultiProcessingDataLoaderIter) else []
        self._seconds, self._until, self._over = seconds, math.inf, False
        self._closed = threading.Event()
        if self._workers and seconds:
            threading.Thread(target=self._look, daemon=True, name="patience").start()

    def __enter__(self) -> None:
        self._until = time.monotonic() + self._seconds

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self._until = math.inf
        if self._over and isinstance(error, Exception):
            words = f"the processes that read samples gave none for {self._seconds:g} s, ten times timeout_s"
            raise ReaderError(f"{words}; is their storage out of reach?") from error

    def close(self) -> None:
        """Look no longer."""
        self._closed.set()

    def _look(self) -> None:
        while not self._closed.wait(min(1.0, self._seconds)):
            if time.monotonic() > self._until:
                self._over = True
                for worker in self._workers:
                    worker.kill()
                return


def _end(answers: _MultiProcessingDataLoaderIter) -> None:
    """End the workers at once, whatever they are doing, and the thread that pins memory.

    DataLoader does so when nothing refers to its iterator any more, which the traceback of an error does for long, and
    by SIGTERM, which our workers outlast and one that stands still does not even notice.
    """
    if answers._worker_pids_set:  # or torch would raise an error for each that is killed
        signal_handling._remove_worker_pids(id(answers))
        answers._worker_pids_set = False
    pinning = getattr(answers, "_pin_memory_thread", None)
    if pinning is not None and pinning.is_alive():  # first: it may be reading what a worker writes
        answers._pin_memory_thread_done_event.set()
        answers._worker_result_queue.put((None, None))
        pinning.join(_PINNING_SECONDS)
    for worker in answers._workers:
        worker.kill()
    for worker in answers._workers:
        worker.join(_KILLED_SECONDS)
    if pinning is None or not pinning.is_alive():
        answers._shutdown_workers()
    answers._shutdown = True

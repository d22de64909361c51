"""What a run that fails says: one sentence; where it happened goes to RUN/failures. And that the process then ends."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import re
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from dataset.store.storage import Storage
from train.data import shared_memory

if TYPE_CHECKING:
    from train.distributed.processes import Processes
    from train.distributed.watch import Verdict

FOLDER = "failures"
EXIT_SECONDS = 5.0
"""How long a process that failed has to end by itself, once its main thread is done."""
_LONGEST = 300
_LOST = re.compile(r"DataLoader worker|DataLoader timed out|CUDA error: (?!device-side assert)")
"""What torch says, as a RuntimeError, of a reader of samples that was killed, and of a device that failed; an assertion
on a device is about the numbers that it was given."""
_LOST_PEER = re.compile(r"gloo|nccl|closed by peer|connection reset|broken pipe|socket|\bc10d\b", re.IGNORECASE)


class TrainingError(RuntimeError):
    """The run cannot go on; the message says why in a sentence."""


class PeerError(RuntimeError):
    """Another process of the run has failed, died or stood still; the message says which."""


class ReaderError(RuntimeError):
    """A process that reads samples ended by what nobody foresaw. The message is a sentence.

    Args:
        trace: where it happened.
    """

    def __init__(self, message: str, trace: str = ""):
        super().__init__(message, trace)
        self.trace = trace

    def __str__(self) -> str:
        return str(self.args[0])


def sentence(error: BaseException) -> str:
    """Return what happened, in one line."""
    text = " ".join(str(error).split())
    if isinstance(error, KeyboardInterrupt):
        return "it was interrupted by Ctrl-C"
    if isinstance(error, MemoryError):
        return "this process has too little memory; set workers or micro_batch lower"
    if "DataLoader worker" in text and ("exited unexpectedly" in text or "killed by signal" in text):
        signalled = re.search(r"killed by signal: ([^.]*)", text)
        by = f" by the signal {signalled[1].strip()}" if signalled else ""
        if "Bus error" in text:
            return f"a process that reads samples was ended{by}: {shared_memory_hint()}"
        return f"a process that reads samples was ended{by}, as Linux does where memory runs out; set workers lower"
    if "shared memory" in text and ("No space" in text or "unable to" in text):
        return f"a process that reads samples found no room: {shared_memory_hint()}"
    if "DataLoader timed out" in text:
        return (
            "no samples came from the processes that read them for ten times timeout_s; is their storage out of reach?"
        )
    if isinstance(error, (OSError, ValueError, TrainingError, PeerError, ReaderError)) and text:
        return text
    short = text if len(text) <= _LONGEST else f"{text[:_LONGEST]} …"
    return f"{type(error).__name__}: {short}" if short else type(error).__name__


def shared_memory_hint() -> str:
    """Return what to do about a full /dev/shm."""
    return f"{shared_memory.FOLDER} is full; {shared_memory.remedy()}"


def lost_peer(error: BaseException) -> bool:
    """Return whether an error is that of a failed collective, as every process has it when one of them fails."""
    return _LOST_PEER.search(str(error)) is not None


def would_recur(error: Exception) -> bool:
    """Return whether the same processes, started again, would fail in the same way.

    They would not where another process, a reader of samples, a device or the storage was lost: other processes, or the
    same a little later, may go on from the last checkpoint. What Python or torch raises of itself comes again.
    """
    if isinstance(error, (ValueError, FileNotFoundError, TrainingError)):
        return True
    if isinstance(error, ReaderError):
        return bool(error.trace)  # without one, it was killed for its silence
    if isinstance(error, RuntimeError) and (lost_peer(error) or _LOST.search(str(error))):
        return False
    return not isinstance(error, (PeerError, OSError))


@contextlib.contextmanager
def reporting_failures(run_dir: Storage, processes: Processes, begun: bool = True) -> Iterator[None]:
    """Report what goes wrong in the block: the other processes learn of it, and RUN/failures has the traceback.

    A collective that failed because another process did becomes a PeerError.

    Args:
        begun: whether training has begun; until then a wrong config, dataset or device leaves nothing behind.
    """
    try:
        yield
    except Exception as error:
        if lost_peer(error) and (verdict := processes.blame()) is not None:
            peer = PeerError(f"{verdict}, and with it the run")
            _keep(peer, run_dir, processes.rank, error)
            raise peer from error
        processes.tell(error)
        if begun or not isinstance(error, (OSError, ValueError, TrainingError, PeerError)):
            _keep(error, run_dir, processes.rank, error)
        raise
    except BaseException as error:
        processes.tell(error)
        raise


def _keep(error: Exception, run_dir: Storage, rank: int, cause: Exception) -> None:
    """Write a traceback, once, and let the error say where."""
    if not hasattr(error, "__notes__"):
        text = "".join(traceback.format_exception(cause)) + getattr(cause, "trace", "")
        error.add_note(f"the whole traceback is in {write(run_dir, rank, text)}")


def outlet(error: BaseException) -> str:
    """Return what a person is told of an error: the sentence, and where there is more."""
    return "; ".join([sentence(error), *getattr(error, "__notes__", [])])


def write(run_dir: Storage, rank: int, text: str) -> str:
    """Keep a process's last words in the run's folder, else in this machine's temporary one; returns where."""
    name = f"{FOLDER}/rank-{rank:05d}.txt"
    data = f"{time.strftime('%Y-%m-%d %H:%M:%S')}\n{text}".encode()
    try:
        run_dir.write(name, data)
        return run_dir.url_of(name)
    except Exception:  # a full disk, a bucket out of reach: perhaps the very failure that is to be told
        path = Path(tempfile.gettempdir()) / f"openwit-failure-{os.getpid()}.txt"
        try:
            path.write_bytes(data)
        except OSError:
            sys.stderr.write(text)
            return "standard error"
        return str(path)


def end_with(verdict: Verdict, run_dir: Storage, rank: int, host: str) -> None:
    """End this process, whose main thread hangs, because another one of the run has failed."""
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    where = "".join(traceback.format_stack(frame)) if frame is not None else ""
    os.write(2, f"error: rank {rank} on {host} ends, for {verdict}\n".encode())
    end_within(EXIT_SECONDS)  # should the storage hang
    write(run_dir, rank, f"{verdict}\n\nThis process was here:\n{where}")
    kill_children()
    os._exit(1)


def kill_children() -> None:
    """End the processes that this one has started; they may be at work that nothing interrupts."""
    for child in multiprocessing.active_children():
        child.kill()


def end_within(seconds: float) -> None:
    """Have this process end, with status 1, if it still lives after that time."""
    threading.Thread(target=_end_after, args=(seconds,), daemon=True, name="end").start()


def end_after_main_thread() -> None:
    """Have this process, which has failed, end soon after its main thread: other threads may hang in what failed."""

    def work() -> None:
        threading.main_thread().join()
        _end_after(EXIT_SECONDS)  # in this thread: from Python 3.12 on none begins when the main thread has ended

    threading.Thread(target=work, daemon=True, name="end").start()


def _end_after(seconds: float) -> None:
    time.sleep(seconds)
    kill_children()
    os._exit(1)

"""How a command ends: its exit status, and its one sentence about an error. SIGTERM ends it as Ctrl-C does."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator

DONE, FAILED, USAGE = 0, 1, 2
INTERRUPTED, TERMINATED = 130, 143
"""What shells give: 128 and the number of the signal, SIGINT and SIGTERM."""


class TerminatedError(KeyboardInterrupt):
    """SIGTERM, which ends a command as Ctrl-C does: the lease is given back."""


@contextlib.contextmanager
def ending_at_sigterm() -> Iterator[None]:
    """Let SIGTERM raise TerminatedError in this process while the block runs; a process that it forks ends at once."""
    if threading.current_thread() is not threading.main_thread():  # elsewhere Python lets nobody listen
        yield
        return
    mine = os.getpid()

    def end(*_: object) -> None:
        if os.getpid() == mine:
            raise TerminatedError
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a child that was forked ends as ever
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


_OF_CONTENT = (ArithmeticError, AttributeError, LookupError, NotImplementedError, RecursionError, TypeError, ValueError)
ASKING = frozenset(("audit", "balance", "explain", "overlap", "report", "search", "sheet", "sql", "status", "verify"))
"""Commands that ask a dataset, and make none."""


class UsageError(ValueError):
    """The command line cannot be carried out; the message is one sentence."""


def status_of(error: BaseException) -> int:
    """Return the exit status of a command that an error ends."""
    if isinstance(error, KeyboardInterrupt):
        return TERMINATED if isinstance(error, TerminatedError) else INTERRUPTED
    return USAGE if is_usage(error) else FAILED


def is_usage(error: BaseException) -> bool:
    """Return whether an error is of the command line or config, so that another one mends it."""
    from pipeline.config_errors import ConfigError

    # A file that is not there, or no folder, was named wrongly.
    return isinstance(error, (UsageError, ConfigError, FileNotFoundError, NotADirectoryError))


def is_expected(error: Exception) -> bool:
    """Return whether an error's sentence is all that there is to say: it is of the environment, or of others' files."""
    from dataset.ledger.commits import RecordError
    from dataset.ledger.damage import DamagedError
    from dataset.ledger.lease import LeaseHeldError
    from dataset.store.faults import fault
    from dataset.store.storage import OutsideError

    is_sentence = isinstance(error, (DamagedError, LeaseHeldError, RecordError, OutsideError))
    return is_sentence or fault(error) is not None or fault(error.__cause__ or error) is not None


def sentence(error: Exception, asked: str | None = None) -> str:
    """Return what is wrong, on one line.

    asked: a dataset, where the command only asks one: it may be anybody's, and its tables hold what no stage writes.
    """
    from dataset.store import faults

    if type(error).__name__ == "OutOfMemoryException":  # a task's is told with its partition
        return f"the query needs more memory than there is ({error}); ask for fewer columns or rows at once".replace(
            "\n", " "
        )
    if asked is not None and _is_of_content(error):
        return f"{asked} holds what openwit does not write, or openwit itself is at fault: {_in_words(error)}"
    return faults.sentence(error) or _in_words(error)


def _is_of_content(error: Exception) -> bool:
    is_duckdbs = type(error).__module__ in ("duckdb", "_duckdb")
    return (is_duckdbs or isinstance(error, _OF_CONTENT)) and not is_usage(error) and not is_expected(error)


def _in_words(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__

"""Errors of the environment, told from errors of the input by their class.

A full disk, a failing device, no memory or no file handles, a lost node, a network that broke, a busy S3 server: none
says anything of the record that was at work. Whoever meets one waits and tries again, or ends with its sentence.
"""

from __future__ import annotations

import errno
import logging
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

log = logging.getLogger("wit")
T = TypeVar("T")

PATIENCE_S = 60.0
"""How long, in all, somebody waits for an environment that fails: a full disk, a busy server, a lost node."""
_FIRST_WAIT_S = 1.0


@dataclass(frozen=True)
class Fault:
    """What the environment lacks."""

    sentence: str  # what is wrong and what helps, for people
    may_pass: bool = True  # whether waiting may help
    is_of_memory: bool = False  # so that how much was taken is worth saying


_FULL = "the disk is full (%s); make room on it, and run the same command again: it goes on where it was"
_DENIED = "it may not be written or read (%s); change its permissions or choose another place"
_SENTENCES: dict[int, str] = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: "the disk quota is used up (%s); make room, and run the same command again: it goes on where it was",
    errno.EIO: "the disk or the network share failed (%s); see to it, and run the same command again",
    errno.EMFILE: "the process has no file handles left (%s); raise the limit (`ulimit -n 65536`), and run again",
    errno.ENFILE: "the machine has no file handles left (%s); end what uses them, and run again",
    errno.ENOMEM: "the machine has no memory left (%s); use fewer workers (--workers N), and run again",
    errno.EAGAIN: "the machine has no room for another process or thread (%s); use fewer workers (--workers N)",
    errno.ESTALE: "the network share has lost the file (%s); see to it, and run the same command again",
}
_SENTENCES |= dict.fromkeys((errno.ENODEV, errno.ENXIO, errno.ENOTCONN), _SENTENCES[errno.EIO])
_NETWORK = "the network or the server behind it failed (%s); run the same command again when it answers"
_SENTENCES |= dict.fromkeys((errno.ENETDOWN, errno.ENETUNREACH, errno.EHOSTDOWN, errno.EHOSTUNREACH), _NETWORK)
_PASSING = frozenset(_SENTENCES)
_FIXED = {errno.EROFS: "the disk is mounted read-only (%s); choose another place", errno.EACCES: _DENIED}
_FIXED[errno.EPERM] = _DENIED
_FIXED[errno.EFBIG] = (
    "no file may be so large here (%s); raise the limit (`ulimit -f unlimited`) or choose another disk"
)
_BUSY = "the storage server failed or asked for patience (%s); run the same command again when it answers"
RAY_FULL = "Ray's temporary folder is full (%s); TMPDIR names another folder for it; then run the same command again"
TOO_LARGE = (
    "a partition does not fit into a task's memory (%s); make it smaller: run.pairs_per_partition, run.piece_bytes"
)
_NODE = "a node or a worker process was lost (%s); run the same command again: it goes on where it was"

_CODE_IN_TEXT = re.compile(r"\[errno (\d+)\]", re.IGNORECASE)  # Arrow's, where it sets no errno
_TEXTS = (
    (re.compile(r"no space left on device|max_temp_directory_size", re.IGNORECASE), errno.ENOSPC),
    (re.compile(r"disk quota exceeded", re.IGNORECASE), errno.EDQUOT),
    (re.compile(r"input/output error", re.IGNORECASE), errno.EIO),
    (re.compile(r"too many open files", re.IGNORECASE), errno.EMFILE),
    (re.compile(r"file too large", re.IGNORECASE), errno.EFBIG),
    (re.compile(r"read-only file system", re.IGNORECASE), errno.EROFS),
    (re.compile(r"permission denied", re.IGNORECASE), errno.EACCES),
)
_S3_REFUSAL = re.compile(r"AWS Error (ACCESS_DENIED|NO_SUCH_BUCKET|NO_SUCH_KEY|INVALID|VALIDATION|RESOURCE_NOT_FOUND)")
_S3_REFUSALS = frozenset({"403", "404", "AccessDenied", "NoSuchBucket", "NoSuchKey", "InvalidAccessKeyId"})
_LOST_WORK = (  # of ray.exceptions, by name, for Ray is not imported here
    *("NodeDiedError", "WorkerCrashedError", "RaySystemError", "OutOfMemoryError", "ObjectStoreFullError"),
    *("OutOfDiskError", "LocalRayletDiedError", "RayActorError", "ActorDiedError", "ActorUnavailableError"),
    *("ObjectLostError", "OwnerDiedError", "ObjectFetchTimedOutError", "TaskUnschedulableError", "RpcError"),
)


class WorkerKilledError(RuntimeError):
    """The system, or a person, ended a worker process (SIGKILL, SIGTERM): no crash of its own."""


class WorkerStartError(RuntimeError):
    """No worker process begins, whatever its task; waiting does not help."""


class ServiceError(OSError):
    """A server that keeps files refuses, fails, or sends what cannot be; the message says what helps.

    It has been waited for already, where that may help.
    """


def fault(error: BaseException) -> Fault | None:
    """Return what the environment lacks, if that is what an error says; None if it may be the input's fault."""
    if isinstance(error, WorkerKilledError):
        return Fault(str(error))
    if isinstance(error, (ServiceError, WorkerStartError)):
        return Fault(str(error), may_pass=False)
    module = type(error).__module__.partition(".")[0]
    if module in ("botocore", "boto3"):
        return _s3_fault(error)
    if module == "ray" and type(error).__name__ == "OutOfDiskError":
        return Fault(RAY_FULL % _summarize(error))
    if module == "ray":
        return Fault(_NODE % _summarize(error)) if type(error).__name__ in _LOST_WORK else None
    if module in ("duckdb", "_duckdb"):
        return _duckdb_fault(error)
    if not isinstance(error, OSError):
        return None
    if isinstance(error, (ConnectionError, TimeoutError)):
        return Fault(_NETWORK % _summarize(error))
    if "AWS Error" in str(error):
        return None if isinstance(error, FileNotFoundError) else _s3_fault(error)
    code = error.errno or _code_in(str(error))
    if code in _PASSING:
        return Fault(_add_place(error, _SENTENCES[code] % _summarize(error)), is_of_memory=code == errno.ENOMEM)
    return Fault(_add_place(error, _FIXED[code] % _summarize(error)), may_pass=False) if code in _FIXED else None


def next_wait_s(waited_s: float, patience_s: float = PATIENCE_S) -> float:
    """Return how long to wait before another try, after waits of some length in all; 0 if patience has ended."""
    return max(0.0, min(max(_FIRST_WAIT_S, waited_s), patience_s - waited_s))


def patiently(action: Callable[[], T], patience_s: float = PATIENCE_S, who: str = "what is waited for") -> T:
    """Return what an action answers that may be done again; while the environment fails it is tried again later, and
    said.

    Args:
        patience_s: how long to wait, in all.
        who: whose answer it is, for people.

    Raises:
        Whatever the action raises, if that is no error of the environment, cannot pass, or lasts too long.
    """
    waited_s = 0.0
    while True:
        try:
            return action()
        except Exception as error:
            what_fails = fault(error)
            wait_s = next_wait_s(waited_s, patience_s)
            if what_fails is None or not what_fails.may_pass or not wait_s:
                raise
            words = "%s fails for now (%s); tried again in %.0f s, with patience for %.0f s more"
            log.warning(words, who, _summarize(error), wait_s, patience_s - waited_s)
        time.sleep(wait_s)
        waited_s += wait_s


def sentence(error: BaseException) -> str | None:
    """Return the sentence of an error of the environment; None for others."""
    what_fails = fault(error)
    return None if what_fails is None else what_fails.sentence


def _s3_fault(error: BaseException) -> Fault | None:
    code = str(getattr(error, "response", {}).get("Error", {}).get("Code", ""))
    if code in _S3_REFUSALS or _S3_REFUSAL.search(str(error)) or type(error).__name__ == "NoCredentialsError":
        return Fault(f"S3 refuses ({_summarize(error)}); check the bucket and the credentials", may_pass=False)
    return Fault(_BUSY % _summarize(error))


def _duckdb_fault(error: BaseException) -> Fault | None:
    """DuckDB names its file itself. Its limit of memory is ours, and what exceeds it is a whole task."""
    kind = type(error).__name__
    code = _code_in(str(error)) if kind in ("IOException", "OutOfMemoryException") else None
    if kind == "OutOfMemoryException" and code is None:
        return Fault(TOO_LARGE % _summarize(error), may_pass=False, is_of_memory=True)
    if code == errno.ENOSPC:
        return Fault(
            f"DuckDB's temporary folder is full ({_summarize(error)}); TMPDIR names another folder for it, "
            "and the same command goes on where it was"
        )
    if code in _FIXED:
        return Fault(f"DuckDB's temporary folder: {_FIXED[code] % _summarize(error)} (TMPDIR)", may_pass=False)
    return Fault(_SENTENCES[code] % _summarize(error)) if code in _SENTENCES else None


def _code_in(text: str) -> int | None:
    if match := _CODE_IN_TEXT.search(text):
        return int(match[1])
    return next((code for pattern, code in _TEXTS if pattern.search(text)), None)


def _add_place(error: OSError, said: str) -> str:
    """The sentence, after the file that it is about, if the error names one."""
    name = error.filename2 or error.filename
    return f"{name}: {said}" if isinstance(name, str) else said


def _summarize(error: BaseException) -> str:
    text = (isinstance(error, OSError) and error.strerror) or str(error)
    lines = text.strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:200]

"""One run at a time holds a dataset, by a lease that expires.

The lease is a file that names its holder and when it ends; the holder renews it while it lives. A later run takes
over when the lease has run out, or at once when the holder was a process of this machine that is gone. A holder that
could not renew in time (a suspended laptop, a network that broke) finds another's name there, and must stop: `check`.
Whatever a holder and its workers write passes the `LeaseFence`, which asks whose the lease is unless that is certain,
and, on disk, has a folder of its own that files are moved out of into their places. Whoever takes over takes that
folder away before it begins, so that a process which was stopped between the question and the move moves nothing. On S3
the lease and what may be overwritten (commit records, the manifest) change only if they are still what was read.
"""

from __future__ import annotations

import contextlib
import json
import math
import operator
import os
import shutil
import socket
import threading
import time
import uuid
from pathlib import Path
from types import TracebackType
from typing import Any

from dataset.store.local_files import TEMPORARY
from dataset.store.storage import Storage

LEASE = "lease.json"
_KEYS = ("token", "host", "pid", "started", "expires")
_CERTAIN_SHARE = 1 / 6  # of the lease's length: whoever takes over waits until it has run out
_SWEPT = 100  # times that others may be faster; then the folder cannot be made
_SETTLE_SECONDS = 2.0  # where a server may not know conditions: longer than between two runs' reading and writing


def read(storage: Storage) -> dict[str, Any] | None:
    """Return what the lease says; None if there is none. One that cannot be read was never whole: it has run out."""
    try:
        return _parse(storage.read(LEASE))
    except FileNotFoundError:
        return None


def _parse(data: bytes) -> dict[str, Any]:
    try:
        held = {key: json.loads(data)[key] for key in _KEYS}
        if not all(isinstance(held[key], str) for key in ("token", "host", "started")):
            raise ValueError("a name is no text")
        return {**held, "pid": operator.index(held["pid"]), "expires": _finite(held["expires"])}
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return {"token": "", "host": "", "pid": 0, "started": "", "expires": 0.0}


def _finite(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{number} is no moment")
    return number


class LeaseHeldError(RuntimeError):
    """Another run holds the dataset."""


def _process_start(pid: int) -> str:
    """When a local process started, so that a reused pid is not taken for the holder; '' if it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19]
    except (OSError, IndexError):
        try:
            os.kill(pid, 0)
            return "alive"  # a system without /proc: the pid alone must do
        except OSError:
            return ""


class LeaseLostError(RuntimeError):
    """Another run has taken the dataset over, because this one did not renew its lease in time."""


class LeaseFence:
    """Lets a storage be written while a lease is its holder's.

    What the lease says is read again when its last reading is older than a share of the lease's length, by a clock that
    goes on while a process is stopped or the machine sleeps: one that wakes after another run has taken over writes
    nothing more.
    """

    def __init__(self, url: str, token: str, seconds: float = 60.0):
        self.storage = Storage(url)
        self.token, self.seconds = token, seconds
        self.folder = f"{TEMPORARY}{token}"
        self._seen = -math.inf

    def __reduce__(self) -> tuple[type[LeaseFence], tuple[str, str, float]]:
        return LeaseFence, (self.storage.url, self.token, self.seconds)

    def __call__(self) -> None:
        """Raises LeaseLostError if another run has taken over."""
        if _steady_clock() - self._seen >= self.seconds * _CERTAIN_SHARE:
            self.ask()

    def ask(self) -> None:
        """Do as a call does, but read the lease anew. Raises LeaseLostError."""
        now = _steady_clock()
        held = read(self.storage)
        if held is None or held["token"] != self.token:
            self._seen = -math.inf
            raise self.lost_error()
        self._seen = now

    def lost_error(self) -> LeaseLostError:
        """Return the error of a holder that has lost the lease."""
        return LeaseLostError(
            f"another run has taken over {self.storage.url}, because this one could not renew its lease in "
            f"{self.seconds:.0f} s; what this run committed is kept"
        )


def _steady_clock() -> float:
    """Seconds by a clock that goes on while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.time()


class Lease:
    """Context manager: holds `OUT/lease.json` from enter to exit, renewed by a thread; the storage is fenced meanwhile.

    Raises:
        LeaseHeldError: another live run holds the dataset.
    """

    def __init__(self, storage: Storage, seconds: float = 60.0):
        self.storage = storage
        self.seconds = seconds
        self.token = uuid.uuid4().hex
        self.fence = LeaseFence(storage.url, self.token, seconds)
        self._stop = threading.Event()
        self._lost = threading.Event()
        self._thread = threading.Thread(target=self._renew, daemon=True, name="lease")

    def _body(self) -> bytes:
        pid = os.getpid()
        holder = {"token": self.token, "host": socket.gethostname(), "pid": pid, "started": _process_start(pid)}
        return json.dumps({**holder, "expires": time.time() + self.seconds}).encode()

    def _is_over(self, held: dict[str, Any]) -> bool:
        if held["expires"] < time.time():
            return True
        return held["host"] == socket.gethostname() and _process_start(held["pid"]) != held["started"]

    def __enter__(self) -> Lease:
        self._written, swept = self._body(), 0
        while True:
            try:
                took_over = self._try_to_take()
            except FileNotFoundError:  # who was faster swept away what was not in its place yet
                swept += 1
                if not self.storage.local or swept > _SWEPT:
                    raise
                continue
            if took_over is not None:
                break
        self.storage.fence = self.fence
        try:
            self._begin(took_over)
        except LeaseLostError as error:
            self._leave()
            raise self._taken_over_error() from error
        except BaseException:
            self._leave()
            raise
        self._thread.start()
        return self

    def _try_to_take(self) -> bool | None:
        """Try to take the lease: whether it was another's; None if somebody was in the way. Raises LeaseHeldError."""
        if self.storage.create(LEASE, self._written):
            return False
        try:
            data = self.storage.read(LEASE)
        except FileNotFoundError:
            return None  # it was released between the two calls
        held = _parse(data)
        if not self._is_over(held):
            left = held["expires"] - time.time()
            raise LeaseHeldError(
                f"{self.storage.url} is being written by process {held['pid']} on {held['host']}; "
                f"stop that run, or wait: its lease ends in {left:.0f} s"
            )
        self._written = self._body()
        return self.storage.replace(LEASE, data, self._written) or None  # if not, another was faster, or it lives

    def _begin(self, took_over: bool) -> None:
        """Make an end of what others may still be about to write, then look whether the lease has stayed ours."""
        if self.storage.local:
            Path(self.storage.path(self.fence.folder)).mkdir(exist_ok=True)
            self.storage.revoke()
        if took_over:
            if not self.storage.local:
                time.sleep(_SETTLE_SECONDS)
            self.storage.sweep()
        if not self._is_mine():
            raise self._taken_over_error()

    def _taken_over_error(self) -> LeaseHeldError:
        return LeaseHeldError(f"another run has just taken over {self.storage.url}")

    def check(self) -> None:
        """Raise LeaseLostError if another run has taken over since."""
        if self._lost.is_set():
            self.fence.ask()
        self.fence()

    def _is_mine(self) -> bool:
        held = read(self.storage)
        return held is not None and held["token"] == self.token

    def _renew(self) -> None:
        while not self._stop.wait(self.seconds / 3):
            with contextlib.suppress(OSError):  # a failed renewal is tried again long before the lease ends
                try:
                    body = self._body()
                    if self.storage.replace(LEASE, self._written, body):
                        self._written = body
                        continue
                    self.fence.ask()
                    self._written = self.storage.read(LEASE)  # ours, though its answer was lost: renewed the next time
                except LeaseLostError:
                    self._lost.set()
                    return

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._leave()

    def _leave(self) -> None:
        """Give the lease back, if it is still ours."""
        with contextlib.suppress(LeaseLostError, OSError):  # what cannot be given back runs out
            if self._is_mine():
                self.storage.delete_same(LEASE, self.storage.read(LEASE))
        if self.storage.local:
            shutil.rmtree(self.storage.path(self.fence.folder), ignore_errors=True)
        self.storage.fence = None

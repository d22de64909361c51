"""One run at a time holds a dataset, by a lease that expires.

The lease is a file that names its holder and when it ends; the holder renews it while it lives. A later run takes
over when the lease has run out, or at once when the holder was a process of this machine that is gone. A holder that
could not renew in time (a suspended laptop, a network that broke) finds another's name there, and must stop: `check`.
Whatever a holder and its workers write passes the `Fence`, which asks whose the lease is whenever that is not certain.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import socket
import threading
import time
import uuid
from pathlib import Path
from types import TracebackType
from typing import Any

from dataset.storage import Storage

LEASE = "lease.json"
_KEYS = ("token", "host", "pid", "started", "expires")
_CERTAIN_SHARE = 1 / 6  # of the lease's length: whoever takes over waits until it has run out
_SETTLE_SECONDS = 0.05
_SETTLE_SECONDS_REMOTE = 2.0  # longer than a request may take between two runs' reading and writing


def read(storage: Storage) -> dict[str, Any] | None:
    """What the lease says; None if there is none. One that cannot be read was never whole: it has run out."""
    try:
        held = json.loads(storage.read(LEASE))
        return {key: held[key] for key in _KEYS}
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        return {"token": "", "host": "", "pid": 0, "started": "", "expires": 0.0}


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


class Fence:
    """Lets a storage be written while a lease is its holder's.

    What the lease says is read again when its last reading is older than a share of the lease's length, by a clock that
    goes on while a process is stopped: one that wakes after another run has taken over writes nothing more.
    """

    def __init__(self, url: str, token: str, seconds: float = 60.0):
        self.storage = Storage(url)
        self.token, self.seconds = token, seconds
        self._seen = -math.inf

    def forget(self) -> None:
        """Ask again at the next call."""
        self._seen = -math.inf

    def __call__(self) -> None:
        """Raises LeaseLostError if another run has taken over."""
        if time.monotonic() - self._seen < self.seconds * _CERTAIN_SHARE:
            return
        now = time.monotonic()
        held = read(self.storage)
        if held is None or held["token"] != self.token:
            raise LeaseLostError(
                f"another run has taken over {self.storage.url}, because this one could not renew its lease in "
                f"{self.seconds:.0f} s; what this run committed is kept"
            )
        self._seen = now


class Lease:
    """Context manager: holds `OUT/lease.json` from enter to exit, renewed by a thread.

    Raises:
        LeaseHeldError: another live run holds the dataset.
    """

    def __init__(self, storage: Storage, seconds: float = 60.0):
        self.storage = storage
        self.seconds = seconds
        self.token = uuid.uuid4().hex
        self.fence = Fence(storage.url, self.token, seconds)
        self._stop = threading.Event()
        self._lost = threading.Event()
        self._thread = threading.Thread(target=self._renew, daemon=True, name="lease")

    def _body(self) -> bytes:
        pid = os.getpid()
        holder = {"token": self.token, "host": socket.gethostname(), "pid": pid, "started": _process_start(pid)}
        return json.dumps({**holder, "expires": time.time() + self.seconds}).encode()

    def _gone(self, held: dict[str, Any]) -> bool:
        if held["expires"] < time.time():
            return True
        return held["host"] == socket.gethostname() and _process_start(held["pid"]) != held["started"]

    def __enter__(self) -> Lease:
        while not self.storage.create(LEASE, self._body()):
            held = self._read()
            if held is None:
                continue  # released between the two calls
            if not self._gone(held):
                left = held["expires"] - time.time()
                raise LeaseHeldError(
                    f"{self.storage.url} is being written by process {held['pid']} on {held['host']}; "
                    f"stop that run, or wait: its lease ends in {left:.0f} s"
                )
            self.storage.write(LEASE, self._body())
            # Of two runs that take over at once, the later write wins and the other one sees it.
            time.sleep(_SETTLE_SECONDS if self.storage.local else _SETTLE_SECONDS_REMOTE)
            if not self._mine():
                raise LeaseHeldError(f"another run has just taken over {self.storage.url}")
            self.storage.sweep()
            break
        self._thread.start()
        return self

    def check(self) -> None:
        """Raises LeaseLostError if another run has taken over since."""
        if self._lost.is_set():
            self.fence.forget()
        self.fence()

    def _read(self) -> dict[str, Any] | None:
        return read(self.storage)

    def _mine(self) -> bool:
        held = self._read()
        return held is not None and held["token"] == self.token

    def _renew(self) -> None:
        while not self._stop.wait(self.seconds / 3):
            with contextlib.suppress(OSError):  # a failed renewal is tried again long before the lease ends
                began = time.monotonic()
                if not self._mine():
                    self._lost.set()
                    return
                if time.monotonic() - began < self.seconds / 3:  # else this process was stopped: it asks again
                    self.storage.write(LEASE, self._body())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        if self._mine():
            self.storage.delete([LEASE])

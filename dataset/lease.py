"""One run at a time holds a dataset, by a lease that expires.

The lease is a file that names its holder and when it ends; the holder renews it while it lives. A later run takes
over when the lease has run out, or at once when the holder was a process of this machine that is gone.
"""

from __future__ import annotations

import contextlib
import json
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


class Lease:
    """Context manager: holds `OUT/lease.json` from enter to exit, renewed by a thread.

    Raises:
        LeaseHeldError: another live run holds the dataset.
    """

    def __init__(self, storage: Storage, seconds: float = 60.0):
        self.storage = storage
        self.seconds = seconds
        self.token = uuid.uuid4().hex
        self._stop = threading.Event()
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
        if not self.storage.create(LEASE, self._body()):
            try:
                held = json.loads(self.storage.read(LEASE))
            except FileNotFoundError:
                return self.__enter__()  # released between the two calls
            if not self._gone(held):
                left = held["expires"] - time.time()
                raise LeaseHeldError(
                    f"{self.storage.url} is being written by process {held['pid']} on {held['host']}; "
                    f"stop that run, or wait: its lease ends in {left:.0f} s"
                )
            self.storage.write(LEASE, self._body())
            time.sleep(0.05)  # of two runs that take over at once, the later write wins and the other one sees it
            if json.loads(self.storage.read(LEASE))["token"] != self.token:
                raise LeaseHeldError(f"another run has just taken over {self.storage.url}")
        self._thread.start()
        return self

    def _renew(self) -> None:
        while not self._stop.wait(self.seconds / 3):
            with contextlib.suppress(OSError):  # a failed renewal is tried again long before the lease ends
                self.storage.write(LEASE, self._body())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        self.storage.delete([LEASE])

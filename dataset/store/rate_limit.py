"""How often this process asks the servers of sources, which are shared by all the world.

A run's cap is for all of its processes together: each gets a share of it, by how many there may be at once.
"""

from __future__ import annotations

import threading
import time

import pyarrow as pa
from pyarrow import fs

from dataset.store.seekable import Seekable


class _Turns:
    """Turns, so many a second at most."""

    def __init__(self) -> None:
        self.interval_s = 0.0
        self._next = 0.0
        self._lock = threading.Lock()

    def wait(self) -> None:
        """Wait until it is this request's turn."""
        if not self.interval_s:
            return
        with self._lock:
            now = time.monotonic()
            turn = max(now, self._next)
            self._next = turn + self.interval_s
        if turn > now:
            time.sleep(turn - now)


_turns = _Turns()


def set_rate(requests_per_s: float) -> None:
    """Let this process ask at most so many times a second from now on; 0 sets no limit."""
    _turns.interval_s = 1 / requests_per_s if requests_per_s else 0.0


def wait() -> None:
    """Wait until this process may ask a server of sources again."""
    _turns.wait()


def open_file(filesystem: fs.FileSystem, path: str) -> pa.NativeFile:
    """Return a file of a bucket, whose reads are requests that wait for their turn. Raises FileNotFoundError,
    OSError.
    """
    _turns.wait()
    file = filesystem.open_input_file(path)
    return pa.PythonFile(_Reads(file), mode="r") if _turns.interval_s else file


class _Reads(Seekable):
    """A seekable file whose reads wait for their turn. A read of a few bytes brings more, for those behind it."""

    _AHEAD_BYTES = 2**23

    def __init__(self, file: pa.NativeFile):
        self._file = file
        self._size = file.size()
        self._start, self._block = 0, b""

    def read(self, count: int = -1) -> bytes:
        """Up to `count` bytes from here on; all that is left if it is negative."""
        end = self._size if count < 0 else min(self._size, self._at + count)
        if not (self._start <= self._at and end <= self._start + len(self._block)):
            _turns.wait()
            self._start = self._at
            self._block = self._file.read_at(
                max(end - self._at, min(self._AHEAD_BYTES, self._size - self._at)), self._at
            )
        data = self._block[self._at - self._start : end - self._start]
        self._at += len(data)
        return data

    def close(self) -> None:
        """Close the file."""
        super().close()
        self._file.close()

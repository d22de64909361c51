"""Waits for a remote store are said: whom, how long, and what its last error was.

A store's client repeats a failed request by itself, for about a minute, and says nothing. So every request is watched:
one that takes long is told on the log, again and again, each time after twice as long.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Iterator

log = logging.getLogger("wit")

FIRST_S = 10.0
"""How long a request may take before anything is said of it."""


class _Watch:
    """A thread of its own that looks at the requests that are under way."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.errors: dict[int, str] = {}  # by thread: of the last attempt
        self._requests: dict[int, tuple[str, float, int]] = {}  # by number: who, since when, the thread
        self._number = 0
        self._changed = threading.Condition()
        threading.Thread(target=self._look, name="waits", daemon=True).start()

    def begin(self, who: str) -> int:
        with self._changed:
            self._number += 1
            thread = threading.get_ident()
            self._requests[self._number] = who, time.monotonic(), thread
            if len(self._requests) == 1:
                self._changed.notify()
            return self._number

    def end(self, number: int) -> None:
        with self._changed:
            _, _, thread = self._requests.pop(number)
            self.errors.pop(thread, None)

    def _look(self) -> None:
        next_s: dict[int, float] = {}
        while True:
            with self._changed:
                while not self._requests:
                    self._changed.wait()
                self._changed.wait(FIRST_S / 10)
                requests = dict(self._requests)
            now = time.monotonic()
            next_s = {number: next_s.get(number, FIRST_S) for number in requests}  # others have ended
            for number, (who, since, thread) in requests.items():
                after = next_s[number]
                if now - since >= after:
                    next_s[number] = 2 * after
                    error = f" ({self.errors[thread]})" if thread in self.errors else ""
                    log.warning("still waiting for %s, for %.0f s now%s", who, now - since, error)


_watch: _Watch | None = None
_making = threading.Lock()


def _watcher() -> _Watch:
    """This process's: threads do not survive a fork."""
    global _watch
    with _making:
        if _watch is None or _watch.pid != os.getpid():
            _watch = _Watch()
        return _watch


@contextlib.contextmanager
def announce_wait(who: str) -> Iterator[None]:
    """Run a request in this block: a long wait for its answer is then said to people."""
    watch = _watcher()
    number = watch.begin(who)
    try:
        yield
    finally:
        watch.end(number)


def note_failure(error: str) -> None:
    """Note that an attempt of this thread's request has failed and that another will be made."""
    _watcher().errors[threading.get_ident()] = error

"""The processes of a run watch each other: one that fails, dies or stands still ends them all, and all say which.

Each has two threads for it. One writes a sign of life to the store by which the processes found each other, and reads
there what others have found out; the other judges. A process of this machine that dies is noticed at once, by its
file descriptor; one that fails says so itself; one that is silent for `timeout_s` stands still, or its machine is out
of reach. The main thread may hang in a collective meanwhile, which nothing can interrupt, so the process is ended.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import threading
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import torch.distributed as dist

PERIOD_SECONDS = 2.0
"""The longest time between a process's signs of life, and between its looks at those of others."""
GRACE_SECONDS = 5.0
"""How long a main thread has to fail by itself, with more to tell, once another process is known to have failed."""
BLAME_SECONDS = 8.0
"""How long a process whose collective failed waits to learn whose fault it was."""
_PERIODS = 4  # in which nothing is heard of a process, once a collective has failed
READ_PERIODS = 2  # in which the others certainly look
_VERDICT = "verdict"


class Verdict(NamedTuple):
    """Which process ended the run, and how."""

    rank: int
    host: str
    what: str  # goes on after "rank 1 on HOST "

    def __str__(self) -> str:
        return f"rank {self.rank} on {self.host} {self.what}"


class Member(NamedTuple):
    """Where a process of the run is."""

    host: str
    pid: int
    numbering: str  # of pids: that of one start of one machine, or container


class Watch:
    """Watches the other processes of a run until it is closed.

    Args:
        store: the processes' own, in which nobody else uses the names that are used here.
        members: all processes, by rank.
        timeout_s: how long a process may give no sign of life.
        end: called, in a thread, when another process has ended the run and the main thread has not within
            GRACE_SECONDS; is to end the process.
    """

    def __init__(
        self, store: Any, rank: int, members: Sequence[Member], timeout_s: float, end: Callable[[Verdict], None]
    ):
        self._store, self._rank, self._members, self._timeout_s, self._end = store, rank, members, timeout_s, end
        self._period = min(PERIOD_SECONDS, timeout_s / 10)
        store.set_timeout(timedelta(seconds=timeout_s))
        self._closed, self._judged = threading.Event(), threading.Event()
        self._verdict: Verdict | None = None
        self._suspicious = False
        now = time.monotonic()
        self._answered = now  # when the store did last
        self._signs = {number: (b"", now) for number in range(len(members)) if number != rank}
        self._descriptors = _descriptors(members, rank)
        for work in (self._talk, self._judge):
            threading.Thread(target=work, daemon=True, name="watch").start()

    def close(self) -> None:
        """Watch no longer: this process is about to end, of itself. After a failure, once the others know of it."""
        self._closed.set()
        if self._judged.is_set():
            time.sleep(READ_PERIODS * self._period)  # the store may end with this process

    def tell(self, what: str) -> None:
        """Let the others know that this process has failed."""
        self._pronounce(Verdict(self._rank, self._members[self._rank].host, what))

    def blame(self) -> Verdict | None:
        """Return whose fault it is that a collective failed; waits for the others' words. None if nobody knows."""
        self._suspicious = True
        self._judged.wait(BLAME_SECONDS)
        return self._verdict

    def _pronounce(self, verdict: Verdict) -> None:
        """Make a verdict everyone's; the first one counts."""
        if self._verdict is None:
            self._verdict = verdict
            threading.Thread(target=self._publish, args=(verdict,), daemon=True).start()
        self._judged.set()

    def _publish(self, verdict: Verdict) -> None:
        try:
            self._store.compare_set(_VERDICT, "", json.dumps(verdict))
        except RuntimeError:
            return  # the store's process is gone, which the others see too

    def _talk(self) -> None:
        """Give signs of life and take in the others', as long as the store answers."""
        mine = 0
        while not self._closed.is_set():
            mine += 1
            try:
                self._store.set(f"sign/{self._rank}", str(mine))
                if self._store.check([_VERDICT]):
                    self._verdict = self._verdict or Verdict(*json.loads(self._store.get(_VERDICT)))
                    self._judged.set()
                # One process watches all the others, and they it: of each the store then has a few requests to answer.
                of = list(self._signs) if self._rank == 0 or self._suspicious else [0]
                signs = self._store.multi_get([f"sign/{number}" for number in of])
            except RuntimeError:
                self._closed.wait(self._period)
                continue
            self._answered = now = time.monotonic()
            for number, sign in zip(of, signs, strict=True):
                if self._signs[number][0] != sign:
                    self._signs[number] = sign, now
            for number in self._signs.keys() - set(of):  # not looked at is not silent
                self._signs[number] = self._signs[number][0], now
            self._closed.wait(self._period)

    def _judge(self) -> None:
        """Find the process that is dead or silent; then end this one, if it does not end by itself."""
        while not self._closed.wait(self._period) and not self._judged.is_set():
            if (verdict := self._find()) is not None and not self._closed.wait(self._period):
                self._pronounce(verdict)
        if self._closed.wait(GRACE_SECONDS) or self._verdict is None:
            return
        if self._verdict.rank != self._rank:
            self._kill(self._verdict.rank)
            self._end(self._verdict)

    def _find(self) -> Verdict | None:
        for number, descriptor in self._descriptors.items():
            poll = select.poll()
            poll.register(descriptor, select.POLLIN)
            if poll.poll(0):
                return Verdict(number, self._members[number].host, "died")
        now = time.monotonic()
        patience = _PERIODS * self._period if self._suspicious else self._timeout_s
        if now - self._answered > patience:  # its store is torchrun's or rank 0's
            return Verdict(0, self._members[0].host, f"gave no answer for {now - self._answered:.0f} s")
        for number, (_, heard) in self._signs.items():
            if now - heard > patience:
                return Verdict(number, self._members[number].host, f"gave no sign of life for {now - heard:.0f} s")
        return None

    def _kill(self, number: int) -> None:
        """End a process of this machine that stands still: it would not end when told."""
        if number in self._descriptors:
            try:
                signal.pidfd_send_signal(self._descriptors[number], signal.SIGKILL)
            except OSError:
                return  # it is gone


def member() -> Member:
    """Return where this process is."""
    try:
        numbering = Path("/proc/sys/kernel/random/boot_id").read_text().strip() + str(
            Path("/proc/self/ns/pid").readlink()
        )
    except OSError:
        numbering = ""
    return Member(socket.gethostname(), os.getpid(), numbering)


def _descriptors(members: Sequence[Member], rank: int) -> dict[int, int]:
    """Descriptors of the other processes on this machine; none where the system has no such."""
    descriptors: dict[int, int] = {}
    for number, other in enumerate(members):
        if number != rank and other.numbering and other.numbering == members[rank].numbering:
            try:
                descriptors[number] = os.pidfd_open(other.pid)
            except (AttributeError, OSError):
                continue
    return descriptors


def store() -> Any | None:
    """Return the processes' common store, on a connection of its own; None where they have none that can be
    shared so.
    """
    try:
        common = dist.distributed_c10d._get_default_store().clone()
    except (RuntimeError, AttributeError, NotImplementedError, ValueError):
        return None
    _rounds.append(None)
    return dist.PrefixStore(f"watch/{len(_rounds)}", common)


_rounds: list[None] = []
"""The number of runs that this process has watched: each watch has names of its own in the store."""

"""Where the work of this process is, in memory that a watchdog shares.

A task says before each record, or slice of rows, which units it is at, so that a record that takes too much time or
memory, or brings the process down, is known at once. Where nobody watches, nothing is written. What is said costs half
a microsecond, so it can be said of every record.
"""

from __future__ import annotations

import mmap
import struct
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

THREADS = 32
"""Threads of a process that can say where they are; further ones are not heard."""
_HEAD = struct.Struct("<qq")  # units done, of how many
_DOING_BYTES = 256 - _HEAD.size
_SLOT = struct.Struct("<qqqqqqq")  # beat, thread, first unit, last unit, number, whether guarded, beat again
_PLACE_BYTES = 256 - _SLOT.size
SIZE = 256 * (1 + THREADS)
_UNPRINTABLE = dict.fromkeys((*range(32), *range(127, 160), *range(8203, 8304)), "�")


@dataclass(frozen=True)
class At:
    """What one thread is at."""

    beat: int  # changes with whatever it is at
    thread: int  # the system's number of it
    first: int
    last: int  # exclusive
    place: str
    is_guarded: bool  # whether the budgets of a record hold


@dataclass(frozen=True)
class Pulse:
    """What a process is at."""

    done: int = 0
    total: int = 0
    at: tuple[At, ...] = ()
    doing: str = ""  # what it does that is about no unit of its task
    threads: tuple[int, ...] = ()  # the system's numbers of all that have said something, at rest or not


class Heartbeat:
    """Writes where the threads of this process are."""

    def __init__(self, memory: mmap.mmap | bytearray):
        self._memory = memory
        self._lock = threading.Lock()
        self._slots: dict[int, list[int]] = {}  # thread -> where its slot begins, its last beat
        self.units: Mapping[str, int] = {}

    def clear(self) -> None:
        """Forget all."""
        self._memory[:] = bytes(SIZE)
        self._slots.clear()
        self.units = {}

    def say(self, first: int, last: int, number: int, is_guarded: bool) -> None:
        """Write that this thread is at these units."""
        slot = self._slots.get(threading.get_ident()) or self._new_slot()
        slot[1] += 1
        if slot[0]:
            beat = slot[1]
            _SLOT.pack_into(self._memory, slot[0], beat, slot[2], first, last, number, is_guarded, beat)

    def place(self, text: str) -> None:
        """Write what the numbers of this thread's units count, for people."""
        slot = self._slots.get(threading.get_ident()) or self._new_slot()
        if slot[0]:
            start = slot[0] + _SLOT.size
            self._memory[start : start + _PLACE_BYTES] = _pad(text, _PLACE_BYTES)

    def progress(self, done: int, total: int) -> None:
        """Say how many units of how many are done."""
        _HEAD.pack_into(self._memory, 0, done, total)

    def doing(self, text: str) -> None:
        """Write that the task is at something that is about no unit."""
        self._memory[_HEAD.size : 256] = _pad(text, _DOING_BYTES)

    def _new_slot(self) -> list[int]:
        with self._lock:
            number = len(self._slots)
            start = 256 * (1 + number) if number < THREADS else 0
            slot = [start, 0, threading.get_native_id()]
            self._slots[threading.get_ident()] = slot
            return slot


def _pad(text: str, size: int) -> bytes:
    return text.encode("utf-8", "replace")[:size].ljust(size, b"\0")


_current: Heartbeat | None = None


def attach(memory: mmap.mmap | bytearray | None) -> Heartbeat | None:
    """Have this process write where it is into this memory from now on, or nowhere."""
    global _current
    _current = None if memory is None else Heartbeat(memory)
    return _current


def at(unit: int, number: int = -1) -> None:
    """Say that this thread works on one unit, whose budgets hold. number: what people know it by."""
    if _current is not None:
        _current.say(unit, unit + 1, number, True)


def among(first: int, last: int, *, is_guarded: bool = True) -> None:
    """Say that this thread works on the units from `first` to before `last`."""
    if _current is not None:
        _current.say(first, last, -1, is_guarded)


def rest() -> None:
    """Say that this thread works on no unit."""
    if _current is not None:
        _current.say(0, 0, -1, False)


def place(text: str) -> None:
    """Say what this thread's next units are, for people: words that end in what the units' numbers count, or that say
    all.
    """
    if _current is not None:
        _current.place(text)


def progress(done: int, total: int) -> None:
    """Say how many units of how many are done."""
    if _current is not None:
        _current.progress(done, total)


@contextmanager
def doing(text: str) -> Iterator[None]:
    """Say, while the block runs, what the task does that is about none of its units: a query, an exchange."""
    if _current is None:
        yield
        return
    _current.doing(text)
    try:
        yield
    finally:
        _current.doing("")


def name_units(units: Mapping[str, int]) -> None:
    """Give the units of this task the names by which `working_on` knows them."""
    if _current is not None:
        _current.units = units


@contextmanager
def working_on(name: str) -> Iterator[None]:
    """Say, while the block runs, that this thread works on the unit of a name."""
    if _current is None:
        yield
        return
    _current.place(name)
    unit = _current.units.get(name, -1)
    _current.say(unit, unit + 1, -1, unit >= 0)
    try:
        yield
    finally:
        rest()


def read(memory: mmap.mmap | bytearray) -> Pulse:
    """Return what the process that writes into some memory is at; a thread in the middle of saying so is left out."""
    done, total = _HEAD.unpack_from(memory, 0)
    places, threads = [], []
    for start in range(256, SIZE, 256):
        beat, thread, first, last, number, is_guarded, again = _SLOT.unpack_from(memory, start)
        if not beat:
            break
        threads.append(thread)
        if beat == again and last > first:
            text = _text(bytes(memory[start + _SLOT.size : start + 256])) + (f"{number:,}" if number >= 0 else "")
            places.append(At(beat, thread, first, last, text, bool(is_guarded)))
    return Pulse(done, total, tuple(places), _text(bytes(memory[_HEAD.size : 256])), tuple(threads))


def _text(data: bytes) -> str:
    return data.rstrip(b"\0").decode("utf-8", "replace").translate(_UNPRINTABLE)

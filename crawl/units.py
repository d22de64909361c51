"""Records as units that are watched and can be left out one by one; see `dataset.heartbeat`.

A record has four numbers, so that what its reader meets behind it can be left out as well: the record, the bytes from
there to the next record that can be entered, and the rest of its piece.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TypeVar

from dataset import heartbeat

T = TypeVar("T")

NUMBERS = 4
SKIPPED, ENTERED_BEHIND, CUT_OFF = range(3)
SLOW_OF_A_HOST = 3
"""Pages of a host in one piece, or images of a host in one task, that may take too long before those that follow are
not tried: an honest site has none, and each costs its whole budget."""
_PIECE_BITS = 46  # four numbers for each byte of 16 TB


def first_unit(piece: int) -> int:
    """Return the first unit of a partition's piece by its place."""
    return piece << _PIECE_BITS


def place_of(unit: int) -> tuple[int, int, int]:
    """Return a unit's piece, its record's offset (or row), and what is left out of it."""
    within = unit & ((1 << _PIECE_BITS) - 1)
    return unit >> _PIECE_BITS, within // NUMBERS, within % NUMBERS


@dataclass
class Units:
    """The units of one piece.

    Args:
        base: the first one.
        only: those that a probe is about, which are then made rows of one by one.
        without: those that are left out.
        slow: those of them that took too long.
    """

    base: int = 0
    only: tuple[int, int] | None = None
    without: Collection[int] = ()
    slow: Collection[int] = ()
    before: int = 0  # bytes of the task's pieces before this one,
    start: int = 0  # where it begins,
    total: int = 0  # and bytes of all: 0 where records are not counted in bytes

    @property
    def is_probe(self) -> bool:
        """Whether each record is to be made rows of before the next is read."""
        return self.only is not None

    def begin(self, offset: int) -> bool:
        """Say that work on a record (or row) begins; whether it is to be done."""
        unit = self.base + NUMBERS * offset
        heartbeat.at(unit, offset)
        if self.total:
            heartbeat.progress(self.before + offset - self.start, self.total)
        return unit not in self.without and (self.only is None or self.only[0] <= unit < self.only[1])

    def took_too_long(self, offset: int) -> bool:
        """Whether a record is left out because it took too long."""
        return self.base + NUMBERS * offset in self.slow

    def among(self, first: int, last: int) -> None:
        """Say that work on what was read from one record to another begins."""
        heartbeat.among(self.base + NUMBERS * first, self.base + NUMBERS * last + 1)


def ingest_watched(ingest: Callable[[bytes], T], url: str, body: bytes) -> T:
    """Return what becomes of a URL's body; its watchdog knows the URL meanwhile."""
    with heartbeat.working_on(url):
        return ingest(body)

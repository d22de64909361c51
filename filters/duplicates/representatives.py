"""Who stands for whom, among rows of which some are alike: in their order, each stays unless one that stays is like it.

A round has the first row of each group stand for all that are like it, in all groups at once. That is all where few
rows of a group stay, as of a picture's copies. Where many do, rounds would compare all rows with each of them: a
hundred thousand, of which each is like the next alone, were five thousand million comparisons. What a few rounds have
left of a group is therefore halved: those that stay of the first half are joined with the second by keys, of which two
that are alike share one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from filters.images.perceptual import expand

Alike = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Whether rows i are like rows j: int64 (k,) twice → bool (k,). A row is like itself."""

_ROUNDS = 16
_FEW_ROWS = 128
"""So many are compared with one another, without keys."""
_BLOCK_ROWS = 65_536
"""Rows that are compared at a time."""
_JOINED_ROWS = 16_384
"""Rows that are joined at a time: of two million that stay, each meets some thirty by a key."""
_VALUES = 1 << 16


@dataclass(frozen=True)
class Key:
    """Sixteen bits of rows. Of two rows that are alike, one key has the same bits or, `but_one`, all but one of them.

    Args:
        of: rows, int64 (k,) → the places of those that have the key, int64 (m,), and its values, uint16 (m,).
        but_one: whether one bit may differ.
    """

    of: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
    but_one: bool = False


def representatives(group: np.ndarray, alike: Alike, keys: Sequence[Key]) -> np.ndarray:
    """Return the row that stands for each row of a group; its own number if it stands for itself. int64 (n,).

    Args:
        group: (n,), equal values adjacent; rows of two groups are not compared.
        alike: of two rows, first the later one.
        keys: what rows that are alike share.
    """
    representative = np.arange(len(group))
    left = representative
    for _ in range(_ROUNDS):
        if not len(left):
            break
        first = np.ones(len(left), dtype=bool)
        first[1:] = group[left[1:]] != group[left[:-1]]
        candidate = left[first][np.cumsum(first) - 1]
        gone = in_blocks(alike, left, candidate)
        representative[left[gone]] = candidate[gone]
        left = left[~gone]
    for rows in np.split(left, np.flatnonzero(np.diff(group[left])) + 1):
        _halve(rows, representative, alike, keys)
    return representative


def in_blocks(of: Callable[[np.ndarray, np.ndarray], np.ndarray], i: np.ndarray, j: np.ndarray) -> np.ndarray:
    """Return `of(i, j)` without its temporary arrays of all rows."""
    starts = range(0, max(1, len(i)), _BLOCK_ROWS)
    return np.concatenate([of(i[start : start + _BLOCK_ROWS], j[start : start + _BLOCK_ROWS]) for start in starts])


def _halve(rows: np.ndarray, representative: np.ndarray, alike: Alike, keys: Iterable[Key]) -> None:
    """Note who stands for some rows of one group, all of which stand for themselves so far."""
    if len(rows) <= _FEW_ROWS:
        _compare_all(rows, representative, alike)
        return
    first, second = np.split(rows, [len(rows) // 2])
    _halve(first, representative, alike, keys)
    by = _first_alike(second, first[representative[first] == first], alike, keys)
    is_gone = by < _NOBODY
    representative[second[is_gone]] = by[is_gone]
    _halve(second[~is_gone], representative, alike, keys)


def _compare_all(rows: np.ndarray, representative: np.ndarray, alike: Alike) -> None:
    later, earlier = np.tril_indices(len(rows), -1)
    is_like = np.zeros((len(rows), len(rows)), dtype=bool)
    is_like[later, earlier] = alike(rows[later], rows[earlier])
    stays = np.ones(len(rows), dtype=bool)
    for place in np.flatnonzero(is_like.any(axis=1)):
        by = is_like[place] & stays
        if by.any():
            representative[rows[place]] = rows[by.argmax()]
            stays[place] = False


_NOBODY = np.iinfo(np.int64).max


def _first_alike(rows: np.ndarray, staying: np.ndarray, alike: Alike, keys: Iterable[Key]) -> np.ndarray:
    """The first of the rows that stay that is like each row, or _NOBODY."""
    first = np.full(len(rows), _NOBODY)
    for key in keys:
        places, value = key.of(staying)
        mine, wanted = key.of(rows)
        entries = staying[places[np.argsort(value, kind="stable")]]
        count = np.bincount(value, minlength=_VALUES)
        start = np.cumsum(count) - count
        for flip in [0, *(1 << bit for bit in range(16))] if key.but_one else [0]:
            sought = wanted ^ np.uint16(flip)
            for low in range(0, len(sought), _JOINED_ROWS):
                block = sought[low : low + _JOINED_ROWS]
                for i, other in expand(start[block], count[block], entries):
                    place = mine[low + i]
                    is_like = alike(rows[place], other)
                    np.minimum.at(first, place[is_like], other[is_like])
    return first

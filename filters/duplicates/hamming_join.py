"""Rows whose hashes share a chunk and look alike, connected by verified edges: a join by Hamming distance.

Nearly all rows that share a chunk are strangers, so what counts is how fast strangers are told. A chunk's rows are
sorted, and a row is compared with the one k places on, for all rows at once and k = 1, 2, …: plain passes over words
that lie side by side, of which the first (one that does not hold the chunk) rules out all but one in 100,000. Large
groups are searched for crowds before: a picture that thousands of sites copied, each slightly changed, would otherwise
be millions of edges.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from filters.duplicates.components import least_node
from filters.images.perceptual import BLOCK_PAIRS, expand, within

CHUNK_BITS = 16
HALF_BITS = 8
_WORD_CHUNKS = 4  # chunks in a word of 64 bits
_BLOCK_ROWS = 16_384  # compared at a time: what the processor's cache holds
_CROWD_ROWS = 512
"""Rows of a group from which on it is searched for crowds; a smaller one has few enough pairs to compare all."""
_CROWD_ROUNDS = 4
_CROWD_SHARE = 64  # a group is searched on while a pivot takes more than one in so many
_HELD_EDGES = 4_000_000

Edges = tuple[np.ndarray, np.ndarray, np.ndarray]
"""a, b and their distance; int64 (m,) each."""


@dataclass(frozen=True)
class Likeness:
    """When two rows look alike."""

    max_hamming: int
    max_colour_distance: int
    bits: int = 256  # of the hash that are in use

    @property
    def halved(self) -> bool:
        """Whether two hashes at this distance may have no chunk in common.

        Of m chunks of 16 bits, hashes that differ in at most m - 1 bits share one (the pigeonhole principle); if they
        differ in at most 2m - 1, one chunk differs in at most one bit, so that one of its halves is shared, and the
        other differs in at most one bit.
        """
        return self.max_hamming >= self.bits // CHUNK_BITS


def connect(hashes: np.ndarray, colours: np.ndarray, chunk: np.ndarray, likeness: Likeness) -> Edges:
    """Return edges between rows of a chunk that look alike: enough of them to connect all that do, and no cycle.

    Args:
        hashes: uint64 (n, 4).
        colours: int16 (n, 3).
        chunk: uint8 (n,): which chunk of the hash brought the row here; the half of a chunk if the likeness is
            `halved`. All rows that share a chunk's value (a half's) must be here.

    Returns:
        Edges, of row numbers; every one is verified.
    """
    search = _Search(hashes, colours, likeness)
    for number in np.unique(chunk):
        search.chunk(int(number), np.flatnonzero(chunk == number))
    return search.answer()


@dataclass(frozen=True)
class _Groups:
    """Rows by the value of their chunk, the largest group first."""

    rows: np.ndarray  # int64 (n,)
    value: np.ndarray  # uint16 (groups,)
    start: np.ndarray  # int64 (groups,), into rows
    size: np.ndarray  # int64 (groups,), descending

    @staticmethod
    def of(rows: np.ndarray, value: np.ndarray) -> _Groups:
        order = np.argsort(value, kind="stable")  # of 16 bits: counted, not compared
        distinct, start, size = np.unique(value[order], return_index=True, return_counts=True)
        largest = np.argsort(-size, kind="stable")
        rows = rows[order][_ranges(start[largest], size[largest])]
        size = size[largest]
        return _Groups(rows, distinct[largest], np.cumsum(size) - size, size)

    def keep(self, mask: np.ndarray) -> _Groups:
        """The groups without the rows that the mask, bool (n,), lacks."""
        value = np.repeat(self.value, self.size)
        return _Groups.of(self.rows[mask], value[mask])


class _Search:
    def __init__(self, hashes: np.ndarray, colours: np.ndarray, likeness: Likeness):
        self.hashes, self.colours, self.likeness = hashes, colours, likeness
        self._words = likeness.bits // 64
        self._found: list[np.ndarray] = []
        self._held = 0
        self._buffer = np.empty(0, dtype=np.uint64), np.empty(0, dtype=np.uint8)

    def chunk(self, number: int, rows: np.ndarray) -> None:
        """Connect the rows of one chunk."""
        halved = self.likeness.halved
        place = number // 2 if halved else number
        word = place // _WORD_CHUNKS
        shift = np.uint64(64 - CHUNK_BITS * (place % _WORD_CHUNKS + 1))
        value = (self.hashes[rows, word] >> shift).astype(np.uint16)
        groups = _Groups.of(rows, value)
        crowds = _Crowds(self, groups)
        groups = groups if crowds.heads is None else groups.keep(crowds.heads)
        apart = (word + 1) % self._words  # chunks of other words differ in half of their bits
        column = self.hashes[groups.rows, apart]
        if not halved or number % 2 == 0:  # what shares both halves meets in either
            for a, b in self._neighbours(groups, column):
                self.verify(groups.rows[a], groups.rows[b])
        if halved:
            # An even half is the upper one: the bits that may differ are those of the other.
            first = 0 if number % 2 == 0 else HALF_BITS
            for bit in range(first, first + HALF_BITS):
                larger, smaller = _groups_one_bit_apart(groups, bit)
                for a, b in self._near_across_groups(groups, column, larger, smaller):
                    self.verify(groups.rows[a], groups.rows[b])
                crowds.note_across(groups, larger, smaller)
        crowds.finish()

    def _neighbours(self, groups: _Groups, column: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Places of `groups.rows` in one group whose words of the column are near; some across groups come along."""
        groups_above_one = int(np.searchsorted(-groups.size, -1))
        first = 0
        while first < groups_above_one:
            low = int(groups.start[first])
            last = max(first + 1, int(np.searchsorted(groups.start[:groups_above_one], low + _BLOCK_ROWS)))
            sizes = groups.size[first:last]
            ends = np.cumsum(sizes)
            longest = int(sizes[0])
            longer = np.searchsorted(-sizes, -np.arange(longest))  # groups with more than k rows
            block = column[low : low + int(ends[-1])]
            for k in range(1, longest):
                count = int(ends[longer[k] - 1]) - k
                near = self._near_words(block[:count], block[k : k + count])
                if len(near):
                    yield low + near, low + near + k
            first = last

    def _near_across_groups(
        self, groups: _Groups, column: np.ndarray, larger: np.ndarray, smaller: np.ndarray
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Places of `groups.rows` in pairs of groups whose words of the column are near."""
        order = np.argsort(-groups.size[smaller], kind="stable")
        larger, smaller = larger[order], smaller[order]
        place = _ranges(groups.start[larger], groups.size[larger])
        base = np.repeat(groups.start[smaller], groups.size[larger])
        limit = np.repeat(groups.size[smaller], groups.size[larger])
        for low in range(0, len(place), _BLOCK_ROWS):
            here = slice(low, low + _BLOCK_ROWS)
            left, right = place[here], base[here]
            mine = column[left]
            count = np.searchsorted(-limit[here], -np.arange(int(limit[low])))  # rows with more than k to compare with
            for k, most in enumerate(count.tolist()):
                near = self._near_words(mine[:most], column[right[:most] + k])
                if len(near):
                    yield left[near], right[near] + k

    def _near_words(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Where two words differ in at most max_hamming bits."""
        if len(self._buffer[0]) < len(a):
            self._buffer = np.empty(len(a), dtype=np.uint64), np.empty(len(a), dtype=np.uint8)
        differs, bits = self._buffer[0][: len(a)], self._buffer[1][: len(a)]
        np.bitwise_xor(a, b, out=differs)
        np.bitwise_count(differs, out=bits)
        return np.flatnonzero(bits <= self.likeness.max_hamming)

    def verify(self, a: np.ndarray, b: np.ndarray) -> None:
        """Note the pairs of rows that look alike."""
        near, distance = within(self.hashes, a, self.hashes, b, self.likeness.max_hamming)
        self.note(a[near], b[near], distance)

    def note(self, a: np.ndarray, b: np.ndarray, distance: np.ndarray) -> np.ndarray:
        """Which pairs of rows, at these distances, look alike; those of two different rows are edges."""
        apart = np.abs(self.colours[a] - self.colours[b]).max(axis=1, initial=0)
        like = (distance <= self.likeness.max_hamming) & (apart <= self.likeness.max_colour_distance)
        edge = like & (a != b)
        if edge.any():
            self._found.append(np.stack([a[edge], b[edge], distance[edge]]))
            self._held += int(edge.sum())
            if self._held > _HELD_EDGES:
                self._reduce()
        return like

    def _reduce(self) -> None:
        """Keep of the edges only what connects."""
        self._found = [np.stack(forest(*np.concatenate(self._found, axis=1)))]
        self._held = self._found[0].shape[1] // 2  # so that a forest of many edges is not made again and again

    def components(self) -> np.ndarray:
        """The least row that each row is connected to so far. int64 (n,)."""
        a, b, _ = self.answer()
        return least_node(len(self.hashes), a, b)

    def answer(self) -> Edges:
        """What was found so far, as a forest."""
        edges = np.concatenate([np.zeros((3, 0), dtype=np.int64), *self._found], axis=1)
        return forest(*edges)


class _Crowds:
    """The crowds of a chunk's large groups: pivots, and the rows that each covers.

    What looks like one pivot is connected by it, and is compared with nothing else, except with what may be like it
    elsewhere: a row that is like one that a pivot covers is within twice max_hamming of the pivot (the triangle
    inequality). These near misses are compared last, and only while the row and the pivot are not connected otherwise.
    """

    def __init__(self, search: _Search, groups: _Groups):
        self._search = search
        self.heads: np.ndarray | None = None  # bool, over groups.rows: rows that no pivot covers; None if that is all
        self._misses: list[np.ndarray] = []
        self._pivot, self._row = np.zeros((2, 0), dtype=np.int64)  # who covers whom, ordered by pivot
        large = int(np.searchsorted(-groups.size, -_CROWD_ROWS, side="right"))
        if large:
            self._cover(groups, large)

    def _cover(self, groups: _Groups, large: int) -> None:
        size = groups.size[:large]
        group = np.repeat(np.arange(large), size)
        left = np.arange(len(group))
        pivot = left.copy()
        round_ = 0
        while len(left):
            first = np.flatnonzero(np.diff(group[left], prepend=-1))
            count = np.diff(first, append=len(left))
            candidate = np.repeat(left[first], count)
            gone = self._note_near_pivot(groups.rows[left], groups.rows[candidate])
            pivot[left[gone]] = candidate[gone]
            took = np.add.reduceat(gone, first, dtype=np.int64) - 1  # the pivot is like itself
            round_ += 1
            goes_on = (took * _CROWD_SHARE > count) | (round_ < _CROWD_ROUNDS)
            left = left[~gone & np.repeat(goes_on, count)]
        covered = pivot != np.arange(len(pivot))
        if covered.any():
            self.heads = np.ones(len(groups.rows), dtype=bool)
            self.heads[: len(pivot)] = ~covered
            by, row = groups.rows[pivot[covered]], groups.rows[: len(pivot)][covered]
            order = np.argsort(by, kind="stable")
            self._pivot, self._row = by[order], row[order]

    def _note_near_pivot(self, row: np.ndarray, pivot: np.ndarray) -> np.ndarray:
        search = self._search
        near, distance = within(search.hashes, row, search.hashes, pivot, 2 * search.likeness.max_hamming)
        like = search.note(pivot[near], row[near], distance)
        self._misses.append(np.stack([pivot[near[~like]], row[near[~like]]]))
        answer = np.zeros(len(row), dtype=bool)
        answer[near[like]] = True
        return answer

    def note_across(self, groups: _Groups, larger: np.ndarray, smaller: np.ndarray) -> None:
        """Note the near misses between the crowds of a group and the rows of another."""
        if not len(self._pivot):
            return
        hub = np.zeros(len(groups.rows), dtype=bool)
        hub[np.isin(groups.rows, self._pivot)] = True
        hashes, most = self._search.hashes, self._search.likeness.max_hamming
        for left, right in ((larger, smaller), (smaller, larger)):
            place = _ranges(groups.start[left], groups.size[left])
            base, count = (np.repeat(values, groups.size[left]) for values in (groups.start[right], groups.size[right]))
            indices = np.flatnonzero(hub[place])
            for probe, head in expand(base[indices], count[indices], np.arange(len(groups.rows))):
                pivot, head_row = groups.rows[place[indices[probe]]], groups.rows[head]
                near, _ = within(hashes, pivot, hashes, head_row, 3 * most)  # pivot to its row, to another's, to its
                pivot, head_row = pivot[near], head_row[near]
                first, last = (np.searchsorted(self._pivot, head_row, side=side) for side in ("left", "right"))
                self._misses.append(np.stack([pivot, head_row]))
                for i, row in expand(first, last - first, self._row):
                    self._misses.append(np.stack([pivot[i], row]))

    def finish(self) -> None:
        """Compare the near misses with what the pivots that they missed cover."""
        search, most = self._search, self._search.likeness.max_hamming
        misses = np.concatenate([np.zeros((2, 0), dtype=np.int64), *self._misses], axis=1)
        misses = misses[:, np.isin(misses[0], self._pivot)]  # a pivot that covers nothing else has nothing to compare
        near, _ = within(search.hashes, misses[0], search.hashes, misses[1], 2 * most)
        misses = misses[:, near]
        start = np.searchsorted(self._pivot, misses[0])
        count = np.searchsorted(self._pivot, misses[0], side="right") - start
        while misses.shape[1]:
            component = search.components()
            open_ = component[misses[0]] != component[misses[1]]
            misses, start, count = misses[:, open_], start[open_], count[open_]
            block = max(1, int(np.searchsorted(np.cumsum(count), BLOCK_PAIRS, side="right")))
            for position, other in expand(start[:block], count[:block], self._row):
                search.verify(misses[1][:block][position], other)
            misses, start, count = misses[:, block:], start[block:], count[block:]


def _groups_one_bit_apart(groups: _Groups, bit: int) -> tuple[np.ndarray, np.ndarray]:
    """Groups whose values differ in this bit alone, the larger of each two first. int64 (pairs,) twice."""
    group_of = np.full(1 << CHUNK_BITS, -1, dtype=np.int64)
    group_of[groups.value] = np.arange(len(groups.value))
    clear = np.flatnonzero(groups.value & (1 << bit) == 0)
    other = group_of[groups.value[clear] | np.uint16(1 << bit)]
    clear, other = clear[other >= 0], other[other >= 0]
    return np.minimum(clear, other), np.maximum(clear, other)  # in the order of their sizes


def _ranges(start: np.ndarray, size: np.ndarray) -> np.ndarray:
    """start[0], …, start[0] + size[0] - 1, start[1], …; int64."""
    return np.arange(int(size.sum())) + np.repeat(start - (np.cumsum(size) - size), size)


def forest(a: np.ndarray, b: np.ndarray, distance: np.ndarray) -> Edges:
    """Return edges that connect what the given ones connect, without cycles: in each the most distant goes.

    Args:
        a, b, distance: int64 (m,), the ends any ids.

    Returns:
        Edges with a < b, ordered by (a, b).
    """
    node, end = np.unique(np.concatenate([a, b]), return_inverse=True)
    low, high = np.minimum(end[: len(a)], end[len(a) :]), np.maximum(end[: len(a)], end[len(a) :])
    order = np.lexsort((distance, high, low))
    low, high, distance = low[order], high[order], distance[order]
    new = np.ones(len(low), dtype=bool)
    new[1:] = (low[1:] != low[:-1]) | (high[1:] != high[:-1])
    from scipy.sparse import coo_array, csgraph  # as in `filters.duplicates.components`

    weights = (distance[new] + 1.0, (low[new], high[new]))  # a weight of 0 would be no edge
    tree = csgraph.minimum_spanning_tree(coo_array(weights, shape=(len(node), len(node))).tocsr()).tocoo()
    low, high = np.minimum(tree.row, tree.col), np.maximum(tree.row, tree.col)
    order = np.lexsort((high, low))
    return node[low[order]], node[high[order]], (tree.data[order] - 1).astype(np.int64)

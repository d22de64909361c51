"""Which queries of a list occur in which texts, exactly, for hundreds of thousands of queries.

The queries become one trie over *units*: a token's UTF-8 bytes, seven at a time, with an eighth byte that says how
many the unit holds or that the token goes on. All tokens of all texts then walk the trie together, one level a step,
each step a lookup in a hash index of numpy arrays. No step loops over rows, no hash stands in for a string, and the
answer depends on nothing but texts and queries.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from filters.tokens import Rule, Tokens, tokenize

_BLOCK_BYTES = 1 << 20  # texts are walked in blocks whose arrays fit a core's cache
_UNIT_BYTES = 7
_GOES_ON = np.uint64(8)  # the eighth byte of a unit whose token has more bytes
_KEEP = np.array([(1 << 8 * length) - 1 for length in range(_UNIT_BYTES + 1)], np.uint64)
_HASH_UNIT, _HASH_PARENT = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD6E8FEB86659FD93)  # odd, bits well mixed


@dataclass(frozen=True)
class MatchConfig:
    """Which query list, and what it means for a text to hold a query."""

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    queries: str = "builtin:en"
    """`builtin:NAME`, a Parquet file with a column `query`, or a text file with one query a line; a path or URL."""
    rule: Rule = "words"
    """`words`: whole words, whatever their case and Unicode form. `metaclip`: as MetaCLIP's substring matching."""

    def __post_init__(self) -> None:
        if self.rule not in get_args(Rule):
            raise ValueError(f"rule must be one of {', '.join(get_args(Rule))}, not {self.rule!r}")
        if not self.queries:
            raise ValueError("queries must name a query list, not be empty")


class _Index:
    """The trie's edges (parent, unit), looked up for whole arrays at once; edge i leads to state i + 1."""

    def __init__(self, parents: np.ndarray, units: np.ndarray):
        bits = max(1, int(2 * len(units)).bit_length())
        self._shift = np.uint64(64 - bits)
        buckets = self._bucket(parents, units)
        order = np.argsort(buckets, kind="stable")
        self._starts = np.searchsorted(buckets[order], np.arange((1 << bits) + 1)).astype(np.int32)
        # An empty bucket's start is read too: it is another bucket's edge, which cannot be the one sought, or this pad.
        self._parents = np.append(parents[order], np.int32(-1))
        self._units = np.append(units[order], np.uint64(0))
        self._children = np.append((order + 1).astype(np.int32), np.int32(0))

    def _bucket(self, parents: np.ndarray, units: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore"):
            mixed = units * _HASH_UNIT
            mixed ^= mixed >> np.uint64(29)
            mixed += parents.astype(np.uint64) * _HASH_PARENT
            return ((mixed * _HASH_UNIT) >> self._shift).astype(np.int64)

    def find(self, parents: np.ndarray, units: np.ndarray) -> np.ndarray:
        """The child of each (parent, unit), or 0. int32 (n,)."""
        buckets = self._bucket(parents, units)
        position = self._starts[buckets]
        children = self._child_at(position, parents, units)
        stop = self._starts[buckets + 1]
        sought = np.flatnonzero((children == 0) & (position + 1 < stop))
        while len(sought):
            position[sought] += 1
            children[sought] = self._child_at(position[sought], parents[sought], units[sought])
            sought = sought[(children[sought] == 0) & (position[sought] + 1 < stop[sought])]
        return children

    def _child_at(self, position: np.ndarray, parents: np.ndarray, units: np.ndarray) -> np.ndarray:
        same = self._units[position] == units
        same &= self._parents[position] == parents
        return self._children[position] * same


def _read(tokens: Tokens, token: np.ndarray, position: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The unit at a byte position of each token, uint64, and whether the token ends in it."""
    eight = np.ndarray(len(tokens.data) - 7, "<u8", tokens.data, strides=(1,))[position].astype(np.uint64, copy=False)
    left = tokens.ends[token] - position
    ends = left <= _UNIT_BYTES
    held = np.minimum(left, _UNIT_BYTES)
    return (eight & _KEEP[held]) | (np.where(ends, held.astype(np.uint64), _GOES_ON) << np.uint64(56)), ends


class Matcher:
    """Finds the queries of one list in texts.

    White space around and inside a query counts as one space. A query without a token matches nothing; of queries
    that the rule makes equal, each is found.
    """

    def __init__(self, queries: pa.Array | pa.ChunkedArray, rule: Rule = "words"):
        """Build the trie, for 275,000 queries in about a second.

        queries: string; a query's id is its index.
        """
        self.rule: Rule = rule
        self._size = len(queries)
        if isinstance(queries, pa.ChunkedArray):
            queries = queries.combine_chunks()
        collapsed = pc.replace_substring_regex(pc.utf8_trim_whitespace(queries.cast(pa.string())), r"\s+", " ")
        last_states, parents, units = _trie(tokenize(collapsed, rule), self._size, rule)
        self._index = _Index(parents, units)
        self._has_children = np.zeros(len(units) + 1, bool)
        self._has_children[parents] = True
        ids = np.flatnonzero(last_states)
        self._query_ids = ids[np.argsort(last_states[ids], kind="stable")]
        self._query_starts = np.searchsorted(last_states[self._query_ids], np.arange(len(units) + 2))

    def match(self, texts: pa.Array | pa.ChunkedArray) -> pa.ListArray:
        """The sorted, distinct ids of the queries that each text holds; a null text holds none. list<int32>."""
        array = texts.combine_chunks() if isinstance(texts, pa.ChunkedArray) else texts
        array = array.cast(pa.large_string())
        counts, ids = [np.zeros(1, np.int64)], [np.empty(0, np.int32)]
        for start, stop in _blocks(array):
            rows, found = self._walk(tokenize(array.slice(start, stop - start), self.rule))
            counts.append(np.bincount(rows, minlength=stop - start))
            ids.append(found)
        return pa.ListArray.from_arrays(
            pa.array(np.cumsum(np.concatenate(counts)), pa.int32()), pa.array(np.concatenate(ids), pa.int32())
        )

    def _walk(self, tokens: Tokens) -> tuple[np.ndarray, np.ndarray]:
        """All (row, query id), distinct and sorted."""
        token, position = np.arange(len(tokens.starts)), tokens.starts
        next_start, next_follows = np.append(tokens.starts, 0), np.append(tokens.follows, False)
        state = np.zeros(len(token), np.int32)
        found: list[np.ndarray] = []
        while len(token):
            units, ends = _read(tokens, token, position)
            state = self._index.find(state, units)
            known = np.flatnonzero(state)
            token, position, state, ends = token[known], position[known], state[known], ends[known]
            found.append(self._keys(tokens.rows[token[ends]], state[ends]))
            token = token + ends
            goes_on = np.flatnonzero(self._has_children[state] & (~ends | next_follows[token]))
            token, position, state, ends = token[goes_on], position[goes_on], state[goes_on], ends[goes_on]
            position = np.where(ends, next_start[token], position + _UNIT_BYTES)
        keys = np.sort(np.concatenate([np.empty(0, np.int64), *found]))
        keys = keys[np.diff(keys, prepend=-1) != 0]
        rows, ids = np.divmod(keys, max(1, self._size))
        return rows, ids.astype(np.int32)

    def _keys(self, rows: np.ndarray, states: np.ndarray) -> np.ndarray:
        """row * queries + query id, for every query that ends in a row's state."""
        first = self._query_starts[states]
        counts = self._query_starts[states + 1] - first
        place = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts - first, counts)
        return np.repeat(rows, counts) * self._size + self._query_ids[place]


def _trie(tokens: Tokens, size: int, rule: Rule) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The state in which each query ends (0: none), and the trie's edges; edge i leads to state i + 1."""
    last_states = np.zeros(size, np.int32)
    heads = np.flatnonzero(np.diff(tokens.rows, prepend=-1))
    tails = np.append(heads[1:], len(tokens.rows)) - 1
    if rule == "metaclip":  # spaces are added to the text, never to the query: a query with "x," in it matches nothing
        touching = (tokens.starts[1:] == tokens.ends[:-1]) & (tokens.rows[1:] == tokens.rows[:-1])
        held = ~np.isin(tokens.rows[heads], tokens.rows[1:][touching])
        heads, tails = heads[held], tails[held]
    token, position, state = heads, tokens.starts[heads], np.zeros(len(heads), np.int64)
    parents, units, states = [np.empty(0, np.int32)], [np.empty(0, np.uint64)], 0
    while len(token):
        unit, ends = _read(tokens, token, position)
        order = np.lexsort((unit, state))
        is_new = np.ones(len(order), bool)
        is_new[1:] = (np.diff(state[order]) != 0) | (unit[order][1:] != unit[order][:-1])
        parents.append(state[order][is_new].astype(np.int32))
        units.append(unit[order][is_new])
        state[order] = states + np.cumsum(is_new)
        states += int(is_new.sum())
        done = ends & (token == tails)
        last_states[tokens.rows[token[done]]] = state[done]
        token, position = token + (ends & ~done), position + _UNIT_BYTES
        position = np.where(ends, tokens.starts[token], position)
        token, position, state, tails = token[~done], position[~done], state[~done], tails[~done]
    return last_states, np.concatenate(parents), np.concatenate(units)


def _blocks(texts: pa.Array) -> list[tuple[int, int]]:
    """Ranges of rows of about _BLOCK_BYTES each, at least one row."""
    if not len(texts):
        return []
    offsets = np.frombuffer(texts.buffers()[1], np.int64, len(texts) + 1, texts.offset * 8)
    cuts = np.searchsorted(offsets, np.arange(offsets[0], offsets[-1], _BLOCK_BYTES)[1:])
    edges = np.unique(np.concatenate([[0], cuts, [len(texts)]]))
    return list(pairwise(edges.tolist()))


_built: dict[tuple[str, Rule], Matcher] = {}


def matcher(checksum: str, rule: Rule, load: Callable[[], pa.Table]) -> Matcher:
    """The matcher of a query list, built once in a process, which keeps only the last.

    checksum: of the list's content. load: gives the list, dataset.schema.QUERIES.
    """
    key = (checksum, rule)
    if key not in _built:
        _built.clear()
        _built[key] = Matcher(load()["query"], rule)
    return _built[key]

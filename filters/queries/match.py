"""Which queries of a list occur in which texts, exactly, for hundreds of thousands of queries.

The queries become one trie over *units*: a token's UTF-8 bytes, seven at a time, with an eighth byte that says how
many the unit holds or that the token goes on. All tokens of all texts then walk the trie together, one level a step,
each step a lookup in a hash index of numpy arrays. No step loops over rows, no hash stands in for a string, and the
answer depends on nothing but texts and queries.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from filters.queries.tokens import Rule, Tokens, tokenize

_BLOCK_BYTES = 1 << 19  # texts are walked in blocks whose arrays fit a core's cache
_UNIT_BYTES = 7
_GOES_ON = 8  # the eighth byte of a unit whose token has more bytes
_GLUED_BIT = np.uint64(60)  # of a token's first unit, if no space is before it: see Tokens.glued
_NEVER = np.uint64(1 << 61)  # in no unit
_KEEP = np.array([(1 << 8 * min(length, _UNIT_BYTES)) - 1 for length in range(_GOES_ON + 1)], np.uint64)
_ARRAYS = ("tags", "starts", "edges")  # of an _Index
_EMPTY, _SEVERAL = np.uint16(0), np.uint16(1)
_HASH_UNIT, _HASH_PARENT = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD6E8FEB86659FD93)  # odd, bits well mixed


STOPWORDS = Path(__file__).parents[1] / "data" / "stopwords_en.txt"
"""A file of English words that name nothing, one a line; `#` starts a comment line."""
OTHER = "other"
"""Where lists are of languages, the list of every language that has none of its own."""
_LANGUAGE = re.compile(r"[a-z]{2,3}(-[a-z]+)*|other")


@dataclass(frozen=True)
class MatchConfig:
    """Which query list, and what it means for a text to hold a query."""

    queries: str | Mapping[str, str] = "builtin:en"
    """`builtin:NAME`, a Parquet file with a column `query`, or a text file with one query a line; a path or URL.
    Or such a list for each language (`{en: builtin:en, de: de.parquet}`): a text is matched against the list of the
    language that the stage `text` measures, however unsure; if that has none, against the list `other`, and if there
    is none, it matches nothing. Codes are those of lid.176: `en`, `de`, `zh`, ..."""
    rule: Rule = "words"
    """`words`: whole words, whatever their case and Unicode form. `metaclip`: as MetaCLIP's substring matching.

    Alt texts are written like titles, and lists in lower case: of a thousand texts of LAION-400M and the built-in list,
    `words` finds a query in 993 and `metaclip` in 662, in the others nothing or only "of" and "with", because it reads
    "Smiling Cheshire Cat" without "cheshire cat". Whatever `metaclip` finds there `words` finds as well.
    """

    ignore_stopwords: bool = False
    """Whether a text whose only queries are stop words ("the", "of": filters/data/stopwords_en.txt) matches nothing.
    The paper's list holds them, being words that stand often enough in Wikipedia, and so does ours."""

    def __post_init__(self) -> None:
        if self.rule not in get_args(Rule):
            raise ValueError(f"rule must be one of {', '.join(get_args(Rule))}, not {self.rule!r}")
        if not self.queries:
            raise ValueError("queries must name a query list, not be empty")
        for language, name in {} if isinstance(self.queries, str) else self.queries.items():
            if not _LANGUAGE.fullmatch(language):
                raise ValueError(f"queries.{language} must be a language's code, such as de, or {OTHER}")
            if not name:
                raise ValueError(f"queries.{language} must name a query list, not be empty")


class _Index:
    """Edges (parent, unit) -> child of the trie, looked up for whole arrays at once."""

    def __init__(self, tags: np.ndarray, starts: np.ndarray, edges: np.ndarray):
        """The arrays as `made` makes them.

        tags: uint16 (buckets,), some bits of the hash of a bucket's only edge; _EMPTY, or _SEVERAL.
        starts: int32 (buckets + 1,), where a bucket's edges begin.
        edges: uint64 (edges, 2) or flat: the unit, and parent << 32 | child.
        """
        self.tags, self.starts, self.edges = tags, starts, edges.reshape(-1, 2)
        self._shift = _shift(len(self.edges))

    @staticmethod
    def built(parents: np.ndarray, units: np.ndarray, children: np.ndarray) -> _Index:
        """Sort edges into buckets of their hash."""
        hashes = _hash(parents, units)
        buckets = hashes >> _shift(len(units))
        order = np.argsort(buckets, kind="stable")
        size = 1 << (64 - int(_shift(len(units))))
        starts = np.searchsorted(buckets[order], np.arange(size + 1, dtype=np.uint64)).astype(np.int32)
        tags = np.zeros(size, np.uint16)
        tags[buckets] = _tag(hashes)
        tags[np.diff(starts) > 1] = _SEVERAL
        links = parents.astype(np.uint64) << np.uint64(32) | children.astype(np.uint64)
        return _Index(tags, starts, np.stack([units[order], links[order]], axis=1))

    def find(self, parents: np.ndarray | np.int32, units: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Which of the (parent, unit) are edges, int64, ascending; and their children, int64.

        One parent may be given for all.
        """
        hashes = _hash(parents, units)
        buckets = (hashes >> self._shift).view(np.int64)
        tags = self.tags.take(buckets)
        sought = np.flatnonzero((tags == _tag(hashes)) | (tags == _SEVERAL))  # few that are no edge
        buckets = buckets.take(sought)
        position = self.starts.take(buckets)
        units = units.take(sought)
        if isinstance(parents, np.ndarray):
            parents = parents.take(sought)
        children = self._child_at(position, parents, units)
        missed = np.flatnonzero(children == 0)
        while len(missed):
            position[missed] += 1
            missed = missed[position[missed] < self.starts[buckets[missed] + 1]]
            ours = parents[missed] if isinstance(parents, np.ndarray) else parents
            children[missed] = self._child_at(position[missed], ours, units[missed])
            missed = missed[children[missed] == 0]
        hits = np.flatnonzero(children)
        return sought.take(hits), children.take(hits)

    def _child_at(self, position: np.ndarray, parents: np.ndarray | np.int32, units: np.ndarray) -> np.ndarray:
        edges = self.edges.take(position, axis=0)
        links = edges[:, 1].view(np.int64)
        same = edges[:, 0] == units
        same &= (links >> 32) == parents
        return (links & 0xFFFFFFFF) * same


def _shift(edges: int) -> np.uint64:
    return np.uint64(64 - max(1, int(2 * edges).bit_length()))


def _hash(parents: np.ndarray | np.int32, units: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        mixed = units * _HASH_UNIT
        mixed ^= mixed >> np.uint64(29)
        mixed += parents.astype(np.uint64) * _HASH_PARENT
        mixed *= _HASH_UNIT
        return mixed


def _tag(hashes: np.ndarray) -> np.ndarray:
    return (hashes >> np.uint64(16)).astype(np.uint16) | np.uint16(2)  # neither _EMPTY nor _SEVERAL


def _read(words: np.ndarray, ends: np.ndarray, position: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The unit at each byte position, uint64, and whether its token ends in it.

    words: the texts' bytes as uint64; ends: of each position's token.
    """
    word_index, shift = position >> 3, ((position & 7) << 3).view(np.uint64)
    units = words.take(word_index) >> shift
    units |= words.take(word_index + 1) << np.uint64(1) << (np.uint64(63) - shift)
    held = np.minimum(ends - position, _GOES_ON)
    units &= _KEEP.take(held)
    units |= held.view(np.uint64) << np.uint64(56)
    return units, held < _GOES_ON


def _words(data: np.ndarray) -> np.ndarray:
    """Bytes as little-endian uint64, and one more, so that eight bytes can be read at any position."""
    padded = np.zeros((len(data) + 7 & ~7) + 8, np.uint8)
    padded[: len(data)] = data
    return padded.view("<u8").astype(np.uint64, copy=False)


class Matcher:
    """Finds the queries of one list in texts.

    White space around and inside a query counts as one space. A query without a token matches nothing; of queries
    that the rule makes equal, each is found.
    """

    def __init__(self, queries: pa.Array | pa.ChunkedArray, rule: Rule = "words"):
        """Build the trie, for half a million queries in about a second.

        queries: string; a query's id is its index.
        """
        self.rule: Rule = rule
        self._size = len(queries)
        if isinstance(queries, pa.ChunkedArray):
            queries = queries.combine_chunks()
        collapsed = pc.replace_substring_regex(pc.utf8_trim_whitespace(queries.cast(pa.string())), r"\s+", " ")
        last_states, parents, units = _trie(tokenize(collapsed, rule), self._size, rule)
        states = len(units) + 1
        goes_on, ends = np.zeros(states, bool), np.zeros(states, bool)
        goes_on[parents] = True
        ends[last_states] = True
        # States are numbered anew, so that a comparison tells what they are: the root, those in which a query ends and
        # others go on, those in which none ends, and those in which none goes on.
        kind = np.where(goes_on, np.where(ends, 1, 2), 3)
        kind[0] = 0
        number = np.empty(states, np.int32)
        number[np.argsort(kind, kind="stable")] = np.arange(states, dtype=np.int32)
        self._first_inner, self._first_leaf = np.searchsorted(np.sort(kind), [2, 3]).tolist()
        parents, children, last_states = number[parents], number[1:], number[last_states]
        at_root = parents == 0
        self._roots = _Index.built(parents[at_root], units[at_root], children[at_root])
        self._edges = _Index.built(parents[~at_root], units[~at_root], children[~at_root])
        ids = np.flatnonzero(last_states)
        self._query_ids = ids[np.argsort(last_states[ids], kind="stable")].astype(np.int32)
        starts = np.searchsorted(last_states[self._query_ids], np.arange(states + 1))
        self._query_starts = starts.astype(np.int32)

    def to_arrow(self) -> pa.Buffer:
        """Return the matcher as an Arrow IPC file, which `from_arrow` reads in place: processes that map it
        share it.
        """
        arrays = [getattr(index, name).ravel() for index in (self._roots, self._edges) for name in _ARRAYS]
        arrays += [self._query_ids, self._query_starts]
        lists = [
            pa.LargeListArray.from_arrays(pa.array([0, len(array)], pa.int64()), pa.array(array)) for array in arrays
        ]
        about = {"rule": self.rule, "numbers": f"{self._size} {self._first_inner} {self._first_leaf}"}
        table = pa.table(lists, names=[str(number) for number in range(len(lists))]).replace_schema_metadata(about)
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
        return sink.getvalue()

    @classmethod
    def from_arrow(cls, data: pa.Buffer) -> Matcher:
        """Return the matcher that `to_arrow` wrote, without a copy of its arrays."""
        table = pa.ipc.open_file(data).read_all()
        arrays = [column.chunk(0).flatten().to_numpy() for column in table.columns]
        built = cls.__new__(cls)
        about = table.schema.metadata
        built.rule = about[b"rule"].decode()
        built._size, built._first_inner, built._first_leaf = map(int, about[b"numbers"].split())
        built._roots, built._edges = _Index(*arrays[:3]), _Index(*arrays[3:6])
        built._query_ids, built._query_starts = arrays[6:]
        return built

    def match(self, texts: pa.Array | pa.ChunkedArray) -> pa.ListArray:
        """Return the sorted, distinct ids of the queries that each text holds; a null text holds none. list<int32>."""
        array = texts.combine_chunks() if isinstance(texts, pa.ChunkedArray) else texts
        array = array.cast(pa.large_string())
        counts, ids = [np.zeros(1, np.int64)], [np.empty(0, np.int32)]
        for start, stop in _blocks(array):
            rows, query_ids = self._walk(tokenize(array.slice(start, stop - start), self.rule))
            counts.append(np.bincount(rows, minlength=stop - start))
            ids.append(query_ids)
        return pa.ListArray.from_arrays(
            pa.array(np.cumsum(np.concatenate(counts)), pa.int32()), pa.array(np.concatenate(ids), pa.int32())
        )

    def _walk(self, tokens: Tokens) -> tuple[np.ndarray, np.ndarray]:
        """All (row, query id), distinct and sorted."""
        words, follows = _words(tokens.data), np.append(tokens.follows, False)
        first_units, first_ends = _read(words, tokens.ends, tokens.starts)
        cut_off: np.ndarray | None = None  # whether a token that needs a space after it has none
        if tokens.glued is not None and tokens.alone is not None:
            needs_space = np.flatnonzero(tokens.glued & ~tokens.alone)
            first_units[needs_space] |= _NEVER
            token, state = self._roots.find(np.int32(0), first_units)
            first_units[needs_space] ^= _NEVER
            first_units[tokens.glued] |= np.uint64(1) << _GLUED_BIT
            cut_off = ~tokens.alone & np.append(tokens.glued[1:], False)
        else:
            token, state = self._roots.find(np.int32(0), first_units)
        ends, depth = first_ends.take(token), np.zeros(len(token), np.int64)  # depth: of the unit, bytes in its token
        matches: list[np.ndarray] = []
        while len(token):
            at_end, inside = np.flatnonzero(ends), np.flatnonzero(~ends)
            last, after = token.take(at_end), state.take(at_end)
            held = np.flatnonzero((after < self._first_inner) | (after >= self._first_leaf))
            if cut_off is not None:
                held = held[~cut_off.take(last.take(held))]
            matches.append(self._keys(tokens.rows.take(last.take(held)), after.take(held)))
            last += 1
            goes_on = np.flatnonzero((after < self._first_leaf) & follows.take(last))
            following, token, depth = last.take(goes_on), token.take(inside), depth.take(inside) + _UNIT_BYTES
            units, ends = _read(words, tokens.ends.take(token), tokens.starts.take(token) + depth)
            token = np.concatenate([following, token])
            ends = np.concatenate([first_ends.take(following), ends])
            depth = np.concatenate([np.zeros(len(following), np.int64), depth])
            known, state = self._edges.find(
                np.concatenate([after.take(goes_on), state.take(inside)]),
                np.concatenate([first_units.take(following), units]),
            )
            token, ends, depth = token.take(known), ends.take(known), depth.take(known)
        keys = np.sort(np.concatenate([np.empty(0, np.int64), *matches]))
        keys = keys.take(np.flatnonzero(np.diff(keys, prepend=-1)))
        rows = keys // max(1, self._size)  # np.divmod takes four times as long
        return rows, (keys - rows * self._size).astype(np.int32)

    def _keys(self, rows: np.ndarray, states: np.ndarray) -> np.ndarray:
        """row * queries + query id, for every query that ends in a row's state; one does at least."""
        first = self._query_starts.take(states)
        counts = self._query_starts.take(states + 1) - first
        keys = rows * self._size + self._query_ids.take(first)
        several = np.flatnonzero(counts > 1)
        if not len(several):
            return keys
        more = counts[several] - 1
        place = np.arange(more.sum()) - np.repeat(np.cumsum(more) - more - first[several] - 1, more)
        return np.concatenate([keys, np.repeat(rows[several], more) * self._size + self._query_ids[place]])


def _trie(tokens: Tokens, size: int, rule: Rule) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The state in which each query ends (0: none), and the trie's edges; edge i leads to state i + 1."""
    last_states = np.zeros(size, np.int32)
    heads = np.flatnonzero(np.diff(tokens.rows, prepend=-1))
    tails = np.append(heads[1:], len(tokens.rows)) - 1
    if rule == "metaclip":  # spaces are added to the text, never to the query: a query with "x," in it matches nothing
        touching = (tokens.starts[1:] == tokens.ends[:-1]) & (tokens.rows[1:] == tokens.rows[:-1])
        if tokens.glued is not None:
            touching &= ~tokens.glued[1:]
        held = ~np.isin(tokens.rows[heads], tokens.rows[1:][touching])
        heads, tails = heads[held], tails[held]
    words, token, position, state = _words(tokens.data), heads, tokens.starts[heads], np.zeros(len(heads), np.int64)
    parents, units, states = [np.empty(0, np.int32)], [np.empty(0, np.uint64)], 0
    while len(token):
        unit, ends = _read(words, tokens.ends[token], position)
        if tokens.glued is not None:
            unit |= (tokens.glued[token] & (position == tokens.starts[token])).astype(np.uint64) << _GLUED_BIT
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


def match_by_language(texts: pa.Array, languages: pa.Array, lists: Mapping[str, tuple[Matcher, int]]) -> pa.ListArray:
    """Return the sorted, distinct ids of the queries that each text holds, of its language's list. list<int32> (n,).

    Args:
        texts: string (n,).
        languages: string (n,), of the texts.
        lists: a matcher for each language, and for OTHER if there is a list for all others; with its first query's id.
    """
    names = list(lists)
    chosen = pc.index_in(languages, value_set=pa.array(names, pa.string()))
    list_of = pc.fill_null(chosen, names.index(OTHER) if OTHER in lists else len(names)).to_numpy()
    order = np.argsort(list_of, kind="stable")
    edges = np.searchsorted(list_of[order], np.arange(len(names) + 2))
    counts, ids = [], []
    for (matcher, first), start, stop in zip(lists.values(), edges, edges[1:], strict=False):
        query_ids = matcher.match(texts.take(pa.array(order[start:stop])))
        counts.append(pc.list_value_length(query_ids).to_numpy())
        ids.append(query_ids.flatten().to_numpy() + np.int32(first))
    counts.append(np.zeros(int(edges[-1] - edges[-2]), np.int32))  # of languages without a list
    ends = np.cumsum(np.concatenate([np.zeros(1, np.int64), *counts]))
    together = pa.ListArray.from_arrays(pa.array(ends, pa.int32()), pa.array(np.concatenate(ids), pa.int32()))
    return together.take(pa.array(np.argsort(order, kind="stable")))

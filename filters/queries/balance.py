"""Balance: at most t pairs a query, as in CLIP's WIT (Radford et al. 2021, section 2.2), by a vector of cutoffs.

Two readings of it:

`cap`: a query with n ≤ t pairs keeps them all. Of a fuller one, the t pairs of the smallest hash fill it; the t-th
smallest hash is its *cutoff*. A pair stays if any of its queries is not full, or if its hash is within the cutoff of
any: a pair is only dropped when every query that it matches has enough without it. So a query may end with more than t
pairs, but each one beyond its own t fills another query. The hash is `dataset.ids.order_hash`, one per pair and seed.

`sample`: MetaCLIP's (Xu et al. 2023, algorithm 1). Each match of a query with n > t pairs is drawn with probability
t/n, each of another always, and a pair stays if any of its matches is drawn. A draw is a hash of (seed, pair_id,
query_id), its cutoff t/n of the hashes' range. A query is expected to draw t pairs, and keeps what others draw besides.

No query's rows are ever gathered: counts first, then (for `cap`) only the hashes among which the cutoff must lie, about
t + 6√t a query; then each partition decides alone. So the result does not depend on order or partitions, and the
result at t lies within that at any larger t over the same pairs. Pairs of equal hash share their fate.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dataset.ids import hash64, mix64
from dataset.query import sql
from dataset.schema import VERDICTS

COUNTS = pa.schema([("query_id", pa.int32()), ("count", pa.int64())])
WINDOWS = pa.schema([*COUNTS, ("cap", pa.int64()), ("window", pa.uint64())])
COLLECTED = pa.schema([("query_id", pa.int32()), ("hash", pa.uint64())])
CUTOFFS = pa.schema([*COUNTS, ("cap", pa.int64()), ("cutoff", pa.uint64())])
"""Queries of more than cap pairs; a null cutoff: the window was too narrow to tell (see widen)."""
_NEAREST = pa.schema([("row", pa.uint32()), ("hash", pa.uint64()), *CUTOFFS])

Mode = Literal["cap", "sample"]

_ALL = np.uint64(2**64 - 1)
_SIGMAS = 6
_SLACK = 24  # for small t, where a count is Poisson and not yet normal: at t = 1 a window misses once in e^31


@dataclass(frozen=True)
class BalanceConfig:
    """How many pairs each query keeps."""

    cap: int = 20_000
    """How many pairs a query may keep, t in the paper: CLIP's is 20,000 at 400 million pairs."""
    per_language: bool = False
    """Whether each language has a cap of its own, where `match.queries` has a list for each: `cap` is English's, and
    every other language's leaves the same share of its matches to queries that are not full; see
    `filters.queries.language_caps`."""
    caps: Mapping[str, int] = field(default_factory=dict)
    """The caps of single languages, by their code in `match.queries`, in place of `cap` or of what `per_language` would
    give."""
    mode: Mode = "cap"
    """How a full query chooses: `cap` keeps the t pairs of the smallest hash; `sample` keeps each of its n matches with
    probability t/n, as MetaCLIP does. By either, a pair stays if one of its queries keeps it."""

    def __post_init__(self) -> None:
        if self.mode not in get_args(Mode):
            raise ValueError(f"mode must be one of {', '.join(get_args(Mode))}, not {self.mode!r}")
        if self.cap < 1:
            raise ValueError(f"cap must be at least 1, not {self.cap}")
        for language, cap in self.caps.items():
            if cap < 1:
                raise ValueError(f"caps.{language} must be at least 1, not {cap}")


def _explode(query_ids: pa.Array | pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """Row index (int64) and query id (int32) of every match."""
    lists = query_ids.combine_chunks() if isinstance(query_ids, pa.ChunkedArray) else query_ids
    return pc.list_parent_indices(lists).to_numpy(), pc.list_flatten(lists).to_numpy()


def _find(ids: np.ndarray, query: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where each query stands among ascending ids, and whether it does."""
    if not len(ids):
        return np.zeros(len(query), dtype=np.int64), np.zeros(len(query), dtype=bool)
    indices = np.minimum(np.searchsorted(ids, query), len(ids) - 1)
    return indices, ids[indices] == query


def counts(query_ids: pa.Array | pa.ChunkedArray) -> pa.Table:
    """Return pairs per query of one partition.

    Args:
        query_ids: list<int32> (n,), sorted and distinct ids per pair.

    Returns:
        COUNTS, ordered by query_id; add up over partitions.
    """
    count = np.bincount(_explode(query_ids)[1])
    query = np.flatnonzero(count)
    return pa.table([query.astype(np.int32), count[query]], schema=COUNTS)


def windows(counts: pa.Table, t: int | np.ndarray) -> pa.Table:
    """Return the window of each query of more than t pairs: the hashes among which its t-th smallest lies.

    Args:
        counts: COUNTS over all partitions, distinct and ascending ids.
        t: pairs that fill a query; one for all, or of each row of `counts`, int64 (n,).

    Returns:
        WINDOWS, ordered by query_id: hashes up to and with `window` are to be collected.
    """
    full, cap = _full_queries(counts, t)
    share = _expected_hashes(cap) / full.column("count").to_numpy()
    window = np.where(share < 1, (np.minimum(share, 1 - 2.0**-53) * 2.0**64).astype(np.uint64), _ALL)
    return pa.table([*full.columns, cap, window], schema=WINDOWS)


def _full_queries(counts: pa.Table, t: int | np.ndarray) -> tuple[pa.Table, np.ndarray]:
    """COUNTS of the queries of more than t pairs, and the t of each."""
    caps = np.broadcast_to(np.asarray(t, np.int64), counts.num_rows)
    is_full = counts.column("count").to_numpy() > caps
    return counts.select(COUNTS.names).filter(pa.array(is_full)), caps[is_full]


def bucket_of_query(windows: pa.Table, hashes_per_bucket: int) -> np.ndarray:
    """Return a bucket for each query of WINDOWS, in their order, so that at most so many hashes are collected for one,
    or one query's. int64, every bucket from 0 to the last.
    """
    expected = np.minimum(_expected_hashes(windows.column("cap").to_numpy()).astype(np.int64), hashes_per_bucket)
    bucket = np.zeros(len(expected), np.int64)
    number, room = 0, hashes_per_bucket
    for query, hashes in enumerate(expected.tolist()):
        if hashes > room:
            number, room = number + 1, hashes_per_bucket
        bucket[query] = number
        room -= hashes
    return bucket


def _expected_hashes(t: np.ndarray) -> np.ndarray:
    """Hashes that a window is made to hold, for each t."""
    return np.maximum(1.0, t + _SIGMAS * np.sqrt(t) + _SLACK)


def collect(query_ids: pa.Array | pa.ChunkedArray, hashes: np.ndarray, windows: pa.Table) -> pa.Table:
    """Return one partition's hashes within the windows.

    Args:
        query_ids: list<int32> (n,).
        hashes: uint64 (n,), by dataset.ids.order_hash.
        windows: WINDOWS, ordered by query_id.

    Returns:
        COLLECTED, ordered by (query_id, hash).
    """
    row, query = _explode(query_ids)
    hash_ = hashes[row]
    indices, full = _find(windows.column("query_id").to_numpy(), query)
    keep = full.copy()
    keep[full] = hash_[full] <= windows.column("window").to_numpy()[indices[full]]
    query, hash_ = query[keep], hash_[keep]
    order = np.lexsort((hash_, query))
    return pa.table([query[order], hash_[order]], schema=COLLECTED)


def cutoffs(collected: pa.Table, windows: pa.Table) -> pa.Table:
    """Return the exact t-th smallest hash of each query that has more than t pairs.

    Args:
        collected: COLLECTED of all partitions, in any order.
        windows: the WINDOWS that they were collected with.

    Returns:
        CUTOFFS, ordered by query_id. A query whose window held fewer than t hashes (by chance, once in billions) has a
        null cutoff: widen() its window, collect again, and call this again.

    Raises:
        ValueError: all hashes of a query were collected, and are fewer than t: the counts are of other pairs.
    """
    hash_ = collected.column("hash").to_numpy()
    query = collected.column("query_id").to_numpy()
    order = np.lexsort((hash_, query))
    hash_, query = hash_[order], query[order]
    ids = windows.column("query_id").to_numpy()
    first = np.searchsorted(query, ids, side="left")
    cap = windows.column("cap").to_numpy()
    enough = np.searchsorted(query, ids, side="right") - first >= cap
    whole = windows.column("window").to_numpy() == _ALL
    if (whole & ~enough).any():
        raise ValueError(f"query {ids[whole & ~enough][0]} was counted with more pairs than were collected")
    cutoff = np.zeros(len(ids), dtype=np.uint64)
    cutoff[enough] = hash_[first[enough] + cap[enough] - 1]
    return pa.table([*windows.drop_columns("window").columns, pa.array(cutoff, mask=~enough)], schema=CUTOFFS)


def widen(windows: pa.Table, cutoffs: pa.Table) -> pa.Table:
    """Return the same WINDOWS, those that gave a null cutoff twice as wide."""
    window = windows.column("window").to_numpy()
    doubled = np.where(window > _ALL // np.uint64(2), _ALL, window * np.uint64(2))
    missed = cutoffs.column("cutoff").is_null().to_numpy()
    return windows.set_column(3, WINDOWS.field("window"), pa.array(np.where(missed, doubled, window)))


def sample_cutoffs(counts: pa.Table, t: int | np.ndarray) -> pa.Table:
    """Return the CUTOFFS of the mode `sample`: a draw up to and with the cutoff has a probability of t/n.

    Args:
        counts: COUNTS (or WINDOWS) over all partitions, distinct and ascending ids.
        t: pairs that fill a query; one for all, or of each row of `counts`, int64 (n,).
    """
    full, cap = _full_queries(counts, t)
    cutoff = (cap / full.column("count").to_numpy() * 2.0**64).astype(np.uint64) - np.uint64(1)
    return pa.table([*full.columns, cap, cutoff], schema=CUTOFFS)


def salt_of(stage: str, seed: int) -> int:
    """Return the salt of a stage's draws, so that two stages draw independently."""
    return hash64(seed, stage)


def draws(hashes: np.ndarray, query: np.ndarray, salt: int) -> np.ndarray:
    """Return a uniform, independent hash of each match. uint64 (n,).

    Args:
        hashes: uint64 (n,), by dataset.ids.order_hash of the match's pair.
        query: int32 (n,), its query.
        salt: another one gives other draws.
    """
    return mix64(hashes ^ mix64(query.astype(np.uint64), salt), salt)


def decide(rows: pa.Table, cutoffs: pa.Table, mode: Mode = "cap", salt: int = 0) -> pa.Table:
    """Give the verdict `query_full` to the pairs that no query keeps: by the mode `cap` those beyond the cutoff of
    every query that they match, by `sample` those that no query draws.

    A pair without any query stays: none of its queries is full.

    Args:
        rows: columns row, query_ids (sorted and distinct), hash; of one partition.
        cutoffs: CUTOFFS, without nulls; by cutoffs() or sample_cutoffs().
        mode: as BalanceConfig.mode.
        salt: of the draws.

    Returns:
        VERDICTS, ordered by row. Evidence: of the pair's queries, the one that came nearest to keeping it, its count,
        and the rank that the hash gives the pair there, estimated as count · hash / 2^64.

    Raises:
        ValueError: a cutoff is null.
    """
    if cutoffs.column("cutoff").null_count:
        raise ValueError("a query has no cutoff yet: widen its window first")
    measures = nearest_query(rows, cutoffs, mode, salt)
    return sql.run(sql.load("decisions/balance"), {"measures": measures}).cast(VERDICTS)


def nearest_query(rows: pa.Table, cutoffs: pa.Table, mode: Mode = "cap", salt: int = 0) -> pa.Table:
    """Return the query that comes nearest to keeping each pair whose queries are all full; of equals the one of the
    least id.

    In the mode `cap` that is the query of the largest cutoff; in the mode `sample` one that draws the pair, or else the
    one whose draw is the least, as a multiple of its cutoff. Arguments as for decide().

    Returns:
        row, hash (in the mode `sample` the draw), query_id, count, cap, cutoff; ordered by row as given.
    """
    at_row, query = _explode(rows.column("query_ids"))
    indices, full = _find(cutoffs.column("query_id").to_numpy(), query)
    open_ = np.zeros(rows.num_rows, dtype=bool)
    open_[at_row[~full]] = True
    judged = ~open_[at_row]
    at_row, indices, query = at_row[judged], indices[judged], query[judged]
    cutoff = cutoffs.column("cutoff").to_numpy()[indices]
    hash_ = rows.column("hash").to_numpy()[at_row]
    if mode == "sample":
        hash_ = draws(hash_, query, salt)
        far = np.where(hash_ <= cutoff, 0.0, hash_ / np.maximum(cutoff, np.uint64(1)))
    else:
        far = _ALL - cutoff
    starts = np.flatnonzero(np.diff(at_row, prepend=-1))
    if not len(starts):
        return _NEAREST.empty_table()
    least = np.repeat(np.minimum.reduceat(far, starts), np.diff(starts, append=len(at_row)))
    ties = np.flatnonzero(far == least)  # by row, then by id
    best = ties[np.flatnonzero(np.diff(at_row[ties], prepend=-1))]
    row = rows.column("row").take(pa.array(at_row[best]))
    chosen = cutoffs.take(pa.array(indices[best]))
    return pa.table([row, hash_[best], *chosen.columns], schema=_NEAREST)

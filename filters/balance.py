"""Balance: at most t pairs a query, as in CLIP's WIT (Radford et al. 2021, section 2.2), by a vector of cutoffs.

A query with n ≤ t pairs keeps them all. Of a fuller one, the t pairs of the smallest hash fill it; the t-th smallest
hash is its *cutoff*. A pair stays if any of its queries is not full, or if its hash is within the cutoff of any: a pair
is only dropped when every query that it matches has enough without it. So a query may end with more than t
pairs, but each one beyond its own t fills another query.

No query's rows are ever gathered: counts first, then only the hashes among which the cutoff must lie (about
t + 6√t a query), then each partition decides alone. The hash is `dataset.ids.order_hash`, one per pair and seed,
so the result does not depend on order or partitions, and the result at t lies within that at any larger t over
the same pairs. Pairs of equal hash share their fate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dataset import sql
from dataset.schema import VERDICTS

COUNTS = pa.schema([("query_id", pa.int32()), ("count", pa.int64())])
WINDOWS = pa.schema([*COUNTS, ("window", pa.uint64())])
COLLECTED = pa.schema([("query_id", pa.int32()), ("hash", pa.uint64())])
CUTOFFS = pa.schema([*COUNTS, ("cap", pa.int64()), ("cutoff", pa.uint64())])
"""Queries of more than cap pairs; a null cutoff: the window was too narrow to tell (see widen)."""
_NEAREST = pa.schema([("row", pa.uint32()), ("hash", pa.uint64()), *CUTOFFS])

_ALL = np.uint64(2**64 - 1)
_SIGMAS = 6
_SLACK = 24  # for small t, where a count is Poisson and not yet normal: at t = 1 a window misses once in e^31


@dataclass(frozen=True)
class BalanceConfig:
    """How many pairs a query may have."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    cap: int = 20_000
    """t: pairs that fill a query; CLIP's is 20,000 at 400 million pairs."""

    def __post_init__(self) -> None:
        if self.cap < 1:
            raise ValueError(f"cap must be at least 1, not {self.cap}")


def _explode(query_ids: pa.Array | pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """Row index (int64) and query id (int32) of every match."""
    lists = query_ids.combine_chunks() if isinstance(query_ids, pa.ChunkedArray) else query_ids
    return pc.list_parent_indices(lists).to_numpy(), pc.list_flatten(lists).to_numpy()


def _find(ids: np.ndarray, query: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where each query stands among ascending ids, and whether it does."""
    if not len(ids):
        return np.zeros(len(query), dtype=np.int64), np.zeros(len(query), dtype=bool)
    at = np.minimum(np.searchsorted(ids, query), len(ids) - 1)
    return at, ids[at] == query


def counts(query_ids: pa.Array | pa.ChunkedArray) -> pa.Table:
    """Pairs per query of one partition.

    Args:
        query_ids: list<int32> (n,), distinct ids per pair.

    Returns:
        COUNTS, ordered by query_id; add up over partitions.
    """
    query, count = np.unique(_explode(query_ids)[1], return_counts=True)
    return pa.table([query, count], schema=COUNTS)


def windows(counts: pa.Table, t: int) -> pa.Table:
    """For each query of more than t pairs, the hashes among which its t-th smallest lies.

    Args:
        counts: COUNTS over all partitions, distinct and ascending ids.
        t: pairs that fill a query.

    Returns:
        WINDOWS, ordered by query_id: hashes up to and with `window` are to be collected.
    """
    full = counts.filter(pc.greater(counts.column("count"), t))
    count = full.column("count").to_numpy()
    share = (t + _SIGMAS * np.sqrt(t) + _SLACK) / count
    window = np.where(share < 1, (np.minimum(share, 1 - 2.0**-53) * 2.0**64).astype(np.uint64), _ALL)
    return pa.table([full.column("query_id"), full.column("count"), window], schema=WINDOWS)


def collect(query_ids: pa.Array | pa.ChunkedArray, hashes: np.ndarray, windows: pa.Table) -> pa.Table:
    """One partition's hashes within the windows.

    Args:
        query_ids: list<int32> (n,).
        hashes: uint64 (n,), by dataset.ids.order_hash.
        windows: WINDOWS, ordered by query_id.

    Returns:
        COLLECTED, ordered by (query_id, hash).
    """
    row, query = _explode(query_ids)
    hash_ = hashes[row]
    at, full = _find(windows.column("query_id").to_numpy(), query)
    keep = full.copy()
    keep[full] = hash_[full] <= windows.column("window").to_numpy()[at[full]]
    query, hash_ = query[keep], hash_[keep]
    order = np.lexsort((hash_, query))
    return pa.table([query[order], hash_[order]], schema=COLLECTED)


def cutoffs(collected: pa.Table, windows: pa.Table, t: int) -> pa.Table:
    """The exact t-th smallest hash of each query that has more than t pairs.

    Args:
        collected: COLLECTED of all partitions, in any order.
        windows: the WINDOWS that they were collected with.
        t: as given to windows().

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
    enough = np.searchsorted(query, ids, side="right") - first >= t
    whole = windows.column("window").to_numpy() == _ALL
    if (whole & ~enough).any():
        raise ValueError(f"query {ids[whole & ~enough][0]} was counted with more pairs than were collected")
    cutoff = np.zeros(len(ids), dtype=np.uint64)
    cutoff[enough] = hash_[first[enough] + t - 1]
    return pa.table(
        [windows.column("query_id"), windows.column("count"), np.full(len(ids), t), pa.array(cutoff, mask=~enough)],
        schema=CUTOFFS,
    )


def widen(windows: pa.Table, cutoffs: pa.Table) -> pa.Table:
    """The same WINDOWS, those that gave a null cutoff twice as wide."""
    window = windows.column("window").to_numpy()
    doubled = np.where(window > _ALL // np.uint64(2), _ALL, window * np.uint64(2))
    missed = cutoffs.column("cutoff").is_null().to_numpy()
    return windows.set_column(2, WINDOWS.field("window"), pa.array(np.where(missed, doubled, window)))


def decide(rows: pa.Table, cutoffs: pa.Table) -> pa.Table:
    """`query_full` for the pairs beyond the cutoff of every query that they match.

    A pair without any query stays: none of its queries is full.

    Args:
        rows: columns row, query_ids, hash; of one partition.
        cutoffs: CUTOFFS, without nulls.

    Returns:
        VERDICTS, ordered by row. Evidence: of the pair's queries, the one that came nearest to keeping it, its count,
        and the rank that the hash gives the pair there, estimated as count · hash / 2^64.

    Raises:
        ValueError: a cutoff is null.
    """
    if cutoffs.column("cutoff").null_count:
        raise ValueError("a query has no cutoff yet: widen its window first")
    measures = nearest(rows, cutoffs)
    return sql.run(sql.load("decisions/balance"), {"measures": measures}).cast(VERDICTS)


def nearest(rows: pa.Table, cutoffs: pa.Table) -> pa.Table:
    """For each pair all of whose queries are full, the query of the largest cutoff (of equals, the least id).

    Arguments as for decide().

    Returns:
        row, hash, query_id, count, cap, cutoff; ordered by row as given.
    """
    at_row, query = _explode(rows.column("query_ids"))
    at, full = _find(cutoffs.column("query_id").to_numpy(), query)
    open_ = np.zeros(rows.num_rows, dtype=bool)
    open_[at_row[~full]] = True
    judged = ~open_[at_row]
    at_row, at = at_row[judged], at[judged]
    cutoff = cutoffs.column("cutoff").to_numpy()[at]
    starts = np.flatnonzero(np.diff(at_row, prepend=-1))
    if not len(starts):
        return _NEAREST.empty_table()
    highest = np.repeat(np.maximum.reduceat(cutoff, starts), np.diff(starts, append=len(at_row)))
    ties = np.flatnonzero(cutoff == highest)
    ties = ties[np.lexsort((query[judged][ties], at_row[ties]))]
    best = ties[np.flatnonzero(np.diff(at_row[ties], prepend=-1))]
    pairs = rows.select(["row", "hash"]).take(pa.array(at_row[best]))
    chosen = cutoffs.take(pa.array(at[best]))
    return pa.table([*pairs.columns, *chosen.columns], schema=_NEAREST)

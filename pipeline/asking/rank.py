"""Where a pair stands among all pairs of a full query, by the order in which the balance lets them pass."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from dataset.ids import order_hash
from dataset.query.sql import identifier
from dataset.query.views import Dataset
from dataset.schema import PAIR_ID
from dataset.stages import Stage, judging_stages
from filters.queries.balance import draws, salt_of

COUNTED = 5_000_000
"""The most rows of a stage of which the rank is counted; of more it is estimated unless somebody asks for the
exact one: the queries of all rows are looked at for it, which takes some 0.5 CPU seconds a million.
"""
_SOURCES = {
    "candidates": "SELECT partition, row, pair_id, query_ids FROM _matches JOIN _candidates USING (partition, row)",
    "pairs": "SELECT partition, row, pair_id, query_ids FROM _pairs",
}


def rank_of(
    dataset: Dataset, stage: Stage, pair_id: bytes, evidence: Mapping[str, Any], *, exact: bool = False
) -> str | None:
    """Return the rank in words; None if the evidence tells of none.

    exact: count it, however many rows the stage has.
    """
    if not {"count", "cap", "estimated_rank"} <= evidence.keys():
        return None
    settings = dict(dataset.ask("SELECT key, value FROM settings WHERE key IN ('seed', 'balance.mode')").fetchall())
    is_drawn = settings.get("balance.mode", "cap") == "sample"
    rank = None
    rows = dataset.manifest.get("funnel", {}).get(stage.name, {}).get("input", 0)
    if stage.judges is not None and rows > 0 and (exact or rows <= COUNTED) and settings.get("seed", "0").isdecimal():
        pairs = _pairs_of(dataset, stage, evidence["query_id"])
        if len(pairs) == evidence["count"]:  # else what the query had then is not known any more
            pair = pa.array([pair_id], PAIR_ID)
            place, seed = (stage.name if is_drawn else None), int(settings.get("seed", "0"))
            first = _order(pairs, evidence["query_id"], seed, place) <= _order(pair, evidence["query_id"], seed, place)
            rank = int(np.count_nonzero(first))
    rank_ = f"about {evidence['estimated_rank']:,}" if rank is None else f"{rank:,}"
    room = f"{evidence['cap']:,} are expected to be drawn" if is_drawn else f"the first {evidence['cap']:,} have room"
    return f"{rank_} of {evidence['count']:,} pairs, by {'draw' if is_drawn else 'hash'}; {room}"


def _pairs_of(dataset: Dataset, stage: Stage, query_id: int) -> pa.ChunkedArray:
    """The pair_ids of a query's pairs among those that came so far as a stage."""
    assert stage.judges is not None
    before = [one.name for one in judging_stages(stage.judges)]
    statement = f"SELECT * FROM ({_SOURCES[stage.judges]}) WHERE list_contains(query_ids, $query)"  # noqa: S608
    for name in before[: before.index(stage.name)]:
        statement = f"SELECT * FROM ({statement}) ANTI JOIN {identifier(f'_{name}_verdicts')} USING (partition, row)"  # noqa: S608
    counted = f"SELECT pair_id FROM ({statement})"  # noqa: S608
    pairs: pa.Table = dataset.sql(counted, params={"query": query_id}).to_arrow_table()
    return pairs.column(0).cast(PAIR_ID)


def _order(pair_ids: pa.Array | pa.ChunkedArray, query_id: int, seed: int, stage: str | None) -> np.ndarray:
    """Return what the pairs of a query stand in line by: their hashes, or the draws of a stage. uint64 (n,)."""
    hashes = order_hash(pair_ids, seed)
    return hashes if stage is None else draws(hashes, np.full(len(hashes), query_id, np.int32), salt_of(stage, seed))

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
from dataset.stages import Stage, judging

COUNTED = 5_000_000
"""Of a stage with more rows the rank is estimated, which takes no time: all pairs of the query are looked at for it."""
_SOURCES = {
    "candidates": "SELECT partition, row, pair_id, query_ids FROM _matches JOIN _candidates USING (partition, row)",
    "pairs": "SELECT partition, row, pair_id, query_ids FROM _pairs",
}


def rank_of(dataset: Dataset, stage: Stage, pair_id: bytes, evidence: Mapping[str, Any]) -> str | None:
    """The rank in words, exact where that is cheap; None if the evidence tells of none."""
    if not {"count", "cap", "estimated_rank"} <= evidence.keys():
        return None
    exact = _counted(dataset, stage, pair_id, evidence)
    rank_ = f"about {evidence['estimated_rank']:,}" if exact is None else f"{exact:,}"
    return f"{rank_} of {evidence['count']:,} pairs, by hash; the first {evidence['cap']:,} have room"


def _counted(dataset: Dataset, stage: Stage, pair_id: bytes, evidence: Mapping[str, Any]) -> int | None:
    """The rank from 1; None where it is not counted, or what the query had then is not known any more."""
    rows = dataset.manifest.get("funnel", {}).get(stage.name, {}).get("input", 0)
    settings = dict(dataset.ask("SELECT key, value FROM settings WHERE key IN ('seed', 'balance.mode')").fetchall())
    if stage.judges is None or not 0 < rows <= COUNTED or settings.get("balance.mode", "cap") != "cap":
        return None
    if not settings.get("seed", "0").isdecimal():
        return None
    before = [one.name for one in judging(stage.judges)]
    statement = f"SELECT * FROM ({_SOURCES[stage.judges]}) WHERE list_contains(query_ids, $query)"  # noqa: S608
    for name in before[: before.index(stage.name)]:
        statement = f"SELECT * FROM ({statement}) ANTI JOIN {identifier(f'_{name}_verdicts')} USING (partition, row)"  # noqa: S608
    counted = f"SELECT pair_id FROM ({statement})"  # noqa: S608
    rows_found: pa.Table = dataset.sql(counted, params={"query": evidence["query_id"]}).to_arrow_table()
    found = rows_found.column(0).cast(PAIR_ID)
    if found.length() != evidence["count"]:
        return None
    seed = int(settings.get("seed", "0"))
    (own,) = order_hash(pa.array([pair_id], PAIR_ID), seed)
    return int(np.count_nonzero(order_hash(found, seed) <= own))

"""`wit balance`: what other caps would give, from what a dataset has already measured; nothing is written.

The rows are read a partition at a time, three times: pairs a query, the hashes near each cap's cutoffs, what each cap
would keep. The cap's mode and the seed are the dataset's own, so that a cap's answer is what a run with it would keep.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dataset.ids import order_hash
from dataset.ledger.damage import read_table
from dataset.query.views import Dataset
from dataset.stages import Rows, names, path
from filters.queries import balance, language_caps
from filters.queries.balance import BalanceConfig
from pipeline.config_errors import ConfigError
from pipeline.engine.verdicts import alive_in
from pipeline.reports import dataset_config

Balance = Literal["prebalance", "balance"]
CURVE = pa.schema(
    [
        ("cap", pa.int64()),
        ("queries", pa.int64()),  # with a pair at least
        ("full_queries", pa.int64()),  # with more pairs than the cap
        ("percent_of_matches_in_tail", pa.float64()),  # matches of the queries that are not full
        ("pairs", pa.int64()),  # before the balance
        ("kept", pa.int64()),
        ("percent_kept", pa.float64()),
        ("largest_query_kept", pa.int64()),  # pairs that the query with the most of them keeps
    ]
)


def curve(out: str, caps: Sequence[int], before: Balance | None = None) -> pa.Table:
    """Return what each cap would give. CURVE, a row a cap, in the order given.

    Args:
        out: a dataset.
        caps: values of balance.cap.
        before: the balance whose input is asked about: `prebalance`, all matched pairs, which no cap has touched; or
            `balance`, what the filters have left. By default `balance` if the dataset has come so far.

    Raises:
        ConfigError: a cap is below 1, or the dataset has not come so far.
        FileNotFoundError: there is no dataset.
    """
    for cap in caps:
        if cap < 1:
            raise ConfigError(f"a cap must be at least 1, not {cap}")
    dataset = Dataset(out)
    config = dataset_config.section(dataset.storage, "balance", BalanceConfig)
    seed, mode = dataset_config.seed(dataset.storage), config.mode
    stage: Balance = before or ("balance" if _has_come_to(dataset, "balance") else "prebalance")
    if not _has_come_to(dataset, stage):
        raise ConfigError(f"{out} has not come to {stage} yet; `wit status {out}` shows how far it is")
    counts = _sum([balance.counts(rows["query_ids"]) for rows in _partitions(dataset, stage, seed)])
    caps_of = {cap: _caps(dataset, stage, counts, replace(config, cap=cap)) for cap in caps}
    cutoffs = _cutoffs(dataset, stage, seed, mode, counts, caps_of)
    salt = balance.salt_of(stage, seed)
    pairs, kept = 0, dict.fromkeys(caps, 0)
    left: dict[int, list[pa.Table]] = {cap: [] for cap in caps}
    for rows in _partitions(dataset, stage, seed):
        pairs += len(rows)
        for cap, table in cutoffs.items():
            full = balance.decide(rows, table, mode, salt).column("row")
            stays = rows.filter(pc.invert(pc.is_in(rows["row"], value_set=full.combine_chunks())))
            kept[cap] += len(stays)
            left[cap] = [_sum([*left[cap], balance.counts(stays["query_ids"])])]
    count = counts.column("count").to_numpy()
    return pa.table(
        {
            "cap": caps,
            "queries": [len(count)] * len(caps),
            "full_queries": [int((count > caps_of[cap]).sum()) for cap in caps],
            "percent_of_matches_in_tail": [_percent(count[count <= caps_of[cap]].sum(), count.sum()) for cap in caps],
            "pairs": [pairs] * len(caps),
            "kept": [kept[cap] for cap in caps],
            "percent_kept": [_percent(kept[cap], pairs) for cap in caps],
            "largest_query_kept": [pc.max(_sum(left[cap]).column("count")).as_py() or 0 for cap in caps],
        },
        schema=CURVE,
    )


def _caps(dataset: Dataset, stage: Balance, counts: pa.Table, config: BalanceConfig) -> np.ndarray:
    """The t of each row of COUNTS, where the cap is another."""
    if not config.per_language and not config.caps:
        return np.full(len(counts), config.cap, np.int64)
    (listed,) = dataset.files("queries").values()
    queries = read_table(dataset.storage, listed, ["query_id", "language"])
    matched = counts
    if stage == "balance":  # t follows from the counts before the first balance
        (before,) = dataset.files("matched_counts").values()
        matched = read_table(dataset.storage, before)
    caps = language_caps.language_caps(matched, queries, config.cap, config.caps, per_language=config.per_language)
    return language_caps.caps_of(counts, queries, caps)


def _cutoffs(
    dataset: Dataset, stage: Balance, seed: int, mode: balance.Mode, counts: pa.Table, caps_of: Mapping[int, np.ndarray]
) -> dict[int, pa.Table]:
    """The CUTOFFS of each cap."""
    if mode == "sample":
        return {cap: balance.sample_cutoffs(counts, caps) for cap, caps in caps_of.items()}
    cutoffs: dict[int, pa.Table] = {}
    windows = {cap: balance.windows(counts, caps) for cap, caps in caps_of.items()}
    while windows:
        hashes: dict[int, list[pa.Table]] = {cap: [] for cap in windows}
        for rows in _partitions(dataset, stage, seed):
            for cap, window in windows.items():
                hashes[cap].append(balance.collect(rows["query_ids"], rows["hash"].to_numpy(), window))
        for cap in list(windows):
            collected = pa.concat_tables([balance.COLLECTED.empty_table(), *hashes[cap]])
            cutoffs[cap] = balance.cutoffs(collected, windows[cap])
            if cutoffs[cap].column("cutoff").null_count:
                windows[cap] = balance.widen(windows[cap], cutoffs[cap])
            else:
                del windows[cap]
    return cutoffs


def _partitions(dataset: Dataset, stage: Balance, seed: int) -> Iterator[pa.Table]:
    """row, query_ids and hash of the pairs that came to a balance, by partition."""
    judged: Rows = "candidates" if stage == "prebalance" else "pairs"
    columns = ["pair_id"] if judged == "candidates" else ["pair_id", "query_ids"]
    verdicts, matches = dataset.verdicts(judged, before=stage), dataset.files("matches")
    for partition, file in dataset.files(judged).items():
        table = read_table(dataset.storage, file, columns)
        rows = alive_in(dataset.storage, file, len(table), verdicts[partition])
        ids = table.take(pa.array(rows))
        if stage == "prebalance":
            matched = read_table(dataset.storage, matches[partition])
            indices = np.searchsorted(matched["row"].to_numpy(), rows)
            ids = ids.append_column("query_ids", matched["query_ids"].combine_chunks().take(pa.array(indices)))
        yield pa.table({"row": rows, "query_ids": ids["query_ids"], "hash": order_hash(ids["pair_id"], seed)})


def _has_come_to(dataset: Dataset, balance: Balance) -> bool:
    """Whether the stage before a balance has decided."""
    return dataset.is_decided(path()[names().index(balance) - 1])


def _sum(tables: Sequence[pa.Table]) -> pa.Table:
    """COUNTS added up, ordered by query."""
    together = pa.concat_tables([balance.COUNTS.empty_table(), *tables])
    total = together.group_by("query_id", use_threads=False).aggregate([("count", "sum")])
    return total.rename_columns(["query_id", "count"]).select(balance.COUNTS.names).sort_by("query_id")


def _percent(part: float, whole: float) -> float | None:
    return round(100 * float(part) / float(whole), 2) if whole else None

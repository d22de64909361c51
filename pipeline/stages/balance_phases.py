"""Both balances, before the download at t × oversample and after the filters at t: counts, a cutoff vector, verdicts.

No query's rows are ever gathered in one place; see `filters.queries.balance`. By the mode `cap` both balances order
pairs by the same hash, so that the second keeps what the first did at t. By the mode `sample` each has draws of its
own: of what the first has kept, a query is expected to draw t pairs once more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from dataset.ids import order_hash, pair_ids, words64
from dataset.ledger.commits import Commit
from dataset.schema import CAPS, QUERIES, VERDICTS
from dataset.stages import Stage
from filters.queries import balance
from filters.queries import language_caps as caps
from pipeline.config import to_builtins
from pipeline.engine.artifacts import RowTable
from pipeline.engine.contract import Roles, roles
from pipeline.engine.exchanges.exchange import bucket_count, bucket_of, write_buckets
from pipeline.engine.exchanges.gathering import exchange, fold_tables
from pipeline.engine.phase import Context, Input, Phase, Result, Task, all_files, phase
from pipeline.engine.run import Run
from pipeline.engine.verdicts import alive_rows, verdict_result
from pipeline.stages.artifacts import LANGUAGE_CAPS, QUERY_LIST

HASHES_PER_BUCKET = 8_000_000
"""Hashes that one task sorts to find cutoffs: some 500 MB."""
ROWS_PER_HOST_BUCKET = 20_000_000
"""So many rows have their hosts counted by one task: 600 MB if each has a host of its own."""
COUNTS = pa.schema([("query_id", pa.int32()), ("count", pa.int64())])
HOSTS = pa.schema([("host", pa.string()), ("count_all", pa.int64())])


def matched_queries(context: Context, rows: pa.Table) -> pa.Array:
    """Return the query ids of alive candidate rows, from the `matches` beside them. list<int32> (n,)."""
    matches = context.table("matches")
    indices = np.searchsorted(matches.column("row").to_numpy(), rows.column("row").to_numpy())
    return matches.column("query_ids").combine_chunks().take(pa.array(indices))


def _rows(context: Context) -> pa.Table:
    """row, pair_id and query_ids of the alive rows, and their hash."""
    if "matches" in context.task.inputs:
        rows = alive_rows(context, ["pair_id", "host"])
        rows = rows.append_column("query_ids", matched_queries(context, rows))
    else:
        rows = alive_rows(context, ["pair_id", "host", "query_ids"])
    return rows.append_column("hash", pa.array(order_hash(rows.column("pair_id"), context.options["seed"])))


def _buckets(windows: pa.Table) -> np.ndarray:
    return balance.bucket_of_query(windows, HASHES_PER_BUCKET)


def sum_counts(parts: Sequence[pa.Table]) -> pa.Table:
    """Return COUNTS, added up, by query."""
    table = pa.concat_tables([COUNTS.empty_table(), *(part.select(COUNTS.names).cast(COUNTS) for part in parts)])
    total = table.group_by("query_id", use_threads=False).aggregate([("count", "sum")])
    return total.rename_columns(["query_id", "count"]).select(COUNTS.names).sort_by("query_id")


def added_up(context: Context) -> pa.Table:
    """Return COUNTS of all partitions, added up."""
    return sum_counts(context.table_list("counts"))


def _caps(context: Context, counts: pa.Table) -> int | np.ndarray:
    """t of all queries, or of each."""
    if "caps" not in context.task.inputs:
        return int(context.options["cap"])
    queries = context.table("queries", ["query_id", "language"])
    return caps.caps_of(counts, queries, context.table("caps"), context.options["oversample"])


def _hosts(rows: pa.Table, dropped: pa.ChunkedArray) -> pa.Table:
    """How many rows of each host are left."""
    import pyarrow.compute as pc

    left = rows.filter(pc.invert(pc.is_in(rows.column("row"), value_set=dropped.combine_chunks())))
    return left.group_by("host", use_threads=False).aggregate([([], "count_all")]).sort_by("host").cast(HOSTS)


def _count(context: Context) -> Result:
    """Pairs per query in this partition."""
    counts = balance.counts(_rows(context).column("query_ids").combine_chunks())
    return Result().table("counts", counts, COUNTS)


def _windows(context: Context) -> Result:
    """Pairs per query in all, and for full queries the hashes among which the cutoff must lie."""
    total = added_up(context)
    window = balance.windows(total, _caps(context, total))
    result = Result(facts={"buckets": int(_buckets(window).max(initial=-1)) + 1})
    return result.table("counts", total, COUNTS).table("windows", window)


def _collect(context: Context) -> Result:
    """This partition's hashes within the windows, by the bucket of their query."""
    rows, window = _rows(context), context.concat("windows", balance.WINDOWS)
    hashes = balance.collect(rows.column("query_ids").combine_chunks(), rows.column("hash").to_numpy(), window)
    indices = np.searchsorted(window.column("query_id").to_numpy(), hashes.column("query_id").to_numpy())
    return Result(buckets={"hashes": write_buckets(hashes, _buckets(window)[indices])})


def _cutoffs(context: Context) -> Result:
    """The exact cutoff of each full query of a bucket."""
    window = context.concat("windows", balance.WINDOWS)
    if context.options["mode"] == "sample":
        return Result().table("cutoffs", balance.sample_cutoffs(window, window["cap"].to_numpy()))
    window = window.filter(pa.array(_buckets(window) == context.task.partition))
    cut = balance.cutoffs(context.concat("hashes", balance.COLLECTED), window)
    result = Result(facts={"missed": cut.column("cutoff").null_count}).table("cutoffs", cut)
    return result.table("windows", balance.widen(window, cut))


def _decide(context: Context) -> Result:
    """`query_full` for pairs beyond the cutoff of each of their queries."""
    rows = _rows(context)
    verdicts = balance.decide(
        rows.select(["row", "query_ids", "hash"]),
        context.concat("cutoffs", balance.CUTOFFS),
        context.options["mode"],
        balance.salt_of(context.stage.name, context.options["seed"]),
    )
    result = verdict_result(context, rows, verdicts)
    hosts = _hosts(rows, verdicts.column("row"))
    bucket = bucket_of(words64(pair_ids(hosts["host"], hosts["host"]))[:, 0], context.options["buckets"])
    result.buckets["hosts"] = write_buckets(hosts, bucket)
    return result


class Balanced(NamedTuple):
    """What a balance has counted."""

    counts: Input  # pairs of each query before it
    commits: Sequence[Commit]  # with an exchange `hosts`: the rows of each host that a partition keeps
    host_buckets: int  # of that exchange


@dataclass(frozen=True)
class Balancing:
    """The phases of one of the two balances."""

    count: Phase
    windows: Phase
    collect: Phase
    cutoffs: Phase
    decide: Phase
    caps: Phase | None = None  # the first balance finds the t of each language, for both

    @classmethod
    def declare(
        cls,
        stage: Stage,
        rows: Roles,
        *,
        count: str,
        windows: str,
        collect: str,
        cutoffs: str,
        decide: str,
        caps: Phase | None = None,
    ) -> Balancing:
        """Return the phases of a stage, by their names.

        rows: what tells the alive rows and their queries.
        """
        counts, window = roles(counts=COUNTS), roles(windows=balance.WINDOWS)
        hashes, cut = roles(hashes=balance.COLLECTED), roles(cutoffs=balance.CUTOFFS)
        return cls(
            phase(stage, count, reads=rows, takes=("seed",), gives=counts, folds={"counts": sum_counts})(_count),
            phase(
                stage,
                windows,
                version=3,
                reads=counts,
                may_read=roles(queries=QUERIES, caps=CAPS),
                may_take=("cap", "oversample"),
                gives=counts | window,
            )(_windows),
            phase(stage, collect, version=3, reads={**rows, **window}, takes=("seed",), exchanges=hashes)(_collect),
            phase(
                stage, cutoffs, version=3, reads=window, may_read=hashes, takes=("mode",), gives=cut, may_give=window
            )(_cutoffs),
            phase(
                stage,
                decide,
                reads={**rows, **cut},
                version=2,
                takes=("seed", "mode", "buckets"),
                gives=roles(verdicts=VERDICTS),
                exchanges=roles(hosts=HOSTS),
            )(_decide),
            caps,
        )

    def run(self, run: Run, oversample: float, matches: RowTable | None = None) -> Balanced:
        """Balance the alive rows at the caps times `oversample`.

        `matches` is the table of them beside the rows, None if the rows carry them.
        """
        tables = (matches,) if matches else ()
        config = run.config.balance
        seed, mode = {"seed": run.config.seed}, {"mode": config.mode}
        counted = run.map(self.count, seed, *tables)
        inputs = {"counts": fold_tables(run, counted, "counts")}
        options: dict[str, Any] = {"cap": round(config.cap * oversample)}
        if config.per_language or config.caps:
            inputs["queries"] = (run.artifacts.take(QUERY_LIST),)
            if self.caps is not None:
                taken = to_builtins({"cap": config.cap, "caps": config.caps, "per_language": config.per_language})
                caps_of = run.one(self.caps, Task(self.caps.name, 0, inputs, taken))
                run.artifacts.leave(LANGUAGE_CAPS, Input(caps_of.files["caps"]))
            inputs["caps"] = (run.artifacts.take(LANGUAGE_CAPS),)
            options = {"oversample": oversample}
        windowed = run.one(self.windows, Task(self.windows.name, 0, inputs, options))
        window = all_files([windowed], "windows")
        while True:
            if mode["mode"] == "sample":
                cut = [run.one(self.cutoffs, Task(self.cutoffs.name, 0, {"windows": window}, mode))]
                break
            windows = {"windows": window}
            collected = exchange(run, run.map(self.collect, seed, *tables, shared=windows), "hashes")
            numbers = range(windowed.facts["buckets"])
            cut = run.reduce(self.cutoffs, mode, {"hashes": [collected]}, numbers, shared=windows)
            if not any(commit.facts["missed"] for commit in cut):
                break
            window = all_files(cut, "windows")  # by chance, once in billions of queries
        cutoffs = {"cutoffs": all_files(cut, "cutoffs")}
        buckets = bucket_count(run.alive, ROWS_PER_HOST_BUCKET)
        commits = run.decide(self.decide, {**seed, **mode, "buckets": buckets}, *tables, shared=cutoffs)
        return Balanced(Input(windowed.files["counts"]), commits, buckets)

"""Both balances, before the download at t × oversample and after the filters at t: counts, a cutoff vector, verdicts.

No query's rows are ever gathered in one place; see `filters.balance`. Both balances order pairs by the same hash, so
that the result of the second lies within that of the first.
"""

from __future__ import annotations

import pyarrow as pa

from dataset.ids import order_hash
from filters import balance
from pipeline.phase import Context, Input, Phase, Result, Task, phase
from pipeline.rows import alive_rows, verdict_result
from pipeline.run import Run
from pipeline.stages.common import every, matched_queries

COUNTS = pa.schema([("query_id", pa.int32()), ("count", pa.int64())])


def _rows(context: Context) -> pa.Table:
    """row, pair_id and query_ids of the alive rows, and their hash."""
    if "matches" in context.task.inputs:
        rows = alive_rows(context, ["pair_id", "host"])
        rows = rows.append_column("query_ids", matched_queries(context, rows))
    else:
        rows = alive_rows(context, ["pair_id", "host", "query_ids"])
    return rows.append_column("hash", pa.array(order_hash(rows.column("pair_id"), context.options["seed"])))


def _hosts(rows: pa.Table, dropped: pa.ChunkedArray) -> pa.Table:
    """How many rows of each host are left."""
    import pyarrow.compute as pc

    left = rows.filter(pc.invert(pc.is_in(rows.column("row"), value_set=dropped.combine_chunks())))
    return left.group_by("host", use_threads=False).aggregate([([], "count_all")]).sort_by("host")


class Balancing:
    """The phases of one of the two balances."""

    def __init__(self, stage: str):
        self.stage = stage

        @phase(f"{stage}.count")
        def count(context: Context) -> Result:
            """Pairs per query in this partition."""
            counts = balance.counts(_rows(context).column("query_ids").combine_chunks())
            return Result().table("counts", counts, COUNTS)

        @phase(f"{stage}.windows")
        def windows(context: Context) -> Result:
            """Pairs per query in all, and for full queries the hashes among which the cutoff must lie."""
            total = (
                context.concat("counts", COUNTS).group_by("query_id", use_threads=False).aggregate([("count", "sum")])
            )
            total = total.rename_columns(["query_id", "count"]).select(COUNTS.names).sort_by("query_id")
            window = balance.windows(total, context.options["cap"])
            return Result().table("counts", total, COUNTS).table("windows", window)

        @phase(f"{stage}.collect")
        def collect(context: Context) -> Result:
            """This partition's hashes within the windows."""
            rows = _rows(context)
            ids = rows.column("query_ids").combine_chunks()
            found = balance.collect(ids, rows.column("hash").to_numpy(), context.table("windows"))
            return Result().table("hashes", found)

        @phase(f"{stage}.cutoffs")
        def cutoffs(context: Context) -> Result:
            """The exact cutoff of each full query."""
            hashes = pa.concat_tables(context.table_list("hashes"))
            return Result().table("cutoffs", balance.cutoffs(hashes, context.table("windows"), context.options["cap"]))

        @phase(f"{stage}.decide")
        def decide(context: Context) -> Result:
            """`query_full` for pairs beyond the cutoff of each of their queries."""
            rows = _rows(context)
            verdicts = balance.decide(rows.select(["row", "query_ids", "hash"]), context.table("cutoffs"))
            result = verdict_result(rows, verdicts)
            return result.table("hosts", _hosts(rows, verdicts.column("row")))

        self.count: Phase = count
        self.windows: Phase = windows
        self.collect: Phase = collect
        self.cutoffs: Phase = cutoffs
        self.decide: Phase = decide

    def run(self, run: Run, cap: int, role: str | None) -> None:
        """Balance the alive rows at `cap`; `role` names the table of matches beside them, None if they carry them."""
        beside = (role,) if role else ()
        seed = {"seed": run.config.seed}

        def per_partition(made: Phase, options: dict[str, int], **extra: tuple[Input, ...]) -> list[Task]:
            return [
                Task(made.name, partition.number, {**partition.inputs(*beside), **extra}, options)
                for partition in run.partitions
            ]

        counted = run.do(self.count, per_partition(self.count, seed), rows=run.alive)
        windowed = run.one(self.windows, Task(self.windows.name, 0, {"counts": every(counted, "counts")}, {"cap": cap}))
        window = (Input(windowed.files["windows"]),)
        collected = run.do(self.collect, per_partition(self.collect, seed, windows=window), rows=run.alive)
        cut = run.one(
            self.cutoffs,
            Task(self.cutoffs.name, 0, {"windows": window, "hashes": every(collected, "hashes")}, {"cap": cap}),
        )
        run.shared[f"{self.stage}.counts"] = windowed.files["counts"]
        commits = run.judge(
            self.stage,
            self.decide,
            per_partition(self.decide, {**seed, "cap": cap}, cutoffs=(Input(cut.files["cutoffs"]),)),
            rows=run.alive,
        )
        run.shared[f"{self.stage}.hosts"] = every(commits, "hosts")


BEFORE = Balancing("prebalance")
AFTER = Balancing("balance")

"""match: each text against the query list; what matches no query is dropped, as in the paper (section 2.2)."""

from __future__ import annotations

import pyarrow as pa

from dataset.mapped import mapped
from dataset.schema import MATCHES, QUERIES, VERDICTS
from filters.match import Matcher
from filters.queries import load
from pipeline.config import options
from pipeline.phase import Context, Input, Result, Task, phase
from pipeline.rows import alive_rows, decide, take_units, verdict_result
from pipeline.run import Run


@phase("match.queries")
def queries(context: Context) -> Result:
    """The query list of this dataset, as it was when it was first used."""
    return Result().table("queries", load(context.options["queries"]), QUERIES)


@phase("match.index")
def index(context: Context) -> Result:
    """The matcher of the list, built once for all workers."""
    built = Matcher(context.table("queries", ["query"])["query"], context.options["rule"])
    return Result(files={"matcher": (context.phase_file("matcher", "arrow"), built.to_arrow())})


@phase("match.measure", version=2)
def measure(context: Context) -> Result:
    """Which queries each text contains."""
    rows = take_units(context, alive_rows(context, ["text"]))
    ids = _matcher(context).match(rows.column("text").combine_chunks())
    table = pa.table({"row": rows.column("row"), "query_ids": ids})
    return Result(counts={"matches": len(ids.flatten())}).table("measures", table, MATCHES)


def _matcher(context: Context) -> Matcher:
    (item,) = context.task.inputs["matcher"]
    if item.checksum not in _mapped:
        _mapped.clear()
        _mapped[item.checksum] = Matcher.from_arrow(mapped(context.storage, item.file))
    return _mapped[item.checksum]


_mapped: dict[str, Matcher] = {}  # the last of this process


@phase("match.decide")
def judge(context: Context) -> Result:
    """Verdicts by sql/decisions/match.sql."""
    rows = alive_rows(context, ["pair_id"])
    verdicts = decide(context, "match", rows, {"measures": context.table("measures")}, context.options)
    return verdict_result(rows, verdicts.cast(VERDICTS))


def run(run: Run) -> None:
    """Load the queries, match, decide."""
    from pipeline.plan import file_checksum

    name = run.config.match.queries
    source = name if name.startswith("builtin:") else file_checksum(name)
    made = run.one(queries, Task(queries.name, 0, {}, {"queries": name, "checksum": source}))
    run.shared["queries"] = made.files["queries"]
    listed = {"queries": (Input(made.files["queries"]),)}
    built = run.one(index, Task(index.name, 0, listed, options(run.config.match, "rule")))
    measured = run.do(
        measure,
        [
            Task(
                measure.name,
                partition.number,
                {**partition.inputs(), "matcher": (Input(built.files["matcher"]),)},
                {},
                units=partition.alive,
            )
            for partition in run.partitions
        ],
        rows=run.alive,
    )
    run.beside("matches", measured, "measures")
    run.judge(
        "match",
        judge,
        [
            Task(
                judge.name,
                partition.number,
                {**partition.inputs(), "measures": (Input(partition.beside["matches"]),)},
                options(run.config.match, "rule"),
            )
            for partition in run.partitions
        ],
        rows=run.alive,
    )

"""text: length, language, file names, blocklists, and the config's own text filters."""

from __future__ import annotations

from dataclasses import asdict

from filters.text import TextConfig, measure_text
from pipeline import custom
from pipeline.config import options, plain
from pipeline.phase import Context, Input, Result, Task, phase
from pipeline.plan import file_checksum
from pipeline.rows import alive_rows, decide, take_units, verdict_result
from pipeline.run import Run
from pipeline.stages.common import settings


@phase("text.measure")
def measure(context: Context) -> Result:
    """What is expensive to know of a text."""
    rows = take_units(context, alive_rows(context, ["url", "text", "host", "page_url"]))
    return Result().table("measures", measure_text(rows, settings(TextConfig, context.options["text"])))


@phase("text.custom")
def own(context: Context) -> Result:
    """What the config's own text filters measure."""
    rows = take_units(context, alive_rows(context))
    return Result().table("measures", custom.measure(rows, context.options["filters"]))


@phase("text.decide")
def judge(context: Context) -> Result:
    """Verdicts by sql/decisions/text.sql and the config's own predicates."""
    rows = alive_rows(context)
    own_table = context.table("own") if "own" in context.task.inputs else None
    measures, names = custom.join(context.table("measures"), own_table)
    filters = [{**item, "columns": names} for item in context.options["filters"]]
    config = context.options["text"]
    verdicts = decide(context, "text", rows, {"measures": measures}, config, filters)
    return verdict_result(rows, verdicts, [item["name"] for item in filters])


MEASURING = ("language_model", "blocklist", "blocked_domains")
"""The keys of `text` that decide what is measured; the others only decide."""


def run(run: Run) -> None:
    """Measure and decide."""
    config = run.config.text
    external = {key: file_checksum(path) for key in MEASURING if (path := getattr(config, key)) not in ("", "builtin")}
    measured = run.do(
        measure,
        [
            Task(
                measure.name,
                partition.number,
                partition.inputs(),
                {"text": options(config, *MEASURING), "external": external},
                units=partition.alive,
            )
            for partition in run.partitions
        ],
        rows=run.alive,
    )
    run.beside("text", measured, "measures")
    inputs = [{"measures": (Input(commit.files["measures"]),)} for commit in measured]
    functions = custom.measuring(run.config, "text")
    if functions:
        answered = run.do(
            own,
            [
                Task(own.name, partition.number, partition.inputs(), {"filters": functions}, units=partition.alive)
                for partition in run.partitions
            ],
            rows=run.alive,
        )
        inputs = [
            {**item, "own": (Input(commit.files["measures"]),)} for item, commit in zip(inputs, answered, strict=True)
        ]
    run.judge(
        "text",
        judge,
        [
            Task(
                judge.name,
                partition.number,
                {**partition.inputs(), **beside},
                {
                    "text": {**plain(asdict(config)), "allowed_hosts": sorted(run.config.fetch.resolve)},
                    "filters": custom.deciding(run.config, "text"),
                },
            )
            for partition, beside in zip(run.partitions, inputs, strict=True)
        ],
        rows=run.alive,
    )

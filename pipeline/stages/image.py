"""image: size, aspect, and the config's own image filters."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from crawl.store import read_images
from pipeline import custom
from pipeline.config import options
from pipeline.phase import Context, Input, Result, Task, phase
from pipeline.rows import alive_rows, decide, take_units, verdict_result
from pipeline.run import Run


@phase("image.custom")
def own(context: Context) -> Result:
    """What the config's own image filters measure: `rows` has the pair's columns and `image`, its stored bytes."""
    rows = take_units(context, alive_rows(context))
    images = images_of(rows, context.table("images"))
    rows = rows.append_column("image", pa.array(read_images(context.storage, images), pa.binary()))
    return Result().table("measures", custom.measure(rows, context.options["filters"]))


@phase("image.decide")
def judge(context: Context) -> Result:
    """Verdicts by sql/decisions/image.sql and the config's own predicates."""
    rows = alive_rows(context)
    tables = {"images": context.table("images")}
    names: list[str] = []
    if "own" in context.task.inputs:
        tables["measures"] = context.table("own")
        names = [name for name in tables["measures"].column_names if name != "row"]
    filters = [{**item, "columns": names} for item in context.options["filters"]]
    if filters and "measures" not in tables:
        tables["measures"] = rows.select(["row"])
    verdicts = decide(context, "image", rows, tables, context.options["image"], filters)
    return verdict_result(rows, verdicts, [item["name"] for item in filters])


def images_of(pairs: pa.Table, images: pa.Table) -> pa.Table:
    """The image of each pair, in the pairs' order."""
    return images.take(pc.index_in(pairs.column("url"), value_set=images.column("url").combine_chunks()))


def run(run: Run) -> None:
    """Decide by size; measure only if the config has filters of its own."""
    functions = custom.measuring(run.config, "image")
    extra: list[dict[str, tuple[Input, ...]]] = [{} for _ in run.partitions]
    if functions:
        answered = run.do(
            own,
            [
                Task(
                    own.name,
                    partition.number,
                    partition.inputs("images"),
                    {"filters": functions},
                    units=partition.alive,
                )
                for partition in run.partitions
            ],
            rows=run.alive,
        )
        extra = [{"own": (Input(commit.files["measures"]),)} for commit in answered]
    run.judge(
        "image",
        judge,
        [
            Task(
                judge.name,
                partition.number,
                {**partition.inputs("images"), **more},
                {"image": options(run.config.image), "filters": custom.deciding(run.config, "image")},
            )
            for partition, more in zip(run.partitions, extra, strict=True)
        ],
        rows=run.alive,
    )

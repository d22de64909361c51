"""fetch: images that the run's archives hold under another address, by following redirects and revisits in them.

A wanted URL is in one partition, what its address leads to in another, and that may lead on. So what is asked for goes
from partition to partition, a phase a hop; what is found returns to the partition that wants it. Of all that crawlers
note of redirects, mostly of pages, only what a pair's URL leads to is kept, and no more than one file's are in memory.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from dataset.query import sql
from dataset.schema import ARCHIVE_IMAGES, ARCHIVE_LEADS
from pipeline.engine.contract import PAIR_ROWS, roles
from pipeline.engine.exchanges.exchange import Exchange, write_buckets
from pipeline.engine.exchanges.gathering import exchange
from pipeline.engine.phase import Context, Result, Task, phase
from pipeline.engine.run import Run
from pipeline.engine.verdicts import alive_rows
from pipeline.stages.artifacts import ARCHIVE_IMAGES_TABLE, HOST_LANES, MOVED_LEADS
from pipeline.stages.fetch import FETCH
from pipeline.stages.prebalance.stage import LANES, partition_of

ASKED = pa.schema(
    [
        ("url", pa.string()),  # that a pair wants
        ("host", pa.string()),
        ("at", pa.string()),  # where it has led to so far
        ("at_host", pa.string()),
        ("final_url", pa.string()),  # as `at`, but for what a revisit says to be the same
    ]
)


HOP = PAIR_ROWS | roles("asked", lanes=LANES, archive_images=ARCHIVE_IMAGES, archive_leads=ARCHIVE_LEADS)
"""What a hop reads; the first has nothing that was asked before."""
GIVEN = roles(asked=ASKED, found=ARCHIVE_IMAGES)


@phase(FETCH, "fetch.leads", reads=HOP, takes=("partitions",), exchanges=GIVEN)
def leads(context: Context) -> Result:
    """Give the wanted URLs that no archive holds, but that lead elsewhere, to the partitions of where they lead."""
    wanted = alive_rows(context, ["url", "host"]).select(["url", "host"])
    asked = wanted.append_column("at", wanted["url"]).append_column("final_url", wanted["url"])
    return _follow(context, asked, context.table("archive_images"), ARCHIVE_IMAGES.empty_table())


def hop(context: Context) -> Result:
    """Return what is held of what was asked for, to the partitions that want it; what leads on, to where it leads."""
    asked, images = context.concat("asked", ASKED), context.table("archive_images")
    held = sql.run(sql.load("exchange/found"), {"asked": asked, "images": images}).cast(ARCHIVE_IMAGES)
    return _follow(context, asked, images, held)


HOPS = [
    phase(FETCH, name, reads=HOP, takes=("partitions",), exchanges=GIVEN)(hop)
    for name in ("fetch.hop1", "fetch.hop2", "fetch.hop3", "fetch.hop4", "fetch.hop5")
]
"""The most hops: as many as `fetch.max_redirects` allows by default."""


def _follow(context: Context, asked: pa.Table, images: pa.Table, held: pa.Table) -> Result:
    addresses = asked["at"].combine_chunks()
    known = [table.filter(pc.is_in(table["url"], value_set=addresses)) for table in context.each("archive_leads")]
    tables = {"asked": asked, "images": images, "leads": pa.concat_tables([ARCHIVE_LEADS.empty_table(), *known])}
    on = sql.run(sql.load("exchange/follow"), tables).cast(ASKED)
    places = on.select(["at", "at_host"]).rename_columns(["url", "host"])
    return Result(
        buckets={
            "asked": write_buckets(on, partition_of(context, places)),
            "found": write_buckets(held, partition_of(context, held)),
        }
    )


def run(run: Run) -> list[Exchange]:
    """Follow every lead to its end. Answers exchanges of ARCHIVE_IMAGES, by the partition that wants them."""
    said = run.artifacts.take(MOVED_LEADS)
    partitions = {partition.number: partition for partition in run.partitions}

    def task(name: str, number: int, asked: Exchange | None) -> Task:
        inputs = {
            **partitions[number].inputs(ARCHIVE_IMAGES_TABLE),
            "lanes": run.artifacts.take(HOST_LANES),
            "archive_leads": said.bucket(number),
            "asked": asked.bucket(number) if asked else (),
        }
        return Task(name, number, inputs, {"partitions": len(partitions)})

    exchanges: list[Exchange] = []
    asked: Exchange | None = None
    numbers = said.buckets
    for step in (leads, *HOPS):
        if not numbers:  # nothing leads on
            break
        followed = run.do(step, [task(step.name, number, asked) for number in numbers])
        asked = exchange(run, followed, "asked")
        numbers = asked.buckets
        exchanges.append(exchange(run, followed, "found"))
    return exchanges

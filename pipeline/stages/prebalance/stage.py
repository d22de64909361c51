"""prebalance: caps every query before the download, then writes the pairs, partitioned by host.

All pairs of one URL, and all URLs of one host, meet in one partition: an image is fetched once, and politeness needs
no talk between workers. A host above a partition's share of the pairs is split into lanes by URL.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from dataset.query import sql
from dataset.schema import ARCHIVE_IMAGES, ARCHIVE_LEADS, CAPS, MATCHES, PAIRS, QUERIES
from filters.queries import language_caps
from pipeline.engine.artifacts import Partition
from pipeline.engine.contract import CANDIDATE_ROWS, roles
from pipeline.engine.exchanges.exchange import bucket_count, write_buckets
from pipeline.engine.exchanges.gathering import exchange, fold_tables
from pipeline.engine.phase import Context, Result, phase
from pipeline.engine.run import Run
from pipeline.engine.verdicts import ConservationError, alive_rows
from pipeline.stages import balance_phases
from pipeline.stages.artifacts import (
    ARCHIVE_IMAGES_TABLE,
    ARCHIVE_LEADS_TABLE,
    HOST_LANES,
    MATCHED_COUNTS,
    MATCHES_TABLE,
    MOVED_LEADS,
)
from pipeline.stages.balance_phases import Balancing, matched_queries
from pipeline.stages.prebalance import PREBALANCE

LANES = pa.schema([("host", pa.string()), ("lanes", pa.int32())])


@phase(
    PREBALANCE,
    "prebalance.caps",
    reads=roles(counts=balance_phases.COUNTS, queries=QUERIES),
    takes=("cap", "caps", "per_language"),
    gives=roles(caps=CAPS),
)
def caps(context: Context) -> Result:
    """Give the t of each language, for both balances."""
    options = context.options
    by_language = language_caps.language_caps(
        balance_phases.added_up(context),
        context.table("queries", ["query_id", "language"]),
        options["cap"],
        options["caps"],
        per_language=options["per_language"],
    )
    return Result().table("caps", by_language, CAPS)


BALANCING = Balancing.declare(
    PREBALANCE,
    CANDIDATE_ROWS | roles(matches=MATCHES),
    count="prebalance.count",
    windows="prebalance.windows",
    collect="prebalance.collect",
    cutoffs="prebalance.cutoffs",
    decide="prebalance.decide",
    caps=caps,
)


@phase(
    PREBALANCE,
    "prebalance.route",
    version=2,
    reads=roles(hosts=balance_phases.HOSTS),
    takes=("pairs_per_partition",),
    gives=roles(lanes=LANES),
    folds={"lanes": pa.concat_tables},
)
def route(context: Context) -> Result:
    """Give the hosts of a bucket that need more than one partition; all others go where their name's hash says."""
    hosts = context.concat("hosts", balance_phases.HOSTS)
    share = {"pairs_per_partition": context.options["pairs_per_partition"]}
    return Result().table("lanes", sql.run(sql.load("exchange/lanes"), {"hosts": hosts}, share), LANES)


@phase(
    PREBALANCE,
    "prebalance.map",
    version=2,
    reads=CANDIDATE_ROWS
    | roles(matches=MATCHES, archive_images=ARCHIVE_IMAGES, archive_leads=ARCHIVE_LEADS, lanes=LANES),
    takes=("partitions",),
    exchanges=roles(pairs=PAIRS, archive_images=ARCHIVE_IMAGES, archive_leads=ARCHIVE_LEADS),
)
def map_(context: Context) -> Result:
    """Give the alive candidates as pairs, and the archive's images and leads, to the partition of their host."""
    rows = alive_rows(context)
    pairs = rows.append_column("query_ids", matched_queries(context, rows))
    pairs = pairs.append_column("candidate_partition", pa.array([context.task.partition] * len(rows), pa.int32()))
    pairs = pairs.append_column("candidate_row", rows.column("row")).select(PAIRS.names).cast(PAIRS)
    tables = {"pairs": pairs, **{role: context.table(role) for role in ("archive_images", "archive_leads")}}
    return Result(buckets={role: write_buckets(table, partition_of(context, table)) for role, table in tables.items()})


def partition_of(context: Context, table: pa.Table) -> np.ndarray:
    """Return the pair partition of each row, by its `url` and `host`; takes the task's `lanes` and option
    `partitions`.
    """
    numbered = table.select(["url", "host"]).append_column("n", pa.array(range(table.num_rows), pa.int64()))
    routed = sql.run(
        sql.load("exchange/route"),
        {"urls": numbered, "lanes": context.concat("lanes", LANES)},
        {"partitions": context.options["partitions"]},
    )
    return routed.column("partition").to_numpy()


@phase(
    PREBALANCE,
    "prebalance.pairs",
    reads=roles(pairs=PAIRS, archive_images=ARCHIVE_IMAGES),
    gives=roles(pairs=PAIRS, archive_images=ARCHIVE_IMAGES),
)
def pairs(context: Context) -> Result:
    """Give a partition's pairs, ordered by pair_id, and the archive's images of its hosts, one a URL."""
    rows = context.concat("pairs", PAIRS).sort_by("pair_id")
    images = sql.run(sql.load("exchange/archive_images"), {"images": context.concat("archive_images", ARCHIVE_IMAGES)})
    count = {"pairs": rows.num_rows}
    return Result(counts=count).table("pairs", rows, PAIRS).table("archive_images", images, ARCHIVE_IMAGES)


def run(run: Run) -> None:
    """Balance at t × oversample, then move the rows that are left."""
    balanced = BALANCING.run(run, run.config.prebalance.oversample, MATCHES_TABLE)
    run.artifacts.leave(MATCHED_COUNTS, balanced.counts)
    share = {"pairs_per_partition": run.config.run.pairs_per_partition}
    hosts = [exchange(run, balanced.commits, "hosts")]
    host_lanes = fold_tables(run, run.reduce(route, share, {"hosts": hosts}, range(balanced.host_buckets)), "lanes")
    lanes = {"lanes": host_lanes}
    count = bucket_count(run.alive, run.config.run.pairs_per_partition)
    tables = (MATCHES_TABLE, ARCHIVE_IMAGES_TABLE, ARCHIVE_LEADS_TABLE)
    scattered = run.map(map_, {"partitions": count}, *tables, shared=lanes)
    moved = {role: [exchange(run, scattered, role)] for role in ("pairs", "archive_images")}
    written = run.reduce(pairs, {}, moved, range(count), rows=run.alive)
    total = sum(commit.counts["pairs"] for commit in written)
    if total != run.alive:
        raise ConservationError(f"prebalance: {run.alive} candidates became {total} pairs")
    run.artifacts.leave(HOST_LANES, host_lanes)
    run.artifacts.leave(MOVED_LEADS, exchange(run, scattered, "archive_leads"))
    run.partitions = [
        Partition(
            commit.partition,
            commit.files["pairs"],
            alive=commit.counts["pairs"],
        )
        for commit in written
    ]
    run.leave(ARCHIVE_IMAGES_TABLE, written, "archive_images")

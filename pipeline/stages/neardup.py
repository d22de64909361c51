"""neardup: images that look alike, found completely, decided on images, mapped back to pairs. An exchange of keys."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dataset.schema import VERDICTS
from filters.neardup import CLUSTERS, EDGES, NODES, NearDupConfig, chunk_keys, clusters, edges, nodes
from pipeline.config import options
from pipeline.exchange import bucket_count, bucket_of, write_buckets
from pipeline.phase import Context, Result, Task, phase
from pipeline.rows import alive_rows, decide, first_verdicts, verdict_result
from pipeline.run import Run
from pipeline.stages import semantic
from pipeline.stages.common import LOCATOR_BITS, ROWS_PER_BUCKET, buckets_in, every, gather, settings

KEYS_PER_IMAGE = 17  # 16 chunks of the hash, and the bytes' checksum


@phase("neardup.map")
def scatter(context: Context) -> Result:
    """The images that an alive pair shows: one row each, and their keys by bucket."""
    pairs = alive_rows(context, ["url"])
    images = context.table("images")
    images = images.filter(pc.is_in(images.column("url"), value_set=pc.unique(pairs.column("url"))))
    here = nodes(images, context.task.partition)
    keys = chunk_keys(here, settings(NearDupConfig, context.options["neardup"]))
    bucket = bucket_of(keys.column("key").to_numpy(), context.options["buckets"])
    return Result(buckets={"keys": write_buckets(keys, bucket)}).table("nodes", here, NODES)


@phase("neardup.edges")
def compare(context: Context) -> Result:
    """Pairs of images in this bucket that look alike, each verified."""
    keys = pa.concat_tables(context.table_list("keys"))
    return Result().table("edges", edges(keys, settings(NearDupConfig, context.options["neardup"])), EDGES)


@phase("neardup.clusters")
def represent(context: Context) -> Result:
    """Which image stands for which; each row returns to its partition."""
    config = settings(NearDupConfig, context.options["neardup"])
    found = clusters(context.concat("nodes", NODES), context.concat("edges", EDGES), config)
    home = found.column("locator").to_numpy() >> LOCATOR_BITS
    images = {"images": found.num_rows}
    return Result(counts=images, buckets={"clusters": write_buckets(found, home.astype(np.int64))})


@phase("neardup.decide", version=2)
def judge(context: Context) -> Result:
    """Verdicts by sql/decisions/neardup.sql."""
    rows = alive_rows(context)
    tables = {"images": context.table("images"), "clusters": context.concat("clusters", CLUSTERS)}
    parts = [decide(context, "neardup", rows, tables, context.options["neardup"]).cast(VERDICTS)]
    parts.append(semantic.verdicts(context, rows))
    result = verdict_result(rows, first_verdicts(parts))
    return result.table("clusters", tables["clusters"], CLUSTERS)


def run(run: Run) -> None:
    """Exchange by hash chunk, connect, decide."""
    config = {"neardup": options(run.config.neardup)}
    buckets = bucket_count(run.alive * KEYS_PER_IMAGE, ROWS_PER_BUCKET)
    scattered = run.do(
        scatter,
        [
            Task(scatter.name, partition.number, partition.inputs("images"), {**config, "buckets": buckets})
            for partition in run.partitions
        ],
        rows=run.alive,
    )
    compared = run.do(
        compare,
        [
            Task(compare.name, bucket, {"keys": gather(scattered, "keys", bucket)}, config)
            for bucket in buckets_in(scattered, "keys")
        ],
    )
    clustered = run.one(
        represent,
        Task(represent.name, 0, {"nodes": every(scattered, "nodes"), "edges": every(compared, "edges")}, config),
    )
    alike = semantic.run_duplicates(run, clustered)
    decided = run.judge(
        "neardup",
        judge,
        [
            Task(
                judge.name,
                partition.number,
                {
                    **partition.inputs("images"),
                    "clusters": gather([clustered], "clusters", partition.number),
                    "semantic": found,
                },
                {**config, "min_cosine": run.config.semantic.min_cosine},
            )
            for partition, found in zip(run.partitions, alike, strict=True)
        ],
        rows=run.alive,
    )
    run.beside("clusters", decided, "clusters")

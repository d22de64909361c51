"""neardup: images that look alike, found completely, decided on images, mapped back to pairs. An exchange of keys."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from crawl.images.store import read_images
from dataset.images import open_stored
from dataset.schema import IMAGES, VERDICTS
from filters.duplicates import near
from filters.duplicates.copies import COPIES, separate_copies, with_copies
from filters.duplicates.near import CLUSTERS, EDGES, MEMBERS, NODES, NearDupConfig
from filters.duplicates.stars import bucket_words
from filters.images.perceptual import short_hash
from pipeline.config import options
from pipeline.engine.contract import PAIR_ROWS, roles, settings
from pipeline.engine.exchanges.exchange import ROWS_PER_BUCKET, bucket_count, bucket_of, write_buckets
from pipeline.engine.exchanges.gathering import exchange
from pipeline.engine.exchanges.locators import bucket_by_partition
from pipeline.engine.phase import Context, Input, Inputs, Result, Task, files_of_each, phase
from pipeline.engine.run import Run
from pipeline.engine.sources.earlier_datasets import earlier_partitions, kept_images
from pipeline.engine.verdicts import alive_rows, decide_by_sql, first_verdicts, verdict_result
from pipeline.stages.artifacts import CLUSTERS_TABLE, IMAGES_TABLE
from pipeline.stages.components import Connecting, by_node, component_labels
from pipeline.stages.neardup import NEARDUP, semantic
from pipeline.stages.shown_images import lost_images, measure_shown, shown_images

HASHES = pa.schema([("row", pa.uint32()), ("hash", pa.binary(8))])


@phase(
    NEARDUP,
    "neardup.hash",
    reuses=True,
    reads=PAIR_ROWS | roles(images=IMAGES),
    takes=("hash",),
    gives=roles(hashes=HASHES),
)
def hash_(context: Context) -> Result:
    """Give pHash or dHash of the images that an alive pair shows, from their stored bytes."""
    kind = context.options["hash"]

    def hashes(images: pa.Table) -> pa.Table:
        bodies = read_images(context.storage, images)
        hashed = [short_hash(np.asarray(open_stored(body).convert("RGB")), kind) for body in bodies]
        return pa.table([images.column("row"), hashed], schema=HASHES)

    result = Result(facts={"hash": kind})
    result.counts["images"] = measure_shown(context, result, "hashes", hashes, is_guarded=True).num_rows
    return result


@phase(
    NEARDUP,
    "neardup.map",
    version=3,
    reads=PAIR_ROWS | roles(images=IMAGES),
    may_read=roles(hashes=HASHES),
    takes=("neardup", "buckets"),
    gives=roles(nodes=NODES, copies=COPIES),
    exchanges=roles("keys"),
)
def map_(context: Context) -> Result:
    """Give the images that an alive pair shows: one row each but for copies in the partition, and their keys by
    bucket.
    """
    hashes = context.table("hashes") if "hashes" in context.task.inputs else None
    here, copies = separate_copies(near.nodes(shown_images(context), context.task.partition, hashes))
    return _scatter(context, here).table("copies", copies, COPIES)


@phase(
    NEARDUP,
    "neardup.against",
    takes=("neardup", "buckets", "dataset", "checksums", "number"),
    gives=roles(nodes=NODES),
    exchanges=roles("keys"),
)
def against(context: Context) -> Result:
    """Give the same as `map_`, of the images that a dataset of `against` kept."""
    images, hashes = kept_images(context)
    return _scatter(context, near.nodes(images, context.options["number"], hashes, context.options["dataset"]))


def _scatter(context: Context, here: pa.Table) -> Result:
    keys = near.chunk_keys(here, settings(NearDupConfig, context.options["neardup"]))
    bucket = bucket_of(keys.column("key").to_numpy(), context.options["buckets"])
    written = write_buckets(keys.drop_columns(["key"]), bucket)
    return Result(buckets={"keys": written}).table("nodes", here, NODES)


@phase(
    NEARDUP,
    "neardup.edges",
    version=3,
    reads=roles("keys"),
    takes=("neardup", "buckets"),
    exchanges=roles(edges=EDGES),
)
def edges(context: Context) -> Result:
    """Give pairs of images in this bucket that look alike, each verified."""
    keys = pa.concat_tables(context.table_list("keys"))
    alike = near.edges(keys, settings(NearDupConfig, context.options["neardup"]))
    return Result(counts={"edges": alike.num_rows}, buckets={"edges": by_node(alike, context.options["buckets"])})


CONNECTING = Connecting.declare(NEARDUP, "neardup.small_star", "neardup.large_star", pa.int64())


@phase(NEARDUP, "neardup.components", reads=roles(edges=EDGES), exchanges=roles(components=EDGES))
def components(context: Context) -> Result:
    """Give what each image of this bucket is connected to; each returns to its partition."""
    labelled = component_labels(context, pa.int64())
    return Result(counts={"images": labelled.num_rows}, buckets={"components": bucket_by_partition(labelled, "node")})


@phase(
    NEARDUP,
    "neardup.members",
    reads=roles(nodes=NODES, components=EDGES),
    takes=("buckets",),
    exchanges=roles(members=MEMBERS),
)
def members(context: Context) -> Result:
    """Give the partition's images that are connected to others, by component."""
    labelled = context.concat("components", EDGES).sort_by("node")
    connected = near.members(context.table("nodes"), labelled)
    words = bucket_words(connected.column("component"))
    return Result(buckets={"members": write_buckets(connected, bucket_of(words, context.options["buckets"]))})


@phase(
    NEARDUP,
    "neardup.clusters",
    version=3,
    reads=roles(members=MEMBERS),
    takes=("neardup",),
    exchanges=roles(clusters=CLUSTERS),
)
def clusters(context: Context) -> Result:
    """Give which image stands for which, of this bucket's components; each row returns to its partition."""
    config = settings(NearDupConfig, context.options["neardup"])
    decided = near.clusters(context.concat("members", MEMBERS), config)
    return Result(counts={"images": decided.num_rows}, buckets={"clusters": bucket_by_partition(decided)})


@phase(
    NEARDUP,
    "neardup.decide",
    version=3,
    reads=PAIR_ROWS | roles(images=IMAGES, clusters=CLUSTERS, copies=COPIES, semantic=semantic.FOUND),
    may_read=roles(hashes=HASHES),
    takes=("neardup", "against", "min_cosine"),
    gives=roles(verdicts=VERDICTS, clusters=CLUSTERS),
)
def decide(context: Context) -> Result:
    """Give verdicts by sql/decisions/neardup.sql."""
    rows = alive_rows(context)
    images = context.table("images")
    tables = {"images": images, "clusters": with_copies(context.concat("clusters", CLUSTERS), context.table("copies"))}
    config = {**context.options["neardup"], "against": context.options["against"]}
    parts = [decide_by_sql(context, "decisions/neardup", rows, tables, config).cast(VERDICTS)]
    if "hashes" in context.task.inputs:
        parts.append(lost_images(context, rows, images, context.table("hashes", ["row"]).column("row")))
    parts.append(semantic.verdicts(context, rows))
    return verdict_result(context, rows, first_verdicts(parts)).table("clusters", tables["clusters"], CLUSTERS)


def run(run: Run) -> None:
    """Hash if the images' hash is another than PDQ; exchange by hash chunk, connect, decide."""
    section = run.config.neardup
    config = {"neardup": options(section)}
    hashes: list[dict[str, Inputs]] = [{} for _ in run.partitions]
    if section.hash != "pdq":
        hashes = files_of_each(run.map(hash_, options(section, "hash"), IMAGES_TABLE, units=True), "hashes")
    keyed = {**config, "buckets": bucket_count(run.alive * section.keys_per_image, ROWS_PER_BUCKET)}
    mapped = run.map(map_, keyed, IMAGES_TABLE, each=hashes)
    number = len(run.partitions)  # those of other datasets come behind
    earlier = [
        Task(against.name, place, {}, {**keyed, **there.options, "number": number + place}, hints=there.hints)
        for place, there in enumerate(earlier_partitions(run.config))
    ]
    scattered = mapped + run.do(against, earlier)
    by_look = {"buckets": bucket_count(run.alive, ROWS_PER_BUCKET)}
    compared = run.reduce(edges, {**config, **by_look}, {"keys": [exchange(run, scattered, "keys")]})
    connected = CONNECTING.run(run, compared, by_look["buckets"])
    named = run.reduce(components, {}, {"edges": [connected]})
    labelled = exchange(run, named, "components")
    by_component = {"buckets": bucket_count(sum(commit.counts["images"] for commit in named), ROWS_PER_BUCKET)}
    nodes_of = [Input(commit.files["nodes"]) for commit in scattered]  # then of datasets: as locators go
    tasks = [
        Task(members.name, place, {"nodes": (nodes_of[place],), "components": labelled.bucket(place)}, by_component)
        for place in labelled.buckets
    ]
    gathered = run.do(members, tasks)
    clustered = run.reduce(clusters, config, {"members": [exchange(run, gathered, "members")]})
    returned = exchange(run, clustered, "clusters")
    looked_at = [
        {"clusters": returned.bucket(partition.number), **copies}
        for partition, copies in zip(run.partitions, files_of_each(mapped, "copies"), strict=True)
    ]
    alike = semantic.run_duplicates(run, looked_at)
    reads = [
        {**image_hashes, **looks, "semantic": similar}
        for image_hashes, looks, similar in zip(hashes, looked_at, alike, strict=True)
    ]
    keys = {**config, "against": list(run.config.against), "min_cosine": run.config.semantic.min_cosine}
    decided = run.decide(decide, keys, IMAGES_TABLE, each=reads)
    run.leave(CLUSTERS_TABLE, decided, "clusters")

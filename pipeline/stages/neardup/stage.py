"""neardup: images that look alike, found completely, decided on images, mapped back to pairs. An exchange of keys."""

from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from crawl.images.store import read_images
from dataset.schema import IMAGES, VERDICTS
from filters.duplicates.near import (
    CLUSTERS,
    EDGES,
    NODES,
    NearDupConfig,
    among,
    chunk_keys,
    clusters,
    edges,
    ends,
    nodes,
)
from filters.images.perceptual import short_hash
from pipeline.config import options
from pipeline.engine.contract import PAIR_ROWS, roles
from pipeline.engine.earlier_datasets import existing, kept_images
from pipeline.engine.exchange import bucket_count, bucket_of, write_buckets
from pipeline.engine.gathering import exchange
from pipeline.engine.phase import Context, Inputs, Result, Task, every, of_each, phase
from pipeline.engine.reuse import image_contents, image_keys, remember
from pipeline.engine.run import Run
from pipeline.engine.verdicts import alive_rows, decide, first_verdicts, lost, sliced, take_units, verdict_result
from pipeline.stages.artifacts import CLUSTERS_TABLE, IMAGES_TABLE
from pipeline.stages.common import LOCATOR_BITS, ROWS_PER_BUCKET, settings
from pipeline.stages.image.models import IMAGES_AT_ONCE
from pipeline.stages.neardup import NEARDUP, semantic

HASHES = pa.schema([("row", pa.uint32()), ("hash", pa.binary(8))])


@phase(
    NEARDUP,
    "neardup.hash",
    remembers=True,
    reads=PAIR_ROWS | roles(images=IMAGES),
    takes=("hash",),
    gives=roles(hashes=HASHES),
)
def measure(context: Context) -> Result:
    """pHash or dHash of the images that an alive pair shows, from their stored bytes."""
    kind = context.options["hash"]
    shown = _shown(context)
    images = take_units(context, shown)

    def hashes(images: pa.Table) -> pa.Table:
        bodies = read_images(context.storage, images)
        found = [short_hash(np.asarray(Image.open(io.BytesIO(body)).convert("RGB")), kind) for body in bodies]
        return pa.table([images.column("row"), found], schema=HASHES)

    result = Result(counts={"images": images.num_rows}, facts={"hash": kind})
    remember(
        context,
        result,
        "hashes",
        images,
        image_keys(images),
        lambda images: sliced(context, images, IMAGES_AT_ONCE, hashes, of=shown),
        image_contents(images),
    )
    return result


def _shown(context: Context) -> pa.Table:
    """The images that an alive pair shows."""
    pairs = alive_rows(context, ["url"])
    images = context.table("images")
    return images.filter(pc.is_in(images.column("url"), value_set=pc.unique(pairs.column("url"))))


@phase(
    NEARDUP,
    "neardup.map",
    version=2,
    reads=PAIR_ROWS | roles(images=IMAGES),
    may_read=roles(hashes=HASHES),
    takes=("neardup", "buckets"),
    gives=roles(nodes=NODES),
    exchanges=roles("keys"),
)
def scatter(context: Context) -> Result:
    """The images that an alive pair shows: one row each, and their keys by bucket."""
    hashes = context.table("hashes") if "hashes" in context.task.inputs else None
    return _scattered(context, nodes(_shown(context), context.task.partition, hashes))


@phase(
    NEARDUP,
    "neardup.against",
    takes=("neardup", "buckets", "dataset", "checksums", "number"),
    gives=roles(nodes=NODES),
    exchanges=roles("keys"),
)
def known(context: Context) -> Result:
    """The same of the images that a dataset of `against` kept."""
    images, hashes = kept_images(context)
    return _scattered(context, nodes(images, context.options["number"], hashes, context.options["dataset"]))


def _scattered(context: Context, here: pa.Table) -> Result:
    keys = chunk_keys(here, settings(NearDupConfig, context.options["neardup"]))
    bucket = bucket_of(keys.column("key").to_numpy(), context.options["buckets"])
    written = write_buckets(keys.drop_columns(["key"]), bucket)
    return Result(buckets={"keys": written}).table("nodes", here, NODES)


@phase(NEARDUP, "neardup.edges", version=2, reads=roles("keys"), takes=("neardup",), gives=roles(edges=EDGES))
def compare(context: Context) -> Result:
    """Pairs of images in this bucket that look alike, each verified."""
    keys = pa.concat_tables(context.table_list("keys"))
    return Result().table("edges", edges(keys, settings(NearDupConfig, context.options["neardup"])), EDGES)


@phase(
    NEARDUP,
    "neardup.clusters",
    version=2,
    reads=roles(nodes=NODES, edges=EDGES),
    takes=("neardup",),
    exchanges=roles(clusters=CLUSTERS),
)
def represent(context: Context) -> Result:
    """Which image stands for which; each row returns to its partition."""
    config = settings(NearDupConfig, context.options["neardup"])
    found_edges = context.concat("edges", EDGES)
    named = ends(found_edges)
    nodes_named = [among(table, named) for table in context.table_list("nodes")]  # of all images, few are
    found = clusters(pa.concat_tables([NODES.empty_table(), *nodes_named]), found_edges, config)
    home = found.column("locator").to_numpy() >> LOCATOR_BITS
    images = {"images": found.num_rows}
    return Result(counts=images, buckets={"clusters": write_buckets(found, home.astype(np.int64))})


@phase(
    NEARDUP,
    "neardup.decide",
    version=2,
    reads=PAIR_ROWS | roles(images=IMAGES, clusters=CLUSTERS, semantic=semantic.FOUND),
    may_read=roles(hashes=HASHES),
    takes=("neardup", "against", "min_cosine"),
    gives=roles(verdicts=VERDICTS, clusters=CLUSTERS),
)
def judge(context: Context) -> Result:
    """Verdicts by sql/decisions/neardup.sql."""
    rows = alive_rows(context)
    images = context.table("images")
    tables = {"images": images, "clusters": context.concat("clusters", CLUSTERS)}
    config = {**context.options["neardup"], "against": context.options["against"]}
    parts = [decide(context, "decisions/neardup", rows, tables, config).cast(VERDICTS)]
    if "hashes" in context.task.inputs:
        hashed = pc.is_in(images.column("row"), value_set=context.table("hashes").column("row").combine_chunks())
        measured = pc.is_in(rows.column("url"), value_set=images.filter(hashed).column("url").combine_chunks())
        parts.append(lost(context, rows, rows.filter(measured).column("row")))
    parts.append(semantic.verdicts(context, rows))
    return verdict_result(context, rows, first_verdicts(parts)).table("clusters", tables["clusters"], CLUSTERS)


def run(run: Run) -> None:
    """Hash if the images' hash is another than PDQ; exchange by hash chunk, connect, decide."""
    section = run.config.neardup
    config = {"neardup": options(section)}
    hashes: list[dict[str, Inputs]] = [{} for _ in run.partitions]
    if section.hash != "pdq":
        hashes = of_each(run.map(measure, options(section, "hash"), IMAGES_TABLE, units=True), "hashes")
    keyed = {**config, "buckets": bucket_count(run.alive * section.keys_per_image, ROWS_PER_BUCKET)}
    scattered = run.map(scatter, keyed, IMAGES_TABLE, each=hashes)
    scattered += run.do(
        known,
        [
            Task(
                known.name,
                number,
                {},
                {**keyed, **there.options, "number": len(run.partitions) + number},
                hints=there.hints,
            )
            for number, there in enumerate(existing(run.config))
        ],
    )
    compared = run.reduce(compare, config, {"keys": [exchange(run, scattered, "keys")]})
    clustered = run.one(
        represent,
        Task(represent.name, 0, {"nodes": every(scattered, "nodes"), "edges": every(compared, "edges")}, config),
    )
    returned = exchange(run, [clustered], "clusters")
    alike = semantic.run_duplicates(run, returned)
    found = [
        {**own, "clusters": returned.bucket(partition.number), "semantic": similar}
        for partition, own, similar in zip(run.partitions, hashes, alike, strict=True)
    ]
    keys = {**config, "against": list(run.config.against), "min_cosine": run.config.semantic.min_cosine}
    decided = run.decide(judge, keys, IMAGES_TABLE, each=found)
    run.leave(CLUSTERS_TABLE, decided, "clusters")

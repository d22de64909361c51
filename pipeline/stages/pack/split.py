"""pack: which pairs are held out, by captions, images and components; see `filters.duplicates.heldout_split`."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dataset.ids import words64
from dataset.schema import IMAGES
from filters.duplicates import heldout_split as heldout
from filters.duplicates.components import caption_keys
from filters.duplicates.near import CLUSTERS
from pipeline.engine.contract import PAIR_ROWS, roles
from pipeline.engine.exchanges.exchange import (
    ROWS_PER_BUCKET,
    Buckets,
    Exchange,
    bucket_count,
    bucket_of,
    write_buckets,
)
from pipeline.engine.exchanges.gathering import exchange, fold_tables
from pipeline.engine.exchanges.locators import bucket_by_partition, locators
from pipeline.engine.phase import Context, Result, phase
from pipeline.engine.run import Run
from pipeline.engine.verdicts import alive_rows
from pipeline.stages.artifacts import CLUSTERS_TABLE, IMAGES_TABLE
from pipeline.stages.components import Connecting, by_node, component_labels
from pipeline.stages.pack import PACK
from pipeline.stages.shown_images import images_of

HELD = pa.schema([("locator", pa.int64())])


@phase(
    PACK,
    "pack.groups",
    version=2,
    reads=PAIR_ROWS | roles(images=IMAGES, clusters=CLUSTERS),
    takes=("buckets",),
    exchanges=roles(groups=heldout.GROUPS),
)
def groups(context: Context) -> Result:
    """Give what ties a pair to others: its image's cluster of near-duplicates and its caption without case; by
    caption.
    """
    rows = alive_rows(context, ["url", "text"])
    images = images_of(rows, context.table("images"))
    clusters = context.table("clusters", ["locator", "cluster"])
    indices = pc.index_in(
        locators(context.task.partition, images.column("row")),
        value_set=clusters.column("locator").combine_chunks(),
    )
    look = pc.coalesce(clusters.column("cluster").take(indices), images.column("sha256"))
    table = pa.table(
        {
            "locator": locators(context.task.partition, rows.column("row")),
            "image_key": look,
            "caption_key": caption_keys(rows.column("text")),
        }
    )
    keyed = table.cast(heldout.GROUPS)
    return Result(counts={"rows": keyed.num_rows}, buckets={"groups": _split_by(context, keyed, "caption_key")})


@phase(
    PACK,
    "pack.captions",
    reads=roles(groups=heldout.GROUPS),
    takes=("buckets",),
    exchanges=roles(pairs=heldout.SHARED),
)
def captions(context: Context) -> Result:
    """Give which pairs have a caption that stands on other images, too; by image."""
    rows = context.concat("groups", heldout.GROUPS)
    counts = {"captions": pc.count_distinct(rows.column("caption_key")).as_py()}
    return Result(counts=counts, buckets={"pairs": _split_by(context, heldout.shared_captions(rows), "image_key")})


@phase(
    PACK,
    "pack.bridges",
    version=2,
    reads=roles(pairs=heldout.SHARED),
    takes=("buckets",),
    exchanges=roles(edges=heldout.BRIDGES),
)
def bridges(context: Context) -> Result:
    """Give the shared captions that images tie together; by caption."""
    edges = heldout.bridges(context.concat("pairs", heldout.SHARED))
    return Result(counts={"bridges": edges.num_rows}, buckets={"edges": by_node(edges, context.options["buckets"])})


CONNECTING = Connecting.declare(PACK, "pack.small_star", "pack.large_star", heldout.KEY)


@phase(
    PACK,
    "pack.roots",
    version=2,
    reads=roles(groups=heldout.GROUPS, edges=heldout.BRIDGES),
    takes=("buckets",),
    exchanges=roles(pairs=heldout.ROOTED),
)
def roots(context: Context) -> Result:
    """Give the least caption that each pair's is connected to; by image."""
    known = component_labels(context, heldout.KEY)
    rooted = heldout.root_pairs(context.concat("groups", heldout.GROUPS), known)
    return Result(buckets={"pairs": _split_by(context, rooted, "image_key")})


@phase(
    PACK,
    "pack.members",
    version=2,
    reads=roles(pairs=heldout.ROOTED),
    takes=("buckets",),
    exchanges=roles(members=heldout.MEMBERS),
)
def members(context: Context) -> Result:
    """Give how many pairs a bucket's images add to each component; by component."""
    counts = heldout.members(context.concat("pairs", heldout.ROOTED))
    return Result(buckets={"members": _split_by(context, counts, "root")})


@phase(
    PACK,
    "pack.chosen",
    reads=roles(members=heldout.MEMBERS),
    takes=("seed", "heldout_share", "pairs"),
    gives=roles(chosen=heldout.CHOSEN),
    folds={"chosen": pa.concat_tables},
)
def chosen(context: Context) -> Result:
    """Give the components that are held out."""
    count, share, seed = (context.options[name] for name in ("pairs", "heldout_share", "seed"))
    components = heldout.choose_components(context.concat("members", heldout.MEMBERS), count, share, seed)
    return Result().table("chosen", components, heldout.CHOSEN)


@phase(
    PACK,
    "pack.split",
    version=3,
    reads=roles(pairs=heldout.ROOTED, chosen=heldout.CHOSEN),
    takes=("seed", "heldout_share", "pairs"),
    exchanges=roles(heldout=HELD),
)
def split(context: Context) -> Result:
    """Give which pairs are held out: never one of two that share an image or a caption; each returns to its
    partition.
    """
    count, share, seed = (context.options[name] for name in ("pairs", "heldout_share", "seed"))
    pairs, out = context.concat("pairs", heldout.ROOTED), context.concat("chosen", heldout.CHOSEN)
    locator = heldout.heldout_locators(pairs, out, count, share, seed)
    table = pa.table([locator], schema=HELD)
    return Result(counts={"heldout": table.num_rows}, buckets={"heldout": bucket_by_partition(table)})


def _split_by(context: Context, table: pa.Table, key: str) -> Buckets:
    """A table by the buckets of a key that is a hash."""
    words = words64(table.column(key))[:, 0] if table.num_rows else np.zeros(0, np.uint64)
    return write_buckets(table, bucket_of(words, context.options["buckets"]))


def shard_of(context: Context, rows: pa.Table, order: np.ndarray) -> np.ndarray:
    """Return the number of the shard that each of a partition's rows goes to; those held out have shards behind the
    others.

    Args:
        rows: n, with their `row`; the task has the locators that are held out (`heldout`), and how many `shards` of
            both kinds there are.
        order: of the rows. uint64 (n,).
    """
    here = locators(context.task.partition, rows.column("row"))
    held = pc.is_in(here, value_set=context.concat("heldout", HELD).column("locator").combine_chunks()).to_numpy(False)
    train, heldout = context.options["shards"]
    return np.where(held, train + bucket_of(order, heldout), bucket_of(order, train))


def run(run: Run) -> tuple[int, int, Exchange]:
    """Return how many pairs are held out, how many captions there are, and the locators held out by their partition."""
    buckets = {"buckets": bucket_count(run.alive, ROWS_PER_BUCKET)}
    rule = {"seed": run.config.seed, "heldout_share": run.config.pack.heldout_share, "pairs": run.alive}
    by_caption = exchange(run, run.map(groups, buckets, IMAGES_TABLE, CLUSTERS_TABLE), "groups")
    marked = run.reduce(captions, buckets, {"groups": [by_caption]})
    tied = run.reduce(bridges, buckets, {"pairs": [exchange(run, marked, "pairs")]})
    connected = CONNECTING.run(run, tied, buckets["buckets"])
    rooted = run.reduce(roots, buckets, {"groups": [by_caption], "edges": [connected]})
    by_image = {"pairs": [exchange(run, rooted, "pairs")]}
    counted = exchange(run, run.reduce(members, buckets, by_image), "members")
    out = {"chosen": fold_tables(run, run.reduce(chosen, rule, {"members": [counted]}), "chosen")}
    returned = run.reduce(split, rule, by_image, shared=out)
    count, distinct = (
        sum(commit.counts[name] for commit in some) for some, name in ((returned, "heldout"), (marked, "captions"))
    )
    return count, distinct, exchange(run, returned, "heldout")

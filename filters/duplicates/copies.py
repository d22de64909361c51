"""Copies in one partition: of images that agree in all that is compared, one is looked at and stands for the others.

A placeholder that a million addresses serve is one image to look at in each partition, not a million in one task. What
becomes of it becomes of its copies, for images that agree look like the same others, and the one that is looked at is
the first of them by the rule of `filters.duplicates.near`.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dataset.ids import words64
from filters.duplicates.near import CLUSTERS
from filters.images.perceptual import colours, words

COPIES = pa.schema(
    [
        ("locator", pa.int64()),
        ("first", pa.int64()),  # the locator of the image that is looked at
        ("first_url_id", pa.binary(8)),
        ("sha256", pa.binary(32)),  # of both
    ]
)


def separate_copies(nodes: pa.Table) -> tuple[pa.Table, pa.Table]:
    """Return the images that are looked at, and the copies of them.

    Args:
        nodes: `near.NODES` of one partition, of no other dataset.

    Returns:
        NODES in the order given, without copies; COPIES, by locator.
    """
    sha256 = words(nodes.column("sha256"))
    order = np.argsort(sha256[:, 0], kind="stable")
    again = np.zeros(len(order) + 1, bool)
    again[1:-1] = sha256[order[1:], 0] == sha256[order[:-1], 0]
    some = np.sort(order[again[1:] | again[:-1]])  # few, and only these are compared in full
    rows = nodes.take(pa.array(some))
    url_id = words64(rows.column("url_id"))[:, 0]
    compared = np.column_stack(
        [
            sha256[some],
            words(rows.column("hash")),
            words64(pc.fill_null(rows.column("pixel_hash"), bytes(16))),
            pc.is_valid(rows.column("pixel_hash")).to_numpy().astype(np.uint64),
            rows.column("quality").to_numpy().astype(np.uint64),
            rows.column("pixels").to_numpy().astype(np.uint64),
            colours(rows.column("mean_rgb")).astype(np.uint64),
        ]
    )
    order = np.lexsort((url_id, *compared.T))
    new = np.ones(len(order), bool)
    new[1:] = (compared[order[1:]] != compared[order[:-1]]).any(axis=1)
    first = np.empty(len(order), np.int64)
    first[order] = order[new][np.cumsum(new) - 1] if len(order) else order
    is_copy = first != np.arange(len(order))
    of = rows.take(pa.array(first[is_copy]))
    copies = rows.filter(pa.array(is_copy))
    columns = [copies.column("locator"), *(of.column(name) for name in ("locator", "url_id", "sha256"))]
    stays = np.ones(len(nodes), bool)
    stays[some[is_copy]] = False
    return nodes.filter(pa.array(stays)), pa.table(columns, schema=COPIES).sort_by("locator")


def with_copies(clusters: pa.Table, copies: pa.Table) -> pa.Table:
    """Return CLUSTERS of a partition with the copies in it: what `near.clusters` says where none is taken apart.

    Args:
        clusters: CLUSTERS of the images that were looked at.
        copies: COPIES of them.

    Returns:
        CLUSTERS, by locator.
    """
    first = copies.column("first").combine_chunks()
    indices = pc.index_in(first, value_set=clusters.column("locator").combine_chunks())
    alone = copies.filter(pc.is_null(indices))  # like no others
    alone = alone.take(pc.index_in(pc.unique(alone.column("first")), value_set=alone.column("first").combine_chunks()))
    count = len(alone)
    columns = {
        "locator": alone.column("first"),
        "cluster": alone.column("sha256"),
        "representative": alone.column("first"),
        "representative_url_id": alone.column("first_url_id"),
        "representative_dataset": pa.nulls(count, pa.int16()),
        "hamming": pa.array(np.zeros(count, np.int32)),
        "identical": pa.array(["bytes"] * count, pa.string()),
    }
    known = pa.concat_tables([clusters.select(CLUSTERS.names).cast(CLUSTERS), pa.table(columns, schema=CLUSTERS)])
    of_copies = known.take(pc.index_in(first, value_set=known.column("locator").combine_chunks()))
    all_clusters = pa.concat_tables([known, of_copies.set_column(0, CLUSTERS.field(0), copies.column("locator"))])
    return all_clusters.sort_by("locator")

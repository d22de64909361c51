"""pack: an exchange of the images' bytes, from the fetch store to the shards, where each request costs.

A shard's images lie all over the fetch store: to ask a bucket for each is one request a sample, 400 million of them for
400 million samples. Here tasks read the store in its own order instead, in pieces (`pack.images`), and write what they
have read by shard. Where there would be more than FEW_FILES such files for a shard to ask, they write by groups of
shards, and other tasks write a group's bytes of some hundred files by shard (`pack.regrouped`): each byte is then read
and written once more, and nobody asks for little.

It is done where the dataset lies in a bucket, and more than a small share of the shards are to be written. A folder's
files are read at random instead, which takes half of the work there. The shards are the same bytes either way, and the
exchange's files go when they are written.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from crawl.images.store import read_images
from dataset import heartbeat
from dataset.ids import hash64, mix64, order_hash
from dataset.schema import IMAGES
from pipeline.engine.contract import PAIR_ROWS, roles
from pipeline.engine.exchanges.exchange import (
    Bucket,
    Buckets,
    bucket_count,
    bucket_of,
    write_bodies,
    write_buckets,
)
from pipeline.engine.exchanges.gathering import as_it_is, exchange, in_two_steps
from pipeline.engine.phase import Context, Inputs, Result, Task, phase
from pipeline.engine.run import Run
from pipeline.engine.temporary_phases import has_any
from pipeline.engine.verdicts import alive_rows
from pipeline.stages.artifacts import IMAGES_TABLE
from pipeline.stages.pack import PACK
from pipeline.stages.pack.split import HELD, shard_of
from pipeline.stages.shown_images import images_of

PIECE_BYTES = 8 * 2**20
"""The bytes of a blob that are read in one task: some hundred images in one or a few requests."""
TASK_BYTES = 384 * 2**20
"""The bytes of images that a task moves: some 48 pieces that chance deals out, so that of ten thousand tasks
none has twice as much. It holds them twice, 0.8 GB, at most 1.6 GB.
"""
FEW_FILES = 16
"""Up to so many files each shard's task reads its part of."""
MOST_FILES = 256
"""So many files a task of `pack.regrouped` reads a part of."""
FEW_SHARDS = 1 / 8
"""Up to this share of the shards is written from the store itself, unless the exchange is there already."""
IMAGES_HINT = "images"
"""The hint of a shard's task that says where the exchange has its images."""

_PLACE = ("blob", "blob_offset", "blob_length", "blob_checksum")
PLACES = pa.schema([("shard", pa.int32()), *(IMAGES.field(name) for name in _PLACE)])
BODIES = pa.schema([("shard", pa.int32()), ("blob", pa.string()), ("blob_offset", pa.int64()),
                    ("body", pa.large_binary())])  # fmt: skip


@phase(
    PACK,
    "pack.places",
    reads=PAIR_ROWS | roles(images=IMAGES, heldout=HELD),
    takes=("seed", "shards", "buckets"),
    exchanges=roles(places=PLACES),
)
def places(context: Context) -> Result:
    """Give where the store has the images of a partition's pairs, and the shards that they go to; by piece of a
    blob.
    """
    rows = alive_rows(context, ["pair_id", "url"])
    images = images_of(rows, context.table("images"))
    shard = shard_of(context, rows, order_hash(rows.column("pair_id"), context.options["seed"]))
    rows_ = images.select(_PLACE).add_column(0, PLACES.field("shard"), pa.array(shard, pa.int32())).cast(PLACES)
    rows_ = rows_.filter(pc.is_valid(rows_.column("blob")))
    blobs = rows_.column("blob").combine_chunks().dictionary_encode()
    names = np.array([hash64(name) for name in blobs.dictionary.to_pylist()], np.uint64)
    pieces = rows_.column("blob_offset").to_numpy() // PIECE_BYTES
    keys = mix64(names[blobs.indices.to_numpy()] + pieces.astype(np.uint64), 0)
    return Result(buckets={"places": write_buckets(rows_, bucket_of(keys, context.options["buckets"]))})


@phase(
    PACK,
    "pack.images",
    reads=roles(places=PLACES),
    takes=("together",),
    exchanges=roles(images=BODIES),
)
def images(context: Context) -> Result:
    """Give the images of some pieces of blobs, by so many shards together."""
    wanted = context.concat("places", PLACES)
    shards, blobs, offsets = (wanted.column(name).to_pylist() for name in ("shard", "blob", "blob_offset"))
    places = list(zip(blobs, offsets, strict=True))
    first = {place: row for row, place in enumerate(places)}  # an image may be several pairs'
    bodies = read_images(context.storage, wanted.take(pa.array(first.values(), pa.int64())), near=True)
    moved = set(zip(shards, places, strict=True))
    body_of = dict(zip(first, bodies, strict=True))
    del bodies
    return Result(buckets={"images": _exchange_by_shard(moved, body_of, context.options["together"])})


@phase(
    PACK,
    "pack.regrouped",
    reads=roles(images=BODIES),
    exchanges=roles(images=BODIES),
)
def regrouped(context: Context) -> Result:
    """Give a group's images of some files, by shard."""
    moved: list[tuple[int, _Place]] = []
    body_of: dict[_Place, bytes] = {}
    for table in context.each("images"):
        shards, blobs, offsets, bodies = (table.column(name).to_pylist() for name in BODIES.names)
        places = list(zip(blobs, offsets, strict=True))
        moved += zip(shards, places, strict=True)
        body_of.update(zip(places, bodies, strict=True))
    return Result(buckets={"images": _exchange_by_shard(moved, body_of, 1)})


_Place = tuple[str, int]  # a blob, and the offset in it


def _exchange_by_shard(moved: Iterable[tuple[int, _Place]], bodies: dict[_Place, bytes], together: int) -> Buckets:
    """An exchange file of images.

    Args:
        moved: the shards and what they get, each once.
        bodies: of what they get; those that are written are taken away.
        together: of how many shards a bucket is.
    """
    ordered = sorted(moved)
    left = Counter(place for _, place in ordered)

    def take_body(place: _Place) -> bytes:
        left[place] -= 1
        return bodies[place] if left[place] else bodies.pop(place)

    def buckets() -> Iterator[tuple[int, pa.Table]]:
        for bucket, some in groupby(ordered, key=lambda item: item[0] // together):
            rows = [(shard, *place, take_body(place)) for shard, place in some]
            columns = zip(zip(*rows, strict=True), BODIES, strict=True)
            yield bucket, pa.table([pa.array(values, field.type) for values, field in columns], schema=BODIES)

    return write_bodies(BODIES, buckets())


def read(context: Context, rows: pa.Table) -> list[bytes]:
    """Return the images of a shard's rows, in their order: by the exchange if there is one, else from the store
    itself.
    """
    buckets: Sequence[Bucket] | None = context.task.hints.get(IMAGES_HINT)
    if buckets is None:
        return read_images(context.storage, rows)
    count, number = sum(bucket.tables for bucket in buckets), 0
    body_of: dict[tuple[str | None, int | None], bytes] = {(None, None): b""}
    for bucket in buckets:
        for table in bucket.read(context.storage):
            number += 1
            heartbeat.progress(number, 2 * count)  # the shard is still to be written
            blobs, offsets, bodies = (table.column(name).to_pylist() for name in BODIES.names[1:])
            body_of.update(zip(zip(blobs, offsets, strict=True), bodies, strict=True))
    return [body_of[place] for place in zip(*(rows.column(name).to_pylist() for name in _PLACE[:2]), strict=True)]


def group_size(shards: int) -> int:
    """Return how many shards a group of an exchange in two steps has."""
    return math.isqrt(shards - 1) + 1


def is_worth_it(run: Run, shards: int, of: int) -> bool:
    """Return whether the bytes are exchanged for the writing of so many shards of all."""
    return not run.storage.local and (shards > FEW_SHARDS * of or has_any(run.storage, images))


def move_images(
    run: Run, tasks: list[Task], options: Mapping[str, Any], each: Sequence[Mapping[str, Inputs]], total_bytes: int
) -> list[Task]:
    """Return the tasks that write shards, as they read their images.

    Args:
        tasks: those that are to be done; their partition is the shard's number.
        options: of `pack.map`.
        each: of `pack.map`.
        total_bytes: of the images of all pairs.
    """
    shards = sum(options["shards"])
    if not is_worth_it(run, len(tasks), shards):
        return tasks
    count = bucket_count(total_bytes, TASK_BYTES)
    placed = run.map(places, {**options, "buckets": count}, IMAGES_TABLE, each=each)
    together = 1 if count <= FEW_FILES else group_size(shards)
    wanted = {"places": [exchange(run, placed, "places")]}
    exchanged = run.reduce(images, {"together": together}, wanted, rows=run.alive)
    if together == 1:
        by_group = [as_it_is(run, exchanged, "images")] * shards
    else:  # a task moves about as much as one that reads the store
        groups = -(-shards // together)
        by_group = in_two_steps(run, regrouped, exchanged, "images", groups, min(groups, MOST_FILES))

    def places_of(shard: int) -> tuple[Bucket, ...]:
        return by_group[shard // together].bucket(shard)

    return [replace(task, hints={**task.hints, IMAGES_HINT: places_of(task.partition)}) for task in tasks]

"""image and neardup, where asked for: images parted into cells by their embeddings; target sets; duplicates in a cell.

A cell is a measure of the image stage. Duplicates are looked for among the images that stay after neardup has compared
their looks: an exchange by cell, which, unlike others, moves the embeddings, for they are what is compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import PurePosixPath

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dataset.commits import Commit
from dataset.ids import words64
from dataset.schema import CELLS, VERDICTS
from dataset.storage import Storage, absolute
from filters.duplicates.evaluation_sets import SUFFIXES
from filters.duplicates.semantic import LEAST_SAMPLE, SAMPLE_PER_CELL, assign, centres, duplicates, sampled
from filters.images.embeddings import from_column, to_column
from pipeline.engine.exchange import bucket_count, write_buckets
from pipeline.engine.phase import Context, Input, Result, Task, buckets_in, every, gather, phase
from pipeline.engine.plan import file_checksum
from pipeline.engine.run import Run
from pipeline.engine.verdicts import alive_rows, decide
from pipeline.stages.common import LOCATOR_BITS, locators
from pipeline.stages.image import encoder as embedding
from pipeline.stages.image.models import IMAGES_AT_ONCE

ROWS_PER_BUCKET = 100_000
"""Images whose duplicates one task looks for: some 100 MB of embeddings."""
TARGETS = pa.schema([("cell", pa.int32()), ("target_images", pa.int32())])
FOUND = pa.schema([("locator", pa.int64()), ("representative_url_id", pa.binary(8)), ("cosine", pa.float32())])


@phase("image.sample")
def sample(context: Context) -> Result:
    """Some of the partition's images, by a hash of their address."""
    images, embeddings = _embedded(context)
    ids = words64(images.column("url_id"))[:, 0]
    chosen = pa.array(sampled(ids, context.options["share"], context.options["seed"]))
    table = pa.table({"url_id": images.column("url_id"), "embedding": embeddings.column("embedding")})
    return Result().table("sample", table.filter(chosen))


@phase("image.cells")
def part(context: Context) -> Result:
    """The centres of the cells, from the sample of all partitions."""
    tables = [table for table in context.table_list("sample") if table.num_rows]
    table = pa.concat_tables(tables).sort_by("url_id") if tables else None
    vectors = from_column(table.column("embedding")) if table is not None else np.empty((0, 1), np.float32)
    found = centres(vectors, context.options["cells"], context.options["seed"])
    return Result(counts={"cells": len(found)}).table("centres", pa.table({"centre": to_column(found)}))


@phase("image.cell")
def place(context: Context) -> Result:
    """The cell of each image, and how near it is to the cell's centre."""
    embeddings = context.table("embeddings")
    cell, cosine = assign(from_column(embeddings.column("embedding")), _centres(context))
    return Result().table("measures", pa.table([embeddings.column("row"), cell, cosine], schema=CELLS), CELLS)


@phase("image.target", gpu=True)
def target(context: Context) -> Result:
    """How many images of a target set fall into each cell.

    Raises:
        ValueError: the folder holds no image.
    """
    folder = Storage(context.task.hints["folder"])
    names = [file.name for file in folder.list(recursive=True) if PurePosixPath(file.name).suffix.lower() in SUFFIXES]
    if not names:
        raise ValueError(f"semantic.target_folders: {folder.url} holds no image")
    encoder = embedding.load(context.task.hints["location"], context.options["identity"])
    count = np.zeros(context.options["cells"], np.int32)
    for first in range(0, len(names) if len(count) else 0, IMAGES_AT_ONCE):
        vectors = encoder.images([folder.read(name) for name in sorted(names)[first : first + IMAGES_AT_ONCE]])
        cell, _ = assign(vectors.astype(np.float32), _centres(context))
        count += np.bincount(cell, minlength=len(count)).astype(np.int32)
    found = np.flatnonzero(count)
    table = pa.table([found.astype(np.int32), count[found]], schema=TARGETS)
    return Result(counts={"images": len(names)}).table("targets", table, TARGETS)


def target_images(cells: pa.Table, targets: Sequence[pa.Table]) -> pa.Array:
    """How many images of the target sets are in each image's cell: int32 (n,)."""
    both = pa.concat_tables(targets).group_by("cell", use_threads=False).aggregate([("target_images", "sum")])
    at = pc.index_in(cells.column("cell"), value_set=both.column("cell").combine_chunks())
    return pc.fill_null(both.column("target_images_sum").take(at), 0).cast(pa.int32())


def _embedded(context: Context) -> tuple[pa.Table, pa.Table]:
    """The images that have an embedding, and these, row by row."""
    embeddings, images = context.table("embeddings"), context.table("images")
    return images.take(
        pc.index_in(embeddings.column("row"), value_set=images.column("row").combine_chunks())
    ), embeddings


def _centres(context: Context) -> np.ndarray:
    return from_column(context.table("centres").column("centre"))


def run_cells(run: Run, embedded: Sequence[Commit]) -> tuple[list[Commit], tuple[Input, ...]]:
    """Part all images into cells: each partition's measures, and the cells of each target set."""
    config, seed = run.config.semantic, {"seed": run.config.seed}
    images = sum(commit.counts["images"] for commit in embedded)
    cells = config.cells(images)
    share = max(SAMPLE_PER_CELL * cells, LEAST_SAMPLE) / max(images, 1)
    tasks = [
        Task(sample.name, at.number, at.inputs("images", "embeddings"), {**seed, "share": min(1.0, share)})
        for at in run.partitions
    ]
    drawn = run.do(sample, tasks, rows=run.alive)
    parted = run.one(part, Task(part.name, 0, {"sample": every(drawn, "sample")}, {**seed, "cells": cells}))
    where = {"centres": (Input(parted.files["centres"]),)}
    placed = run.do(
        place,
        [
            Task(place.name, at.number, {**where, "embeddings": at.inputs("embeddings")["embeddings"]}, {})
            for at in run.partitions
        ],
        rows=run.alive,
    )
    run.beside("cells", placed, "measures")
    model = run.config.image.embedding_model
    aimed = [
        Task(
            target.name,
            number,
            where,
            {"identity": embedding.identity(model), "checksum": file_checksum(folder), "cells": parted.counts["cells"]},
            hints={"location": embedding.location(model), "folder": absolute(folder)},
        )
        for number, folder in enumerate(config.target_folders)
    ]
    return placed, every(run.do(target, aimed), "targets") if aimed else ()


@phase("neardup.cells")
def scatter(context: Context) -> Result:
    """The images that stay after a look at them, with their embeddings, by cell."""
    pairs, clusters = alive_rows(context, ["url"]), context.table_list("clusters")
    images, embeddings = _embedded(context)
    cells = context.table("cells")
    table = pa.table(
        {
            "locator": locators(context.task.partition, images.column("row")),
            "url_id": images.column("url_id"),
            "cell": cells.column("cell"),
            "cell_cosine": cells.column("cell_cosine"),
            "embedding": embeddings.column("embedding"),
        }
    )
    stays = pc.is_in(images.column("url"), value_set=pc.unique(pairs.column("url")))
    for found in clusters:
        gone = found.filter(pc.not_equal(found.column("representative"), found.column("locator")))
        seen = pc.is_in(table.column("locator"), value_set=gone.column("locator").combine_chunks())
        stays = pc.and_(stays, pc.invert(seen))
    table = table.filter(stays)
    bucket = table.column("cell").to_numpy().astype(np.int64) % context.options["buckets"]
    return Result(buckets={"images": write_buckets(table, bucket)})


@phase("neardup.semantic")
def compare(context: Context) -> Result:
    """In each cell of this bucket, the images that another one stands for; each returns to its partition."""
    order = [("cell", "ascending"), ("cell_cosine", "ascending"), ("url_id", "ascending")]
    table = pa.concat_tables(context.table_list("images")).sort_by(order)
    vectors, cell = from_column(table.column("embedding")), table.column("cell").to_numpy()
    stands, cosine = np.arange(len(cell)), np.ones(len(cell), np.float32)
    edges = np.flatnonzero(np.diff(cell, prepend=-1, append=-1))
    for first, last in pairwise(edges.tolist()):
        here, cosine[first:last] = duplicates(vectors[first:last], context.options["min_cosine"])
        stands[first:last] = first + here
    gone = np.flatnonzero(stands != np.arange(len(cell)))
    found = pa.table(
        [
            table.column("locator").take(pa.array(gone)),
            table.column("url_id").take(pa.array(stands[gone])),
            cosine[gone],
        ],
        schema=FOUND,
    )
    home = found.column("locator").to_numpy() >> LOCATOR_BITS
    return Result(counts={"images": len(cell)}, buckets={"found": write_buckets(found, home)})


def run_duplicates(run: Run, clustered: Commit) -> list[tuple[Input, ...]]:
    """Look for duplicates by embedding; what each partition's decision reads of it, nothing if none are looked for."""
    config = run.config.semantic
    if config.min_cosine is None:
        return [() for _ in run.partitions]
    buckets = bucket_count(run.alive, ROWS_PER_BUCKET)
    tasks = [
        Task(
            scatter.name,
            at.number,
            {**at.inputs("images", "embeddings", "cells"), "clusters": gather([clustered], "clusters", at.number)},
            {"buckets": buckets},
        )
        for at in run.partitions
    ]
    scattered = run.do(scatter, tasks, rows=run.alive)
    compared = run.do(
        compare,
        [
            Task(
                compare.name, bucket, {"images": gather(scattered, "images", bucket)}, {"min_cosine": config.min_cosine}
            )
            for bucket in buckets_in(scattered, "images")
        ],
    )
    return [gather(compared, "found", at.number) for at in run.partitions]


def verdicts(context: Context, rows: pa.Table) -> pa.Table:
    """Verdicts by sql/decisions/semantic.sql; none if no duplicates by embedding were looked for."""
    found = context.concat("semantic", FOUND)
    if not found.num_rows:
        return VERDICTS.empty_table()
    tables = {
        "images": context.table("images"),
        "semantic": found.append_column("row", pc.bit_wise_and(found.column("locator"), 2**LOCATOR_BITS - 1)),
    }
    return decide(context, "semantic", rows, tables, {"min_cosine": context.options["min_cosine"]}).cast(VERDICTS)

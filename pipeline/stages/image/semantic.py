"""image, where asked for: images parted into cells by their embeddings, and what is in each cell of a target set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dataset.ids import words64
from dataset.ledger.commits import Commit
from dataset.schema import CELLS, IMAGES
from dataset.store.storage import Storage, absolute
from filters.duplicates.evaluation_sets import SUFFIXES
from filters.duplicates.semantic import LEAST_SAMPLE, SAMPLE_PER_CELL, assign, centres, is_sampled
from filters.images.embeddings import from_column, to_column
from pipeline.engine.contract import PAIR_ROWS, roles
from pipeline.engine.phase import Context, Input, Result, Task, all_files, phase
from pipeline.engine.run import Run
from pipeline.engine.sources.plan import file_checksum
from pipeline.stages.artifacts import CELLS_TABLE, EMBEDDINGS_TABLE, IMAGES_TABLE
from pipeline.stages.image import IMAGE
from pipeline.stages.image import encoder as embedding
from pipeline.stages.shown_images import IMAGES_AT_ONCE

TARGETS = pa.schema([("cell", pa.int32()), ("target_images", pa.int32())])


@phase(
    IMAGE,
    "image.sample",
    reads=PAIR_ROWS | roles("embeddings", images=IMAGES),
    takes=("seed", "share"),
    gives=roles("sample"),
)
def sample(context: Context) -> Result:
    """Give some of the partition's images, by a hash of their address."""
    images, embeddings = embedded_images(context)
    ids = words64(images.column("url_id"))[:, 0]
    chosen = pa.array(is_sampled(ids, context.options["share"], context.options["seed"]))
    table = pa.table({"url_id": images.column("url_id"), "embedding": embeddings.column("embedding")})
    return Result().table("sample", table.filter(chosen))


@phase(IMAGE, "image.cells", reads=roles("sample"), takes=("seed", "cells"), gives=roles("centres"))
def cells(context: Context) -> Result:
    """Give the centres of the cells, from the sample of all partitions."""
    tables = [table for table in context.table_list("sample") if table.num_rows]
    table = pa.concat_tables(tables).sort_by("url_id") if tables else None
    vectors = from_column(table.column("embedding")) if table is not None else np.empty((0, 1), np.float32)
    middles = centres(vectors, context.options["cells"], context.options["seed"])
    return Result(counts={"cells": len(middles)}).table("centres", pa.table({"centre": to_column(middles)}))


@phase(IMAGE, "image.cell", reads=roles("centres", "embeddings"), gives=roles(measures=CELLS))
def cell(context: Context) -> Result:
    """Give the cell of each image, and how near it is to the cell's centre."""
    embeddings = context.table("embeddings")
    nearest, cosine = assign(from_column(embeddings.column("embedding")), _centres(context))
    return Result().table("measures", pa.table([embeddings.column("row"), nearest, cosine], schema=CELLS), CELLS)


@phase(
    IMAGE,
    "image.target",
    gpu=True,
    reads=roles("centres"),
    takes=("identity", "checksum", "cells"),
    gives=roles(targets=TARGETS),
)
def target(context: Context) -> Result:
    """Give how many images of a target set fall into each cell.

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
        nearest, _ = assign(vectors.astype(np.float32), _centres(context))
        count += np.bincount(nearest, minlength=len(count)).astype(np.int32)
    filled = np.flatnonzero(count)
    table = pa.table([filled.astype(np.int32), count[filled]], schema=TARGETS)
    return Result(counts={"images": len(names)}).table("targets", table, TARGETS)


def target_images(placed: pa.Table, targets: Sequence[pa.Table]) -> pa.Array:
    """Return how many images of the target sets are in each image's cell: int32 (n,)."""
    both = pa.concat_tables(targets).group_by("cell", use_threads=False).aggregate([("target_images", "sum")])
    indices = pc.index_in(placed.column("cell"), value_set=both.column("cell").combine_chunks())
    return pc.fill_null(both.column("target_images_sum").take(indices), 0).cast(pa.int32())


def embedded_images(context: Context) -> tuple[pa.Table, pa.Table]:
    """Return the images that have an embedding, and these, row by row."""
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
    count = config.cells(images)
    share = max(SAMPLE_PER_CELL * count, LEAST_SAMPLE) / max(images, 1)
    drawn = run.map(sample, {**seed, "share": min(1.0, share)}, IMAGES_TABLE, EMBEDDINGS_TABLE)
    parted = run.one(cells, Task(cells.name, 0, {"sample": all_files(drawn, "sample")}, {**seed, "cells": count}))
    where = {"centres": (Input(parted.files["centres"]),)}
    placed = run.map(cell, {}, EMBEDDINGS_TABLE, shared=where)
    run.leave(CELLS_TABLE, placed, "measures")
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
    return placed, all_files(run.do(target, aimed), "targets") if aimed else ()

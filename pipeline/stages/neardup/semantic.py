"""neardup, where asked for: duplicates by embedding, looked for in each cell of similar images.

They are looked for among the images that stay after their looks have been compared: an exchange by cell, which, unlike
others, moves the embeddings, for they are what is compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dataset.schema import CELLS, IMAGES, VERDICTS
from filters.duplicates.copies import COPIES, with_copies
from filters.duplicates.near import CLUSTERS
from filters.duplicates.semantic import duplicates
from filters.images.embeddings import from_column
from pipeline.engine.contract import PAIR_ROWS, roles
from pipeline.engine.exchanges.exchange import bucket_count, write_buckets
from pipeline.engine.exchanges.gathering import exchange
from pipeline.engine.exchanges.locators import bucket_by_partition, locators, rows_of
from pipeline.engine.phase import Context, Inputs, Result, phase
from pipeline.engine.run import Run
from pipeline.engine.verdicts import alive_rows, decide_by_sql
from pipeline.stages.artifacts import CELLS_TABLE, EMBEDDINGS_TABLE, IMAGES_TABLE
from pipeline.stages.image.semantic import embedded_images
from pipeline.stages.neardup import NEARDUP

ROWS_PER_BUCKET = 100_000
"""Images whose duplicates one task looks for: some 100 MB of embeddings."""
FOUND = pa.schema([("locator", pa.int64()), ("representative_url_id", pa.binary(8)), ("cosine", pa.float32())])


@phase(
    NEARDUP,
    "neardup.cells",
    version=2,
    reads=PAIR_ROWS | roles("embeddings", images=IMAGES, cells=CELLS, clusters=CLUSTERS, copies=COPIES),
    takes=("buckets",),
    exchanges=roles("images"),
)
def cells(context: Context) -> Result:
    """Give the images that stay after a look at them, with their embeddings, by cell."""
    pairs = alive_rows(context, ["url"])
    clusters = with_copies(context.concat("clusters", CLUSTERS), context.table("copies"))
    images, embeddings = embedded_images(context)
    placed = context.table("cells")
    table = pa.table(
        {
            "locator": locators(context.task.partition, images.column("row")),
            "url_id": images.column("url_id"),
            "cell": placed.column("cell"),
            "cell_cosine": placed.column("cell_cosine"),
            "embedding": embeddings.column("embedding"),
        }
    )
    stays = pc.is_in(images.column("url"), value_set=pc.unique(pairs.column("url")))
    gone = clusters.filter(pc.not_equal(clusters.column("representative"), clusters.column("locator")))
    seen = pc.is_in(table.column("locator"), value_set=gone.column("locator").combine_chunks())
    table = table.filter(pc.and_(stays, pc.invert(seen)))
    bucket = table.column("cell").to_numpy().astype(np.int64) % context.options["buckets"]
    return Result(buckets={"images": write_buckets(table, bucket)})


@phase(NEARDUP, "neardup.semantic", reads=roles("images"), takes=("min_cosine",), exchanges=roles(found=FOUND))
def semantic(context: Context) -> Result:
    """Find, in each cell of this bucket, the images that another one stands for; each returns to its partition."""
    order = [("cell", "ascending"), ("cell_cosine", "ascending"), ("url_id", "ascending")]
    table = pa.concat_tables(context.table_list("images")).sort_by(order)
    vectors, cell = from_column(table.column("embedding")), table.column("cell").to_numpy()
    stands, cosine = np.arange(len(cell)), np.ones(len(cell), np.float32)
    edges = np.flatnonzero(np.diff(cell, prepend=-1, append=-1))
    for first, last in pairwise(edges.tolist()):
        here, cosine[first:last] = duplicates(vectors[first:last], context.options["min_cosine"])
        stands[first:last] = first + here
    gone = np.flatnonzero(stands != np.arange(len(cell)))
    rows = pa.table(
        [
            table.column("locator").take(pa.array(gone)),
            table.column("url_id").take(pa.array(stands[gone])),
            cosine[gone],
        ],
        schema=FOUND,
    )
    return Result(counts={"images": len(cell)}, buckets={"found": bucket_by_partition(rows)})


def run_duplicates(run: Run, looked_at: Sequence[Mapping[str, Inputs]]) -> list[Inputs]:
    """Look for duplicates by embedding; what each partition's decision reads of it, nothing if none are looked for.

    looked_at: of each partition, the `clusters` and `copies` that a look at the images has found.
    """
    config = run.config.semantic
    if config.min_cosine is None:
        return [() for _ in run.partitions]
    buckets = bucket_count(run.alive, ROWS_PER_BUCKET)
    tables = (IMAGES_TABLE, EMBEDDINGS_TABLE, CELLS_TABLE)
    scattered = exchange(run, run.map(cells, {"buckets": buckets}, *tables, each=looked_at), "images")
    compared = run.reduce(semantic, {"min_cosine": config.min_cosine}, {"images": [scattered]})
    exchanged = exchange(run, compared, "found")
    return [exchanged.bucket(partition.number) for partition in run.partitions]


def verdicts(context: Context, rows: pa.Table) -> pa.Table:
    """Return verdicts by sql/decisions/semantic.sql; none if no duplicates by embedding were looked for."""
    located = context.concat("semantic", FOUND)
    if not located.num_rows:
        return VERDICTS.empty_table()
    tables = {
        "images": context.table("images"),
        "semantic": located.append_column("row", rows_of(located.column("locator"))),
    }
    return decide_by_sql(
        context, "decisions/semantic", rows, tables, {"min_cosine": context.options["min_cosine"]}
    ).cast(VERDICTS)

"""image, where embeddings are asked for: how well image and text agree, heads, and quantiles of any column."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from crawl.images.store import read_images
from dataset import heartbeat
from dataset.ledger.commits import Commit
from dataset.schema import CLIP_SCORES, IMAGES
from filters.images.embeddings import Head, OpenClipEncoder, cosines, from_column, load_head, to_column
from pipeline.config import to_builtins
from pipeline.engine.contract import PAIR_ROWS, roles, settings
from pipeline.engine.phase import Context, Input, Result, Task, all_files, phase
from pipeline.engine.reuse import image_contents, image_keys, reuse_measures
from pipeline.engine.run import Run
from pipeline.engine.verdicts import alive_rows, take_units
from pipeline.stages.artifacts import EMBEDDINGS_TABLE, IMAGES_TABLE
from pipeline.stages.image import IMAGE
from pipeline.stages.image import encoder as embedding
from pipeline.stages.image.models import location
from pipeline.stages.shown_images import IMAGES_AT_ONCE, shown_images

CUTOFFS = pa.schema([("name", pa.string()), ("cutoff", pa.float64()), ("values", pa.int64())])


@phase(
    IMAGE,
    "image.embed",
    gpu=True,
    reuses=True,
    reads=PAIR_ROWS | roles(images=IMAGES),
    takes=("identity",),
    gives=roles("images", "texts", measures=CLIP_SCORES),
)
def embed(context: Context) -> Result:
    """Give embeddings of the images (`row` as in images) and of the texts (`row` as in rows); how well each pair
    agrees.
    """
    rows = take_units(context, alive_rows(context, ["url", "text"]))
    images = shown_images(context, rows)

    def encoder() -> OpenClipEncoder:
        return embedding.load(context.task.hints["location"], context.options["identity"])

    def look(images: pa.Table) -> pa.Table:
        seen = []
        for first in range(0, images.num_rows, IMAGES_AT_ONCE):
            seen.append(encoder().images(read_images(context.storage, images.slice(first, IMAGES_AT_ONCE))))
            heartbeat.progress(min(first + IMAGES_AT_ONCE, images.num_rows), images.num_rows)
        return _embedding_table(images, np.concatenate(seen) if seen else None)

    def read(rows: pa.Table) -> pa.Table:
        texts = rows.column("text").combine_chunks().dictionary_encode()
        answers = encoder().texts(texts.dictionary.to_pylist())[texts.indices.to_numpy()] if rows.num_rows else None
        return _embedding_table(rows, answers)

    result = Result()
    looks = reuse_measures(context, result, "images", images, image_keys(images), look, image_contents(images))
    words = reuse_measures(context, result, "texts", rows, rows.column("text").combine_chunks(), read)
    shown = pc.index_in(rows.column("url"), value_set=images.column("url").combine_chunks()).to_numpy()
    scores = cosines(from_column(looks.column("embedding"))[shown], from_column(words.column("embedding")))
    table = pa.table([rows.column("row"), scores], schema=CLIP_SCORES)
    result.counts |= {"images": images.num_rows, "texts": pc.count_distinct(rows.column("text")).as_py()}
    return result.table("measures", table, CLIP_SCORES)


def _embedding_table(rows: pa.Table, vectors: np.ndarray | None) -> pa.Table:
    return pa.table(
        {
            "row": rows.column("row"),
            "embedding": to_column(np.empty((0, 1), np.float16) if vectors is None else vectors),
        }
    )


@phase(IMAGE, "image.heads", reads=roles("embeddings"), takes=("heads",), gives=roles("measures"))
def heads(context: Context) -> Result:
    """Give what the config's heads say of the images' embeddings."""
    table = context.table("embeddings")
    vectors = from_column(table.column("embedding"))
    columns = {}
    for item, path in zip(context.options["heads"], context.task.hints["paths"], strict=True):
        head = settings(Head, {**item["head"], "path": path})
        columns[item["column"]] = load_head(head, embedding.head_key(head))(vectors)
    return Result().table("measures", pa.table({"row": table.column("row"), **columns}))


@phase(IMAGE, "image.cutoffs", reads=roles("measures"), takes=("quantiles",), gives=roles(cutoffs=CUTOFFS))
def cutoffs(context: Context) -> Result:
    """Give the value of a column above or at which its largest share lies; exact, whatever the partitions are.

    Of n values the k = ⌊share · n⌋ (at least one) largest are meant; values equal to the k-th are all at the cutoff,
    so that more than k may be.
    """
    wanted = [(name, column, Fraction(share)) for name, column, share in context.options["quantiles"]]
    values: dict[str, list[np.ndarray]] = {column: [] for _, column, _ in wanted}
    for table in context.table_list("measures"):
        for column in set(values) & set(table.column_names):
            column_values = table.column(column).drop_null().to_numpy()
            values[column].append(column_values[~np.isnan(column_values)])
    rows = []
    for name, column, share in wanted:
        if not values[column]:
            raise ValueError(f"image.quantiles.{name}: nothing in this run measures a column {column}")
        array = np.concatenate(values[column])
        place = len(array) - max(1, int(share * len(array)))
        cutoff = float(np.partition(array, place)[place]) if len(array) else None
        rows.append({"name": name, "cutoff": cutoff, "values": len(array)})
    return Result().table("cutoffs", pa.Table.from_pylist(rows, CUTOFFS))


def run(run: Run) -> list[Commit]:
    """Embed every partition by the config's model."""
    name = run.config.image.embedding_model
    identity = {"identity": embedding.identity(name)}
    hints = {"location": embedding.location(name)}
    return run.map(embed, identity, IMAGES_TABLE, units=True, hints=hints)


def run_heads(run: Run) -> list[Commit]:
    """Ask the heads about every partition's embeddings."""
    config = run.config.image
    described = [
        {
            "column": "nsfw_probability" if head.name == config.nsfw_model else head.name,
            "checksum": embedding.head_checksum(head),
            "head": {name: value for name, value in to_builtins(vars(head)).items() if name != "path"},
        }
        for head in config.heads
    ]
    hints = {"paths": [location(head.path) for head in config.heads]}
    return run.map(heads, {"heads": described}, EMBEDDINGS_TABLE, hints=hints)


def run_cutoffs(run: Run, measured: list[list[Commit]]) -> tuple[Input, ...]:
    """Return the quantiles that the config asks for, over all partitions; no file if it asks for none."""
    wanted = [[name, column, str(share)] for name, (share, column) in run.config.image.shares.items()]
    if not wanted:
        return ()
    inputs = {"measures": tuple(item for commits in measured for item in all_files(commits, "measures"))}
    return (Input(run.one(cutoffs, Task(cutoffs.name, 0, inputs, {"quantiles": wanted})).files["cutoffs"]),)

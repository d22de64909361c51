"""decontaminate: images that look like one of an evaluation set, or are copies of one, never reach the shards."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from crawl.images.ingest import ImageConfig, ingest
from crawl.images.observations import Ingested
from crawl.images.store import read_images
from dataset.schema import IMAGES, VERDICTS
from dataset.store.storage import absolute
from filters.duplicates import decontaminate as evaluation_images
from filters.duplicates.decontaminate import EMBEDDINGS, FOUND, INDEX, DecontaminateConfig, Embed
from filters.images.embeddings import unit
from filters.images.models import ImageModel, load
from filters.images.perceptual import pdq
from filters.lines import locate
from pipeline.config import Config, check_files, options
from pipeline.engine.contract import PAIR_ROWS, roles, settings
from pipeline.engine.phase import Context, Inputs, Result, Task, all_files, files_of_each, phase
from pipeline.engine.run import Run
from pipeline.engine.sources.plan import file_checksum
from pipeline.engine.verdicts import alive_rows, decide_by_sql, first_verdicts, verdict_result
from pipeline.stages.artifacts import IMAGES_TABLE
from pipeline.stages.decontaminate import DECONTAMINATE
from pipeline.stages.shown_images import lost_images, measure_shown

KEY = "decontaminate.model"


@phase(
    DECONTAMINATE,
    "decontaminate.index",
    version=3,
    takes=("folder", "checksum", "store", "model", "model_checksum"),
    gives=roles(index=INDEX),
)
def index(context: Context) -> Result:
    """Give the hashes of one evaluation set's images, and their embeddings."""
    config = settings(ImageConfig, context.options["store"])

    def measure(body: bytes) -> Ingested | str:
        """Measure an image as the pairs' images are measured: the same decoder, the same size."""
        result = ingest(body, config, pdq, lambda body, hash_: None)
        return result if isinstance(result, Ingested) else f"{result.outcome}: {result.detail}"

    table = evaluation_images.index(context.task.hints["location"], measure, _embed(context))
    return Result(counts={"images": table.num_rows}).table("index", table, INDEX)


@phase(
    DECONTAMINATE,
    "decontaminate.embed",
    reuses=True,
    reads=PAIR_ROWS | roles(images=IMAGES),
    takes=("model", "model_checksum"),
    gives=roles(embeddings=EMBEDDINGS),
)
def embed(context: Context) -> Result:
    """Give the embeddings of the images that an alive pair shows."""

    def vectors(images: pa.Table) -> pa.Table:
        model = _embed(context)
        assert model is not None
        embeddings = list(unit(model(read_images(context.storage, images)))) if images.num_rows else []
        return pa.table([images.column("row"), pa.array(embeddings, EMBEDDINGS.field("embedding").type)], EMBEDDINGS)

    result = Result()
    result.counts["images"] = measure_shown(context, result, "embeddings", vectors).num_rows
    return result


def _embed(context: Context) -> Embed | None:
    model: Mapping[str, Any] | None = context.options["model"]
    return None if model is None else load(settings(ImageModel, model), KEY, context.options["model_checksum"])


@phase(
    DECONTAMINATE,
    "decontaminate.find",
    reads=roles(images=IMAGES, index=INDEX),
    may_read=roles(embeddings=EMBEDDINGS),
    takes=("min_quality", "max_colour_distance"),
    gives=roles(found=FOUND),
)
def find(context: Context) -> Result:
    """Give the nearest evaluation image of each image."""
    embeddings = context.table("embeddings") if "embeddings" in context.task.inputs else None
    config = settings(DecontaminateConfig, context.options)
    images = context.table("images")
    return Result().table(
        "found", evaluation_images.find(images, context.concat("index", INDEX), config, embeddings), FOUND
    )


@phase(
    DECONTAMINATE,
    "decontaminate.decide",
    version=2,
    reads=PAIR_ROWS | roles(images=IMAGES, found=FOUND),
    may_read=roles(embeddings=EMBEDDINGS),
    takes=("max_hamming", "min_cosine"),
    gives=roles(verdicts=VERDICTS),
)
def decide(context: Context) -> Result:
    """Give verdicts by sql/decisions/decontaminate.sql."""
    rows = alive_rows(context)
    images = context.table("images")
    tables: dict[str, pa.Table] = {"images": images, "found": context.table("found")}
    parts = [decide_by_sql(context, "decisions/decontaminate", rows, tables, context.options).cast(VERDICTS)]
    if "embeddings" in context.task.inputs:
        parts.append(lost_images(context, rows, images, context.table("embeddings", ["row"]).column("row")))
    return verdict_result(context, rows, first_verdicts(parts))


def check(config: Config) -> None:
    """Check whether the evaluation sets and the model are there, before any work is done. Raises ConfigError."""
    check_files("decontaminate.folders", config.decontaminate.folders)
    check_files("decontaminate.model", [config.decontaminate.model.path] if config.decontaminate.model else [])


def run(run: Run) -> None:
    """Hash the evaluation sets, compare every image, whatever pairs are alive, with them."""
    config = run.config.decontaminate
    model: dict[str, Any] = {"model": options(config)["model"], "model_checksum": ""}
    if config.model is not None:
        model["model_checksum"] = file_checksum(locate(config.model.path))
    indexed = run.do(
        index,
        [
            Task(
                index.name,
                number,
                {},
                {"folder": folder, "checksum": file_checksum(folder), "store": options(run.config.store), **model},
                hints={"location": absolute(folder)},
            )
            for number, folder in enumerate(config.folders)
        ],
    )
    embeddings: list[dict[str, Inputs]] = [{} for _ in run.partitions]
    if config.model is not None and config.folders:
        embeddings = files_of_each(run.map(embed, model, IMAGES_TABLE, units=True), "embeddings")
    sets = {"index": all_files(indexed, "index")}
    limits = options(config, "min_quality", "max_colour_distance")
    nearest = run.map(find, limits, IMAGES_TABLE, shared=sets, each=embeddings)
    copies = [
        {**embedded, **files} for embedded, files in zip(embeddings, files_of_each(nearest, "found"), strict=True)
    ]
    run.decide(decide, options(config, "max_hamming", "min_cosine"), IMAGES_TABLE, each=copies)

"""image: size, aspect, what models say of the pixels, and the config's own image filters."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from crawl.images.store import read_images
from dataset.ledger.commits import Commit
from dataset.schema import CELLS, FACES, IMAGES, PAIRS, VERDICTS
from pipeline.config import Config, check_files, options
from pipeline.engine.contract import PAIR_ROWS, roles
from pipeline.engine.phase import Context, Input, Phase, Result, phase
from pipeline.engine.run import Run
from pipeline.engine.verdicts import alive_rows, decide_by_sql, left_join_by_row, take_units, verdict_result
from pipeline.stages import custom_filters
from pipeline.stages.artifacts import EMBEDDINGS_TABLE, FACES_TABLE, IMAGES_TABLE
from pipeline.stages.image import IMAGE, embed, encoder, semantic
from pipeline.stages.image import models as image_models
from pipeline.stages.shown_images import images_of, measure_shown

DECIDING = ("min_side", "max_aspect", "max_nsfw_probability", "min_clip_score")
"""The keys of `image` that sql/decisions/image.sql reads."""

DECIDED_BY = {
    "nsfw_probability": pa.float32(),
    "face_scores": pa.list_(pa.float32()),
    "clip_score": pa.float32(),
    "cell": pa.int32(),
    "target_images": pa.int32(),
}
"""The measures that sql/decisions/image.sql reads; null where nobody measures them."""


@phase(
    IMAGE,
    "image.nsfw",
    gpu=True,
    reuses=True,
    reads=PAIR_ROWS | roles(images=IMAGES),
    takes=("models",),
    gives=roles("measures"),
)
def nsfw(context: Context) -> Result:
    """Give the probability that an image is not safe to look at."""
    return _answers(context)


@phase(
    IMAGE,
    "image.models",
    gpu=True,
    reuses=True,
    reads=PAIR_ROWS | roles(images=IMAGES),
    takes=("models",),
    gives=roles("measures"),
)
def models(context: Context) -> Result:
    """Give what the config's own models say of an image."""
    return _answers(context)


@phase(
    IMAGE,
    "image.faces",
    reuses=True,
    reads=PAIR_ROWS | roles(images=IMAGES),
    takes=("model", "checksum"),
    gives=roles(measures=FACES),
)
def faces(context: Context) -> Result:
    """Give the boxes of the faces in an image."""

    def measure(images: pa.Table) -> pa.Table:
        detect = image_models.detector(context.options, context.task.hints)
        detected = detect(read_images(context.storage, images)) if images.num_rows else []
        boxes = [[box for box, _ in image] for image in detected]
        scores = [[score for _, score in image] for image in detected]
        return pa.table({"row": images.column("row"), "face_bboxes": boxes, "face_scores": scores}, schema=FACES)

    result = Result()
    table = measure_shown(context, result, "measures", measure)
    result.counts["faces"] = int(pc.sum(pc.list_value_length(table.column("face_bboxes"))).as_py() or 0)
    return result


@phase(IMAGE, "image.custom", reads=PAIR_ROWS | roles(images=IMAGES), takes=("filters",), gives=roles("measures"))
def custom(context: Context) -> Result:
    """Give what the config's own image filters measure: `rows` has the pair's columns and `image`, its stored bytes."""
    rows = take_units(context, alive_rows(context))
    images = images_of(rows, context.table("images"))
    rows = rows.append_column("image", pa.array(read_images(context.storage, images), pa.binary()))
    return Result().table("measures", custom_filters.measure(rows, context.options["filters"]))


@phase(
    IMAGE,
    "image.decide",
    version=2,
    reads=PAIR_ROWS | roles("of_images", "of_pairs", "cutoffs", "targets", images=IMAGES),
    takes=("image", "filters"),
    gives=roles(verdicts=VERDICTS),
)
def decide(context: Context) -> Result:
    """Give verdicts by sql/decisions/image.sql and the config's own predicates."""
    rows = alive_rows(context)
    images = context.table("images")
    measures = rows.select(["row"])
    for table in context.table_list("of_pairs"):
        measures = left_join_by_row(measures, measures.column("row"), table)
    for table in context.table_list("of_images"):
        shown = images_of(rows.take(pc.index_in(measures["row"], rows["row"].combine_chunks())), images)
        measures = left_join_by_row(measures, shown.column("row"), table)
    if targets := context.table_list("targets"):
        measures = measures.append_column("target_images", semantic.target_images(measures, targets))
    names = [name for name in measures.column_names if name != "row"]
    for name, type_ in DECIDED_BY.items():
        if name not in names:
            measures = measures.append_column(name, pa.nulls(measures.num_rows, type_))
    filters = [{**item, "columns": names} for item in context.options["filters"]]
    tables = {"images": images, "measures": measures}
    config = dict(context.options["image"])
    for table in context.table_list("cutoffs"):
        cutoff_of = dict(zip(table["name"].to_pylist(), table["cutoff"].to_pylist(), strict=True))
        if isinstance(config["min_clip_score"], str):
            config["min_clip_score"] = cutoff_of["min_clip_score"]
        tables["cutoffs"] = pa.table({name: pa.array([value], pa.float64()) for name, value in cutoff_of.items()})
    verdicts = decide_by_sql(context, "decisions/image", rows, tables, config, filters)
    return verdict_result(context, rows, verdicts, [item["name"] for item in filters])


def _answers(context: Context) -> Result:
    def measure(images: pa.Table) -> pa.Table:
        answers = image_models.measure(context.storage, images, context.options, context.task.hints)
        return pa.table({"row": images.column("row"), **answers})

    result = Result()
    measure_shown(context, result, "measures", measure)
    return result


def _measure(run: Run, phase_: Phase, values: dict[str, Any], hints: dict[str, Any] | None = None) -> list[Commit]:
    """Have a phase measure every partition."""
    return run.map(phase_, values, IMAGES_TABLE, units=True, hints=hints)


def _look_for_faces(run: Run) -> list[Commit]:
    """Have the detector measure every partition; pack reads it again."""
    looked = _measure(run, faces, *image_models.detector_options(run.config.faces))
    run.leave(FACES_TABLE, looked, "measures")
    return looked


def _measures(config: Config) -> pa.Schema:
    """What may be measured of an image or of its pair, besides what the config's own filters measure."""
    asked = [*(model.name for model in config.image.own_models), *(head.name for head in config.image.heads)]
    kinds = {**DECIDED_BY, **{field.name: field.type for table in (FACES, CELLS) for field in table}}
    return pa.schema({**kinds, **dict.fromkeys(asked, pa.float32())})


def check(config: Config) -> None:
    """Try the config's own filters of images, and every model, before any work is done. Raises ConfigError."""
    check_files("semantic.target_folders", config.semantic.target_folders)
    custom_filters.check(config, "image", PAIRS, _measures(config), list(config.image.shares))
    image_models.check(config)
    encoder.check(config)


def run(run: Run) -> None:
    """Measure what the config asks for, then decide."""
    config = run.config.image
    of_images: list[list[Commit]] = []
    of_pairs: list[list[Commit]] = []
    targets: tuple[Input, ...] = ()
    if config.nsfw is not None:
        described = image_models.model_options([config.nsfw], ["nsfw_probability"], config.nsfw_doubts)
        of_images.append(_measure(run, nsfw, *described))
    if config.own_models:
        columns = [model.name for model in config.own_models]
        of_images.append(_measure(run, models, *image_models.model_options(config.own_models, columns)))
    if run.config.faces.path:
        of_images.append(_look_for_faces(run))
    if config.embedding_model:
        embedded = embed.run(run)
        of_pairs.append(embedded)
        run.leave(EMBEDDINGS_TABLE, embedded, "images")
        if config.heads:
            of_images.append(embed.run_heads(run))
        if run.config.semantic.wanted:
            placed, targets = semantic.run_cells(run, embedded)
            of_images.append(placed)
    if functions := custom_filters.measuring_filters(run.config, "image"):
        answered = _measure(run, custom, {"filters": functions})
        custom_filters.check_answers(run, "image", PAIRS, _measures(run.config), answered, list(config.shares))
        of_pairs.append(answered)
    shares = embed.run_cutoffs(run, [*of_images, *of_pairs])
    about_faces = {
        "drop_faces": run.config.faces.action == "drop",
        "min_face_score": run.config.faces.min_score,
    }
    keys = {"image": {**options(config, *DECIDING), **about_faces}}
    measures = [
        {
            role: tuple(Input(commits[number].files["measures"]) for commits in measured)
            for role, measured in (("of_images", of_images), ("of_pairs", of_pairs))
        }
        for number in range(len(run.partitions))
    ]
    filters = {"filters": custom_filters.deciding_filters(run.config, "image")}
    shared = {"cutoffs": shares, "targets": targets}
    run.decide(decide, {**keys, **filters}, IMAGES_TABLE, shared=shared, each=measures)

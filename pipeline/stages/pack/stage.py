"""pack: what is left becomes WebDataset shards in one global, seeded order, with an index and a held-out split."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from crawl.images import pixels
from dataset import heartbeat
from dataset.ids import checksum, order_hash
from dataset.images import open_stored
from dataset.layout import INDEX_PARTS
from dataset.layout import QUERIES as QUERIES_NAME
from dataset.ledger.commits import Commit, FileRef
from dataset.query import sql
from dataset.schema import FACES, IMAGES, PAIRS, QUERIES, QUERY_COUNTS, SAMPLES, SHARD_INDEX
from dataset.tables import to_parquet
from dataset.webdataset.shards import FOLDER, write_shard
from filters.images.faces import Box, blur
from filters.queries.balance import counts
from pipeline.config import options
from pipeline.engine.contract import PAIR_ROWS, roles
from pipeline.engine.exchanges import gathering
from pipeline.engine.exchanges.exchange import bucket_count, write_buckets
from pipeline.engine.exchanges.gathering import exchange, fold_tables, in_two_steps
from pipeline.engine.phase import Context, Inputs, Result, Task, all_files, phase
from pipeline.engine.run import Run
from pipeline.engine.temporary_phases import forget
from pipeline.engine.verdicts import ConservationError, alive_rows
from pipeline.stages.artifacts import FACES_TABLE, IMAGES_TABLE, MATCHED_COUNTS, QUERY_LIST
from pipeline.stages.balance_phases import COUNTS, sum_counts
from pipeline.stages.pack import PACK, images, lookup, split
from pipeline.stages.pack.split import HELD
from pipeline.stages.shown_images import images_of

_OF_IMAGE = ("sha256", "width", "height", "blob", "blob_offset", "blob_length", "blob_checksum")
ROWS = pa.schema(
    [
        *PAIRS,
        *[field for field in IMAGES if field.name in _OF_IMAGE],
        ("order", pa.uint64()),
        ("face_bboxes", pa.list_(pa.list_(pa.float32()))),  # null if nobody looked for faces
    ]
)
_NUMBER = pa.field("number", pa.int32())  # of a row's shard, while the rows of a group of shards are together
TRAIN, HELDOUT = "train", "heldout"
REPEATS_SHARE = 0.2
"""The share of the captions kept that may repeat others before the run ends with a warning."""
SAMPLES_PER_PART = 1_000_000
"""Rows of the index that one task writes: 200 MB of its memory."""
SAMPLE_FIELDS = ("pair_id", "url", "text", "text_source", "page_url", "archive", "offset", "sha256", "width", "height",
        "query_ids", "face_bboxes")  # fmt: skip
"""The columns that a sample's json holds."""


@phase(
    PACK,
    "pack.map",
    version=5,
    reads=PAIR_ROWS | roles(images=IMAGES, heldout=HELD),
    may_read=roles(faces=FACES),
    takes=("seed", "shards"),
    may_take=("min_face_score", "together"),
    exchanges=roles(rows=ROWS),
)
def map_(context: Context) -> Result:
    """Give the partition's pairs, each to its shard, or to the group of so many shards that has it."""
    rows = alive_rows(context)
    shown = images_of(rows, context.table("images"))
    order = order_hash(rows.column("pair_id"), context.options["seed"])
    shard = split.shard_of(context, rows, order)
    for name in _OF_IMAGE:
        rows = rows.append_column(IMAGES.field(name), shown.column(name))
    rows = rows.append_column("order", pa.array(order)).append_column("face_bboxes", _faces(context, shown))
    rows = rows.select(ROWS.names).cast(ROWS)
    counted = {"rows": rows.num_rows, "image_bytes": pc.sum(rows.column("blob_length")).as_py() or 0}
    if together := context.options.get("together"):
        rows = rows.append_column(_NUMBER, pa.array(shard, pa.int32()))
    return Result(counts=counted, buckets={"rows": write_buckets(rows, shard // (together or 1))})


@phase(PACK, "pack.by_shard", reads=roles("rows"), exchanges=roles(rows=ROWS))
def by_shard(context: Context) -> Result:
    """Give a group's pairs of some partitions, by shard."""
    rows = context.concat("rows", ROWS.append(_NUMBER))
    return Result(buckets={"rows": write_buckets(rows.select(ROWS.names), rows.column(_NUMBER.name).to_numpy())})


def _faces(context: Context, images: pa.Table) -> pa.Array:
    """The boxes of the faces that count in each image; null if nobody looked."""
    kind = ROWS.field("face_bboxes").type
    if "faces" not in context.task.inputs:
        return pa.nulls(images.num_rows, kind)
    table = context.table("faces")
    table = table.take(pc.index_in(images.column("row"), value_set=table.column("row").combine_chunks()))
    both = zip(table.column("face_bboxes").to_pylist(), table.column("face_scores").to_pylist(), strict=True)
    least = context.options["min_face_score"]
    return pa.array([[box for box, score in zip(*image, strict=True) if score >= least] for image in both], kind)


def _blur_faces(body: bytes, boxes: list[Box], options: Mapping[str, Any]) -> bytes:
    """A stored image with its faces blurred, encoded anew; as it is if it has none."""
    if not boxes:
        return body
    rgb = np.asarray(open_stored(body).convert("RGB"))
    return pixels.encode(blur(rgb, boxes), options["store_format"], options["quality"])


@phase(
    PACK,
    "pack.shard",
    version=4,
    reads=roles(rows=ROWS),
    takes=("shard", "split", "ending", "blur_faces"),
    may_take=("store_format", "quality"),
    gives=roles("tar", samples=SAMPLES),
)
def shard(context: Context) -> Result:
    """Give one tar, and its samples as a table."""
    rows = context.concat("rows", ROWS).sort_by([("order", "ascending"), ("pair_id", "ascending")])
    name, split_name, ending = (context.options[key] for key in ("shard", "split", "ending"))
    keys = [f"{context.task.partition:05d}{number:06d}" for number in range(rows.num_rows)]
    bodies = images.read(context, rows)
    if context.options["blur_faces"]:
        faces = rows.column("face_bboxes").to_pylist()
        bodies = [_blur_faces(body, boxes, context.options) for body, boxes in zip(bodies, faces, strict=True)]
    samples = (
        (key, {ending: body, "txt": row["text"].encode(), "json": _json(row)})
        for key, body, row in zip(keys, _tell_progress(bodies), rows.select(SAMPLE_FIELDS).to_pylist(), strict=True)
    )
    tar = io.BytesIO()
    written = write_shard(samples, tar)
    count = rows.num_rows
    table = pa.table(
        {
            "shard": [name] * count,
            "key": keys,
            "split": [split_name] * count,
            "offset": [item[1] for item in written],
            "size": [item[2] for item in written],
            "checksum": pa.array([item[3] for item in written], pa.uint64()),
            "archive_offset": rows.column("offset"),
            **{
                column: rows.column(column)
                for column in SAMPLES.names
                if column not in ("shard", "key", "split", "offset", "size", "archive_offset", "checksum")
            },
        }
    )
    data = tar.getbuffer()
    context.storage.write(f"shards/{name}", data)
    result = Result(counts={"rows": count, "bytes": len(data)}).table("samples", table, SAMPLES)
    result.refs["tar"] = FileRef(f"shards/{name}", len(data), checksum(data), count)
    return result


def _tell_progress(bodies: Sequence[bytes]) -> Iterator[bytes]:
    """The bodies, while it is said how many are done."""
    for number, body in enumerate(bodies):
        heartbeat.progress(number, len(bodies))
        yield body


def _json(row: dict) -> bytes:  # type: ignore[type-arg]
    """A sample's metadata: its lineage back to the archive's byte offset."""
    pair_id = row["pair_id"].hex()
    fields = {**row, "pair_id": pair_id, "uid": pair_id, "sha256": row["sha256"].hex()}  # DataComp's tools ask for uid
    fields.pop("text")
    if fields["face_bboxes"] is None:
        fields.pop("face_bboxes")
    return json.dumps({"text": row["text"], **fields}, ensure_ascii=False, sort_keys=True).encode()


@phase(
    PACK,
    "pack.index",
    version=3,
    reads=roles(samples=SAMPLES),
    gives=roles("index", kept=COUNTS),
    folds={"kept": sum_counts},
)
def index(context: Context) -> Result:
    """Give a part of `shards/index`: where the samples of some shards lie; and how many of them each query has."""
    table, counted = SHARD_INDEX.empty_table(), []
    for samples in context.each("samples", [*SHARD_INDEX.names, "query_ids"]):
        counted.append(counts(samples.column("query_ids").combine_chunks()).cast(COUNTS))
        table = pa.concat_tables([table, samples.select(SHARD_INDEX.names)])
    result = Result(counts={"rows": table.num_rows}).table("kept", sum_counts(counted), COUNTS)
    part = f"{INDEX_PARTS}/{context.task.partition:05d}.parquet"
    result.files["index"] = (part, to_parquet(table, SHARD_INDEX))
    return result


@phase(
    PACK,
    "pack.queries",
    version=2,
    reads=roles("counts", kept=COUNTS, queries=QUERIES),
    gives=roles(queries=QUERY_COUNTS),
)
def queries(context: Context) -> Result:
    """Give the query list with how many pairs each query had before the first balance, and has in the dataset."""
    kept = sum_counts(context.table_list("kept"))
    tables = {"queries": context.table("queries"), "candidates": context.table("counts"), "kept": kept}
    return Result().table("queries", sql.run(sql.load("exchange/query_counts"), tables))


def repeats_warning(pairs: int, captions: int) -> str | None:
    """Return what to say of a dataset many of whose captions repeat another's, whatever their case; None of others."""
    repeats = pairs - captions
    if repeats <= REPEATS_SHARE * pairs:
        return None
    return (
        f"warning: {repeats:,} of {pairs:,} captions kept ({repeats / pairs:.0%}) repeat another's: see `wit audit OUT "
        "repeated_texts`, and text.max_site_images_per_text, text.cut_repeats and dedup.max_images_per_text"
    )


def run(run: Run) -> None:
    """Split, sort into shards, write, index."""
    held, captions, returned = split.run(run)
    if words := repeats_warning(run.alive, captions):
        run.warn(PACK.name, words)
    shard_counts = [bucket_count(rows, run.config.pack.samples_per_shard) for rows in (run.alive - held, held)]
    packed = _write_shards(run, shard_counts, [{"heldout": returned.bucket(each.number)} for each in run.partitions])
    forget(run.storage, PACK)
    written = sum(commit.counts["rows"] for commit in packed)
    if written != run.alive:
        raise ConservationError(f"pack: {run.alive} pairs became {written} samples")
    _write_index(run, packed)
    run.funnel["pack"] = {"input": run.alive, "kept": written, "dropped": 0}
    run.say(f"{'pack':<14} {run.alive:>12,} in {written:>12,} kept {0:>12,} dropped   {held:,} held out")


def _write_shards(run: Run, shard_counts: Sequence[int], heldout: Sequence[Mapping[str, Inputs]]) -> list[Commit]:
    """Bring the pairs and their images to their shards, and write these: first those of train, then the held-out ones.

    Args:
        shard_counts: how many shards there are of train, and of held-out pairs.
        heldout: inputs for each partition: which of its pairs are held out.
    """
    dealt = {"seed": run.config.seed, "shards": shard_counts}
    faces, looked = run.config.faces, [FACES_TABLE] if run.config.faces.path else []
    faced = {"min_face_score": faces.min_score} if looked else {}
    together = images.group_size(sum(shard_counts)) if len(run.partitions) > gathering.MERGED_FILES else 1
    grouped = {"together": together} if together > 1 else {}
    scattered = run.map(map_, {**dealt, **faced, **grouped}, IMAGES_TABLE, *looked, each=heldout)
    image_bytes = sum(commit.counts["image_bytes"] for commit in scattered)
    if together == 1:
        rows = [exchange(run, scattered, "rows")] * sum(shard_counts)
    else:
        groups = -(-sum(shard_counts) // together)
        rows = in_two_steps(run, by_shard, scattered, "rows", groups, gathering.MERGED_FILES)
    ending = {"jpeg": "jpg", "webp": "webp"}[run.config.store.store_format]
    written_as: dict[str, Any] = {"ending": ending, "blur_faces": bool(looked) and faces.action == "blur"}
    if written_as["blur_faces"]:
        written_as |= options(run.config.store, "store_format", "quality")
    names = [
        (split_name, n) for split_name, count in zip((TRAIN, HELDOUT), shard_counts, strict=True) for n in range(count)
    ]
    tasks = [
        Task(
            shard.name,
            number,
            {"rows": rows[number // together].bucket(number)},
            {"shard": f"{split_name}-{n:05d}.tar", "split": split_name, **written_as},
        )
        for number, (split_name, n) in enumerate(names)
    ]
    return run.do(
        shard,
        tasks,
        rows=run.alive,
        prepare=lambda tasks: images.move_images(run, tasks, dealt, heldout, image_bytes),
    )


def _write_index(run: Run, packed: Sequence[Commit]) -> None:
    """Write the index of the shards, the query list with its counts and the lookup; delete what an earlier run left."""
    shards_per_part = max(1, SAMPLES_PER_PART // run.config.pack.samples_per_shard)
    parts = [packed[first : first + shards_per_part] for first in range(0, len(packed), shards_per_part)]
    tasks = [Task(index.name, number, {"samples": all_files(part, "samples")}, {}) for number, part in enumerate(parts)]
    indexed = run.do(index, tasks, rows=run.alive)
    inputs = {
        "kept": fold_tables(run, indexed, "kept"),
        "queries": (run.artifacts.take(QUERY_LIST),),
        "counts": (run.artifacts.take(MATCHED_COUNTS),),
    }
    counted = run.one(queries, Task(queries.name, 0, inputs, {}))
    lookup.run(run, packed, shards_per_part)
    _publish(run, counted.files["queries"], QUERIES_NAME)
    there = {info.name for folder in (FOLDER, INDEX_PARTS) for info in run.storage.list(folder)}
    written_names = {commit.files["tar"].name for commit in packed} | {commit.files["index"].name for commit in indexed}
    run.storage.delete(sorted(there - written_names))


def _publish(run: Run, file: FileRef, name: str) -> None:
    """A committed file under the name that other tools look for."""
    there = {info.name: info.bytes for info in run.storage.list(name.rpartition("/")[0])}
    if there.get(name) != file.bytes or checksum(run.storage.read(name)) != file.checksum:
        run.storage.write(name, run.storage.read(file.name))

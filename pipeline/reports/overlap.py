"""What evaluation images in the training data do to a checkpoint's accuracy: the paper's data-overlap analysis.

Radford et al. 2021, section 5: the duplicate detector splits an evaluation set into Overlap (images that the dataset
holds too) and Clean (the rest); All is the whole set. Accuracy is computed on each. The overlap adds All - Clean;
whether that is more than chance is asked by a one-sided binomial test of the Overlap's accuracy, with the Clean one as
the null hypothesis, and by the 99.5 % Clopper-Pearson interval of the Overlap's accuracy. Of 35 sets the paper's median
overlap was 2.2 % and its mean 3.2 %, and no set gained more than 0.6 %.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypedDict

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image
from scipy.stats import binomtest

from crawl.images.ingest import ImageConfig, ingest
from crawl.images.observations import Ingested
from crawl.images.store import read_images
from dataset.config_check import ConfigValueError, checked_config
from dataset.ledger.damage import read_table
from dataset.query.views import Dataset
from dataset.store.storage import Storage
from dataset.webdataset.shards import DamagedSampleError
from filters.duplicates.decontaminate import EMBEDDING, EMBEDDINGS, DecontaminateConfig, Embed, find
from filters.images.embeddings import unit
from filters.images.models import load as load_model
from filters.images.perceptual import pdq
from pipeline import programs
from pipeline.config_errors import ConfigError
from pipeline.config_files import read_yaml
from pipeline.engine.verdicts import alive_in
from pipeline.reports import dataset_config
from train.checkpoints.load import Encoder, load
from train.data.transforms import decode
from train.evaluate.features import check_finite
from train.evaluate.sets import ImageSet
from train.evaluate.sets.open import open_set
from train.evaluate.view import ensemble, prompt_features, ranks

FOLDER = "overlap"
CONFIDENCE = 0.995
SIGNIFICANCE = 0.05
_EMBEDDED_AT_ONCE = 256


class Overlap(TypedDict):
    """The analysis of one set. Accuracies are top-1; null where there is no image of the kind."""

    task: str
    images: int  # that can be read
    overlap: int  # of these, images that the dataset holds
    overlap_share: float
    accuracy_all: float
    accuracy_clean: float | None
    accuracy_overlap: float | None
    gain: float | None  # All - Clean
    difference: float | None  # Overlap - Clean
    overlap_low: float | None  # Clopper-Pearson interval of the Overlap's accuracy
    overlap_high: float | None
    p_value: float | None  # one-sided: the Overlap's accuracy is no higher than the Clean one
    significant: bool  # p below 0.05
    significant_bonferroni: bool  # p below 0.05 divided by the number of sets


def overlap(
    checkpoint: str, out: str, tasks: Sequence[str], detector: str | None = None, max_hamming: int | None = None
) -> list[Overlap]:
    """Analyse a checkpoint on some sets; also written to OUT/overlap as overlap.json and overlap.png.

    Args:
        checkpoint: see `train.checkpoints.load.load`.
        out: the dataset, whose kept images count.
        tasks: evaluation sets whose images have a class each, as `train.evaluate.sets.open` reads them.
        detector: YAML whose section `decontaminate` says what a copy is; the dataset's own config if not given.
        max_hamming: instead of the section's.

    Raises:
        ConfigError: a task, the checkpoint, the dataset or the detector is not what it should be.
    """
    try:
        dataset = Dataset(out)
        config = _detector(dataset.storage, detector, max_hamming)
        store = dataset_config.section(dataset.storage, "store", ImageConfig)
        embed = None if config.model is None else load_model(config.model, "decontaminate.model")
        encoder = load(checkpoint)
        measured = [_measure(encoder, open_set(task), store, embed) for task in tasks]
    except (ValueError, FileNotFoundError) as error:
        raise ConfigError(str(error)) from error
    held = _mark_held(dataset, [(images, embeddings) for _, images, embeddings, _ in measured], config, embed)
    rows = [statistics(name, right, mine, len(tasks)) for (name, *_, right), mine in zip(measured, held, strict=True)]
    dataset.storage.write(f"{FOLDER}/overlap.json", (json.dumps(rows, indent=1) + "\n").encode())
    dataset.storage.write(f"{FOLDER}/overlap.png", figure(rows))
    return rows


def _detector(storage: Storage, file: str | None, max_hamming: int | None) -> DecontaminateConfig:
    """What counts as a copy, by a file or the dataset's own config. Raises ConfigError, ValueError."""
    if file is None:
        config = dataset_config.section(storage, "decontaminate", DecontaminateConfig)
    else:
        try:
            config = checked_config(DecontaminateConfig, read_yaml(file).get("decontaminate"))
        except ConfigValueError as error:
            raise ConfigError(f"{file}: {error}") from None
    if max_hamming is not None:
        config = replace(config, max_hamming=max_hamming)
    if file is None or not read_yaml(file).get("allow_programs"):  # a dataset's own config allows nothing here
        programs.refuse([f"decontaminate.{program}" for program in programs.named_programs(config)])
    return config


def _measure(
    encoder: Encoder, what: ImageSet, store: ImageConfig, embed: Embed | None
) -> tuple[str, pa.Table, pa.Table | None, np.ndarray]:
    """A set's name, its readable images and their embeddings as `find` takes them, and whether the model is right on
    each.

    Args:
        store: how the dataset's images were stored, which its hashes depend on.
    """
    if not what.is_classified or what.test.labels is None:
        raise ValueError(f"{what.path}: its images have not one class each, which the analysis of overlap asks for")
    rows: list[dict[str, Any]] = []
    labels: list[int] = []
    pictures: list[Image.Image] = []
    bodies: list[bytes] = []
    features = []
    vectors = []

    def flush() -> None:
        features.append(check_finite(encoder.images(pictures), what.name))
        if embed is not None and bodies:
            vectors.append(unit(embed(bodies)))
        pictures.clear()
        bodies.clear()

    for picture, label in zip(what.test.pictures, what.test.labels.tolist(), strict=True):
        body = picture.read()
        result = ingest(body, store, pdq, lambda body, hash_: None)
        if not isinstance(result, Ingested):
            continue
        with contextlib.suppress(DamagedSampleError):
            pictures.append(decode(body))
            labels.append(label)
            names = ("sha256", "pdq", "pdq_quality", "mean_rgb")
            rows.append({"row": len(rows), **{name: getattr(result, name) for name in names}})
            bodies.append(result.body)
        if len(pictures) == encoder.batch_size:
            flush()
    flush()
    if not rows:
        raise ValueError(f"no image of {what.name} can be read")
    classes = ensemble(prompt_features(encoder.texts, what.classes, what.templates))
    right = ranks(np.concatenate(features) @ classes.T, np.array(labels)) == 1
    images = pa.Table.from_pylist(rows, schema=_IMAGES)
    return what.name, images, _embeddings(images, np.concatenate(vectors)) if vectors else None, right


def _embeddings(images: pa.Table, vectors: np.ndarray) -> pa.Table:
    return pa.table([images.column("row"), pa.array(list(vectors), EMBEDDING)], schema=EMBEDDINGS)


_IMAGES = pa.schema(
    [
        ("row", pa.uint32()),
        ("sha256", pa.binary(32)),
        ("pdq", pa.binary(32)),
        ("pdq_quality", pa.int32()),
        ("mean_rgb", pa.binary(3)),
    ]
)


def _mark_held(
    dataset: Dataset,
    sets: Sequence[tuple[pa.Table, pa.Table | None]],
    config: DecontaminateConfig,
    embed: Embed | None,
) -> list[np.ndarray]:
    """Which images of each set, by hashes and embeddings, are among those that are kept. bool (images,) each."""
    held = [np.zeros(len(images), dtype=bool) for images, _ in sets]
    verdicts, images = dataset.verdicts("pairs"), dataset.files("images")
    for partition, pairs in dataset.files("pairs").items():
        urls = read_table(dataset.storage, pairs, ["url"])
        kept = alive_in(dataset.storage, pairs, len(urls), verdicts.get(partition, ()))
        columns = ["row", "url", *_IMAGES.names[1:], "blob", "blob_offset", "blob_length"]
        table = read_table(dataset.storage, images[partition], columns, if_there=["blob_checksum"])
        table = table.filter(pc.is_in(table.column("url"), value_set=urls.column("url").take(pa.array(kept))))
        index = table.select(["url", *_IMAGES.names[1:]]).rename_columns(["name", *_IMAGES.names[1:]])
        if embed is not None:
            vectors = [
                unit(embed(read_images(dataset.storage, table.slice(first, _EMBEDDED_AT_ONCE))))
                for first in range(0, len(table), _EMBEDDED_AT_ONCE)
            ]
            index = index.append_column(
                "embedding", pa.array([vector for part in vectors for vector in part], EMBEDDING)
            )
        for mine, (set_images, embeddings) in zip(held, sets, strict=True):
            nearest = find(set_images, index, config, embeddings)
            near = pc.less_equal(nearest.column("pdq_hamming"), config.max_hamming)
            like = pc.greater_equal(nearest.column("cosine"), config.min_cosine)
            copies = nearest.filter(pc.or_(pc.fill_null(near, False), pc.fill_null(like, False)))
            mine[copies.column("row").to_numpy()] = True
    return held


def statistics(name: str, right: np.ndarray, held: np.ndarray, sets: int) -> Overlap:
    """Return the figures of one set.

    Args:
        right: bool (images,), whether the model's answer is right.
        held: bool (images,), whether the dataset holds the image.
        sets: how many are tested, for Bonferroni's correction.
    """
    clean = float(right[~held].mean()) if (~held).any() else None
    mine = float(right[held].mean()) if held.any() else None
    low = high = p_value = None
    if held.any():
        known = binomtest(int(right[held].sum()), int(held.sum()), clean if clean is not None else 0.5, "greater")
        p_value = float(known.pvalue) if clean is not None else None
        both = binomtest(int(right[held].sum()), int(held.sum()))
        low, high = (float(side) for side in both.proportion_ci(CONFIDENCE, "exact"))
    total = float(right.mean())
    return Overlap(
        task=name,
        images=len(right),
        overlap=int(held.sum()),
        overlap_share=float(held.mean()),
        accuracy_all=total,
        accuracy_clean=clean,
        accuracy_overlap=mine,
        gain=None if clean is None else total - clean,
        difference=None if clean is None or mine is None else mine - clean,
        overlap_low=low,
        overlap_high=high,
        p_value=p_value,
        significant=p_value is not None and p_value < SIGNIFICANCE,
        significant_bonferroni=p_value is not None and p_value < SIGNIFICANCE / sets,
    )


def format_table(rows: Sequence[Overlap]) -> str:
    """Return the analysis as aligned text: a line each set, then the summary that the paper gives."""
    head = ("task", "images", "overlap", "all", "clean", "overlapping", "99.5 % interval", "gain", "p")
    cells: list[tuple[str, ...]] = [head]
    for row in rows:
        interval = "" if row["overlap_low"] is None else f"{row['overlap_low']:.1%} to {row['overlap_high']:.1%}"
        mark = "**" if row["significant_bonferroni"] else "*" if row["significant"] else ""
        accuracies = map(_percent, (row["accuracy_all"], row["accuracy_clean"], row["accuracy_overlap"]))
        p_value = "" if row["p_value"] is None else f"{row['p_value']:.2g}{mark}"
        gain = "" if row["gain"] is None else f"{row['gain']:+.2%}"
        cells.append(
            (row["task"], str(row["images"]), f"{row['overlap_share']:.1%}", *accuracies, interval, gain, p_value)
        )
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells]
    shares = [row["overlap_share"] for row in rows]
    lines.append(f"overlap: median {np.median(shares):.1%}, mean {np.mean(shares):.1%}")
    lines.append(f"* p < {SIGNIFICANCE}; ** p < {SIGNIFICANCE} / {len(rows)} sets (Bonferroni)")
    return "\n".join(lines)


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.1%}"


def figure(rows: Sequence[Overlap]) -> bytes:
    """Return the paper's figure 17 as a PNG: against the overlap, what it adds to an overlapping image's accuracy (with
    its interval), and to the whole set's.
    """
    import io

    from matplotlib.figure import Figure

    drawing = Figure(figsize=(10, 4.5), layout="constrained")
    left, right = drawing.subplots(1, 2)
    for row in rows:
        if row["gain"] is None or row["difference"] is None:
            continue
        share = 100 * row["overlap_share"]
        colour = "tab:red" if row["significant"] else "tab:blue"
        marker = "*" if row["significant_bonferroni"] else "o"
        assert row["accuracy_clean"] is not None and row["accuracy_overlap"] is not None
        assert row["overlap_low"] is not None and row["overlap_high"] is not None
        mine = row["accuracy_overlap"]
        sides = [[100 * (mine - row["overlap_low"])], [100 * (row["overlap_high"] - mine)]]
        left.errorbar([share], [100 * row["difference"]], yerr=sides, fmt=marker, color=colour, capsize=3)
        right.plot([share], [100 * row["gain"]], marker, color=colour)
        for axes, value in ((left, row["difference"]), (right, row["gain"])):
            axes.annotate(
                row["task"],
                (share, 100 * value),
                xytext=(5, 4),
                textcoords="offset points",
                fontsize=8,
                parse_math=False,
            )
    left.set_ylabel("accuracy on Overlap − Clean (points)")
    right.set_ylabel("accuracy on All − Clean (points)")
    for axes in (left, right):
        axes.axhline(0, color="grey", linewidth=0.8)
        axes.set_xlabel("detected overlap (% of the set)")
        axes.grid(alpha=0.3)
    left.set_title("red: p < 0.05; star: p < 0.05 by Bonferroni", fontsize=9)
    sink = io.BytesIO()
    drawing.savefig(sink, format="png", dpi=110, metadata={"Software": None})
    return sink.getvalue()

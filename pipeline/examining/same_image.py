"""Is this image in the data? By its bytes, and by how it looks (PDQ), among all images that were fetched."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from crawl.images.ingest import ImageConfig, ingest
from crawl.images.observations import Ingested
from dataset.ids import words64
from dataset.ledger.damage import read_table
from dataset.query.views import Dataset
from filters.duplicates.decontaminate import DecontaminateConfig
from filters.images.perceptual import colours, pdq, words
from pipeline.config_errors import ConfigError
from pipeline.reports import dataset_config

MAX_BYTES = 256 * 2**20
"""The largest image file that is read, in bytes."""
_COLUMNS = ["url", "url_id", "sha256", "pdq", "pdq_quality", "mean_rgb"]


@dataclass(frozen=True)
class Same:
    """A fetched image that is the one that was asked for, or a copy of it."""

    image_id: int  # the first half of its pairs' pair_id
    url: str
    same_bytes: bool
    pdq_hamming: int | None  # of 256 bits; None if either hash says nothing


def measure_image(body: bytes, dataset: Dataset, name: str) -> Ingested:
    """Return an image as the dataset would take it in, whose hashes depend on how it is stored. Raises ConfigError."""
    ingested = ingest(
        body, dataset_config.section(dataset.storage, "store", ImageConfig), pdq, lambda body, hash_: None
    )
    if not isinstance(ingested, Ingested):
        raise ConfigError(f"{name} is no image that the dataset would take: {ingested.detail or ingested.outcome}")
    return ingested


def same_images(dataset: Dataset, image: Ingested) -> list[Same]:
    """Return the fetched images of the same bytes, or of the same look by the dataset's own `decontaminate`, nearest
    first.

    Raises:
        ConfigError: the dataset's config is none.
        DamagedError: a table is not what was committed.
    """
    config = dataset_config.section(dataset.storage, "decontaminate", DecontaminateConfig)
    hash_, colour = words(pa.array([image.pdq], pa.binary(32)))[0], colours(pa.array([image.mean_rgb], pa.binary(3)))
    images: list[Same] = []
    for file in dataset.files("images").values():
        table = read_table(dataset.storage, file, _COLUMNS)
        table = table.filter(pc.is_valid(table.column("sha256")))
        if not len(table):
            continue
        same = pc.equal(table.column("sha256"), pa.scalar(image.sha256, pa.binary(32))).to_numpy()
        apart = np.full(len(table), 256)
        comparable = pc.is_valid(table.column("pdq")).to_numpy() & pc.is_valid(table.column("mean_rgb")).to_numpy()
        comparable &= pc.fill_null(table.column("pdq_quality"), 0).to_numpy() >= config.min_quality
        if image.pdq_quality >= config.min_quality and comparable.any():
            looks = table.filter(pa.array(comparable))
            bits = np.bitwise_count(words(looks.column("pdq")) ^ hash_).sum(1).astype(np.int64)
            off = np.abs(colours(looks.column("mean_rgb")) - colour).max(1) > config.max_colour_distance
            apart[comparable] = np.where(off, 256, bits)
        rows = np.flatnonzero(same | (apart <= config.max_hamming))
        if len(rows):
            chosen = table.take(pa.array(rows))
            ids, urls = words64(chosen.column("url_id"))[:, 0].tolist(), chosen.column("url").to_pylist()
            near = [None if bits > config.max_hamming else bits for bits in apart[rows].tolist()]
            images += [Same(*each) for each in zip(ids, urls, same[rows].tolist(), near, strict=True)]
    return sorted(images, key=lambda each: (not each.same_bytes, each.pdq_hamming or 0, each.url))

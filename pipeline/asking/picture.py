"""Where an image file of this machine comes from: its bytes, its bytes as a shard has them, or how it looks."""

from __future__ import annotations

import hashlib
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xxhash

from crawl.images.ingest import ImageConfig, RefusedBody, ingest
from dataset.query.views import Dataset
from filters.images.perceptual import MAX_SEARCH_HAMMING, PDQ_BYTES, hamming, pdq
from pipeline.config_errors import ConfigError

_MOST_BYTES = 256 * 2**20
_MIN_QUALITY = 1  # of what is flat, with 0, PDQ says nothing; the person sees whether more was to be had
_URLS = 100
_BATCH = 1_000_000


class Like(NamedTuple):
    """The images that a file is, and how so."""

    sentence: str
    urls: list[str]


def look_up(dataset: Dataset, name: str) -> Like:
    """Return the URLs of the images that a file is a copy of.

    Raises:
        ConfigError: the file is no image, or a very large one.
    """
    file = Path(name)
    if file.stat().st_size > _MOST_BYTES:
        raise ConfigError(f"{name} is larger than an image may be, {_MOST_BYTES // 2**20} MiB")
    body = file.read_bytes()
    if urls := _urls_of(dataset, "sha256 = $value", hashlib.sha256(body).digest()):
        return Like(f"{name} is, byte for byte, the image of", urls)
    if urls := _urls_of(
        dataset, f"blob_length = {len(body)} AND blob_checksum = $value", xxhash.xxh3_64_intdigest(body)
    ):
        return Like(f"{name} is, byte for byte, what the dataset stores of", urls)
    ingested = ingest(body, ImageConfig(), pdq, lambda body, pdq: None)
    if isinstance(ingested, RefusedBody):
        raise ConfigError(f"{name} is no image to look for: {ingested.detail}")
    if urls := _urls_of(dataset, "pixel_hash = $value", ingested.pixel_hash):
        return Like(f"{name} has, pixel for pixel, the image of", urls)
    if ingested.pdq_quality < _MIN_QUALITY:
        return Like(f"{name} has the bytes of no image of the dataset, and is too plain to be told by its look", [])
    url, distance = _nearest_by_hash(dataset, ingested.pdq)
    if url is None or distance > MAX_SEARCH_HAMMING:
        nearest = f"; the nearest, {url}, differs in {distance} of 256 bits of PDQ" if url is not None else ""
        return Like(f"no image of the dataset has the bytes of {name}, or looks like it{nearest}", [])
    return Like(f"{name} looks ({distance} of PDQ's 256 bits differ, of {MAX_SEARCH_HAMMING} at most) like", [url])


def _urls_of(dataset: Dataset, where: str, value: object) -> list[str]:
    query = f"SELECT DISTINCT url FROM _images WHERE {where} ORDER BY url LIMIT {_URLS}"  # noqa: S608
    return [url for (url,) in dataset.ask(query, {"value": value}).fetchall()]


def _nearest_by_hash(dataset: Dataset, sought: bytes) -> tuple[str | None, int]:
    """The image whose hash differs in the fewest bits, the first by partition and row, and in how many."""
    words = np.frombuffer(sought, ">u8").astype(np.uint64)
    best: tuple[int, int, int] | None = None
    query = f"SELECT partition, row, pdq FROM _images WHERE pdq IS NOT NULL AND pdq_quality >= {_MIN_QUALITY}"  # noqa: S608
    with warnings.catch_warnings():  # that the rows are copied once
        warnings.simplefilter("ignore", UserWarning)
        reader: Any = dataset.ask(query).to_arrow_reader(_BATCH)
    for batch in reader:
        if not batch.num_rows:
            continue
        raw = np.frombuffer(b"".join(batch.column("pdq").to_pylist()), ">u8").reshape(-1, PDQ_BYTES // 8)
        apart = hamming(raw.astype(np.uint64), words)
        first = np.lexsort((batch.column("row").to_numpy(), batch.column("partition").to_numpy(), apart))[0]
        nearest = int(apart[first]), batch.column("partition")[first].as_py(), batch.column("row")[first].as_py()
        best = nearest if best is None else min(best, nearest)
    if best is None:
        return None, 0
    ((url,),) = dataset.ask("SELECT url FROM _images WHERE partition = ? AND row = ?", best[1:]).fetchall()
    return url, best[0]

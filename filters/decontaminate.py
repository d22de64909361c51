"""Images of evaluation sets among the pairs: the same bytes, or the same look by PDQ and mean colour.

As in `filters.neardup`, PDQ counts only if both images' hashes are good enough (`min_quality`), and, as PDQ sees
luminance only, only if the mean colours agree too. Up to 31 differing bits, PDQ's authors' own threshold for a match,
every pair is found (see `filters.perceptual.HashIndex`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import ClassVar, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dataset.storage import Storage
from filters.neardup import check
from filters.perceptual import MAX_SEARCH_HAMMING, HashIndex, colours, words

INDEX = pa.schema(
    [
        ("name", pa.string()),  # the folder's own name, then the path in it
        ("sha256", pa.binary(32)),
        ("pdq", pa.binary(32)),
        ("pdq_quality", pa.int32()),
        ("mean_rgb", pa.binary(3)),
        ("error", pa.string()),  # why the file could not be used, the hashes being null; null if it could
    ]
)
FOUND = pa.schema([("row", pa.uint32()), ("name", pa.string()), ("pdq_hamming", pa.int32())])

SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".png", ".webp", ".gif", ".bmp"})


@dataclass(frozen=True)
class DecontaminateConfig:
    """Which images must not be in the dataset."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    folders: tuple[str, ...] = ()
    """Folders (paths or URLs, searched with all below them) of the evaluation sets' images."""
    max_hamming: int = MAX_SEARCH_HAMMING
    """Bits of 256 in which a PDQ hash may differ from that of an evaluation image: 0..31."""
    min_quality: int = 50
    """PDQ quality (0..100) below which a hash says nothing: such images are compared by their bytes alone."""
    max_colour_distance: int = 24
    """Largest difference of two images' mean red, green or blue (0..255) at which they may be the same picture."""

    def __post_init__(self) -> None:
        check("max_hamming", self.max_hamming, MAX_SEARCH_HAMMING)
        check("min_quality", self.min_quality, 100)
        check("max_colour_distance", self.max_colour_distance, 255)


class Fingerprint(Protocol):
    """What is measured on an image's bytes."""

    @property
    def sha256(self) -> bytes: ...
    @property
    def pdq(self) -> bytes: ...
    @property
    def pdq_quality(self) -> int: ...
    @property
    def mean_rgb(self) -> bytes: ...


def index(folder: str, measure: Callable[[bytes], Fingerprint | str]) -> pa.Table:
    """The image files of a folder, by what is to be found again.

    Args:
        folder: path or URL; files whose suffix is not in SUFFIXES are passed over.
        measure: decodes and hashes a file, in the very way in which the pairs' images are, or says why it cannot.

    Returns:
        INDEX, ordered by name.

    Raises:
        ValueError: the folder does not exist, or holds no image that can be read: it would protect nothing.
        OSError: the folder or a file of it cannot be read.
    """
    storage = Storage(folder)
    own_name = PurePosixPath(storage.url).name
    rows: list[dict[str, object]] = []
    for info in storage.list(recursive=True):
        if PurePosixPath(info.name).suffix.lower() not in SUFFIXES:
            continue
        answer = measure(storage.read(info.name))
        row: dict[str, object] = {"name": f"{own_name}/{info.name}"}
        if isinstance(answer, str):
            row["error"] = answer
        else:
            row |= {name: getattr(answer, name) for name in ("sha256", "pdq", "pdq_quality", "mean_rgb")}
        rows.append(row)
    if all("error" in row for row in rows):
        raise ValueError(f"{folder} holds no image that can be read ({len(rows)} image files in all)")
    return pa.Table.from_pylist(rows, schema=INDEX)


def find(images: pa.Table, index: pa.Table, config: DecontaminateConfig) -> pa.Table:
    """The images that an evaluation set holds.

    Args:
        images: columns row, sha256, pdq, pdq_quality, mean_rgb; images that could not be had (null sha256) are never
            found.
        index: INDEX, of one or more folders.

    Returns:
        FOUND, ordered by row: for each image found, the least distance and, at it, the least name. Equal bytes are at
        distance 0.
    """
    images = images.filter(pc.is_valid(images.column("sha256")))
    index = index.filter(pc.is_valid(index.column("sha256"))).sort_by("name")
    at = pc.index_in(images.column("sha256"), value_set=index.column("sha256").combine_chunks())
    same = np.flatnonzero(at.is_valid().to_numpy())
    parts = [np.stack([same, at.drop_null().to_numpy().astype(np.int64), np.zeros_like(same)])]

    image, wanted = _good(images, config), _good(index, config)
    hashes = words(images.column("pdq").take(pa.array(image)))
    hash_index = HashIndex(words(index.column("pdq").take(pa.array(wanted))))
    query, entry, distance = hash_index.search(hashes, config.max_hamming)
    query, entry = image[query], wanted[entry]
    apart = np.abs(colours(images.column("mean_rgb"))[query] - colours(index.column("mean_rgb"))[entry])
    alike = apart.max(axis=1, initial=0) <= config.max_colour_distance
    parts.append(np.stack([query[alike], entry[alike], distance[alike]]))

    query, entry, distance = np.concatenate(parts, axis=1)
    order = np.lexsort((entry, distance, query))  # entries are in the order of their names
    best = order[np.flatnonzero(np.diff(query[order], prepend=-1))]
    found = pa.table(
        [
            images.column("row").take(pa.array(query[best])),
            index.column("name").take(pa.array(entry[best])),
            distance[best].astype(np.int32),
        ],
        schema=FOUND,
    )
    return found.sort_by("row")


def _good(table: pa.Table, config: DecontaminateConfig) -> np.ndarray:
    """Rows whose PDQ says something."""
    return np.flatnonzero(table.column("pdq_quality").to_numpy() >= config.min_quality)

"""Images of evaluation sets among the pairs: the same bytes, the same look by PDQ, or a copy by a model's word.

As in `filters.duplicates.near`, PDQ counts only if both images' hashes are good enough (`min_quality`), and, as PDQ
sees luminance only, only if the mean colours agree too. Up to 31 differing bits, PDQ's authors' own threshold for a
match, every pair is found (see `filters.images.perceptual.HashIndex`).

A copy-detection model, if the config names one, finds what was cropped or drawn upon: two images are one if the cosine
of their embeddings is high enough. CLIP's embeddings are too semantic for this: against labels made by people, DataComp
measured a recall of 0.02 at a precision of 0.9, and 0.8 with the model that won the Image Similarity Challenge (Gadre
et al. 2023, appendix on evaluation-set contamination).

What is measured is the nearest image of the evaluation sets; sql/decisions/decontaminate.sql decides which distance is
too near.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from filters.duplicates.evaluation_sets import read_set
from filters.duplicates.near import check
from filters.images.embeddings import unit
from filters.images.models import ImageModel
from filters.images.perceptual import MAX_SEARCH_HAMMING, HashIndex, colours, words

EMBEDDING = pa.list_(pa.float32())
INDEX = pa.schema(
    [
        ("name", pa.string()),  # the location's own name, then the path in it
        ("file", pa.string()),  # see filters.duplicates.evaluation_sets.Place
        ("member", pa.string()),
        ("sha256", pa.binary(32)),
        ("pdq", pa.binary(32)),
        ("pdq_quality", pa.int32()),
        ("mean_rgb", pa.binary(3)),
        ("embedding", EMBEDDING),  # of unit length; null without a model
        ("error", pa.string()),  # why the file could not be used, all else being null; null if it could
    ]
)
EMBEDDINGS = pa.schema([("row", pa.uint32()), ("embedding", EMBEDDING)])
FOUND = pa.schema(
    [
        ("row", pa.uint32()),
        ("name", pa.string()),  # the nearest by PDQ, null if none is within 31 bits
        ("pdq_hamming", pa.int32()),
        ("cosine_name", pa.string()),  # the nearest by the model, null without one
        ("cosine", pa.float64()),
    ]
)
_COSINES = 2**24  # computed at once: some 200 MB
_EMBEDDED_AT_ONCE = 64
_DIGITS = 5  # of a cosine: what is beyond them differs between machines

Measure = Callable[[bytes], "Fingerprint | str"]
Embed = Callable[[list[bytes]], np.ndarray]


@dataclass(frozen=True)
class DecontaminateConfig:
    """Which images must not be in the dataset."""

    folders: tuple[str, ...] = ()
    """The evaluation sets: folders (paths or URLs, searched with all below them) of images or WebDataset tars, or
    tars."""
    max_hamming: int = MAX_SEARCH_HAMMING
    """The most of its 256 bits in which a PDQ hash may differ from that of an evaluation image: 0 to 31."""
    min_quality: int = 50
    """The PDQ quality (0 to 100) below which a hash says nothing; such images are compared by their bytes alone."""
    max_colour_distance: int = 24
    """The largest difference of two images' mean red, green or blue (0 to 255) at which they may be the same
    picture."""
    model: ImageModel | None = None
    """A copy-detection model, whose output is an embedding; none by default."""
    min_cosine: float = 0.604
    """The least cosine of two embeddings that are of one picture; the default is DataComp's, for the ISC model."""

    def __post_init__(self) -> None:
        check("max_hamming", self.max_hamming, MAX_SEARCH_HAMMING)
        check("min_quality", self.min_quality, 100)
        check("max_colour_distance", self.max_colour_distance, 255)
        if not -1 <= self.min_cosine <= 1:
            raise ValueError(f"min_cosine must be from -1 to 1, not {self.min_cosine}")


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
    @property
    def body(self) -> bytes: ...


def index(location: str, measure: Measure, embed: Embed | None = None) -> pa.Table:
    """Return the images of an evaluation set, by what is to be found again.

    Args:
        location: see `filters.duplicates.evaluation_sets.read_set`.
        measure: decodes and hashes a file, in the very way in which the pairs' images are, or says why it cannot.
        embed: the model, from images as they are stored to float32 (n, d).

    Returns:
        INDEX, ordered by name.

    Raises:
        ValueError: the set does not exist, or holds no image that can be read: it would protect nothing.
        OSError: the folder or a file of it cannot be read.
    """
    rows: list[dict[str, object]] = []
    waiting: list[tuple[dict[str, object], bytes]] = []

    def flush() -> None:
        if embed is not None and waiting:
            for (row, _), vector in zip(waiting, unit(embed([body for _, body in waiting])), strict=True):
                row["embedding"] = vector
        waiting.clear()

    for place, body in read_set(location):
        answer = measure(body) if isinstance(body, bytes) else body
        row: dict[str, object] = {"name": place.name(location), "file": place.file, "member": place.member}
        if isinstance(answer, str):
            row["error"] = answer
        else:
            row |= {name: getattr(answer, name) for name in ("sha256", "pdq", "pdq_quality", "mean_rgb")}
            waiting.append((row, answer.body))
            if len(waiting) == _EMBEDDED_AT_ONCE:
                flush()
        rows.append(row)
    flush()
    if all("error" in row for row in rows):
        raise ValueError(f"{location} holds no image that can be read ({len(rows)} image files in all)")
    return pa.Table.from_pylist(rows, schema=INDEX).sort_by("name")


def find(
    images: pa.Table, index: pa.Table, config: DecontaminateConfig, embeddings: pa.Table | None = None
) -> pa.Table:
    """Find the nearest evaluation image of each image; max_hamming and min_cosine are not looked at.

    Args:
        images: columns row, sha256, pdq, pdq_quality, mean_rgb; images that could not be had (null sha256) are never
            found.
        index: INDEX, of one or more sets.
        embeddings: EMBEDDINGS of the images, by the model that the index was made with.

    Returns:
        FOUND, ordered by row: every image within 31 bits of one of the sets or of equal bytes (distance 0), and with
        embeddings every image. Of several at the least distance the first by name is given.
    """
    images = images.filter(pc.is_valid(images.column("sha256")))
    index = index.filter(pc.is_valid(index.column("sha256"))).sort_by("name")
    image, entry, distance = _nearest_looks(images, index, config)
    looks = pa.table(
        {
            "row": images.column("row").take(pa.array(image)),
            "name": index.column("name").take(pa.array(entry)),
            "pdq_hamming": distance.astype(np.int32),
        }
    )
    if embeddings is None or not index.num_rows:
        nearest = looks.append_column("cosine_name", pa.nulls(len(looks), pa.string()))
        return nearest.append_column("cosine", pa.nulls(len(looks), pa.float64())).cast(FOUND).sort_by("row")
    embeddings = embeddings.filter(pc.is_in(embeddings.column("row"), value_set=images.column("row").combine_chunks()))
    entry, cosine = _nearest_copies(matrix(embeddings.column("embedding")), matrix(index.column("embedding")))
    copies = pa.table(
        {
            "row": embeddings.column("row"),
            "cosine_name": index.column("name").take(pa.array(entry)),
            "cosine": cosine,
        }
    )
    return looks.join(copies, "row", join_type="full outer").select(FOUND.names).cast(FOUND).sort_by("row")


def _nearest_looks(
    images: pa.Table, index: pa.Table, config: DecontaminateConfig
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows of images, each once, with their nearest rows of the index, and the distances."""
    indices = pc.index_in(images.column("sha256"), value_set=index.column("sha256").combine_chunks())
    same = np.flatnonzero(indices.is_valid().to_numpy())
    parts = [np.stack([same, indices.drop_null().to_numpy().astype(np.int64), np.zeros_like(same)])]

    image, wanted = _is_telling(images, config), _is_telling(index, config)
    hashes = words(images.column("pdq").take(pa.array(image)))
    hash_index = HashIndex(words(index.column("pdq").take(pa.array(wanted))))
    query, entry, distance = hash_index.search(hashes, MAX_SEARCH_HAMMING)
    query, entry = image[query], wanted[entry]
    apart = np.abs(colours(images.column("mean_rgb"))[query] - colours(index.column("mean_rgb"))[entry])
    alike = apart.max(axis=1, initial=0) <= config.max_colour_distance
    parts.append(np.stack([query[alike], entry[alike], distance[alike]]))

    query, entry, distance = np.concatenate(parts, axis=1)
    order = np.lexsort((entry, distance, query))  # entries are in the order of their names
    best = order[np.flatnonzero(np.diff(query[order], prepend=-1))]
    return query[best], entry[best], distance[best]


def _nearest_copies(images: np.ndarray, entries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return for each image the entry of the highest cosine, of equals the first, and the cosine. int64 and
    float64 (n,).
    """
    best = np.zeros(len(images), dtype=np.int64)
    cosine = np.zeros(len(images))
    block = max(1, _COSINES // len(entries))
    for low in range(0, len(images), block):
        similar = (images[low : low + block] @ entries.T).astype(np.float64).round(_DIGITS)
        best[low : low + block] = similar.argmax(axis=1)
        cosine[low : low + block] = similar.max(axis=1)
    return best, cosine


def matrix(embeddings: pa.ChunkedArray) -> np.ndarray:
    """Return a column of lists of one length, without nulls, as float32 (n, d)."""
    flat = embeddings.combine_chunks().flatten().to_numpy()
    return flat.reshape(len(embeddings), -1) if len(embeddings) else np.zeros((0, 0), np.float32)


def _is_telling(table: pa.Table, config: DecontaminateConfig) -> np.ndarray:
    """Rows whose PDQ says something."""
    return np.flatnonzero(table.column("pdq_quality").to_numpy() >= config.min_quality)

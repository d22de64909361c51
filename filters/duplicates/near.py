"""Near-duplicate images: an exchange of hash chunks, verified edges, and one representative for each look.

Two images look alike if their perceptual hashes differ in at most `max_hamming` bits and their mean colours by at most
`max_colour_distance`. The second condition is there because the hashes see luminance only: to them a red circle and a
blue one are the same picture. A flat image has a hash of noise, so that below `min_quality` only identical bytes or
pixels count.

Looking alike is not transitive: A may be like B and B like C, but A unlike C. Members of a cluster are therefore not
all dropped. In the order of (most pixels, least SHA-256, least url_id) each image of a cluster stays unless it is
identical to, or looks like, one that stays already; that one is its *representative*. What stays are images of
which no two look alike, and each dropped one looks like the one that stands for it. Images of a dataset that exists
already (`against`) come before all others, and always stay.

What each kind of copy differs by is measured by `make bench-copies`; see docs/duplicates.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dataset.ids import mix64, words64
from filters.duplicates.hamming_join import CHUNK_BITS, HALF_BITS, Likeness, connect, forest
from filters.duplicates.stars import edges_schema
from filters.images.perceptual import HASH_BITS, colours, hamming, pad_hashes, words

NODES = pa.schema(
    [
        ("locator", pa.int64()),
        ("url_id", pa.binary(8)),
        ("sha256", pa.binary(32)),
        ("pixel_hash", pa.binary(16)),  # null in a fetch store from before it was measured
        ("hash", pa.binary(32)),  # the perceptual one; 64 bits are filled up with zeros
        ("quality", pa.int32()),  # PDQ's, 0..100; of the other hashes too
        ("mean_rgb", pa.binary(3)),
        ("pixels", pa.int64()),
        ("dataset", pa.int16()),  # of `against`, which of them holds the image; null if it is this run's
    ]
)
KEYS = pa.schema(
    [
        ("key", pa.uint64()),  # uniform; equal for two rows only if chunk and the chunk's value are
        ("chunk", pa.uint8()),  # 0..31 of the perceptual hash, or what of the image is hashed as a whole
        ("hash", pa.binary(32)),  # the perceptual one, the SHA-256 or the pixels' hash
        ("mean_rgb", pa.binary(3)),
        ("locator", pa.int64()),
    ]
)
EDGES = edges_schema(pa.int64())  # of locators
MEMBERS = pa.schema([*NODES, ("component", pa.int64())])  # the least locator that it is connected to
CLUSTERS = pa.schema(
    [
        ("locator", pa.int64()),
        ("cluster", pa.binary(32)),  # the least SHA-256 of all that is connected
        ("representative", pa.int64()),  # its own locator if the image stays
        ("representative_url_id", pa.binary(8)),
        ("representative_dataset", pa.int16()),  # of `against`; null if it is this run's
        ("hamming", pa.int32()),  # to the representative
        ("identical", pa.string()),  # bytes, pixels, or null: what the image shares with its representative
    ]
)

_PIXELS, _SHA256 = 254, 255  # as chunks
MAX_HAMMING = 15


@dataclass(frozen=True)
class NearDupConfig:
    """When two images count as near-duplicates."""

    hash: Literal["pdq", "phash", "dhash"] = "pdq"
    """The perceptual hash: pdq of 256 bits, or phash or dhash of 64 bits (as the library imagehash has them)."""
    max_hamming: int = MAX_HAMMING
    """The most bits in which the hashes of two near-duplicates may differ: 0 to 31 of PDQ's 256, 0 to 7 of 64.
    Every such pair is found.
    """
    min_quality: int = 50
    """The PDQ quality (0 to 100) below which a hash says nothing; such images are compared by bytes and pixels
    alone."""
    max_colour_distance: int = 10
    """The largest difference of two images' mean red, green or blue (0 to 255) at which they may be the same
    picture."""

    def __post_init__(self) -> None:
        if self.hash not in HASH_BITS:
            raise ValueError(f"hash must be {', '.join(HASH_BITS)}, not {self.hash!r}")
        most = 2 * HASH_BITS[self.hash] // CHUNK_BITS - 1
        if not 0 <= self.max_hamming <= most:
            raise ValueError(f"max_hamming must be 0..{most} for {self.hash}, not {self.max_hamming}")
        check("min_quality", self.min_quality, 100)
        check("max_colour_distance", self.max_colour_distance, 255)

    @property
    def likeness(self) -> Likeness:
        """What the search is for."""
        return Likeness(self.max_hamming, self.max_colour_distance, HASH_BITS[self.hash])

    @property
    def chunks(self) -> int:
        """The number of chunks of its hash by which an image is exchanged."""
        return HASH_BITS[self.hash] // (HALF_BITS if self.likeness.halved else CHUNK_BITS)

    @property
    def keys_per_image(self) -> int:
        """Rows that the exchange has for each image: chunks, bytes, pixels."""
        return self.chunks + 2


def check(name: str, value: int, most: int) -> None:
    """Raise ValueError unless 0 ≤ value ≤ most."""
    if not 0 <= value <= most:
        raise ValueError(f"{name} must be 0..{most}, not {value}")


def nodes(images: pa.Table, partition: int, hashes: pa.Table | None = None, dataset: int | None = None) -> pa.Table:
    """Return the images of one partition that can be compared.

    Args:
        images: dataset.schema.IMAGES, or its columns row, url_id, outcome, sha256, pixel_hash, pdq, pdq_quality,
            mean_rgb, original_width, original_height; without pixel_hash if they are of an older store.
        partition: number of the partition.
        hashes: columns row and hash (binary of 8 bytes), of these images that could be hashed; PDQ if not given.
        dataset: of `against`, which one holds them.

    Returns:
        NODES, in the order given: the images whose outcome is ok.
    """
    got = images.filter(pc.equal(images.column("outcome"), "ok"))
    looks = got.column("pdq")
    if hashes is not None:
        indices = pc.index_in(got.column("row"), value_set=hashes.column("row").combine_chunks())
        got, indices = got.filter(pc.is_valid(indices)), pc.drop_null(indices)
        looks = pad_hashes(hashes.column("hash").take(indices))
    locator = (partition << 32) | got.column("row").to_numpy().astype(np.int64)
    width, height = (got.column(f"original_{side}").cast(pa.int64()) for side in ("width", "height"))
    pixel_hash = got.column("pixel_hash") if "pixel_hash" in got.column_names else pa.nulls(len(got), pa.binary(16))
    columns = [
        pa.array(locator),
        got.column("url_id"),
        got.column("sha256"),
        pixel_hash,
        looks,
        got.column("pdq_quality"),
        got.column("mean_rgb"),
        pc.multiply(width, height),
        pa.array([dataset] * len(got), pa.int16()),
    ]
    return pa.table(columns, schema=NODES)


def chunk_keys(nodes: pa.Table, config: NearDupConfig) -> pa.Table:
    """Map side of the exchange: a row for each chunk of an image's hash, if that is good enough, its bytes, its pixels.

    Two hashes that are near enough are equal in one chunk (see `hamming_join.Likeness`), so that they meet in a
    bucket.

    Args:
        nodes: NODES.

    Returns:
        KEYS, ordered by (chunk, node as given); to be exchanged by key.
    """
    good = nodes.filter(pc.greater_equal(nodes.column("quality"), config.min_quality))
    raw = words(good.column("hash")).astype(">u8")
    value = raw.view(np.uint8 if config.likeness.halved else ">u2").astype(np.uint64)
    parts = [
        _keys(mix64(value[:, chunk] | np.uint64(chunk << CHUNK_BITS), 0), chunk, good.column("hash"), good)
        for chunk in range(config.chunks)
    ]
    known = nodes.filter(pc.is_valid(nodes.column("pixel_hash")))
    for chunk, rows, name in ((_PIXELS, known, "pixel_hash"), (_SHA256, nodes, "sha256")):
        parts.append(_keys(mix64(words64(rows.column(name))[:, 0], chunk), chunk, pad_hashes(rows.column(name)), rows))
    return pa.concat_tables(parts)


def _keys(key: np.ndarray, chunk: int, hashes: pa.Array | pa.ChunkedArray, nodes: pa.Table) -> pa.Table:
    columns = [key, np.full(len(key), chunk, dtype=np.uint8), hashes, nodes.column("mean_rgb"), nodes.column("locator")]
    return pa.table(columns, schema=KEYS)


def edges(keys: pa.Table, config: NearDupConfig) -> pa.Table:
    """Return pairs of images that are identical or look alike: enough of them to connect all that are.

    Every edge is verified, and only those are left out whose ends the others connect.

    Args:
        keys: KEYS of whole keys, from any number of partitions, in any order. The column key is not read.

    Returns:
        EDGES, larger end first, distinct. The edges of two calls (of two buckets) may coincide.
    """
    chunk = keys.column("chunk").to_numpy()
    hashes = words(keys.column("hash"))
    locator = keys.column("locator").to_numpy()
    look = chunk < _PIXELS
    rows = np.flatnonzero(look)
    colour = colours(keys.column("mean_rgb").filter(pa.array(look)))
    a, b, distance = connect(hashes[look], colour, chunk[look], config.likeness)
    pieces = [(rows[a], rows[b], distance)]
    for whole in (_PIXELS, _SHA256):
        same = _equal(hashes, np.flatnonzero(chunk == whole))
        pieces.append((*same, np.zeros(same.shape[1], dtype=np.int64)))
    a, b, distance = (np.concatenate(parts) for parts in zip(*pieces, strict=True))
    a, b, _ = forest(locator[a], locator[b], distance)
    return pa.table([b, a], schema=EDGES)


def _equal(hashes: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Rows with the first row of equal hash, int64 (2, pairs); no row with itself."""
    rows = rows[np.argsort(hashes[rows, 0], kind="stable")]
    first = hashes[rows, 0]
    again = np.zeros(len(rows) + 1, dtype=bool)
    again[1:-1] = first[1:] == first[:-1]
    rows = rows[again[1:] | again[:-1]]  # few are left, and only these are compared in full
    rows = rows[np.lexsort((rows, *hashes[rows].T))]
    new = np.ones(len(rows), dtype=bool)
    new[1:] = (hashes[rows[1:]] != hashes[rows[:-1]]).any(axis=1)
    leader = rows[new][np.cumsum(new) - 1]
    return np.stack([leader[~new], rows[~new]])


def members(nodes: pa.Table, components: pa.Table) -> pa.Table:
    """Return MEMBERS: the nodes that an edge names, with what they are connected to.

    Args:
        nodes: NODES in any order.
        components: columns node and other (int64): the locators of some of them, ascending, and the least locator that
            each is connected to; see `filters.duplicates.stars.labels`.

    Raises:
        ValueError: an edge names an image that is not among the nodes.
    """
    named, locator = components.column("node").to_numpy(), nodes.column("locator").to_numpy()
    indices = np.searchsorted(named, locator)  # a search for each node, so that many edges make no partition slow
    is_named = np.append(named, -1)[indices] == locator
    if np.count_nonzero(is_named) != len(named):
        raise ValueError("an edge ends at an image that is not among the nodes")
    component = components.column("other").take(pa.array(indices[is_named]))
    return nodes.filter(pa.array(is_named)).append_column("component", component).cast(MEMBERS)


def clusters(nodes: pa.Table, config: NearDupConfig) -> pa.Table:
    """Decide who stays, and who goes for whom; the rule is at the top of this module.

    Args:
        nodes: MEMBERS, all of their components, in any order.

    Returns:
        CLUSTERS, ordered by locator: a row for every image of this run among them.
    """
    locator = nodes.column("locator").to_numpy()
    component = nodes.column("component").to_numpy()
    sha256, look = words(nodes.column("sha256")), words(nodes.column("hash"))
    has_pixels = pc.is_valid(nodes.column("pixel_hash")).to_numpy()
    pixels = words64(pc.fill_null(nodes.column("pixel_hash"), bytes(16)))
    colour = colours(nodes.column("mean_rgb"))
    good = nodes.column("quality").to_numpy() >= config.min_quality
    known = pc.is_valid(nodes.column("dataset")).to_numpy()
    dataset = pc.fill_null(nodes.column("dataset"), np.iinfo(np.int16).max).to_numpy()
    area = nodes.column("pixels").to_numpy()
    url_id = words64(nodes.column("url_id"))  # not the locator: who stays must not depend on partitions
    del nodes  # of a large component, half of the memory

    def same_bytes(i: np.ndarray, j: np.ndarray) -> np.ndarray:
        return (sha256[i] == sha256[j]).all(axis=1)

    def same_pixels(i: np.ndarray, j: np.ndarray) -> np.ndarray:
        """The pixels' hash is no cryptographic one: another's image must not be dropped by it alone."""
        return has_pixels[i] & has_pixels[j] & (pixels[i] == pixels[j]).all(axis=1) & (look[i] == look[j]).all(axis=1)

    def distance(i: np.ndarray, j: np.ndarray) -> np.ndarray:
        return hamming(look[i], look[j])

    def alike(i: np.ndarray, j: np.ndarray) -> np.ndarray:
        near = distance(i, j) <= config.max_hamming
        near &= np.abs(colour[i] - colour[j]).max(axis=1, initial=0) <= config.max_colour_distance
        like = (near & good[i] & good[j]) | same_bytes(i, j) | same_pixels(i, j)
        return like & (~known[i] | (i == j))  # what exists already stays

    order = np.lexsort((locator, url_id[:, 0], *sha256.T[::-1], -area, dataset, component))
    representative = np.empty(len(order), dtype=np.int64)
    representative[order] = order[_cover(component[order], lambda i, j: alike(order[i], order[j]))]

    by_sha256 = np.lexsort((*sha256.T[::-1], component))
    label, which = np.unique(component, return_inverse=True)
    least = by_sha256[np.searchsorted(component, label, sorter=by_sha256)][which]
    mine = np.flatnonzero(~known)
    mine = mine[np.argsort(locator[mine])]
    least, to = least[mine], representative[mine]
    of_bytes, of_pixels = (_in_blocks(same, mine, to) for same in (same_bytes, same_pixels))
    bits = _in_blocks(distance, mine, to).astype(np.int32)
    columns = [
        pa.array(locator[mine]),
        _binary(sha256, least),
        pa.array(locator[to]),
        _binary(url_id, to),
        pa.array(dataset[to], mask=~known[to]),
        pa.array(bits),
        pc.if_else(
            pa.array(of_bytes), "bytes", pc.if_else(pa.array(of_pixels), "pixels", pa.scalar(None, pa.string()))
        ),
    ]
    return pa.table(columns, schema=CLUSTERS)


_BLOCK_ROWS = 65_536
"""Rows that are compared at a time."""


def _in_blocks(of: Callable[[np.ndarray, np.ndarray], np.ndarray], i: np.ndarray, j: np.ndarray) -> np.ndarray:
    """`of(i, j)` without its temporary arrays of all rows."""
    starts = range(0, max(1, len(i)), _BLOCK_ROWS)
    return np.concatenate([of(i[start : start + _BLOCK_ROWS], j[start : start + _BLOCK_ROWS]) for start in starts])


def _binary(hashes: np.ndarray, rows: np.ndarray) -> pa.Array:
    """Some rows of uint64 (n, k), as fixed-size binary of 8·k bytes."""
    data = pa.py_buffer(hashes[rows].astype(">u8"))
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(8 * hashes.shape[1]), len(rows), [None, data])


def _cover(group: np.ndarray, alike: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> np.ndarray:
    """Choose in each group: the first row stands for all that are like it, then the first of the rest, and so on.

    A round does this in all groups at once.

    Args:
        group: (n,), equal values adjacent.
        alike: whether i is like j, for two arrays of rows; a row is like itself.

    Returns:
        int64 (n,): the row that stands for each row; its own index if it stands for itself.
    """
    representative = np.arange(len(group))
    left = representative
    while len(left):
        first = np.ones(len(left), dtype=bool)
        first[1:] = group[left[1:]] != group[left[:-1]]
        candidate = left[first][np.cumsum(first) - 1]
        gone = _in_blocks(alike, left, candidate)
        representative[left[gone]] = candidate[gone]
        left = left[~gone]
    return representative

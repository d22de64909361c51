"""Near-duplicate images: an exchange of hash chunks, verified edges, and one representative for each look.

Two images look alike if their perceptual hashes differ in at most `max_hamming` bits and their mean colours by at most
`max_colour_distance`. The second condition is there because the hashes see luminance only: to them a red circle and a
blue one are the same picture. A flat image has a hash of noise, so that below `min_quality` only identical bytes or
pixels count.

Looking alike is not transitive: A may be like B and B like C, but A unlike C. Members of a cluster are therefore not
all dropped. In the order of (most pixels, least SHA-256, least url_id) each image of a cluster stays unless it is
identical to, or looks like, one that stays already; that one is its *representative*. What stays are images of
which no two look alike, and each dropped one looks like the one that stands for it: see
`filters.duplicates.representatives`. Images of a dataset that exists
already (`against`) come before all others, and always stay.

What each kind of copy differs by is measured by `make bench-copies`; see docs/duplicates.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dataset.ids import mix64, words64
from filters.duplicates.hamming_join import CHUNK_BITS, HALF_BITS, Likeness, connect, forest
from filters.duplicates.representatives import Key, in_blocks, representatives
from filters.duplicates.stars import edges_schema
from filters.images.perceptual import HASH_BITS, colours, hamming, pad_hashes, within, words

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
    def hash_chunks(self) -> int:
        """The number of chunks of 16 bits that its hash has."""
        return HASH_BITS[self.hash] // CHUNK_BITS

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
    columns = {name: nodes.column(name) for name in MEMBERS.names}
    del nodes  # of a large component, half of the memory: so each column goes when its array is there
    images = _Images(columns, config)
    dataset = pc.fill_null(columns.pop("dataset"), np.iinfo(np.int16).max).to_numpy()
    component, locator = columns.pop("component").to_numpy(), columns.pop("locator").to_numpy()
    url_id = words64(columns.pop("url_id"))  # not the locator: who stays must not depend on partitions
    sha256 = images.sha256.T[::-1]
    area = columns.pop("pixels").to_numpy()
    order = np.lexsort((locator, url_id[:, 0], *sha256, -area, dataset, component))
    del area
    to = np.empty_like(order)
    to[order] = order[images.representatives(order, component[order])]
    del order
    least = _least_of(component, np.lexsort((*sha256, component)))
    del component

    mine = np.flatnonzero(~images.known)
    mine = mine[np.argsort(locator[mine])]
    least, to = least[mine], to[mine]
    same, bits = images.shared(mine, to)
    hashes, known = images.sha256, images.known
    del images
    decided = [
        pa.array(locator[mine]),
        _binary(hashes, least),
        pa.array(locator[to]),
        _binary(url_id, to),
        pa.array(dataset[to], mask=~known[to]),
        bits,
        same,
    ]
    return pa.table(decided, schema=CLUSTERS)


class _Images:
    """What tells whether images are alike, of n images, and who stands for whom.

    Args:
        columns: of NODES; those that are only needed here are taken out of it.
    """

    def __init__(self, columns: dict[str, pa.ChunkedArray], config: NearDupConfig):
        self._config = config
        self.sha256, self._look = words(columns.pop("sha256")), words(columns.pop("hash"))
        self._has_pixels = pc.is_valid(columns["pixel_hash"]).to_numpy()
        self._pixels = words64(pc.fill_null(columns.pop("pixel_hash"), bytes(16)))
        self._colour = colours(columns.pop("mean_rgb"))
        self._is_good = columns.pop("quality").to_numpy() >= config.min_quality
        self.known = pc.is_valid(columns["dataset"]).to_numpy()

    def _same_bytes(self, i: np.ndarray, j: np.ndarray) -> np.ndarray:
        return (self.sha256[i] == self.sha256[j]).all(axis=1)

    def _same_pixels(self, i: np.ndarray, j: np.ndarray) -> np.ndarray:
        """The pixels' hash is no cryptographic one: another's image must not be dropped by it alone."""
        same = self._has_pixels[i] & self._has_pixels[j] & (self._pixels[i] == self._pixels[j]).all(axis=1)
        return same & (self._look[i] == self._look[j]).all(axis=1)

    def alike(self, i: np.ndarray, j: np.ndarray) -> np.ndarray:
        """Whether images i need not stay beside images j."""
        like = np.zeros(len(i), dtype=bool)
        near, _ = within(self._look, i, self._look, j, self._config.max_hamming)
        near = near[self._is_good[i[near]] & self._is_good[j[near]]]
        apart = np.abs(self._colour[i[near]] - self._colour[j[near]]).max(axis=1, initial=0)
        like[near[apart <= self._config.max_colour_distance]] = True
        for first, same in ((self.sha256[:, 0], self._same_bytes), (self._pixels[:, 0], self._same_pixels)):
            maybe = np.flatnonzero(first[i] == first[j])
            like[maybe[same(i[maybe], j[maybe])]] = True
        return like & (~self.known[i] | (i == j))  # what exists already stays

    def representatives(self, order: np.ndarray, group: np.ndarray) -> np.ndarray:
        """See `filters.duplicates.representatives`, of the images in an order."""
        keys = [
            *(
                _key(self._look, order, chunk, self._is_good, but_one=self._config.likeness.halved)
                for chunk in range(self._config.hash_chunks)
            ),
            _key(self.sha256, order, 0, np.ones_like(self.known)),
            _key(self._pixels, order, 0, self._has_pixels),
        ]
        return representatives(group, lambda i, j: self.alike(order[i], order[j]), keys)

    def shared(self, i: np.ndarray, j: np.ndarray) -> tuple[pa.Array, pa.Array]:
        """What images i and j have in common, `identical` of CLUSTERS, and the bits in which their hashes differ."""
        of_bytes, of_pixels = (pa.array(in_blocks(same, i, j)) for same in (self._same_bytes, self._same_pixels))
        bits = in_blocks(lambda i, j: hamming(self._look[i], self._look[j]).astype(np.int32), i, j)
        none = pa.scalar(None, pa.string())
        return pc.if_else(of_bytes, "bytes", pc.if_else(of_pixels, "pixels", none)), pa.array(bits)


def _key(hashes: np.ndarray, order: np.ndarray, chunk: int, has: np.ndarray, *, but_one: bool = False) -> Key:
    """A chunk of the hashes that some rows have, of rows in an order."""
    word, shift = divmod(chunk, 64 // CHUNK_BITS)

    def of(places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        having = np.flatnonzero(has[order[places]])
        value = hashes[order[places[having]], word] >> np.uint64(64 - CHUNK_BITS * (shift + 1))
        return having, value.astype(np.uint16)

    return Key(of, but_one)


def _least_of(component: np.ndarray, order: np.ndarray) -> np.ndarray:
    """The first row of each row's component, in an order that has components one after another. int64 (n,)."""
    new = np.ones(len(order), dtype=bool)
    new[1:] = component[order[1:]] != component[order[:-1]]
    least = np.empty_like(order)
    least[order] = order[new][np.cumsum(new) - 1]
    return least


_ROWS_AT_ONCE = 65_536


def _binary(hashes: np.ndarray, rows: np.ndarray) -> pa.Array:
    """Some rows of uint64 (n, k), as fixed-size binary of 8·k bytes."""
    data = np.empty((len(rows), hashes.shape[1]), ">u8")
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        data[start : start + _ROWS_AT_ONCE] = hashes[rows[start : start + _ROWS_AT_ONCE]]
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(8 * hashes.shape[1]), len(rows), [None, pa.py_buffer(data)])

"""PDQ, the perceptual hash, and the search for hashes within a Hamming distance.

PDQ (Facebook, 2019, https://github.com/facebook/ThreatExchange/blob/main/hashing/hashing.pdf) is 256 bits of a discrete
cosine transform of the luminance: blind to colour, and noise on images without gradients, which its quality
(0..100) tells.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import cv2
import imagehash
import numpy as np
import pyarrow as pa
from PIL import Image

from dataset.ids import words64

PDQ_BYTES = 32
HASH_BITS = {"pdq": 256, "phash": 64, "dhash": 64}
"""Perceptual hashes, and how many bits they have."""
ENLARGED_SIDE = 192
"""Pixels. Of pictures of 64..96 pixels and copies of 0.75 to 2 times their size, 27 % of 1,200 pairs are within 15 bits
as they are, and all when both are enlarged to this; the nearest two of 3,500 distinct ones then differ in 36 (measured
on the demo's scenes)."""
_LEAST_SIDE = 5  # the reference's own minimum
_GRID = 64  # points that PDQ samples along each side
_FREQUENCIES = 16
_WORDS = 4  # of 64 bits
_CHUNKS = 16  # of 16 bits
_CHUNK_BITS = 16
MAX_SEARCH_HAMMING = 2 * _CHUNKS - 1
_BLOCK_QUERIES = 4096
BLOCK_PAIRS = 4_000_000  # candidates verified at once: some 100 MB


def pdq(rgb: np.ndarray) -> tuple[bytes, int]:
    """Return PDQ of an image: 32 bytes, whose hex digits are those that hash lists exchange, and its quality, 0..100.

    An image with a side below 5 pixels has quality 0, and so has a flat one: their hashes say nothing. A side shorter
    than ENLARGED_SIDE is stretched to it first: PDQ samples 64 × 64 points, and on a thumbnail these fall on other
    pixels in a copy of another size.

    Args:
        rgb: uint8 (height, width, 3). The reference resizes to at most 512 pixels a side before; so should the caller.
    """
    height, width, _ = rgb.shape
    if min(height, width) < _LEAST_SIDE:
        return bytes(PDQ_BYTES), 0
    if min(height, width) < ENLARGED_SIDE:
        luma = cv2.cvtColor(rgb.astype(np.float32), cv2.COLOR_RGB2GRAY)
        grid = _enlarged_points(height) @ luma @ _enlarged_points(width).T
    else:
        grid = _grid(rgb)
    cosines = _cosines()
    spectrum = (cosines @ grid @ cosines.T).ravel()
    half = spectrum.size // 2 - 1
    return np.packbits(spectrum[::-1] > np.partition(spectrum, half)[half]).tobytes(), _quality(grid)


def _grid(rgb: np.ndarray) -> np.ndarray:
    """The luminance that PDQ samples. float32 (64, 64)"""
    height, width, _ = rgb.shape
    rows, row_weights = _taps(height)
    columns, column_weights = _taps(width)
    grid = np.zeros((_GRID, width), np.float32)
    for row, weight in zip(rows.T, row_weights.T, strict=True):  # a few rows at a time stay in the processor's cache
        luma = cv2.cvtColor(rgb[row].astype(np.float32), cv2.COLOR_RGB2GRAY)  # by ITU-R BT.601, unrounded
        luma *= weight[:, None]
        grid += luma
    return np.einsum("rck,ck->rc", grid[:, columns], column_weights)


@lru_cache(maxsize=1024)
def _enlarged_points(length: int) -> np.ndarray:
    """What the 64 points along a side see of its pixels, when a side shorter than ENLARGED_SIDE is stretched to that by
    bilinear interpolation first. float32 (64, length)

    Stretching and the box filters are linear, and so one matrix; the enlarged picture is never made. Of 878 clip-arts
    778 have the same hash as by way of a picture that Pillow enlarged, with rounded pixels; 98 differ in 2 to 8 bits.
    The two that differ in 16 are flags of level stripes: all their frequencies across are 0, beside the median, and no
    computation of PDQ knows their signs.
    """
    enlarged = max(length, ENLARGED_SIDE)
    places, weights = _taps(enlarged)
    points = np.zeros((_GRID, enlarged))
    np.add.at(points, (np.arange(_GRID)[:, None], places), weights)
    if enlarged == length:
        return points.astype(np.float32)
    centre = (np.arange(enlarged) + 0.5) * length / enlarged - 0.5
    low = np.floor(centre).astype(np.intp)
    share = centre - low
    stretch = np.zeros((enlarged, length))  # beyond the ends, the outermost pixel
    rows = np.arange(enlarged)
    np.add.at(stretch, (rows, np.maximum(low, 0)), 1 - share)
    np.add.at(stretch, (rows, np.minimum(low + 1, length - 1)), share)
    return (points @ stretch).astype(np.float32)


def _quality(grid: np.ndarray) -> int:
    """The reference's pdqImageDomainQualityMetric: how much neighbouring points differ, 0..100."""
    hundredths = grid * np.float32(100 / 255)
    down = (hundredths[1:] - hundredths[:-1]).astype(np.int32)
    across = (hundredths[:, 1:] - hundredths[:, :-1]).astype(np.int32)
    return min(100, (int(np.abs(down).sum()) + int(np.abs(across).sum())) // 90)


@lru_cache(maxsize=4096)
def _taps(length: int) -> tuple[np.ndarray, np.ndarray]:
    """Which pixels along a side the 64 points see, and their weights; (64, taps) each.

    The reference runs a box filter twice along each side, then takes every n-th pixel. All of that is linear, so only
    what the points see is computed: some three pixels of four, and none that is thrown away.
    """
    window = (length + 2 * _GRID - 1) // (2 * _GRID)
    right = (window + 2) // 2 - 1
    left = window - right - 1

    def box(centre: int) -> range:
        return range(max(0, centre - left), min(length, centre + right + 1))

    points = [int((point + 0.5) * length / _GRID) for point in range(_GRID)]
    taps = 2 * (left + right) + 1
    places = np.zeros((_GRID, taps), np.intp)
    weights = np.zeros((_GRID, taps))
    for number, point in enumerate(points):
        start = max(0, point - 2 * left)
        places[number] = np.minimum(start + np.arange(taps), length - 1)
        for middle in box(point):
            seen = box(middle)
            weights[number, seen.start - start : seen.stop - start] += 1 / (len(box(point)) * len(seen))
    return places, weights.astype(np.float32)


@lru_cache(maxsize=1)
def _cosines() -> np.ndarray:
    """The discrete cosine transform's first 16 frequencies without the constant. float32 (16, 64)."""
    frequency, point = np.mgrid[1 : _FREQUENCIES + 1, :_GRID]
    return (np.sqrt(2 / _GRID) * np.cos(np.pi / 2 / _GRID * frequency * (2 * point + 1))).astype(np.float32)


def short_hash(rgb: np.ndarray, kind: str) -> bytes:
    """Return pHash or dHash of an image as the library imagehash makes them, whose hex digits these 8 bytes are.

    Args:
        rgb: uint8 (height, width, 3).
        kind: phash or dhash.
    """
    bits = {"phash": imagehash.phash, "dhash": imagehash.dhash}[kind](Image.fromarray(rgb)).hash
    return np.packbits(bits).tobytes()


def pad_hashes(hashes: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Return fixed-size binary of 8·k ≤ 32 bytes, without nulls, as binary(32): zeros behind, which no distance
    sees.
    """
    raw = words64(hashes).astype(">u8")
    rows = np.zeros((len(raw), _WORDS), dtype=">u8")
    rows[:, : raw.shape[1]] = raw
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(PDQ_BYTES), len(rows), [None, pa.py_buffer(rows)])


def words(hashes: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """Return binary(32) hashes without nulls as uint64 (n, 4)."""
    return words64(hashes)


def colours(mean_rgb: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """Return binary(3) without nulls as int16 (n, 3)."""
    column = mean_rgb.combine_chunks() if isinstance(mean_rgb, pa.ChunkedArray) else mean_rgb
    raw = np.frombuffer(column.buffers()[1], dtype=np.uint8, count=(column.offset + len(column)) * 3)
    return raw.reshape(-1, 3)[column.offset :].astype(np.int16)


def chunks(hashes: np.ndarray) -> np.ndarray:
    """Return the 16 chunks of 16 bits of each hash. uint64 (n, 4) → uint16 (n, 16)."""
    return np.ascontiguousarray(hashes).astype(">u8").view(">u2").astype(np.uint16).reshape(-1, _CHUNKS)


def hamming(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return bits that differ, row by row. uint64 (n, 4), or broadcast, twice → int64 (n,)."""
    return np.bitwise_count(a ^ b).sum(axis=-1, dtype=np.int64)


def within(
    a: np.ndarray, rows_a: np.ndarray, b: np.ndarray, rows_b: np.ndarray, max_hamming: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return which of the pairs (a[rows_a[i]], b[rows_b[i]]) differ by at most max_hamming bits, and by how many.

    Most random pairs are ruled out by their first word alone, which makes this several times faster than hamming().

    Args:
        a, b: uint64 (n, 4) and (m, 4).
        rows_a, rows_b: integers (k,).

    Returns:
        i, ascending, and distances; int64 (found,).
    """
    near = np.arange(len(rows_a))
    distance = np.zeros(len(rows_a), dtype=np.int64)
    for word in range(_WORDS):
        distance = distance + np.bitwise_count(a[rows_a[near], word] ^ b[rows_b[near], word])
        keep = distance <= max_hamming
        near, distance = near[keep], distance[keep]
    return near, distance


class HashIndex:
    """Every hash of a list within a distance of a query, without comparing all with all.

    Complete by pigeonhole (multi-index hashing, Norouzi, Punjani and Fleet, 2012): two hashes that differ in at most 15
    bits are equal in one of 16 chunks; two that differ in at most 31 have a chunk that differs in at most one bit.

    Args:
        hashes: uint64 (n, 4).
    """

    def __init__(self, hashes: np.ndarray):
        self.hashes = hashes
        keys = (chunks(hashes).astype(np.int64) + (np.arange(_CHUNKS) << _CHUNK_BITS)).ravel()
        self._entries = (np.argsort(keys, kind="stable") // _CHUNKS).astype(np.int32)
        self._starts = np.zeros((_CHUNKS << _CHUNK_BITS) + 1, dtype=np.int64)
        np.cumsum(np.bincount(keys, minlength=_CHUNKS << _CHUNK_BITS), out=self._starts[1:])

    def search(self, queries: np.ndarray, max_hamming: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return all (query, entry) within max_hamming.

        Args:
            queries: uint64 (m, 4).
            max_hamming: 0..31.

        Returns:
            query indices, entry indices and distances, int64 (k,), ordered by query, then entry.

        Raises:
            ValueError: max_hamming is out of range.
        """
        if not 0 <= max_hamming <= MAX_SEARCH_HAMMING:
            raise ValueError(f"max_hamming must be 0..{MAX_SEARCH_HAMMING}, not {max_hamming}")
        flips = np.zeros(1, dtype=np.int64)
        if max_hamming >= _CHUNKS:
            flips = np.concatenate([flips, 1 << np.arange(_CHUNK_BITS)])
        matches = [np.zeros((3, 0), dtype=np.int64)]
        for query, entry in self._candidates(queries, flips):
            near, distance = within(queries, query, self.hashes, entry, max_hamming)
            matches.append(np.stack([query[near], entry[near], distance]))
        # A pair is met in every chunk that agrees.
        answer = np.unique(np.concatenate(matches, axis=1), axis=1)
        return answer[0], answer[1], answer[2]

    def _candidates(self, queries: np.ndarray, flips: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Blocks of (query, entry) that agree in a chunk, up to a flip."""
        for low in range(0, len(queries), _BLOCK_QUERIES):
            parts = chunks(queries[low : low + _BLOCK_QUERIES]).astype(np.int64)
            keys = ((parts + (np.arange(_CHUNKS) << _CHUNK_BITS))[:, :, None] ^ flips).ravel()
            first = self._starts[keys]
            for probe, entry in expand(first, self._starts[keys + 1] - first, self._entries):
                yield low + probe // (_CHUNKS * len(flips)), entry


def expand(first: np.ndarray, count: np.ndarray, entries: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield (i, entries[first[i] + k]) for all k < count[i], in blocks."""
    total = np.cumsum(count)
    low = 0
    while low < len(count):
        before = total[low - 1] if low else 0
        high = max(low + 1, int(np.searchsorted(total, before + BLOCK_PAIRS, side="right")))
        part = count[low:high]
        query = np.repeat(np.arange(low, high), part)
        offset = np.arange(len(query)) - np.repeat(total[low:high] - part - before, part)
        yield query, entries[np.repeat(first[low:high], part) + offset]
        low = high

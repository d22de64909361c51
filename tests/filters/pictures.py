"""Made-up hashes and images for the tests of duplicates."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from filters.duplicates.near import NODES


def fixed(rows: np.ndarray) -> pa.Array:
    """uint8 (n, width) as binary(width)."""
    data = np.ascontiguousarray(rows, dtype=np.uint8)
    return pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(data.shape[1]), len(data), [None, pa.py_buffer(data.tobytes())]
    )


def flip(hashes: np.ndarray, bits: int, rng: np.random.Generator) -> np.ndarray:
    """Hashes, uint8 (n, 32), at exactly this Hamming distance from the given ones."""
    order = rng.permuted(np.tile(np.arange(256), (len(hashes), 1)), axis=1)
    return hashes ^ np.packbits(order < bits, axis=1)


def make_nodes(
    pdq: np.ndarray,
    *,
    sha256: np.ndarray | None = None,
    colour: np.ndarray | int = 100,
    quality: np.ndarray | int = 100,
    pixels: np.ndarray | int = 1,
    pixel_hash: np.ndarray | None = None,
    dataset: np.ndarray | int = -1,
    partition: int = 0,
) -> pa.Table:
    """NODES of hashes uint8 (n, 32); distinct bytes and pixels unless given; dataset -1 is this run."""
    count = len(pdq)
    if sha256 is None:
        sha256 = np.random.default_rng(count).integers(0, 256, (count, 32), dtype=np.uint8)
    return pa.table(
        [
            pa.array((partition << 32) + np.arange(count)),
            fixed(sha256[:, :8]),
            fixed(sha256),
            fixed(sha256[:, 16:] if pixel_hash is None else pixel_hash),
            fixed(pdq),
            pa.array(np.broadcast_to(quality, count), pa.int32()),
            fixed(np.broadcast_to(np.reshape(colour, (-1, 1)), (count, 3))),
            pa.array(np.broadcast_to(pixels, count), pa.int64()),
            pa.array(np.broadcast_to(dataset, count), pa.int16(), mask=np.broadcast_to(dataset, count) < 0),
        ],
        schema=NODES,
    )

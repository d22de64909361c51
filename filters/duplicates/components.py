"""Connected components, and the held-out split that never separates what belongs together."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dataset.ids import hash64, mix64, words64
from dataset.query import sql

MIN_HELDOUT_LIMIT = 10
"""A component of up to this many pairs may be held out whatever the share."""


def least_node(count: int, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the least node that each of the nodes 0, 1, …, count - 1 is connected to.

    Args:
        a, b: (m,), the ends of undirected edges; loops and repeated edges are fine.

    Returns:
        int64 (count,).
    """
    if count == 0:
        return np.zeros(0, dtype=np.int64)
    from scipy.sparse import coo_array, csgraph  # a run that has nothing to do needs none of its many modules

    graph = coo_array((np.ones(len(a), dtype=np.int8), (a, b)), shape=(count, count))
    number, label = csgraph.connected_components(graph, directed=False)
    least = np.full(number, count, dtype=np.int64)
    np.minimum.at(least, label, np.arange(count))
    return least[label]


def caption_keys(texts: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Return one key for captions that differ only in case, in white space or in a compatibility form (NFKC).

    Returns:
        binary(16) (n,).
    """
    column = texts.combine_chunks() if isinstance(texts, pa.ChunkedArray) else texts
    table = pa.table({"row": np.arange(len(column)), "text": pc.utf8_normalize(column, form="NFKC")})
    keys = sql.run(sql.load("dedup/caption_keys"), {"rows": table}).column("key")
    return keys.cast(pa.binary(16)).combine_chunks()


def heldout(images: pa.Array, captions: pa.Array, share: float, seed: int) -> np.ndarray:
    """Return which pairs to hold out for evaluation: about a share of them, in whole components.

    Pairs that show the same image, or say the same, are in one component, and so is what these are connected to: no
    image and no caption of a held-out pair is ever trained on. A component of more than a tenth of the pairs that are
    to be held out (but at least of 10) always goes to training: one heavy caption would otherwise make up the whole
    evaluation.

    The choice is a hash of (seed, least image key of the component): it depends neither on the order of the pairs nor
    on partitions.

    Args:
        images: fixed-size binary of 8·k bytes (n,), a hash; equal where two pairs show the same image or
            near-duplicates: the cluster of `filters.duplicates.near`, else the image's SHA-256.
        captions: binary (n,), equal where two pairs say the same: caption_keys.
        share: 0..1.
        seed: of the split.

    Returns:
        bool (n,).

    Raises:
        ValueError: a key is null, or the lengths differ.
    """
    if len(images) != len(captions):
        raise ValueError(f"{len(images)} images, but {len(captions)} captions")
    if images.null_count or captions.null_count:
        raise ValueError("a pair without an image key or a caption key cannot be split")
    image, image_keys = codes(images)
    caption, caption_values = codes(captions)
    # A bipartite graph: images (first) and captions are nodes, pairs are edges. Codes ascend with the keys, so that
    # the least node of a component is its least image key.
    label = least_node(len(image_keys) + len(caption_values), image, len(image_keys) + caption)[image]
    size = np.bincount(label, minlength=len(image_keys))
    return is_chosen(size, words64(image_keys)[:, 0], len(image), share, seed)[label]


def is_chosen(size: np.ndarray, least: np.ndarray, pairs: int, share: float, seed: int) -> np.ndarray:
    """Return which components are held out; see `heldout`.

    Args:
        size: pairs of each component, int64 (n,).
        least: the first 64 bits of its least image key, uint64 (n,).
        pairs: of the whole dataset.

    Returns:
        bool (n,).
    """
    fits = (size > 0) & (size <= max(MIN_HELDOUT_LIMIT, share * pairs / 10))
    uniform = mix64(least, hash64("heldout", seed)) >> np.uint64(11)
    return fits & (uniform * 2.0**-53 < share)


def codes(keys: pa.Array) -> tuple[np.ndarray, pa.Array]:
    """Return each key's rank among the distinct keys, and these ascending."""
    encoded = keys.cast(pa.binary()).dictionary_encode()
    order = pc.array_sort_indices(encoded.dictionary)
    rank = np.empty(len(order), dtype=np.int64)
    rank[order.to_numpy()] = np.arange(len(order))
    return rank[encoded.indices.to_numpy()], encoded.dictionary.take(order).cast(keys.type)

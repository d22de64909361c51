"""The nearest images of a dataset: by looking at each, or, of a million and more, by an index that is kept.

The index is faiss' inverted lists over 16-bit vectors: built in one pass after a k-means over a sample, opened without
being read into memory, and searched by the 1/32 of the lists that are nearest to the query.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dataset.ids import mix64
from dataset.store.local_files import replacing
from pipeline.config_errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pipeline.examining.embeddings import Embeddings, Part

EXACT_BELOW = 1_000_000
"""Images that are all looked at: 2 GB of 16-bit embeddings of 1,024 numbers, seconds on one CPU."""
_SAMPLE_PER_LIST = 64  # faiss warns below 39
_BELOW_2_64 = 2.0**64 - 2.0**12
_PROBED = 32  # one list of so many


def exact_neighbours(parts: Iterable[Part], queries: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the nearest of all, exactly: of each query so many, or all if there are fewer; of equals that of the least
    id.

    Args:
        queries: float32 (q, d), of unit length.
    Returns:
        Ids, of the parts' kind, (q, k) or (q, k, 2); cosines, float32 (q, k), highest first.
    """
    best, cosines = None, np.empty((len(queries), 0), np.float32)
    for part in parts:
        similarity = queries @ part.vectors.T
        top = np.argpartition(-similarity, min(count, similarity.shape[1]) - 1, axis=1)[:, :count]
        cosines = np.concatenate([cosines, np.take_along_axis(similarity, top, 1)], axis=1)
        best = part.ids[top] if best is None else np.concatenate([best, part.ids[top]], axis=1)
        order = np.lexsort((best if best.ndim == 2 else best[..., 0], -cosines), axis=1)[:, :count]
        cosines, best = np.take_along_axis(cosines, order, 1), best[np.arange(len(queries))[:, None], order]
    return (np.empty((len(queries), 0), np.uint64) if best is None else best), cosines


def search(embeddings: Embeddings, queries: np.ndarray, count: int, *, exact: bool = False) -> tuple[Any, Any, bool]:
    """Return the nearest images of a dataset as `exact_neighbours` does; and last, whether all were looked at.

    Raises:
        ConfigError: there are a million or more, and the library of the index is not installed.
    """
    if exact or embeddings.count() < EXACT_BELOW:
        return *exact_neighbours(embeddings.images(), queries, count), True
    index = _cached_index(embeddings)
    index.nprobe = max(8, index.nlist // _PROBED)
    cosines, ids = index.search(np.ascontiguousarray(queries, np.float32), count)
    return ids.view(np.uint64), cosines, False


def _cached_index(embeddings: Embeddings) -> Any:
    try:
        import faiss
    except ImportError:
        raise ConfigError(
            f"{embeddings.dataset.storage.url} has {embeddings.count():,} images, too many to look at each: install "
            "openwit[search], which brings faiss-cpu, or give --exact"
        ) from None
    path = embeddings.folder / f"nearest-{embeddings.fingerprint}.faiss"
    if not path.exists():
        index = _build_index(faiss, embeddings)
        with replacing(path) as draft:
            faiss.write_index(index, str(draft))
    return _open_index(faiss, path)


def _open_index(faiss: Any, path: Path) -> Any:
    try:
        return faiss.read_index(str(path), faiss.IO_FLAG_MMAP)
    except RuntimeError:
        raise ConfigError(f"{path} is damaged; delete it, and the same command makes it anew") from None


def _build_index(faiss: Any, embeddings: Embeddings) -> Any:
    images = embeddings.count()
    lists = max(1, int(4 * images**0.5))
    most = np.uint64(min(1.0, _SAMPLE_PER_LIST * lists / max(1, images)) * _BELOW_2_64)
    sample = np.concatenate([part.vectors[mix64(part.ids, 0) <= most] for part in embeddings.images()])
    width = sample.shape[1]
    coarse = faiss.IndexFlatIP(width)
    index = faiss.IndexIVFScalarQuantizer(
        coarse, width, min(lists, len(sample)), faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
    )
    index.train(sample)
    for part in embeddings.images():
        index.add_with_ids(np.ascontiguousarray(part.vectors, np.float32), part.ids.view(np.int64))
    return index

"""What embeddings say of images together: cells of similar ones, duplicates in a cell, cells near a target set.

SemDeDup (Abbas et al. 2023, arXiv:2303.09540): k-means parts the images into cells, and only images of one cell are
compared, so that the work grows with the cells' size and not with the square of all images. Of images whose cosine
reaches a threshold the one least like its cell's centre is kept, as in the paper (section 3). Unlike the authors' code,
which drops whatever is like an earlier image, dropped or not, an image goes here only for one that stays: each
verdict's evidence is a picture of the dataset, and likeness is not chained.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

from dataset.ids import mix64
from filters.images.embeddings import unit

SAMPLE_PER_CELL = 64
"""Images a cell whose embeddings k-means sees; faiss asks for 39 at least (its ClusteringParameters)."""
LEAST_SAMPLE = 4096
_BLOCK = 1024


@dataclass(frozen=True)
class SemanticConfig:
    """Duplicates by embedding, and images near a target set; both need image.embedding_model."""

    min_cosine: float | None = None
    """Images of one cell whose embeddings have at least this cosine are duplicates; by default none are looked for.
    What a cosine means depends on the model: read some pairs around it first."""
    images_per_cell: int = 8192
    """How many images a cell has on average (SemDeDup: 440 million in 50,000 cells). Duplicates in two cells are not
    found: larger cells miss fewer and cost more."""
    target_folders: tuple[str, ...] = ()
    """Folders of images (paths or URLs). If there are any, only images of cells into which one of theirs falls are
    kept: DataComp's image-based filtering, whose target is ImageNet's training images."""

    def __post_init__(self) -> None:
        if self.min_cosine is not None and not 0 < self.min_cosine <= 1:
            raise ValueError(f"min_cosine must be above 0 and at most 1, not {self.min_cosine}")
        if self.images_per_cell < 1:
            raise ValueError(f"images_per_cell must be at least 1, not {self.images_per_cell}")

    @property
    def wanted(self) -> bool:
        """Whether images are parted into cells at all."""
        return self.min_cosine is not None or bool(self.target_folders)

    def cells(self, images: int) -> int:
        """Return how many cells that many images are parted into."""
        return max(1, round(images / self.images_per_cell))


def is_sampled(ids: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Return which images are in the sample: the same whatever the partitions are. uint64 (n,) → bool (n,)."""
    return mix64(ids, seed) < np.uint64(min(1.0, share) * (2**64 - 2**11))


def centres(vectors: np.ndarray, cells: int, seed: int) -> np.ndarray:
    """Return the centres of k-means cells, of unit length: float32 (at most `cells`, d).

    Args:
        vectors: the sample, float32 (n, d), in an order of its own; another order gives other cells.
    """
    from sklearn.cluster import MiniBatchKMeans

    vectors = unit(vectors)
    cells = min(cells, len(vectors))
    if cells < 2:
        return unit(vectors.mean(axis=0, keepdims=True, dtype=np.float64)) if len(vectors) else vectors
    means = MiniBatchKMeans(cells, batch_size=max(1024, 4 * cells), random_state=seed % 2**32, n_init=1)
    with threadpool_limits(1):  # another number of threads adds up in another order
        return unit(means.fit(vectors).cluster_centers_)


def assign(vectors: np.ndarray, centres: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the nearest centre of each row, and its cosine: int32 (n,), float32 (n,)."""
    vectors = unit(vectors)
    cell = np.empty(len(vectors), np.int32)
    cosine = np.empty(len(vectors), np.float32)
    with threadpool_limits(1):
        for first in range(0, len(vectors), _BLOCK):
            near = vectors[first : first + _BLOCK] @ centres.T
            cell[first : first + _BLOCK] = near.argmax(axis=1)
            cosine[first : first + _BLOCK] = near.max(axis=1)
    return cell, cosine


def duplicates(vectors: np.ndarray, min_cosine: float) -> tuple[np.ndarray, np.ndarray]:
    """Find who goes for whom among the images of a cell.

    Args:
        vectors: float32 (n, d), those that are rather kept first.

    Returns:
        int64 (n,): the row that stands for each row, the most similar of those kept before it; its own if it stays.
        float32 (n,): the cosine of the two.
    """
    vectors = unit(vectors)
    stands = np.arange(len(vectors))
    cosine = np.ones(len(vectors), np.float32)
    kept = np.empty(0, np.int64)
    with threadpool_limits(1):
        for first in range(0, len(vectors), _BLOCK):
            rows = np.arange(first, min(first + _BLOCK, len(vectors)))
            if len(kept):
                near = vectors[rows] @ vectors[kept].T
                stands[rows], cosine[rows] = kept[near.argmax(axis=1)], near.max(axis=1)
            else:
                cosine[rows] = -1.0
            among = vectors[rows] @ vectors[rows].T
            stays = np.zeros(len(rows), dtype=bool)
            for index, row in enumerate(rows):
                if stays.any():
                    best = int(np.argmax(np.where(stays[:index], among[index, :index], -2.0)))
                    if among[index, best] > cosine[row]:
                        stands[row], cosine[row] = rows[best], among[index, best]
                if cosine[row] < min_cosine:
                    stands[row], cosine[row], stays[index] = row, 1.0, True
            kept = np.concatenate([kept, rows[stays]])
    return stands, cosine

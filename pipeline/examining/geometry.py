"""How an encoder's features lie: what is near, what is spread out, and how far texts are from images. Pure arithmetic.

Features are of unit length; distances are between them as they are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from filters.images.embeddings import unit

_MOST_COMPARED = 2_000
"""Features of which all pairs are compared."""
Z = 1.959963984540054


def alignment(images: np.ndarray, texts: np.ndarray) -> float:
    """Return the mean squared distance of what belongs together (Wang & Isola 2020, with α = 2): 0 is best, 2 is
    unrelated.

    images, texts: float32 (n, d), row by row.
    """
    return float((2 - 2 * (images * texts).sum(1)).mean()) if len(images) else math.nan


def uniformity(features: np.ndarray) -> float:
    """Return the logarithm of the mean of exp(-2 distance²) over pairs (Wang & Isola 2020, with t = 2): lower is more
    spread.

    Features that are all one have 0; spread over a sphere of many dimensions -4. Of many features the first 2,000.
    """
    chosen = features[:_MOST_COMPARED]
    if len(chosen) < 2:
        return math.nan
    squared = np.maximum(0, 2 - 2 * (chosen @ chosen.T))[np.triu_indices(len(chosen), 1)]
    return float(np.log(np.exp(-2 * squared.astype(np.float64)).mean()))


def modality_gap(images: np.ndarray, texts: np.ndarray) -> float:
    """Return how far the mean of texts lies from the mean of images (Liang et al. 2022)."""
    if not len(images) or not len(texts):
        return math.nan
    return float(np.linalg.norm(images.mean(0, dtype=np.float64) - texts.mean(0, dtype=np.float64)))


@dataclass(frozen=True)
class Classes:
    """The classes of a set as its images lie; a class without images has no numbers (nan)."""

    centroids: np.ndarray  # float32 (classes, d), of unit length
    spread: np.ndarray  # the mean cosine of a class's images with their centroid
    least: np.ndarray  # the cosine with the centroid of the others that nine of ten of its images reach
    nearest: np.ndarray  # int64: the class whose centroid is nearest
    nearest_cosine: np.ndarray
    prompt_margin: np.ndarray  # cosine of the centroid with its own prompt, less that with the best other prompt
    between: float  # the share of the images' variance that lies between classes


def classes(images: np.ndarray, labels: np.ndarray, prompts: np.ndarray) -> Classes:
    """Return how classes lie.

    Args:
        images: float32 (n, d). labels: int64 (n,). prompts: float32 (classes, d).
    """
    count = len(prompts)
    sums = np.zeros((count, images.shape[1]), np.float64)
    np.add.at(sums, labels, images)
    sizes = np.bincount(labels, minlength=count)
    centroids = unit(sums)
    to_centroid = images.astype(np.float64) * centroids[labels]
    mean_cosine, least = np.full(count, np.nan), np.full(count, np.nan)
    others = unit(sums[labels] - images)  # the centroid of a class's other images
    apart = (images * others).sum(1)
    for number in range(count):
        here = labels == number
        if here.any():
            mean_cosine[number] = to_centroid[here].sum(1).mean()
            least[number] = np.quantile(apart[here], 0.1) if sizes[number] > 1 else 1.0
    near = centroids @ centroids.T
    near[:, sizes == 0] = -np.inf
    np.fill_diagonal(near, -np.inf)
    to_prompts = centroids @ prompts.T
    self_cosine = to_prompts.diagonal().copy()
    np.fill_diagonal(to_prompts, -np.inf)
    margin = np.where(sizes > 0, self_cosine - to_prompts.max(1), np.nan)
    mean = images.mean(0, dtype=np.float64)
    means = sums / np.maximum(sizes, 1)[:, None]
    total = float(((images - mean) ** 2).sum())
    between = float((sizes * ((means - mean) ** 2).sum(1)).sum()) / total if total > 0 else math.nan
    nearest_cosine = np.where((sizes > 0) & np.isfinite(near.max(1)), near.max(1), np.nan)
    return Classes(centroids, mean_cosine, least, near.argmax(1), nearest_cosine, margin, between)


@dataclass(frozen=True)
class Plane:
    """The two directions in which features differ most: principal components."""

    mean: np.ndarray
    axes: np.ndarray  # (2, d)
    explained: float  # the share of the variance

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """Where features lie in it: (n, 2)."""
        points: np.ndarray = (features - self.mean) @ self.axes.T
        return points


def plane(features: np.ndarray) -> Plane:
    """Return the plane of features, float32 (n, d); each axis points to where its largest weight is positive."""
    mean = features.mean(0, dtype=np.float64)
    _, values, axes = np.linalg.svd(features - mean, full_matrices=False)
    axes = np.concatenate([axes, np.zeros((max(0, 2 - len(axes)), features.shape[1]))])[:2]
    signs = np.sign(axes[np.arange(2), np.abs(axes).argmax(1)])
    total = float((values**2).sum())
    explained = float((values[:2] ** 2).sum()) / total if total > 0 else 0.0
    return Plane(mean, axes * np.where(signs == 0, 1, signs)[:, None], explained)


@dataclass(frozen=True)
class Correlation:
    """Spearman's rank correlation over classes."""

    rho: float | None  # None where one side has one value alone, or there are fewer than three classes
    low: float | None  # the 95 % interval (Bonett & Wright 2000); None below five classes
    high: float | None
    n: int

    @property
    def is_shown(self) -> bool:
        """Whether the interval leaves out 0; a perfect order of five classes or more is no chance either."""
        if self.rho is not None and self.low is None:
            return self.n >= 5
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


def rank_correlation(one: np.ndarray, other: np.ndarray) -> Correlation:
    """Return the rank correlation of two numbers of each class; classes that lack one (nan) are left out."""
    from scipy.stats import spearmanr

    there = np.isfinite(one) & np.isfinite(other)
    one, other, n = one[there], other[there], int(there.sum())
    if n < 3 or len(np.unique(one)) < 2 or len(np.unique(other)) < 2:
        return Correlation(None, None, None, n)
    rho = float(np.clip(spearmanr(one, other).statistic, -1, 1))
    if n < 5 or abs(rho) > 1 - 1e-12:  # of a perfect order the formula has no width
        return Correlation(rho, None, None, n)
    middle, half = math.atanh(rho), Z * math.sqrt((1 + rho * rho / 2) / (n - 3))
    return Correlation(rho, math.tanh(middle - half), math.tanh(middle + half), n)

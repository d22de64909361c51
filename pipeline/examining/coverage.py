"""What a dataset holds of each class: captions with its words, and images that look like its own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from dataset.query import sql
from dataset.query.views import Dataset
from filters.queries.match import Matcher
from pipeline.examining.embeddings import Part
from pipeline.examining.geometry import Classes

_BATCH = 100_000


def captions_with_words(dataset: Dataset, names: Sequence[str]) -> np.ndarray:
    """Return how many captions hold each class's words, one after the other, by the rule of `match`; int64
    (classes,).
    """
    matcher = Matcher(pa.array(names, pa.string()))
    counts = np.zeros(len(names), np.int64)
    batches: Any = dataset.sql("SELECT text FROM pairs").to_arrow_reader(_BATCH)
    for batch in batches:
        query_ids = matcher.match(batch.column(0).cast(pa.string()))
        counts += np.bincount(query_ids.flatten().to_numpy(), minlength=len(names))
    return counts


def queries_of(dataset: Dataset, names: Sequence[str]) -> list[tuple[int | None, int | None] | None]:
    """Return the pairs before the first balance and in the dataset of each class whose name is a query; None of the
    others.
    """
    asked = [" ".join(name.lower().split()) for name in names]
    rows = dataset.ask(sql.load("examining/queries"), {"names": asked}).fetchall()
    counts = {query: (before, after) for query, before, after in rows}
    return [counts.get(name) for name in asked]


def images_alike(parts: Iterable[Part], known: Classes) -> np.ndarray:
    """Return how many images of a dataset look like each class; int64 (classes,).

    An image looks like the class whose centroid is nearest to it, if it is as near as nine of ten of the class's own
    test images are to the centroid of the others.
    """
    counts = np.zeros(len(known.centroids), np.int64)
    least = np.where(np.isnan(known.least), np.inf, known.least)
    there = np.isfinite(least)
    for part in parts:
        near = part.vectors @ known.centroids.T
        near[:, ~there] = -np.inf
        best = near.argmax(1)
        alike = near[np.arange(len(best)), best] >= least[best]
        counts += np.bincount(best[alike], minlength=len(counts))
    return counts


def texts_of(dataset: Dataset, pair_ids: np.ndarray) -> dict[tuple[int, int], str]:
    """Return the captions of pairs, by their ids' halves. pair_ids: uint64 (n, 2)."""
    wanted = [f"{first:016x}{second:016x}" for first, second in pair_ids.tolist()]
    rows = dataset.ask(sql.load("examining/texts"), {"ids": wanted}).fetchall()
    return {(int(pair[:16], 16), int(pair[16:], 16)): text for pair, text in rows}

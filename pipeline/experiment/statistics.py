"""What some seeds can show: means with t intervals, and differences paired by seed.

Two runs of one seed begin with the same weights and draw alike, so their difference is less noisy than either. The
spread over seeds is that of training; the evaluation sets are taken as they are, so nothing here says what other images
or captions would have given.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import stats

SIGNIFICANCE = 0.05


class Mean(NamedTuple):
    """A mean over seeds, with its 95 % t interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """How much better one dataset's models are than another's, in one figure."""

    figure: str
    data: str
    against: str
    difference: Mean
    p_value: float  # of a paired t-test, two-sided
    p_holm: float = 1.0
    is_shown: bool = False


def mean(values: Sequence[float]) -> Mean:
    """Return the mean of values, and where the true one lies in 95 of 100 such experiments (Student's t)."""
    n, middle = len(values), float(np.mean(values))
    if n < 2:
        return Mean(middle, -math.inf, math.inf)
    half = float(stats.t.ppf(0.975, n - 1)) * float(np.std(values, ddof=1)) / math.sqrt(n)
    return Mean(middle, middle - half, middle + half)


def paired_t_test(first: Sequence[float], second: Sequence[float]) -> tuple[Mean, float]:
    """Return (the mean of second - first, the p-value of a paired t-test); 1 where all differences are nought."""
    apart = np.asarray(second, float) - np.asarray(first, float)
    deviation = float(np.std(apart, ddof=1)) if len(apart) > 1 else 0.0
    if deviation == 0:
        return mean(apart.tolist()), 1.0 if not apart.any() or len(apart) < 2 else 0.0
    t = float(apart.mean()) / (deviation / math.sqrt(len(apart)))
    return mean(apart.tolist()), float(2 * stats.t.sf(abs(t), len(apart) - 1))


def comparisons(values: Mapping[str, Mapping[str, Sequence[float]]], against: str) -> list[Comparison]:
    """Return every dataset against one of them, in every figure, with Holm's correction over all.

    Args:
        values: {figure: {data: its value for each seed, in the same order}}.
    """
    compared = []
    for figure, by_data in values.items():
        for data in by_data:
            if data != against:
                compared.append(Comparison(figure, data, against, *paired_t_test(by_data[against], by_data[data])))
    order = sorted(range(len(compared)), key=lambda place: compared[place].p_value)
    worst, corrected = 0.0, [1.0] * len(compared)
    for rank, place in enumerate(order):
        worst = max(worst, min(1.0, compared[place].p_value * (len(compared) - rank)))
        corrected[place] = worst
    return [
        Comparison(each.figure, each.data, each.against, each.difference, each.p_value, p, p < SIGNIFICANCE)
        for each, p in zip(compared, corrected, strict=True)
    ]

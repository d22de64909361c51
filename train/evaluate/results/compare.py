"""Which differences between examined models are more than noise: answer by answer, on the same images.

Per set and evaluator: the difference of the main metric, its 95 % interval by a bootstrap over the images (the same
images for both models), McNemar's exact test of the answers on which they differ, and Holm's correction over all tests.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from dataset.display import clean
from train.evaluate.results.row import DRAWS, Row

SIGNIFICANCE = 0.05


@dataclass(frozen=True)
class Difference:
    """One set and evaluator, of one model and of the first."""

    dataset: str
    task: str
    first: str
    second: str
    n: int
    first_share: float  # of answers that are right
    second_share: float
    difference: float
    low: float
    high: float
    only_first: int  # images on which only the first is right
    only_second: int
    p_value: float
    p_holm: float = 1.0
    is_more_than_noise: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return asdict(self)


def compare(models: Sequence[tuple[str, Sequence[Row]]]) -> tuple[list[Difference], list[str]]:
    """Return (the differences of every further model from the first, what could not be compared and why).

    Args:
        models: (name, rows) of each.
    """
    (first, base), *others = models
    compared: list[Difference] = []
    notes: list[str] = []
    known = {(row.dataset, row.task): row for row in base}
    for second, rows in others:
        theirs = {(row.dataset, row.task): row for row in rows}
        for key in [key for key in known if key not in theirs] + [key for key in theirs if key not in known]:
            notes.append(f"{key[0]} {key[1]}: only one of {first} and {second} was examined")
        for key in [key for key in known if key in theirs]:
            one, two = known[key], theirs[key]
            if not one.right or not two.right:
                notes.append(f"{key[0]} {key[1]}: it has no answers image by image")
            elif one.asked != two.asked or len(one.right) != len(two.right):
                notes.append(f"{key[0]} {key[1]}: {first} and {second} were not asked the same images or classes")
            else:
                compared.append(_difference(first, second, one, two))
    return holm(compared), notes


def _difference(first: str, second: str, one: Row, two: Row) -> Difference:
    a, b = (np.frombuffer(row.right.encode(), np.uint8) == ord("1") for row in (one, two))
    apart = b.astype(int) - a.astype(int)
    n = len(apart)
    # Resampling images changes nothing but how many of the three kinds of answers there are.
    kinds = np.array([(apart == kind).sum() for kind in (-1, 0, 1)])
    drawn = np.random.default_rng(0).multinomial(n, kinds / n, DRAWS)
    low, high = np.quantile((drawn[:, 2] - drawn[:, 0]) / n, [0.025, 0.975])
    return Difference(
        dataset=one.dataset,
        task=one.task,
        first=first,
        second=second,
        n=n,
        first_share=float(a.mean()),
        second_share=float(b.mean()),
        difference=float(apart.mean()),
        low=float(low),
        high=float(high),
        only_first=int(kinds[0]),
        only_second=int(kinds[2]),
        p_value=mcnemar(int(kinds[0]), int(kinds[2])),
    )


def mcnemar(only_first: int, only_second: int) -> float:
    """Return the exact two-sided p-value: the answers that differ are as often one model's as the other's."""
    n, least = only_first + only_second, min(only_first, only_second)
    if not n:
        return 1.0
    logs = [
        math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) - n * math.log(2) for k in range(least + 1)
    ]
    top = max(logs)
    return min(1.0, 2 * math.exp(top) * math.fsum(math.exp(each - top) for each in logs))


def holm(differences: Sequence[Difference]) -> list[Difference]:
    """Return the differences, with p-values that hold for all tests together."""
    order = sorted(range(len(differences)), key=lambda place: differences[place].p_value)
    corrected = {}
    worst = 0.0
    for rank, place in enumerate(order):
        worst = max(worst, min(1.0, differences[place].p_value * (len(differences) - rank)))
        corrected[place] = worst
    return [
        Difference(
            **{**asdict(each), "p_holm": corrected[place], "is_more_than_noise": corrected[place] < SIGNIFICANCE}
        )
        for place, each in enumerate(differences)
    ]


def format_table(differences: Sequence[Difference], notes: Sequence[str]) -> str:
    """Return the differences as aligned text, a line each; then what could not be compared."""
    lines = [("dataset", "task", "first", "second", "right", "right", "difference", "95 % interval", "p (Holm)", "")]
    for each in differences:
        verdict = "more than noise" if each.is_more_than_noise else "may be noise"
        shares = f"{each.first_share:.1%}", f"{each.second_share:.1%}", f"{each.difference:+.1%}"
        interval = f"{each.low:+.1%} to {each.high:+.1%}"
        lines.append(
            (each.dataset, each.task, each.first, each.second, *shares, interval, f"{each.p_holm:.2g}", verdict)
        )
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    return clean("\n".join([*text, *notes]))

"""What an examination found: a row for each set, model and evaluator, with its figures and how sure they are."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np

Z = 1.959963984540054
"""Standard deviations of a normal distribution within which 95 % of it lie."""
HELD_OUT = "heldout"
"""The dataset's name in a row about the held-out pairs of the dataset that a run was trained on."""
DRAWS = 2000
"""Times that an interval without a formula is drawn."""
Unit = Literal["share", "rank", "number"]
_NUMBERS = ("value", "chance", "low", "high", "random_init")


@dataclass(frozen=True)
class Figure:
    """One metric's value, and what to hold it against."""

    value: float | None  # None: there is nothing to compute it from, as a note says
    n: int  # what it is a mean over
    chance: float | None = None  # what guessing gives; None where that means nothing
    low: float | None = None  # the 95 % interval
    high: float | None = None
    unit: Unit = "share"
    random_init: float | None = None  # the same figure of the same architecture with random weights


@dataclass
class Row:
    """What one evaluator found of one model on one set."""

    dataset: str
    task: str  # the evaluator's name
    figures: dict[str, Figure]
    main_metric: str
    damaged: int = 0  # images that could not be read, and so were not asked
    notes: list[str] = field(default_factory=list)
    tables: dict[str, Any] = field(default_factory=dict)  # per class, confusion, curves
    asked: str = ""  # what was asked: equal where two rows can be compared answer by answer
    right: str = ""  # of each image asked, whether the model is right: 1 or 0
    model: str = ""
    pretrained: str = ""

    @property
    def metrics(self) -> dict[str, float | None]:
        """The values alone, as CLIP_benchmark names them."""
        return {name: figure.value for name, figure in self.figures.items()}

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        values = dataclasses.asdict(self)
        first = {name: values.pop(name) for name in ("dataset", "model", "pretrained", "task")}
        return {**first, "metrics": self.metrics, **values}

    @staticmethod
    def from_dict(raw: Mapping[str, Any]) -> Row:
        """Return the row of a JSON object. Raises ValueError if it is none."""
        try:
            figures = {str(name): Figure(**figure) for name, figure in raw["figures"].items()}
            known = {f.name for f in dataclasses.fields(Row)} - {"figures"}
            row = Row(figures=figures, **{name: raw[name] for name in known if name in raw})
            if row.main_metric in figures and _is_typed(row):
                return row
        except (KeyError, TypeError, AttributeError):
            pass
        raise ValueError("it is not a row that `wit eval --format json` wrote")


def _is_typed(row: Row) -> bool:
    """Whether a row that was read, which may be anybody's, holds what its fields say; tables are looked at by who
    shows them."""
    numbers = [getattr(each, name) for each in row.figures.values() for name in _NUMBERS]
    counts = [row.damaged, *(each.n for each in row.figures.values())]
    texts = [row.dataset, row.task, row.main_metric, row.asked, row.right, row.model, row.pretrained]
    return (
        all(number is None or (_is_number(number) and math.isfinite(number)) for number in numbers)
        and all(isinstance(count, int) and _is_number(count) for count in counts)
        and all(isinstance(text, str) and _is_text(text) for text in [*texts, *row.notes, *row.figures])
        and all(each.unit in get_args(Unit) for each in row.figures.values())
        and isinstance(row.notes, list)
        and isinstance(row.tables, dict)
    )


def _is_text(text: str) -> bool:
    """Whether it has no halves of characters, which JSON can write and no file."""
    return text.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in text)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 2**63


def with_random_init(row: Row, baseline: Row | None) -> Row:
    """Return the row, with the figures of a model with random weights beside its own."""
    if baseline is not None:
        row.figures = {
            name: dataclasses.replace(figure, random_init=baseline.figures[name].value)
            if name in baseline.figures
            else figure
            for name, figure in row.figures.items()
        }
    return row


def share(right: np.ndarray, chance: float | None, **more: Any) -> Figure:
    """Return the share of answers that are right, with Wilson's interval."""
    n = len(right)
    if not n:
        return Figure(None, 0, chance, **more)
    value = float(np.asarray(right, float).mean())
    low, high = wilson(value, n)
    return Figure(value, n, chance, low, high, **more)


def wilson(value: float, n: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a share of n."""
    middle = (value + Z * Z / (2 * n)) / (1 + Z * Z / n)
    half = Z / (1 + Z * Z / n) * math.sqrt(value * (1 - value) / n + Z * Z / (4 * n * n))
    return max(0.0, min(value, middle - half)), min(1.0, max(value, middle + half))


def mean_share(right: np.ndarray, labels: np.ndarray, chance: float | None) -> Figure:
    """Return the mean over classes of the share that is right of each: CLIP_benchmark's mean_per_class_recall.

    Its interval is that of the mean of each class's share under Jeffreys' prior. Classes without images are left out.
    """
    present, counts = np.unique(labels, return_counts=True)
    if not len(present):
        return Figure(None, 0, chance)
    good = np.array([right[labels == label].sum() for label in present])
    value = float((good / counts).mean())
    drawn = np.random.default_rng(0).beta(good + 0.5, counts - good + 0.5, (DRAWS, len(present))).mean(1)
    low, middle, high = np.quantile(drawn, [0.025, 0.5, 0.975])  # the prior draws the middle towards a half
    return Figure(
        value, len(right), chance, max(0.0, value + float(low - middle)), min(1.0, value + float(high - middle))
    )


def mean(values: np.ndarray, chance: float | None, unit: Unit = "number") -> Figure:
    """Return a mean, with the interval of a bootstrap over the values."""
    return _bootstrap(values, np.mean, chance, unit)


def median(values: np.ndarray, chance: float | None, unit: Unit = "rank") -> Figure:
    """Return a median, with the interval of a bootstrap over the values."""
    return _bootstrap(values, np.median, chance, unit)


def _bootstrap(values: np.ndarray, of: Any, chance: float | None, unit: Unit) -> Figure:
    n = len(values)
    if not n:
        return Figure(None, 0, chance, unit=unit)
    rng = np.random.default_rng(0)
    rounds = max(200, min(DRAWS, 20_000_000 // n))
    drawn = np.array([of(values[rng.integers(0, n, n)]) for _ in range(rounds)])
    low, high = np.quantile(drawn, [0.025, 0.975])
    value = float(of(values))
    return Figure(value, n, chance, min(float(low), value), max(float(high), value), unit)


def bits(right: np.ndarray) -> str:
    """Return answers as a text of 1 and 0."""
    return "".join("1" if each else "0" for each in np.asarray(right, bool))


def places(values: Sequence[Any]) -> dict[Any, np.ndarray]:
    """Return where each distinct value stands, in the order of the values."""
    place_of: dict[Any, list[int]] = {}
    for place, value in enumerate(values):
        place_of.setdefault(value, []).append(place)
    return {
        value: np.array(where, np.int64) for value, where in sorted(place_of.items(), key=lambda item: str(item[0]))
    }

"""An examination as one HTML page, which loads nothing: per set and evaluator its figures, drawn and in a table.

Figures of shares are drawn with their 95 % intervals, chance, and the same architecture with random weights; few-shot
curves and effective robustness as in Radford et al. 2021, figures 6 and 13.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.examining.scatter_charts import scatter_chart
from pipeline.reports.charts import lines
from pipeline.reports.html import environment
from train.evaluate.results.formats import format_value, remarks
from train.evaluate.results.row import Figure, Row

MOST_CLASSES = 200
"""Classes of a set that are drawn; all are in the JSON."""
_SHOTS = "acc1@"


def page(rows: Sequence[Row]) -> bytes:
    """Return the page of rows, in their order. rows: of one model or of several."""
    text = (
        environment(Path(__file__).parent)
        .get_template("examination.html")
        .render(
            models=list(dict.fromkeys(_model(row) for row in rows)),
            overview=[strip for row in rows if (strip := _strip(_title(row), row.figures[row.main_metric]))],
            sections=[_section(row) for row in rows],
            remarks=remarks(rows),
        )
    )
    return text.encode("utf-8", "replace")


def _model(row: Row) -> str:
    return row.model if row.pretrained in ("", row.model) else f"{row.model} ({row.pretrained})"


def _title(row: Row) -> str:
    return f"{row.dataset}: {row.task}, {row.main_metric}".replace("_", " ")


def _section(row: Row) -> dict[str, Any]:
    """What a row's part of the page shows."""
    strips = [strip for name, figure in row.figures.items() if (strip := _strip(name.replace("_", " "), figure))]
    return {
        "title": f"{row.dataset}: {row.task.replace('_', ' ')}",
        "model": _model(row),
        "strips": strips,
        "curve": _few_shot(row),
        "robustness": _robustness(row),
        "figures": [
            {
                "metric": name.replace("_", " "),
                "value": format_value(figure.value, figure) or "none",
                "95 % interval": ""
                if figure.low is None
                else f"{format_value(figure.low, figure)} to {format_value(figure.high, figure)}",
                "chance": format_value(figure.chance, figure),
                "random init": format_value(figure.random_init, figure),
                "n": figure.n,
            }
            for name, figure in row.figures.items()
        ],
        "classes": _classes(row),
        "confusions": _confusions(row),
    }


def _strip(label: str, figure: Figure) -> dict[str, Any] | None:
    """A share as a strip; None for ranks and other numbers."""
    if figure.unit != "share" or figure.value is None:
        return None
    return {
        "label": label,
        **{name: getattr(figure, name) for name in ("value", "low", "high", "chance", "random_init")},
        "other": None,
        "shown": format_value(figure.value, figure),
    }


def _few_shot(row: Row) -> Any:
    """Accuracy against shots, with zero-shot as a rule; nothing for other rows."""
    charts = [
        (int(name.removeprefix(_SHOTS)), figure)
        for name, figure in row.figures.items()
        if name.startswith(_SHOTS) and name.removeprefix(_SHOTS).isdigit() and figure.value is not None
    ]
    if len(charts) < 2:
        return ""
    curves = {"probe": [(math.log2(shots), figure.value or 0.0) for shots, figure in charts]}
    if any(figure.random_init is not None for _, figure in charts):
        curves["probe of random weights"] = [(math.log2(shots), figure.random_init or 0.0) for shots, figure in charts]
    zero_shot = row.figures.get("zero_shot_acc1")
    rule = None if zero_shot is None or zero_shot.value is None else ("zero-shot", zero_shot.value)
    return lines(curves, "images of each class, log2", "accuracy", rule=rule)


def _robustness(row: Row) -> list[dict[str, Any]]:
    """The shifted set's accuracy against each in-distribution set's, in logits, with the reference models' line."""
    drawn = []
    for held in row.tables.get("reference_lines", []) if isinstance(row.tables, dict) else []:
        points = [(model, _logit(x), _logit(y)) for model, x, y in held["models"]]
        this_model = (row.model, _logit(held["own"][0]), _logit(held["own"][1]))
        ends = sorted([x for _, x, _ in [*points, this_model]])
        line = [(x, held["intercept"] + held["slope"] * x) for x in (ends[0], ends[-1])]
        drawn.append(
            {
                "against": held["against"],
                "svg": scatter_chart(
                    [this_model, *points],
                    f"logit of accuracy on {held['against']}",
                    f"logit of accuracy on {row.dataset}",
                    line=line,
                    marked=frozenset({row.model}),
                ),
            }
        )
    return drawn


def _classes(row: Row) -> list[dict[str, Any]]:
    """Classes as strips, the least accurate first."""
    classes = [each for each in row.tables.get("per_class", []) if each["n"] and each["accuracy"] is not None]
    classes = sorted(classes, key=lambda each: (each["accuracy"], each["class"]))[:MOST_CLASSES]
    return [
        {
            "label": each["class"],
            "value": each["accuracy"],
            "low": each["low"],
            "high": each["high"],
            "chance": 1 / len(row.tables["per_class"]),
            "random_init": None,
            "other": None,
            "shown": f"{each['accuracy']:.0%}" + (f", {each['mostly_taken_for']}" if each["mostly_taken_for"] else ""),
        }
        for each in classes
    ]


def _confusions(row: Row) -> list[dict[str, Any]]:
    """The most frequent confusions."""
    confusions = row.tables.get("confusion", [])
    if confusions and isinstance(confusions[0], list):
        names = [each["class"] for each in row.tables["per_class"]]
        confusions = [
            {"class": names[i], "answer": names[j], "n": count}
            for i, counts in enumerate(confusions)
            for j, count in enumerate(counts)
            if i != j and count
        ]
    return sorted(confusions, key=lambda each: (-each["n"], each["class"], each["answer"]))[:10]


def _logit(share: float) -> float:
    """The logit of a probability; for 0 and 1, which have none, that of a thousandth off."""
    inside = min(max(share, 1e-3), 1 - 1e-3)
    return math.log(inside / (1 - inside))

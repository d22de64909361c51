"""What `wit why` found as an HTML page, which loads nothing, and as a table for a terminal."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from dataset.display import clean
from dataset.query import sql
from dataset.query.views import Dataset
from pipeline.examining.scatter_charts import plane_chart, scatter_chart
from pipeline.examining.why import Class, Neighbour, Why
from pipeline.reports.html import environment, sample_image, thumbnail, unsafe
from train.evaluate.sets import ImageSet

MOST_SHOWN = 40
"""Classes with examples on the page."""
_SCATTERED = {
    "captions": ("Captions with its words", "captions, log10(1 + n)"),
    "images_alike": ("Training images that look like it", "images, log10(1 + n)"),
    "nearest_cosine": ("How near the nearest training image is", "cosine"),
    "prompt_margin": ("How far its own prompt is ahead", "cosine, less the best other's"),
}
_LOGARITHMIC = ("captions", "images_alike")
_COLUMNS = {
    "class": "name",
    "test images": "test_images",
    "captions": "captions",
    "query pairs": "query_pairs",
    "images alike": "images_alike",
    "nearest cosine": "nearest_cosine",
    "zero-shot": "zero_shot",
    "probe": "probe",
    "mostly taken for": "mostly_taken_for",
    "nearest class": "nearest_class",
    "prompt margin": "prompt_margin",
}


def page(reasons: Why, what: ImageSet, dataset: Dataset, blur_above: float | None) -> str:
    """Return the page.

    Args:
        what: the part of the set that was looked at.
        blur_above: the nsfw_probability above which a training image is blurred; None blurs none.
    """
    worst = sorted(
        range(len(reasons.classes)), key=lambda number: (_or_else(reasons.classes[number].zero_shot, 2.0), number)
    )
    chosen = [number for number in worst if reasons.classes[number].test_images][:MOST_SHOWN]
    pictures = _Pictures(dataset, _shown_images(reasons, chosen), blur_above)
    shown = [
        {
            "name": reasons.classes[number].name,
            "verdict": reasons.classes[number].verdict,
            "examples": [
                {
                    "image": thumbnail(what.test.pictures[example.row].read()),
                    "taken_for": example.taken_for,
                    "neighbours": [pictures.of(each) for each in example.neighbours],
                }
                for example in reasons.examples[number]
            ],
            "prompt_images": [pictures.of(each) for each in reasons.prompt_images[number]],
            "prompt_captions": [vars(each) for each in reasons.prompt_captions.get(number, [])],
        }
        for number in chosen
    ]
    names = {
        number: (each.name, reasons.plane["centroids"][number])
        for number, each in enumerate(reasons.classes)
        if each.test_images
    }
    return (
        environment(Path(__file__).parent)
        .get_template("why.html")
        .render(
            why=reasons,
            scatters=[_scatter_points(reasons, name) for name in _SCATTERED],
            accuracies=[_strip(each, reasons.chance) for each in reasons.classes if each.zero_shot is not None],
            rows=[_row(each) for each in reasons.classes],
            columns=list(_COLUMNS),
            plane=plane_chart(reasons.plane["test"], reasons.plane["training"], names),
            geometry=[{"what": name.replace("_", " "), "value": value} for name, value in reasons.geometry.items()],
            shown=shown,
            left_out=len(reasons.classes) - len(chosen),
            blurred=len(pictures.blurred),
            blur_above=blur_above,
        )
    )


def table(reasons: Why) -> str:
    """Return the argument, and a line a class."""
    head = list(_COLUMNS)
    lines = [head, *([_cell(row[name]) for name in head] for row in map(_row, reasons.classes))]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    notes = [*reasons.notes, *([f"{reasons.damaged:,} images could not be read"] if reasons.damaged else [])]
    return clean("\n".join([*reasons.argument, "", *text, "", *notes]))


class _Pictures:
    """Training images as small pictures, each read once."""

    def __init__(self, dataset: Dataset, ids: Iterable[int], blur_above: float | None):
        wanted = [f"{number:016x}" for number in dict.fromkeys(ids)]
        rows = dataset.ask(sql.load("examining/images"), {"ids": wanted}).fetchall()
        self.blurred = unsafe(dataset, [row["url"] for _, row, _ in rows], blur_above)
        self._made = {
            int(number, 16): {
                "image": thumbnail(sample_image(dataset.storage, row), blurred=row["url"] in self.blurred),
                "text": row["text"] or "",
            }
            for number, row, _ in rows
        }

    def of(self, near: Neighbour) -> dict[str, Any]:
        """A training image with its caption and its cosine."""
        return {"image": None, "text": "", **self._made.get(near.image_id, {}), "cosine": near.cosine}


def _shown_images(reasons: Why, chosen: Iterable[int]) -> Iterable[int]:
    for number in chosen:
        for example in reasons.examples[number]:
            yield from (near.image_id for near in example.neighbours)
        yield from (near.image_id for near in reasons.prompt_images[number])


def _scatter_points(reasons: Why, name: str) -> Mapping[str, Any]:
    title, label = _SCATTERED[name]
    points = [
        (each.name, math.log10(1 + value) if name in _LOGARITHMIC else value, each.zero_shot)
        for each in reasons.classes
        if (value := getattr(each, name)) is not None and each.zero_shot is not None
    ]
    return {
        "title": title,
        "svg": scatter_chart(points, label, "zero-shot accuracy", y_most=1.0),
        "sentence": reasons.correlations[name]["sentence"],
    }


def _strip(each: Class, chance: float) -> dict[str, Any]:
    probe = "" if each.probe is None else f", probe {each.probe:.0%}"
    return {
        "label": each.name,
        "value": each.zero_shot,
        "low": each.zero_shot_low,
        "high": each.zero_shot_high,
        "chance": chance,
        "random_init": None,
        "other": each.probe,
        "shown": f"{each.zero_shot:.0%}{probe}",
    }


def _row(each: Class) -> dict[str, Any]:
    row = {title: getattr(each, name) for title, name in _COLUMNS.items()}
    for title in ("zero-shot", "probe"):
        row[title] = None if row[title] is None else f"{row[title]:.1%}"
    return row


def _cell(value: Any) -> str:
    return (
        ""
        if value is None
        else f"{value:,}"
        if isinstance(value, int)
        else f"{value:.3g}"
        if isinstance(value, float)
        else str(value)
    )


def _or_else(value: float | None, other: float) -> float:
    return other if value is None else value

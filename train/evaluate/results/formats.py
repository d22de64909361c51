"""Rows as others take them: a table, JSON, CLIP_benchmark's JSON, DataComp's JSON lines, CSV, Markdown, Parquet."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from dataset.display import clean, escaped_json, no_formula
from dataset.tables import to_parquet
from train.evaluate.datacomp import RETRIEVED, task_of
from train.evaluate.results.row import Figure, Row

_TASKS = {
    "zero_shot": "zeroshot_classification",
    "retrieval": "zeroshot_retrieval",
    "counting": "image_caption_selection",
}
"""CLIP_benchmark's names of evaluators that it has, too; ours stand for the others."""
_COUNTED = ("zero_shot", "retrieval", "association")
"""Evaluators whose figures DataComp counts."""
_HEAD = ("dataset", "task", "metric", "value", "95 % interval", "chance", "random init", "n")
_ALSO = {"acc1": "acc1 (top1)", "acc5": "acc5 (top5)"}
"""What tables call a metric that evaluation.json calls otherwise."""
FIGURES = pa.schema(
    [
        *((name, pa.string()) for name in ("dataset", "model", "pretrained", "task", "metric", "unit")),
        *((name, pa.float64()) for name in ("value", "chance", "low", "high", "random_init")),
        ("n", pa.int64()),
        ("damaged", pa.int64()),
        ("is_main", pa.bool_()),
    ]
)
"""The columns of CSV and Parquet, which have one figure in each row."""


def format_rows(rows: Sequence[Row], form: str) -> bytes:
    """Return the rows in one of the forms of `wit eval --format`."""
    if form == "parquet":
        return to_parquet(pa.Table.from_pylist(flat(rows), FIGURES), FIGURES).to_pybytes()
    texts = {
        "table": table,
        "json": as_json,
        "clip-benchmark": clip_benchmark,
        "datacomp": datacomp,
        "csv": as_csv,
        "markdown": markdown,
    }
    return texts[form](rows).encode()


def flat(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return the rows as dictionaries of FIGURES, one for each figure."""
    return [
        {
            **{name: getattr(row, name) for name in ("dataset", "model", "pretrained", "task", "damaged")},
            "metric": name,
            "is_main": name == row.main_metric,
            **{key: getattr(figure, key) for key in ("value", "n", "chance", "low", "high", "unit", "random_init")},
        }
        for row in rows
        for name, figure in row.figures.items()
    ]


def as_json(rows: Sequence[Row]) -> str:
    """Return one array of rows; `Row.from_dict` reads them."""
    return escaped_json(json.dumps([row.to_dict() for row in rows])) + "\n"


def clip_benchmark_files(rows: Sequence[Row]) -> dict[str, bytes]:
    """Return {file name: content}, one file for each row; CLIP_benchmark's `build` reads a folder of them."""
    files: dict[str, bytes] = {}
    for row, line in zip(rows, clip_benchmark(rows).splitlines(), strict=True):
        words = (row.dataset, row.pretrained, row.model, "en", _TASKS.get(row.task, row.task))
        name = "_".join(re.sub(r"[^A-Za-z0-9.-]+", "-", word).strip("-.") or "none" for word in words)
        name = name[:200]
        twins = sum(each.startswith(f"{name}.") for each in files)  # names that differ in other letters alone
        files[f"{name}.{twins}.json" if twins else f"{name}.json"] = f"{line}\n".encode()
    return files


def clip_benchmark(rows: Sequence[Row]) -> str:
    """Return JSON lines, each the object that CLIP_benchmark writes into a file of its own."""
    return "".join(
        escaped_json(
            json.dumps(
                {
                    "dataset": row.dataset,
                    "model": row.model,
                    "pretrained": row.pretrained,
                    "task": _TASKS.get(row.task, row.task),
                    "metrics": row.metrics,
                    "language": "en",
                }
            )
        )
        + "\n"
        for row in rows
    )


def datacomp(rows: Sequence[Row]) -> str:
    """Return DataComp's eval_results.jsonl: its key and name of a set, and the metric that it counts beside the others.

    Only zero-shot, retrieval and association are counted there; of other evaluators `main_metric` is null, which its
    aggregate_scores.py passes over.
    """
    lines = []
    for row in rows:
        task = task_of(row.dataset)
        metrics = dict(row.metrics)
        recalls = [metrics.get(f"{side}_retrieval_recall@1") for side in ("image", "text")]
        if row.task == "retrieval" and None not in recalls:
            metrics[RETRIEVED] = sum(each or 0.0 for each in recalls) / 2
        counted = RETRIEVED if row.task == "retrieval" else row.main_metric
        is_counted = row.task in _COUNTED and (task is None or task.metric)
        metrics["main_metric"] = metrics.get(counted) if is_counted else None
        key, name = (task.key, task.name) if task is not None else (row.dataset, row.dataset)
        key = key if row.task in _COUNTED else f"{key}/{row.task}"
        lines.append(escaped_json(json.dumps({"key": key, "dataset": name, "metrics": metrics})) + "\n")
    return "".join(lines)


def as_csv(rows: Sequence[Row]) -> str:
    """Return CSV, one figure in each line, with a header."""
    sink = io.StringIO()
    writer = csv.DictWriter(sink, FIGURES.names, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: no_formula(value) for name, value in line.items()} for line in flat(rows))
    return sink.getvalue()


def table(rows: Sequence[Row]) -> str:
    """Return aligned text, one figure in each line; below it what was passed over."""
    lines = [_HEAD, *(cells(row, name, figure) for row in rows for name, figure in row.figures.items())]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = ["  ".join(_align(line, widths)).rstrip() for line in lines]
    return "\n".join([*text, *remarks(rows)]) + "\n"


def markdown(rows: Sequence[Row]) -> str:
    """Return a table of Markdown; below it what was passed over."""
    lines = [_HEAD, tuple("---" for _ in _HEAD)]
    lines += [cells(row, name, figure) for row in rows for name, figure in row.figures.items()]
    text = "\n".join(f"| {' | '.join(_escape(cell) for cell in line)} |" for line in lines)
    return "\n".join([text, "", *(f"- {_escape(remark)}" for remark in remarks(rows))]) + "\n"


def cells(row: Row, name: str, figure: Figure) -> tuple[str, ...]:
    """Return a figure as people read it."""
    value, low, high, chance, random_init = (
        format_value(number, figure)
        for number in (figure.value, figure.low, figure.high, figure.chance, figure.random_init)
    )
    interval = f"{low} to {high}" if figure.low is not None else ""
    metric = _ALSO.get(name, name)
    return clean(row.dataset), row.task, metric, value or "none", interval, chance, random_init, f"{figure.n:,}"


def format_value(number: float | None, figure: Figure) -> str:
    """Return a number of a figure, in the figure's unit."""
    if number is None:
        return ""
    return f"{number:.1%}" if figure.unit == "share" else f"{number:,.1f}" if figure.unit == "rank" else f"{number:.4g}"


def remarks(rows: Sequence[Row]) -> list[str]:
    """Return what was passed over, and how, once each."""
    lines = []
    for row in rows:
        if row.damaged:
            lines.append(f"{row.dataset}: {row.damaged:,} images could not be read")
        lines += [f"{row.dataset} {row.task}: {note}" for note in row.notes]
    return [clean(remark) for remark in dict.fromkeys(lines)]


def _align(line: Sequence[str], widths: Sequence[int]) -> list[str]:
    """Words to the left, numbers to the right."""
    words = [cell.ljust(width) for cell, width in zip(line[:3], widths[:3], strict=True)]
    return words + [cell.rjust(width) for cell, width in zip(line[3:], widths[3:], strict=True)]


def _escape(text: str) -> str:
    """A text within a line of Markdown."""
    return "".join(f"\\{letter}" if letter in "\\`*_[]<>|#" else letter for letter in " ".join(text.split())) or " "

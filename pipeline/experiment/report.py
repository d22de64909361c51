"""What an experiment has found: a table, a plot, and sentences of what is shown and what is not.

OUT/experiment.json has all figures, experiment.md the table and the sentences, experiment.svg the plot.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from dataset.display import clean
from dataset.store.storage import Storage
from pipeline.config_errors import ConfigError
from pipeline.experiment.config import ExperimentConfig
from pipeline.experiment.run import Results
from pipeline.experiment.statistics import Comparison, Mean, comparisons, mean
from train.evaluate.results.formats import format_value
from train.evaluate.results.row import Figure, Row

Values = dict[str, dict[str, list[float]]]
"""{figure: {data: its value for each seed}}."""


@dataclass(frozen=True)
class Findings:
    """An experiment's figures, and what they show."""

    values: Values
    random_init: dict[str, Mean]  # of models as they begin, over all seeds
    about: dict[str, Figure]  # of each figure: one model's, for its chance, n and unit
    compared: list[Comparison]
    sentences: list[str]


def findings(config: ExperimentConfig, results: Results) -> Findings:
    """Return what the results come to. Raises ConfigError if a wanted figure is none of theirs."""
    values: Values = {}
    about: dict[str, Figure] = {}
    begun: dict[str, list[float]] = {}
    for data, by_seed in results.items():
        for _, rows in sorted(by_seed.items()):
            for name, figure in _figures(rows, config):
                values.setdefault(name, {}).setdefault(data, []).append(float(figure.value or 0.0))
                about[name] = figure
                if figure.random_init is not None:
                    begun.setdefault(name, []).append(figure.random_init)
    whole = {name: by_data for name, by_data in values.items() if set(by_data) == set(results)}
    if not whole:
        known = sorted({name for by_seed in results.values() for rows in by_seed.values()
                        for row in rows for name in row.figures})  # fmt: skip
        raise ConfigError(f"metrics: no figure has these names in all results; there are {', '.join(known)}")
    compared = comparisons(whole, config.base)
    return Findings(
        whole, {name: mean(each) for name, each in begun.items()}, about, compared, sentences(config, whole, compared)
    )


def _figures(rows: list[Row], config: ExperimentConfig) -> list[tuple[str, Figure]]:
    """The figures that are compared: `SET EVALUATOR METRIC`."""
    return [
        (f"{row.dataset} {row.task} {name}", figure)
        for row in rows
        for name, figure in row.figures.items()
        if (name in config.metrics if config.metrics else name == row.main_metric) and figure.value is not None
    ]


def sentences(config: ExperimentConfig, values: Values, compared: list[Comparison]) -> list[str]:
    """Return what is shown, what is not, and how far that reaches."""
    said = []
    for each in compared:
        where = f"{each.data} against {each.against}, {each.figure}"
        by = f"{_points(each.difference.value)} ({_points(each.difference.low)} to {_points(each.difference.high)}"
        numbers = f"{by}, p {each.p_holm:.2g} for all comparisons together)"
        half = (each.difference.high - each.difference.low) / 2
        if each.is_shown:
            said.append(f"Shown: {where}: {'higher' if each.difference.value > 0 else 'lower'} by {numbers}.")
        else:
            said.append(
                f"Not shown: {where}: {numbers}; with {config.seeds} seeds a difference below "
                f"{_points(half).lstrip('+')} is noise."
            )
    training = config.training("any", "any", 0)
    model, seen = training.model.name, training.training.samples_seen
    said.append(
        f"This holds for {model} after {seen:,} samples seen, trained {config.seeds} times, on these evaluation sets "
        "as they are: intervals are over seeds, and other sizes, budgets or images may order the data otherwise."
    )
    return said


def _points(share: float) -> str:
    return f"{100 * share:+.1f} points" if math.isfinite(share) else "any"


def table(config: ExperimentConfig, what: Findings) -> list[tuple[str, ...]]:
    """Return a head, and a line for each figure and dataset; then random weights and chance."""
    lines: list[tuple[str, ...]] = [
        ("figure", "data", "mean", "95 % interval", f"difference from {config.base}", "95 % interval", "p (Holm)", "")
    ]
    compared = {(each.figure, each.data): each for each in what.compared}
    for name, by_data in what.values.items():
        unit = what.about[name]
        for data, values in by_data.items():
            middle = mean(values)
            line = [
                name,
                data,
                format_value(middle.value, unit),
                f"{format_value(middle.low, unit)} to {format_value(middle.high, unit)}",
            ]
            if (other := compared.get((name, data))) is None:
                lines.append((*line, "", "", "", ""))
                continue
            apart = other.difference
            interval = f"{format_value(apart.low, unit)} to {format_value(apart.high, unit)}"
            verdict = "shown" if other.is_shown else "not shown"
            lines.append((*line, format_value(apart.value, unit), interval, f"{other.p_holm:.2g}", verdict))
        if (begun := what.random_init.get(name)) is not None:
            interval = f"{format_value(begun.low, unit)} to {format_value(begun.high, unit)}"
            lines.append((name, "(random weights)", format_value(begun.value, unit), interval, "", "", "", ""))
        lines.append((name, f"(chance, n = {unit.n:,})", format_value(unit.chance, unit), "", "", "", "", ""))
    return lines


def as_text(config: ExperimentConfig, what: Findings) -> str:
    """Return the table, aligned, and the sentences."""
    lines = table(config, what)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    return clean("\n".join([*text, "", *what.sentences]))


def write(config: ExperimentConfig, what: Findings) -> list[str]:
    """Write experiment.json, experiment.md and experiment.svg; returns their URLs."""
    storage = Storage(config.out)
    raw: dict[str, Any] = {
        "values": what.values,
        "means": {name: {data: mean(each)._asdict() for data, each in by.items()} for name, by in what.values.items()},
        "random_init": {name: each._asdict() for name, each in what.random_init.items()},
        "chance": {name: figure.chance for name, figure in what.about.items()},
        "n": {name: figure.n for name, figure in what.about.items()},
        "comparisons": [{**asdict(each), "difference": each.difference._asdict()} for each in what.compared],
        "sentences": what.sentences,
    }
    head, *rest = ([_cell(each) for each in line] for line in table(config, what))
    lines = [head, ["---"] * len(head), *rest]
    page = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    said = "\n".join(f"- {_cell(sentence)}" for sentence in what.sentences)
    files = {
        "experiment.json": json.dumps(raw, indent=1).encode(),
        "experiment.md": f"{page}\n\n{said}\n\n![means and intervals](experiment.svg)\n".encode(),
        "experiment.svg": plot(what),
    }
    for name, content in files.items():
        storage.write(name, content)
    return [storage.url_of(name) for name in files]


def _cell(text: str) -> str:
    return "".join(f"\\{letter}" if letter in "\\`*_[]<>|#" else letter for letter in clean(text))


def plot(what: Findings) -> bytes:
    """Return a panel a figure: each seed's value, the mean with its interval, random weights and chance. The bytes of
    an SVG, the same for the same figures.
    """
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    names = list(what.values)
    colour = "#1f5fa8"
    with matplotlib.rc_context({"svg.hashsalt": "openwit", "font.size": 9, "text.parse_math": False}):
        rows = max(len(by_data) for by_data in what.values.values())
        size = (7.0, len(names) * (0.9 + 0.32 * rows))
        figure, axes = pyplot.subplots(len(names), 1, figsize=size, squeeze=False, layout="constrained")
        for name, axis in zip(names, axes[:, 0], strict=True):
            _panel(axis, what.values[name], colour)
            chance, begun = what.about[name].chance, what.random_init.get(name)
            if chance is not None:
                axis.axvline(chance, color="#888888", linestyle=":", label="chance")
            if begun is not None:
                axis.axvline(begun.value, color="#b0602a", linestyle="--", label="random weights")
            axis.set_title(clean(name), loc="left", fontsize=9)
            axis.legend(fontsize=7, frameon=False, loc="best")
        sink = io.BytesIO()
        figure.savefig(sink, format="svg", metadata={"Date": None})
        pyplot.close(figure)
    return sink.getvalue()


def _panel(axis: Any, by_data: Mapping[str, list[float]], colour: str) -> None:
    places = np.arange(len(by_data))[::-1]
    for place, values in zip(places, by_data.values(), strict=True):
        middle = mean(values)
        axis.plot(values, [place] * len(values), "o", color=colour, alpha=0.35, markersize=4)
        if math.isfinite(middle.low):
            axis.plot([middle.low, middle.high], [place, place], color=colour, linewidth=2)
        axis.plot([middle.value], [place], "D", color=colour, markersize=5)
    axis.set_yticks(places, [clean(name) for name in by_data])
    axis.set_ylim(-0.6, len(by_data) - 0.4)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)

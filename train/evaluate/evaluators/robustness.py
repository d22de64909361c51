"""Robustness to shift: accuracy on a shifted set beside that on in-distribution sets, and effective robustness.

Effective robustness (Taori et al. 2020; Radford et al. 2021, figure 13) is how far a model's accuracy on the shifted
set lies above the line that reference models draw, both axes in logits. One in-distribution set overstates it for
models that were trained on other data (Shi et al. 2023); with several the line is a plane through all of them.

Only classes that both sets have are asked, and only these are answered. Reference models are the user's: a CSV with
`model`, `dataset` and `acc1`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from train.evaluate.results.row import DRAWS, Figure, Row, bits, share
from train.evaluate.sets import ImageSet, SetError
from train.evaluate.sets.tables import read_rows
from train.evaluate.view import View, ranks

OPTIONS: Mapping[str, Any] = {}


def held_against(shared: Mapping[str, Any]) -> Sequence[ImageSet]:
    """Return the in-distribution sets: those that were named, else the first of all sets."""
    return shared.get("in_distribution") or list(shared.get("sets", ()))[:1]


def refuses(what: ImageSet, shared: Mapping[str, Any]) -> str:
    """Return why a set cannot be examined; empty if it can."""
    if not what.is_classified:
        return "its images have not one class each"
    against = held_against(shared)
    if any(what.path.resolve() == other.path.resolve() for other in against):
        return "it is what shifted sets are held against (name those by --in-distribution)"
    return "" if against else "there is no in-distribution set"


def runs_by_default(what: ImageSet, shared: Mapping[str, Any]) -> bool:
    """Return whether in-distribution sets were named."""
    return bool(shared.get("in_distribution"))


def evaluate(view: View) -> Row:
    """Return acc1 on the shifted set and on each in-distribution set, their difference, effective_robustness."""
    against = held_against(view.shared)
    names = _common([view.what, *against])
    if len(names) < 2:
        raise SetError(f"{view.what.name} and {against[0].name} have {len(names)} classes in common; two are needed")
    right, images = _is_right(view, view.what, names)
    figures = {"acc1": share(right, 1 / len(names))}
    right_of_set = [_is_right(view, other, names)[0] for other in against]
    for other, answers in zip(against, right_of_set, strict=True):
        figures[f"acc1_in_distribution[{other.name}]"] = share(answers, 1 / len(names))
        figures[f"difference[{other.name}]"] = _with_interval(right, [answers], lambda y, x: y - x[0])
    notes = [f"{len(names)} classes that all of these sets have"]
    every = list(range(len(against)))
    chosen = {"effective_robustness": every}
    if len(every) > 1:
        chosen |= {f"effective_robustness[{against[place].name}]": [place] for place in every}
    drawn = []
    for name, on in chosen.items():
        figures[name] = Figure(None, len(right), 0.0, unit="number")
        robustness = _line(view, [against[place].name for place in on], notes)
        if robustness is None:
            continue
        line, models = robustness
        figures[name] = _with_interval(
            right, [right_of_set[place] for place in on], lambda y, x, line=line: y - _line_at(line, x)
        )
        if len(on) == 1:
            values = [float(right_of_set[on[0]].mean()), float(right.mean())]
            drawn.append({"against": against[on[0]].name, "intercept": float(line[0]), "slope": float(line[1]),
                          "models": models, "own": values})  # fmt: skip
    asked = view.what.test.take(images).identity()
    tables = {"reference_lines": drawn} if drawn else {}
    return view.row(figures, "acc1", notes=list(dict.fromkeys(notes)), asked=asked, right=bits(right), tables=tables)


def _common(sets: Sequence[ImageSet]) -> list[str]:
    kept = set.intersection(*({name.casefold() for name in each.classes} for each in sets))
    return [name for name in dict.fromkeys(each.casefold() for each in sets[0].classes) if name in kept]


def _is_right(view: View, what: ImageSet, names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """(whether each image of the common classes is answered rightly, which of the set's images these are)."""
    images = view.images(what=what)
    assert what.test.labels is not None
    order = [[name.casefold() for name in what.classes].index(name) for name in names]
    place = np.full(len(what.classes), -1)
    place[order] = np.arange(len(order))
    labels = place[what.test.labels[images.rows]]
    asked = labels >= 0
    if not asked.any():
        raise SetError(f"{what.name} has no image of the classes that it has in common with the other sets")
    scores = images.embeddings[asked] @ view.class_features(what)[order].T
    return ranks(scores, labels[asked]) == 1, images.rows[asked]


def _logit(share: Any) -> Any:
    return np.log(share) - np.log1p(-np.asarray(share))


def _line_at(line: np.ndarray, accuracies: Sequence[Any]) -> Any:
    """What a line says of the shifted accuracy, given the in-distribution ones."""
    total = line[0] + sum(slope * _logit(x) for slope, x in zip(line[1:], accuracies, strict=True))
    return 1 / (1 + np.exp(-total))


def _with_interval(right: np.ndarray, before_shift: Sequence[np.ndarray], of: Any) -> Figure:
    """A function of accuracies, with the interval that they give it under Jeffreys' prior."""
    rng = np.random.default_rng(0)
    shifted, *others = ((each.sum() + 0.5, len(each) - each.sum() + 0.5) for each in (right, *before_shift))
    drawn = of(rng.beta(*shifted, DRAWS), [rng.beta(*each, DRAWS) for each in others])
    # At 0 and 1 a logit is infinite: the value is taken as half an answer less.
    exact = [float(np.clip(each.mean(), 0.5 / len(each), 1 - 0.5 / len(each))) for each in (right, *before_shift)]
    value = float(of(exact[0], exact[1:]))
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Figure(value, len(right), 0.0, min(float(low), value), max(float(high), value), "number")


def _line(view: View, names: Sequence[str], notes: list[str]) -> tuple[np.ndarray, list[list[Any]]] | None:
    """(the reference models' intercept and slopes, each model's name and accuracies: in-distribution, then shifted).

    None, with a note, where they are too few.
    """
    file = view.shared.get("references")
    if not file:
        notes.append("effective robustness needs reference models: --references CSV with model, dataset, acc1")
        return None
    wanted = [view.what.name, *names]
    table = references(Path(file))
    complete = {
        model: [accuracies[each] for each in wanted]
        for model, accuracies in table.items()
        if set(wanted) <= set(accuracies)
    }
    known = {model: row for model, row in complete.items() if all(0 < value < 1 for value in row)}
    points = np.array(list(known.values()), float)
    if len(points) < len(names) + 2:
        notes.append(
            f"{len(points)} reference models have accuracies on {', '.join(wanted)}, within 0 and 1; "
            f"a line needs {len(names) + 2}"
        )
        return None
    inputs = np.column_stack([np.ones(len(points)), _logit(points[:, 1:])])
    line, _, rank, _ = np.linalg.lstsq(inputs, _logit(points[:, 0]), rcond=None)
    if rank < inputs.shape[1]:
        notes.append(f"the reference models draw no line: their accuracies on {', '.join(names)} are too much alike")
        return None
    notes.append(f"the line through {len(points)} reference models on {', '.join(names)}")
    return np.asarray(line), [[model, *values[1:], values[0]] for model, values in known.items()]


def references(path: Path) -> dict[str, dict[str, float]]:
    """Return {model: {dataset: accuracy}} of a CSV. Raises SetError."""
    columns, rows = read_rows(path)
    if not {"model", "dataset", "acc1"} <= set(columns):
        raise SetError(f"{path} must have the columns model, dataset and acc1; it has {', '.join(columns)}")
    accuracies: dict[str, dict[str, float]] = {}
    for number, row in enumerate(rows, 2):
        try:
            value = float(row["acc1"])
        except ValueError:
            value = -1.0
        if not 0 <= value <= 1:
            raise SetError(f"{path} has the accuracy {row['acc1'][:20]!r} in line {number}; it must be from 0 to 1")
        accuracies.setdefault(row["model"], {})[row["dataset"]] = value
    return accuracies

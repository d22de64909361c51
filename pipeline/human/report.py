"""How well people do, how far they agree, how they compare with a model, and how many more people it would take.

The figures are those of the paper's table 2 (Radford et al. 2021, §4): accuracy over all questions, accuracy of the
majority's vote, and both among answers that were given. Intervals are drawn over people: other people would have
answered otherwise, to the same images.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from dataset.display import clean
from pipeline.human.answers import UNKNOWN, Answer
from pipeline.human.questions import SHOTS
from train.evaluate.results.row import DRAWS, Row, Z

Ballot = Mapping[str, int]
"""{image: answer} of a person."""
_FEW = 50  # people up to which an interval is drawn DRAWS times; of more, a fifth as often


def report(
    answers: Sequence[Answer], classes: Sequence[str], model: Row | None = None, wished: float = 0.05
) -> dict[str, Any]:
    """Return all figures.

    Args:
        model: a zero-shot row of the same set, whose table by class is held against people's.
        wished: half the width of the interval that the number of people is worked out for.
    """
    shots = {}
    for shot in SHOTS:
        if of_shot := [answer for answer in answers if answer.shot == shot]:
            shots[str(shot)] = _accuracies(of_shot, len(classes), wished)
    table = _class_lines(answers, classes, model)
    figures: dict[str, Any] = {"classes": len(classes), "chance": 1 / len(classes), "shots": shots, "by_class": table}
    if model is not None:
        both = [(line["people"], line["model"]) for line in table if None not in (line["people"], line["model"])]
        figures["model"] = {"name": model.model, "accuracy": model.metrics.get("acc1"), "rank_correlation": _rank(both)}
    return figures


def _accuracies(answers: Sequence[Answer], classes: int, wished: float) -> dict[str, Any]:
    labels = {answer.image: answer.label for answer in answers}
    by_person: dict[str, dict[str, int]] = {}
    for answer in answers:
        by_person.setdefault(answer.person, {})[answer.image] = answer.answer
    ballots: list[Ballot] = [by_person[person] for person in sorted(by_person)]
    figures: Mapping[str, Callable[[Sequence[Ballot]], float]] = {
        "accuracy": lambda drawn: float(np.mean([_accuracy([each], labels, False) for each in drawn])),
        "accuracy_of_guesses": lambda drawn: _accuracy(drawn, labels, True),
        "majority_accuracy": lambda drawn: _majority(drawn, labels, False),
        "majority_accuracy_of_guesses": lambda drawn: _majority(drawn, labels, True),
        "krippendorff_alpha": lambda drawn: krippendorff_alpha(drawn, classes),
    }
    of_shot: dict[str, Any] = {"people": len(ballots), "answers": len(answers), "images": len(labels)}
    rng = np.random.default_rng(0)
    times = DRAWS if len(ballots) <= _FEW else DRAWS // 5
    draws = [rng.integers(0, len(ballots), len(ballots)) for _ in range(times)] if len(ballots) > 1 else []
    for name, of in figures.items():
        # Of agreement each person counts once in a draw: nobody's agreement with themselves says anything.
        once = name == "krippendorff_alpha"
        drawn = [of([ballots[place] for place in (np.unique(places) if once else places)]) for places in draws]
        of_shot[name] = _add_interval(of(ballots), drawn)
    accuracies = np.array([_accuracy([ballot], labels, False) for ballot in ballots])
    of_shot["people_for_interval"] = {"half_width": wished, "people": people_needed(accuracies, wished)}
    return of_shot


def _add_interval(value: float, drawn: Sequence[float]) -> dict[str, float | None]:
    finite = [each for each in drawn if math.isfinite(each)]
    low, high = (float(each) for each in np.quantile(finite, [0.025, 0.975])) if finite else (None, None)
    return {"value": value if math.isfinite(value) else None, "low": low, "high": high}


def _accuracy(ballots: Sequence[Ballot], labels: Mapping[str, int], of_guesses: bool) -> float:
    """The share of answers that are right; "I don't know" is wrong, or not counted."""
    answered = [(answer, labels[image]) for ballot in ballots for image, answer in ballot.items()]
    kept = [answer == label for answer, label in answered if not (of_guesses and answer == UNKNOWN)]
    return sum(kept) / len(kept) if kept else math.nan


def _majority(ballots: Sequence[Ballot], labels: Mapping[str, int], of_guesses: bool) -> float:
    """The share of images whose most frequent answer is right; of a draw, the part of it that is."""
    right = []
    for image, label in labels.items():
        votes = Counter(ballot[image] for ballot in ballots if image in ballot)
        if of_guesses:
            del votes[UNKNOWN]
        if votes:
            first = [answer for answer, count in votes.items() if count == max(votes.values())]
            right.append((label in first) / len(first))
    return float(np.mean(right)) if right else math.nan


def krippendorff_alpha(ballots: Sequence[Ballot], classes: int) -> float:
    """Return Krippendorff's alpha of nominal answers (Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability",
    C): 1 where all agree, 0 where they agree as by chance. "I don't know" is an answer; images that one person answered
    say nothing. No number where nobody could disagree.
    """
    counts: dict[str, np.ndarray] = {}
    for ballot in ballots:
        for image, answer in ballot.items():
            counts.setdefault(image, np.zeros(classes + 1))[answer] += 1  # UNKNOWN, -1, is the last
    coincidences = np.zeros((classes + 1, classes + 1))
    for count in counts.values():
        if (total := count.sum()) > 1:
            coincidences += (np.outer(count, count) - np.diag(count)) / (total - 1)
    n, margins = coincidences.sum(), coincidences.sum(0)
    expected = (n * n - (margins**2).sum()) / (n - 1) if n > 1 else 0.0
    return float(1 - (n - np.trace(coincidences)) / expected) if expected > 0 else math.nan


def people_needed(accuracies: np.ndarray, half_width: float) -> int | None:
    """Return how many people give the mean accuracy an interval of that half width; None of fewer than two people.

    From their spread so far, and with Student's t, whose quantile depends on the number.
    """
    if len(accuracies) < 2:
        return None
    deviation = float(np.std(accuracies, ddof=1))
    count = max(2, math.ceil((Z * deviation / half_width) ** 2))
    while stats.t.ppf(0.975, count - 1) * deviation / math.sqrt(count) > half_width:
        count += 1
    return count


def _class_lines(answers: Sequence[Answer], classes: Sequence[str], model: Row | None) -> list[dict[str, Any]]:
    """A line a class: people's zero-, one- and two-shot accuracy, and the model's zero-shot."""
    of_model = {line["class"]: line for line in (model.tables.get("per_class", []) if model is not None else [])}
    lines = []
    for label, name in enumerate(classes):
        line: dict[str, Any] = {"class": name}
        for shot, key in zip(SHOTS, ("people", "people_1_shot", "people_2_shot"), strict=True):
            right = [answer.answer == label for answer in answers if answer.label == label and answer.shot == shot]
            line[key] = sum(right) / len(right) if right else None
        lines.append({**line, "model": of_model.get(name, {}).get("accuracy")})
    return lines


def _rank(both: Sequence[tuple[float, float]]) -> dict[str, Any]:
    """Spearman's correlation over classes: are those that are hard for people hard for the model?"""
    if len(both) < 3 or any(len(set(column)) < 2 for column in zip(*both, strict=True)):
        return {"value": None, "classes": len(both)}
    correlation: Any = stats.spearmanr(*zip(*both, strict=True))
    return {"value": float(correlation.statistic), "p_value": float(correlation.pvalue), "classes": len(both)}


def as_text(report_: Mapping[str, Any]) -> str:
    """Return the report as people read it."""
    lines = []
    for shot, figures in report_["shots"].items():
        numbers = f"{figures['people']:,} people, {figures['answers']:,} answers, {figures['images']:,} images"
        lines.append(f"{shot}-shot: {numbers}")
        for name in ("accuracy", "majority_accuracy", "accuracy_of_guesses", "majority_accuracy_of_guesses"):
            lines.append(f"  {name:<30} {_format_figure(figures[name], '.1%')}")
        lines.append(f"  {'krippendorff_alpha':<30} {_format_figure(figures['krippendorff_alpha'], '.3f')}")
        wish = figures["people_for_interval"]
        needed = "at least two people tell" if wish["people"] is None else f"{wish['people']:,} people"
        lines.append(f"  for an accuracy ± {wish['half_width']:.1%}: {needed}")
    lines += [f"chance: {report_['chance']:.1%}", ""]
    keys = ["people", "people_1_shot", "people_2_shot", *(["model"] if "model" in report_ else [])]
    width = max(len(line["class"]) for line in report_["by_class"])
    heads = ["zero-shot", "one-shot", "two-shot", "model"][: len(keys)]
    lines.append(f"{'class':<{width}}  {'  '.join(f'{head:>9}' for head in heads)}")
    for line in report_["by_class"]:
        cells = ["" if line[key] is None else f"{line[key]:.1%}" for key in keys]
        lines.append(f"{line['class']:<{width}}  {'  '.join(f'{cell:>9}' for cell in cells)}".rstrip())
    if "model" in report_:
        rank = report_["model"]["rank_correlation"]
        said = "too few classes differ" if rank["value"] is None else f"{rank['value']:+.2f} (p {rank['p_value']:.2g})"
        which = f"people's and {report_['model']['name']}'s accuracy over {rank['classes']} classes"
        lines.append(f"rank correlation of {which}: {said}")
    return clean("\n".join(lines))


def _format_figure(figure: Mapping[str, Any], form: str) -> str:
    if figure["value"] is None:
        return "none"
    interval = "" if figure["low"] is None else f"  ({figure['low']:{form}} to {figure['high']:{form}})"
    return f"{figure['value']:{form}}{interval}"

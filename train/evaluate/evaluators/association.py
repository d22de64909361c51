"""Association (WinoGAViL, Bitton et al. 2022): which of some images go with a cue, by the Jaccard index of the answer.

As many images are answered as go with the cue: those that are nearest to "A CUE". DataComp counts the questions of ten
to twelve images.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from train.evaluate.results.row import Figure, Row, bits, mean
from train.evaluate.sets import Association, ImageSet
from train.evaluate.view import View, readable_questions

OPTIONS: Mapping[str, Any] = {}
_SIZES = {"5-6": (0, 6), "10-12": (10, math.inf)}
"""DataComp's groups of questions, by how many images they have."""


def refuses(what: ImageSet, shared: Mapping[str, Any]) -> str:
    """Return why a set cannot be examined; empty if it can."""
    return "" if what.associations else "it has no questions of association"


def evaluate(view: View) -> Row:
    """Return jaccard_score over all questions, and jaccard_score_5-6 and jaccard_score_10-12 by how many images they
    have.
    """
    images = view.images()
    asked, places, notes = readable_questions(view, view.what.associations, lambda each: each.candidates)
    texts = view.features.texts([prompt(each.cue) for each in asked])
    scores = np.array(
        [
            jaccard(images.embeddings[place] @ text, each.answers)
            for each, place, text in zip(asked, places, texts, strict=True)
        ]
    )
    chances = np.array([chance(len(each.candidates), len(each.answers)) for each in asked])
    sizes = np.array([len(each.candidates) for each in asked])
    figures: dict[str, Figure] = {"jaccard_score": mean(scores, float(chances.mean()), "share")}
    for name, (least, most) in _SIZES.items():
        of_size = (sizes >= least) & (sizes <= most)
        if of_size.any():
            figures[f"jaccard_score_{name}"] = mean(scores[of_size], float(chances[of_size].mean()), "share")
    main = "jaccard_score_10-12" if "jaccard_score_10-12" in figures else "jaccard_score"
    return view.row(figures, main, images, notes=notes, asked=_identity(view.what, asked), right=bits(scores == 1))


def _identity(what: ImageSet, questions: Sequence[Association]) -> str:
    return f"{what.test.identity()} {len(questions)}"


def prompt(cue: str) -> str:
    """Return the cue as DataComp's evaluation asks it."""
    lower = cue.lower()
    return f"{'An' if lower[0] in 'aeiou' else 'A'} {lower}"


def jaccard(scores: np.ndarray, answers: Sequence[int]) -> float:
    """Return how much of the answer and of the truth they share, of both together; scores: (candidates,)."""
    said = set(np.argsort(scores, kind="stable")[-len(answers) :].tolist())
    return len(said & set(answers)) / len(said | set(answers))


def chance(candidates: int, answers: int) -> float:
    """Return the mean Jaccard index of a guess of as many images as go with the cue."""
    ways = math.comb(candidates, answers)
    return sum(
        math.comb(answers, hits) * math.comb(candidates - answers, answers - hits) / ways * hits / (2 * answers - hits)
        for hits in range(answers + 1)
    )

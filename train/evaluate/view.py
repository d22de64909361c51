"""What an evaluator is given: a set, a model's features of it, and options."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np

from train.evaluate.features import Features, ImageFeatures
from train.evaluate.results.row import Figure, Row
from train.evaluate.sets import ImageSet, SetError, Split
from train.evaluate.sets.templates import fill_template

Q = TypeVar("Q")


@dataclass(frozen=True)
class View:
    """A set as one model sees it."""

    task: str
    what: ImageSet
    features: Features
    options: Mapping[str, Any]
    shared: Mapping[str, Any] = field(default_factory=dict)  # what holds for all: sets, references, seed, …

    def images(self, split: str = "test", what: ImageSet | None = None) -> ImageFeatures:
        """Return the features of a split's images."""
        chosen = what or self.what
        return self.features.images(chosen.splits[split], f"{chosen.name} {split}")

    def features_of(self, split: Split, name: str) -> ImageFeatures:
        """Return the features of images that are no split of the set's own."""
        return self.features.images(split, name)

    def prompts(self, classes: Sequence[str], templates: Sequence[str]) -> np.ndarray:
        """Return the features of every class in every template: float32 (classes, templates, d)."""
        return prompt_features(self.features.texts, classes, templates)

    def class_features(self, what: ImageSet | None = None) -> np.ndarray:
        """Return each class as the unit mean of its prompts' features, as in the paper (§3.1.4): float32
        (classes, d).
        """
        chosen = what or self.what
        return ensemble(self.prompts(chosen.classes, chosen.templates))

    def row(
        self, figures: dict[str, Figure], main_metric: str, images: ImageFeatures | None = None, **more: Any
    ) -> Row:
        """Return what was found, with the set's name and notes."""
        notes = [*self.what.notes, *more.pop("notes", [])]
        damaged = images.damaged if images is not None else 0
        return Row(self.what.name, self.task, figures, main_metric, damaged, notes, **more)


def prompt_features(
    read: Callable[[Sequence[str]], np.ndarray], classes: Sequence[str], templates: Sequence[str]
) -> np.ndarray:
    """Return the features of every class in every template: float32 (classes, templates, d).

    Args:
        read: gives the features of texts.
    """
    texts = [fill_template(template, name) for name in classes for template in templates]
    return read(texts).reshape(len(classes), len(templates), -1)


class Readable(NamedTuple, Generic[Q]):
    """The questions of a set that can be asked."""

    asked: list[Q]
    places: list[list[int]]  # of each question's images among the view's
    notes: list[str]  # what is to be said of the others


def readable_questions(view: View, questions: Sequence[Q], images_of: Callable[[Q], Sequence[int]]) -> Readable[Q]:
    """Return the questions about images all of which can be read. Raises SetError: there is none."""
    place = {int(row): number for number, row in enumerate(view.images().rows)}
    asked = [each for each in questions if all(image in place for image in images_of(each))]
    if not asked:
        raise SetError(f"{view.what.name} has no question whose images can all be read")
    lost = len(questions) - len(asked)
    notes = [f"{lost} questions have an image that cannot be read"] if lost else []
    return Readable(asked, [[place[image] for image in images_of(each)] for each in asked], notes)


def ensemble(prompts: np.ndarray) -> np.ndarray:
    """Return the mean over templates, of unit length: (classes, d) of (classes, templates, d)."""
    mean = prompts.mean(1)
    unit: np.ndarray = mean / np.maximum(np.linalg.norm(mean, axis=-1, keepdims=True), 1e-12)
    return unit


def ranks(scores: np.ndarray, answer: np.ndarray) -> np.ndarray:
    """Return the rank, from 1, of each row's right answer; among equals the first comes first, as argmax has it."""
    of_answer = scores[np.arange(len(answer)), answer][:, None]
    earlier = np.arange(scores.shape[1]) < answer[:, None]
    rank: np.ndarray = 1 + (scores > of_answer).sum(1) + ((scores == of_answer) & earlier).sum(1)
    return rank

"""`wit why`: from what a dataset holds of each class to how well a model knows it, class by class.

The paper's CLIP fails at MNIST, and its authors find next to nothing like it in their data (Radford et al. 2021,
section 6). Here that is counted for any set: captions with a class's words, images that look like it, whether the
classes of which there is more are those that go well; and whether it is the features that do not know a class, or the
prompt that does not find it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from dataset.ids import hash64, mix64
from pipeline.examining import coverage, geometry
from pipeline.examining.conclusions import Class, conclusions, correlation_sentence, verdict
from pipeline.examining.embeddings import Embeddings
from pipeline.examining.nearest import exact_neighbours
from train.evaluate.evaluators import linear_probe
from train.evaluate.evaluators._splits import parts_of
from train.evaluate.evaluators.zero_shot import per_class
from train.evaluate.features import Features
from train.evaluate.results.row import share
from train.evaluate.sets import ImageSet, SetError, Split
from train.evaluate.view import View

EXAMPLES, NEIGHBOURS = 2, 4
"""Test images shown of a class, and training images shown for each, and for its prompt."""
_SAMPLED = 5_000
"""Training pairs of which alignment, uniformity and the gap are told."""
_CORRELATED = {
    "captions": "captions that hold the class's words",
    "images_alike": "training images that look like it",
    "nearest_cosine": "cosine of its test images with the nearest training image",
    "prompt_margin": "margin of its own prompt over the best other one",
}


@dataclass
class Neighbour:
    """A training image, or a caption, that is near."""

    image_id: int
    cosine: float
    text: str = ""


@dataclass
class Example:
    """A test image of a class, what it was taken for, and the nearest training images."""

    row: int  # of the test split
    taken_for: str
    neighbours: list[Neighbour]


@dataclass
class Why:
    """What was found of one set."""

    dataset: str
    task: str
    model: str
    chance: float
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    probe_accuracy: float | None
    training_images: int
    damaged: int
    classes: list[Class]
    correlations: dict[str, dict[str, Any]]  # {what: {rho, low, high, n, sentence}} with zero-shot accuracy
    geometry: dict[str, float | None]
    notes: list[str]
    argument: list[str] = field(default_factory=list)  # sentences from coverage to accuracy
    examples: dict[int, list[Example]] = field(default_factory=dict)  # by class
    prompt_images: dict[int, list[Neighbour]] = field(default_factory=dict)
    prompt_captions: dict[int, list[Neighbour]] = field(default_factory=dict)
    plane: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON has it: without examples, and with no number where there is none."""
        kept = {name: value for name, value in asdict(self).items() if name not in _SHOWN_ALONE}
        return _finite(kept)


_SHOWN_ALONE = frozenset({"examples", "prompt_images", "prompt_captions", "plane"})


def why(embeddings: Embeddings, what: ImageSet, name: str, most: int, seed: int = 0) -> tuple[Why, ImageSet]:
    """Examine a set; also the part of it that was looked at.

    Args:
        name: the checkpoint's.
        most: images of each split that are looked at, the same share of each class.
    Raises:
        SetError: its images have not one class each, or none can be read.
    """
    if not what.is_classified:
        raise SetError(f"{what.path} has images without one class each; wit why asks of classes")
    what = limit_images(what, most)
    features = Features(embeddings.encoder, embeddings.folder, embeddings.progress)
    view = View("why", what, features, {}, {"seed": seed, "sets": [what]})
    images = view.images()
    assert what.test.labels is not None
    labels, prompts = what.test.labels[images.rows], view.class_features()
    scores = images.embeddings @ prompts.T
    answers = scores.argmax(1)
    accuracies = per_class(what.classes, labels, answers)
    probed, gaps, notes = _probe(view, prompts)
    known = geometry.classes(images.embeddings, labels, prompts)

    ids, cosines = exact_neighbours(embeddings.images(), np.concatenate([images.embeddings, prompts]), NEIGHBOURS)
    if not ids.shape[1]:
        raise SetError(f"{embeddings.dataset.storage.url} has no image that can be read")
    alike = coverage.images_alike(embeddings.images(), known)
    captions = coverage.captions_with_words(embeddings.dataset, what.classes)
    queries = coverage.queries_of(embeddings.dataset, what.classes)
    classes = []
    for number, row in enumerate(accuracies):
        here = np.flatnonzero(labels == number)
        before, kept = queries[number] or (None, None)
        is_there = bool(len(here))
        classes.append(
            Class(
                row["class"],
                row["n"],
                row["accuracy"],
                row["low"],
                row["high"],
                row["mostly_taken_for"],
                probed.get(number),
                gaps.get(number),
                int(captions[number]),
                before,
                kept,
                int(alike[number]),
                float(cosines[here, 0].mean()) if is_there else None,
                _number(known.spread[number]),
                what.classes[int(known.nearest[number])] if np.isfinite(known.nearest_cosine[number]) else None,
                _number(known.nearest_cosine[number]),
                _number(known.prompt_margin[number]),
            )
        )
    right = share(answers == labels, 1 / len(classes))
    assert right.value is not None and right.low is not None and right.high is not None
    asked = float(np.mean(list(probed.values()))) if probed else None
    reasons = Why(
        embeddings.dataset.storage.url,
        what.name,
        name,
        1 / len(classes),
        right.value,
        right.low,
        right.high,
        asked,
        embeddings.count(),
        images.damaged,
        classes,
        _correlations(classes),
        {},
        [*what.notes, *notes, f"templates: {len(what.templates)}, {what.template_source}"],
    )
    _show(reasons, embeddings, what, images.rows, labels, answers, ids, cosines)
    reasons.geometry = _geometry(embeddings, images.embeddings, labels, prompts, known, reasons)
    for each in classes:
        each.verdict = verdict(each, reasons.chance)
    reasons.argument = conclusions(
        share(answers == labels, reasons.chance),
        reasons.probe_accuracy,
        classes,
        [each["sentence"] for each in reasons.correlations.values()],
    )
    return reasons, what


def limit_images(what: ImageSet, most: int) -> ImageSet:
    """Return a set with at most so many images a split: of each class those whose names have the least hashes."""
    splits: dict[str, Split] = {}
    notes = list(what.notes)
    for name, split in what.splits.items():
        if len(split) <= most or split.labels is None:
            splits[name] = split
            continue
        hashes = np.array([hash64("why", picture.name) for picture in split.pictures], np.uint64)
        place = np.empty(len(split), np.int64)  # of each image among those of its class
        for label in np.unique(split.labels):
            of_label = np.flatnonzero(split.labels == label)
            place[of_label[np.argsort(hashes[of_label], kind="stable")]] = (
                np.arange(len(of_label)) / len(of_label) * 2**40
            )
        chosen = np.sort(np.argsort(place, kind="stable")[:most])
        splits[name] = split.take(chosen)
        notes.append(
            f"{most:,} of {len(split):,} {name} images, the same share of each class, by a hash of their names"
        )
    return replace(what, splits=splits, notes=notes)


def _probe(view: View, prompts: np.ndarray) -> tuple[dict[int, float], dict[int, float], list[str]]:
    """(a probe's accuracy, the probe's less zero-shot's on the same images), by class, and notes."""
    try:
        parts = parts_of(view)
        row = linear_probe.evaluate(view)
    except SetError as error:
        return {}, {}, [f"no probe: {error}"]
    right = np.array([each == "1" for each in row.right])
    zero_shot = (parts.asked.embeddings @ prompts.T).argmax(1) == parts.test_labels
    accuracy, gap = {}, {}
    for number in np.unique(parts.test_labels).tolist():
        here = parts.test_labels == number
        accuracy[number] = float(right[here].mean())
        gap[number] = accuracy[number] - float(zero_shot[here].mean())
    return accuracy, gap, [note for note in row.notes if note not in view.what.notes]


def _correlations(classes: Sequence[Class]) -> dict[str, dict[str, Any]]:
    accuracy = _column(classes, "zero_shot")
    correlations = {}
    for name, words in _CORRELATED.items():
        known = geometry.rank_correlation(_column(classes, name), accuracy)
        correlations[name] = {
            **asdict(known),
            "is_shown": known.is_shown,
            "sentence": correlation_sentence(words, known),
        }
    return correlations


def _geometry(
    embeddings: Embeddings,
    images: np.ndarray,
    labels: np.ndarray,
    prompts: np.ndarray,
    known: geometry.Classes,
    reasons: Why,
) -> dict[str, float | None]:
    trained, captions = _sample(embeddings)
    plane = geometry.plane(images)
    shown = np.linspace(0, len(images) - 1, min(len(images), 1500)).astype(int)
    reasons.plane = {
        "explained": plane.explained,
        "test": [
            (*point, int(label)) for point, label in zip(plane(images[shown]).tolist(), labels[shown], strict=True)
        ],
        "training": plane(trained[:800]).tolist(),
        "centroids": plane(known.centroids).tolist(),
    }
    numbers = {
        "alignment_training_pairs": geometry.alignment(trained, captions),
        "alignment_test_images_and_own_prompt": geometry.alignment(images, prompts[labels]),
        "uniformity_training_images": geometry.uniformity(trained),
        "uniformity_training_captions": geometry.uniformity(captions),
        "uniformity_test_images": geometry.uniformity(images),
        "uniformity_prompts": geometry.uniformity(prompts),
        "gap_training": geometry.modality_gap(trained, captions),
        "gap_test": geometry.modality_gap(images, prompts[labels]),
        "variance_between_classes": known.between,
    }
    return {name: _number(value) for name, value in numbers.items()}


def _sample(embeddings: Embeddings) -> tuple[np.ndarray, np.ndarray]:
    """The embeddings of some training pairs, by a hash of their images: float32 (n, d) of images and of captions."""
    share = min(1.0, _SAMPLED / max(1, embeddings.count())) * (2.0**64 - 2.0**12)
    images: dict[int, np.ndarray] = {}
    for part in embeddings.images():
        chosen = mix64(part.ids, 1) <= np.uint64(share)
        images |= zip(part.ids[chosen].tolist(), part.vectors[chosen], strict=True)
    pairs, texts = [], []
    for part in embeddings.captions():
        chosen = mix64(part.ids[:, 0], 1) <= np.uint64(share)
        for (first, _), vector in zip(part.ids[chosen].tolist(), part.vectors[chosen], strict=True):
            if first in images:
                pairs.append(images[first])
                texts.append(vector)
    width = next(iter(images.values())).shape[0] if images else 0
    empty = np.empty((0, width), np.float32)
    return (np.stack(pairs), np.stack(texts)) if pairs else (empty, empty)


def _show(
    reasons: Why,
    embeddings: Embeddings,
    what: ImageSet,
    rows: np.ndarray,
    labels: np.ndarray,
    answers: np.ndarray,
    ids: np.ndarray,
    cosines: np.ndarray,
) -> None:
    """Examples: test images and prompts with the nearest training images and captions."""
    near = [
        [Neighbour(i, c) for i, c in zip(*each, strict=True)]
        for each in zip(ids.tolist(), cosines.tolist(), strict=True)
    ]
    for number in range(len(what.classes)):
        of_class = np.flatnonzero(labels == number)
        wrong = of_class[answers[of_class] != number]
        chosen = np.concatenate([wrong, of_class[answers[of_class] == number]])[:EXAMPLES]
        reasons.examples[number] = [
            Example(int(rows[place]), what.classes[int(answers[place])], near[place]) for place in chosen.tolist()
        ]
        reasons.prompt_images[number] = near[len(labels) + number]
    prompts = View("why", what, Features(embeddings.encoder, embeddings.folder), {}).class_features()
    pairs, scores = exact_neighbours(embeddings.captions(), prompts, NEIGHBOURS)
    if not scores.shape[1]:
        reasons.notes.append("the dataset has no caption that can be read")
        return
    texts = coverage.texts_of(embeddings.dataset, pairs.reshape(-1, 2))
    for number in range(len(what.classes)):
        reasons.prompt_captions[number] = [
            Neighbour(first, score, texts.get((first, second), ""))
            for (first, second), score in zip(pairs[number].tolist(), scores[number].tolist(), strict=True)
        ]


def _column(classes: Sequence[Class], name: str) -> np.ndarray:
    return np.array([np.nan if getattr(each, name) is None else getattr(each, name) for each in classes], float)


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value

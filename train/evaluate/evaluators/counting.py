"""Counting and composition: number, position, colour binding, size, negation, attributes.

Of questions (SugarCrepe's, ARO's, Winoground's form): which caption fits the image, and, of two images, which image
fits the caption. Beside it stand two baselines that see less: a bag of words (each caption is the mean of its words'
features, so that two captions of the same words are equal, and count half), and text alone (the caption nearer to the
mean image). Of class folders whose classes are numbers: the mean absolute error, and answers that are at most one off.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from train.evaluate.results.row import Figure, Row, bits, mean, places, share
from train.evaluate.sets import ImageSet, Pair
from train.evaluate.view import View, ensemble, readable_questions

OPTIONS: Mapping[str, Any] = {}
_WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]


def refuses(what: ImageSet, shared: Mapping[str, Any]) -> str:
    """Return why a set cannot be examined; empty if it can."""
    if what.pairs or (what.is_classified and None not in numbers(what.classes)):
        return ""
    return "it has no questions of two captions, and its classes are no numbers"


def runs_by_default(what: ImageSet, shared: Mapping[str, Any]) -> bool:
    """Return whether a set has questions; class folders are counted only where they are named, for digits that are
    read, as MNIST's, are not counted.
    """
    return bool(what.pairs)


def numbers(classes: Sequence[str]) -> list[int | None]:
    """Return the number in each class's name, in digits or as a word; None where there is not just one."""
    values: list[int | None] = []
    for name in classes:
        words = re.findall(r"\d+|[a-z]+", name.casefold())
        named = [
            int(word) if word.isdigit() else _WORDS.index(word) for word in words if word.isdigit() or word in _WORDS
        ]
        values.append(named[0] if len(named) == 1 else None)
    return values


def evaluate(view: View) -> Row:
    """Return acc (and text_acc, image_acc of two images), by kind, each beside its two baselines; or the error in
    counting.
    """
    return _questions(view) if view.what.pairs else _counts(view)


def _counts(view: View) -> Row:
    images = view.images()
    assert view.what.test.labels is not None
    named = np.array(numbers(view.what.classes), float)
    labels = view.what.test.labels[images.rows]
    answers = (images.embeddings @ view.class_features().T).argmax(1)
    off = np.abs(named[answers] - named[labels])
    guess = np.abs(named[:, None] - named[labels][None])
    figures = {
        "acc1": share(off == 0, 1 / len(named)),
        "at_most_one_off": share(off <= 1, float((guess <= 1).mean())),
        "mean_absolute_error": mean(off, float(guess.mean())),
    }
    return view.row(figures, "acc1", images, asked=view.what.test.take(images.rows).identity(), right=bits(off == 0))


def _questions(view: View) -> Row:
    images = view.images()
    pairs, places_of, notes = readable_questions(view, view.what.pairs, lambda pair: pair.images)
    texts = view.features.texts([text for pair in pairs for text in pair.captions]).reshape(len(pairs), 2, -1)
    seen = [images.embeddings[place] for place in places_of]
    middle = images.embeddings.mean(0)
    figures: dict[str, Figure] = {}
    whole: np.ndarray | None = None
    for way, captions, blind in (
        ("", texts, False),
        ("_bag_of_words", _bags(view, pairs), False),
        ("_text_alone", texts, True),
    ):
        scores = [
            np.repeat((middle @ caption.T)[None], len(image), 0) if blind else image @ caption.T
            for image, caption in zip(seen, captions, strict=True)
        ]
        credits_of = {name: np.array([credit for credit in credits if credit is not None])
                 for name, credits in _credits(scores).items()}  # fmt: skip
        for name, credits in credits_of.items():
            if len(credits):
                figures[f"{name}{way}"] = share(credits, _chance(name, pairs))
        if not way:
            whole = credits_of["acc"]
            for kind, where in places([pair.kind for pair in pairs]).items():
                figures[f"acc[{kind}]"] = share(whole[where], _chance("acc", [pairs[each] for each in where]))
    assert whole is not None
    same = sum(_words(pair.captions[0], sort=True) == _words(pair.captions[1], sort=True) for pair in pairs)
    notes.append(f"{same} of {len(pairs)} questions have two captions of the same words, which a bag cannot tell apart")
    asked = f"{view.what.test.identity()} {len(pairs)}"
    return view.row(figures, "acc", images, notes=notes, asked=asked, right=bits(whole == 1))


def _credits(scores: Sequence[np.ndarray]) -> dict[str, list[float | None]]:
    """1 for a right answer, a half for a draw between two, 0 otherwise; None where a question has not the kind.

    Args:
        scores: (images, captions) of each question.
    """
    credits_of: dict[str, list[float | None]] = {"text_acc": [], "image_acc": [], "acc": []}
    for each in scores:
        by_text = [_is_preferred(each[row, row], each[row, 1 - row]) for row in range(len(each))]
        if len(each) == 1:
            credits_of["text_acc"].append(by_text[0])
            credits_of["acc"].append(by_text[0])
            continue
        by_image = [_is_preferred(each[column, column], each[1 - column, column]) for column in range(2)]
        credits_of["text_acc"].append(by_text[0] * by_text[1])
        credits_of["image_acc"].append(by_image[0] * by_image[1])
        credits_of["acc"].append(by_text[0] * by_text[1] * by_image[0] * by_image[1])
    return credits_of


def _is_preferred(right: float, wrong: float) -> float:
    return 0.5 if abs(right - wrong) < 1e-6 else float(right > wrong)


def _chance(name: str, pairs: Sequence[Pair]) -> float:
    """What chance gives: a half for one image and two captions, for Winoground's questions what random scores give."""
    two = np.mean([len(pair.images) == 2 for pair in pairs])
    of_two = {"text_acc": 1 / 4, "image_acc": 1 / 4, "acc": 1 / 6}[name]
    return of_two if name == "image_acc" else float(two * of_two + (1 - two) / 2)


def _bags(view: View, pairs: Sequence[Pair]) -> np.ndarray:
    """Each caption as the unit mean of its words' features: (questions, 2, d)."""
    captions = [_words(text) or [text] for pair in pairs for text in pair.captions]
    distinct = sorted({word for words in captions for word in words})
    features = view.features.texts(distinct)
    number = {word: index for index, word in enumerate(distinct)}
    # Summed in the order of the words' names, so that equal bags are equal to the last bit.
    bags = [ensemble(features[sorted(number[word] for word in words)][None])[0] for words in captions]
    return np.stack(bags).reshape(len(pairs), 2, -1)


def _words(text: str, sort: bool = False) -> list[str]:
    words = re.findall(r"\w+", text.casefold())
    return sorted(words) if sort else words

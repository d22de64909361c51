"""What people are asked: which images, in which order, and which examples they are shown.

All people are asked about the same images, so that their agreement can be measured, each in an order of their own.
Nothing that a page shows tells the answer: images have numbers in the order of a hash, and are drawn anew, without
their file's name or anything that it carries.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from dataset.ids import hash64
from dataset.webdataset.shards import DamagedSampleError
from train.data.transforms import decode
from train.evaluate.sets import ImageSet, Picture, SetError

SHOTS = (0, 1, 2)
"""Examples of each class that are shown: zero-shot first, as in the paper."""
MOST_CLASSES = 200
SIDE, EXAMPLE_SIDE = 640, 160
"""Pixels of the longer side at most."""


@dataclass(frozen=True)
class Questions:
    """A set as people are asked about it.

    Attributes:
        names: of the images that are asked, below the set's folder.
        labels: the class of each.
        images: their JPEGs.
        examples: by class, the JPEGs of two images that are not asked.
    """

    set_name: str
    classes: Sequence[str]
    names: Sequence[str]
    labels: Sequence[int]
    images: Sequence[bytes]
    examples: Sequence[Sequence[bytes]]

    def order(self, person: str, shot: int) -> list[int]:
        """Return the numbers of the images in a person's order."""
        return sorted(range(len(self.names)), key=lambda number: hash64("order", person, shot, number))


def questions_of(what: ImageSet, count: int, seed: int = 0) -> Questions:
    """Return the questions of a set: as near as can be the same number of images of each class, by a hash of their
    names.

    Raises:
        SetError: its images have not one class each, or a class has too few images to ask and to show.
    """
    if not what.is_classified:
        raise SetError(f"{what.name} has not one class an image; people are asked for the class")
    if len(what.classes) > MOST_CLASSES:
        raise SetError(f"{what.name} has {len(what.classes)} classes; people can choose among {MOST_CLASSES} at most")
    test, train = what.test, what.splits.get("train")
    assert test.labels is not None
    asked_of = _order_by_hash(test.pictures, test.labels, len(what.classes), seed)
    shown_of = asked_of
    if train is not None:
        assert train.labels is not None
        shown_of = _order_by_hash(train.pictures, train.labels, len(what.classes), seed)
    examples = [_examples(pictures, what.classes[label], what) for label, pictures in enumerate(shown_of)]
    asked: list[tuple[Picture, int, bytes]] = []
    while len(asked) < count and any(asked_of):  # one of each class, again and again
        for label, pictures in enumerate(asked_of):
            while pictures and len(asked) < count:
                picture = pictures.pop(0)
                if (drawn := _redraw(picture, SIDE)) is not None:
                    asked.append((picture, label, drawn))
                    break
    if not asked:
        raise SetError(f"{what.name} has no image left to ask about, besides the two of each class that are shown")
    asked.sort(key=lambda item: hash64("number", seed, item[0].name))
    names, labels, images = zip(*asked, strict=True)
    return Questions(what.name, list(what.classes), [each.name for each in names], labels, images, examples)


def _order_by_hash(pictures: Sequence[Picture], labels: np.ndarray, classes: int, seed: int) -> list[list[Picture]]:
    """The images of each class in the order of a hash of their names."""
    of_class: list[list[Picture]] = [[] for _ in range(classes)]
    for picture, label in zip(pictures, labels.tolist(), strict=True):
        of_class[label].append(picture)
    return [sorted(each, key=lambda picture: hash64("human", seed, picture.name)) for each in of_class]


def _examples(pictures: list[Picture], name: str, what: ImageSet) -> list[bytes]:
    """Two images of a class, which are taken away from those that are asked."""
    jpegs: list[bytes] = []
    while pictures and len(jpegs) < max(SHOTS):
        if (drawn := _redraw(pictures.pop(0), EXAMPLE_SIDE)) is not None:
            jpegs.append(drawn)
    if len(jpegs) < max(SHOTS):
        raise SetError(f"{what.name} has too few images of {name!r}: people are shown two of each class")
    return jpegs


def _redraw(picture: Picture, side: int) -> bytes | None:
    """An image drawn anew as a JPEG; None if it cannot be read."""
    try:
        image = decode(picture.read())
    except DamagedSampleError:
        return None
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    sink = io.BytesIO()
    clean = Image.new("RGB", image.size)
    clean.paste(image)  # without what the file carried beside its pixels
    clean.save(sink, "JPEG", quality=90)
    return sink.getvalue()

"""Evaluation sets as they exist: what a set is, whatever it was read from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dataset.ids import checksum

MAX_BYTES = 256 * 2**20
"""The largest file, or member of a tar, that is read as an image."""
SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".png", ".webp", ".avif", ".heic", ".heif", ".gif", ".bmp"})


class SetError(ValueError):
    """A set that cannot be examined; the message is one sentence that names the file and the fix."""


@dataclass(frozen=True)
class Picture:
    """Where an image lies: a file, or a part of a tar."""

    name: str  # below the set's folder
    file: Path
    start: int = 0
    length: int | None = None  # None: the whole file

    def read(self) -> bytes:
        """Return its bytes; none at all where they are missing or too many."""
        try:
            if not self.file.is_file():  # a pipe or a device would be waited for
                return b""
            with self.file.open("rb") as stream:
                stream.seek(self.start)
                data = stream.read(MAX_BYTES + 1 if self.length is None else min(self.length, MAX_BYTES + 1))
        except OSError:
            return b""
        return data if len(data) <= MAX_BYTES else b""


@dataclass(frozen=True)
class Split:
    """A set's test, training or validation images, in the order of the set."""

    pictures: Sequence[Picture]
    labels: np.ndarray | None = None  # int64: the class of each image; or bool (images, classes): all its classes
    captions: Sequence[Sequence[str]] | None = None  # of each image, at least one
    columns: Mapping[str, Sequence[str]] = field(default_factory=dict)  # further attributes of each image

    def __len__(self) -> int:
        return len(self.pictures)

    def take(self, rows: np.ndarray) -> Split:
        """Return some of its images."""
        chosen = rows.tolist()
        return Split(
            [self.pictures[row] for row in chosen],
            None if self.labels is None else self.labels[rows],
            None if self.captions is None else [self.captions[row] for row in chosen],
            {name: [values[row] for row in chosen] for name, values in self.columns.items()},
        )

    def identity(self) -> str:
        """Return what tells one selection of image files from another: names, sizes and times of change."""
        stats = {file: _stamp(file) for file in {picture.file for picture in self.pictures}}
        lines = (f"{p.name}\t{p.file}\t{p.start}\t{p.length}\t{stats[p.file]}" for p in self.pictures)
        return checksum("\n".join(lines).encode("utf-8", "surrogateescape"))


def _stamp(file: Path) -> str:
    try:
        status = file.stat()
    except OSError:
        return "missing"
    return f"{status.st_size} {status.st_mtime_ns}"


@dataclass(frozen=True)
class Pair:
    """A question of composition: which caption fits which image."""

    images: Sequence[int]  # places in the test split: one, or two as Winoground's
    captions: Sequence[str]  # the first fits the first image, and, where there are two images, the second the second
    kind: str  # what is asked: swap_att, number, …


@dataclass(frozen=True)
class Association:
    """A question of association: which of some images go with a cue."""

    cue: str
    candidates: Sequence[int]  # places in the test split
    answers: Sequence[int]  # places among the candidates


@dataclass(frozen=True)
class ImageSet:
    """An evaluation set."""

    name: str
    path: Path
    splits: Mapping[str, Split]  # test always; train and val where the set has them
    classes: Sequence[str] = ()
    templates: Sequence[str] = ()
    template_source: str = ""
    pairs: Sequence[Pair] = ()
    associations: Sequence[Association] = ()
    notes: Sequence[str] = ()  # what was passed over, each with its count

    @property
    def test(self) -> Split:
        """The images that are asked."""
        return self.splits["test"]

    @property
    def is_classified(self) -> bool:
        """Whether each image has one class."""
        return self.test.labels is not None and self.test.labels.ndim == 1

    @property
    def is_multilabel(self) -> bool:
        """Whether an image may have several classes."""
        return self.test.labels is not None and self.test.labels.ndim == 2


def checked_classes(classes: Sequence[str], where: str | Path) -> list[str]:
    """Return notes about classes that may mislead. Raises SetError if there is nothing to choose between."""
    if len(classes) < 2:
        raise SetError(f"{where} has {len(classes)} class; a choice needs at least two")
    if empty := [number for number, name in enumerate(classes, 1) if not name.strip()]:
        raise SetError(f"{where} gives class {empty[0]} no name; name every class")
    counts = Counter(classes)
    twice = [name for name, count in counts.items() if count > 1]
    if not twice:
        return []
    return [f"{len(twice)} names are those of several classes ({twice[0]!r}): of these the first is answered"]

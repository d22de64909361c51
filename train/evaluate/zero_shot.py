"""Zero-shot classification: the class whose name, put into prompt templates, is nearest to the image.

A task is a directory with a folder of images per class. Beside them may lie

- `classes.txt`: a line per class, either `FOLDER<tab>display name`, or display names in the order of the sorted
  folders; without it, a class is called what its folder is, with spaces for `_` and `-`;
- `templates.txt`: a prompt template per line, with `{}` or `{c}` for the class; see `train.evaluate.sets.templates`.

Templates are ensembled in embedding space: a class is the mean of its prompts' features (Radford et al. 2021, §3.1.4).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from dataset.shards import DamagedSampleError
from train.evaluate.result import Result
from train.evaluate.sets.folders import class_folders
from train.evaluate.sets.templates import filled

if TYPE_CHECKING:
    from train.load import Encoder


@dataclass(frozen=True)
class Task:
    """A zero-shot task, read from its directory."""

    name: str
    classes: list[str]  # display names
    templates: list[str]
    images: list[tuple[Path, int]]  # file, index of its class


def read_task(directory: str | Path) -> Task:
    """Read a task's directory (images are not opened).

    Raises:
        FileNotFoundError: there is no such directory.
        ValueError: it holds no images, or `classes.txt` or `templates.txt` do not fit.
    """
    root = Path(directory)
    if not root.is_dir():
        raise FileNotFoundError(f"there is no task directory {directory}")
    read = class_folders(root, {"test": root})
    assert read.test.labels is not None
    images = [
        (picture.file, label) for picture, label in zip(read.test.pictures, read.test.labels.tolist(), strict=True)
    ]
    return Task(read.name, list(read.classes), list(read.templates), images)


def zero_shot(encoder: Encoder, directory: str | Path) -> list[Result]:
    """Top-1 and top-5 accuracy of a task. Raises as `read_task` does."""
    from train.data.transforms import decode

    task = read_task(directory)
    classes = class_features(encoder, task.classes, task.templates)
    labels: list[int] = []
    enough = getattr(encoder, "enough", None)  # who brings an encoder of their own may leave it to us: whole images

    def readable() -> Iterator[Image.Image]:
        for file, label in task.images:
            with contextlib.suppress(DamagedSampleError):
                image = decode(file.read_bytes(), enough)
                labels.append(label)
                yield image

    features = encoder.images(readable())
    if not labels:
        raise ValueError(f"no image of {directory} can be read")
    rank = rank_of(features @ classes.T, np.array(labels))
    return [
        Result(
            task=task.name,
            metric=f"top{k}",
            value=float((rank <= k).mean()),
            chance=min(1.0, k / len(task.classes)),
            samples=len(rank),
            candidates=len(task.classes),
            damaged=len(task.images) - len(labels),
        )
        for k in (1, 5)
    ]


def class_features(encoder: Encoder, classes: list[str], templates: list[str]) -> np.ndarray:
    """Each class as the mean of its prompts' features, of unit length: float32 of shape (classes, d)."""
    prompts = encoder.texts([filled(template, name) for name in classes for template in templates])
    mean = prompts.reshape(len(classes), len(templates), -1).mean(1)
    unit: np.ndarray = mean / np.linalg.norm(mean, axis=1, keepdims=True)
    return unit


def rank_of(similarity: np.ndarray, answer: np.ndarray) -> np.ndarray:
    """The rank, from 1, of each row's right answer; among equals it comes last, so a collapsed model scores nothing.

    Args:
        similarity: (n, candidates).
        answer: (n,), the index of the right candidate.
    """
    ranks: np.ndarray = (similarity >= similarity[np.arange(len(answer)), answer][:, None]).sum(1)
    return ranks

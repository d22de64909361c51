"""Folders of class folders: `DIR/CLASS/*.jpg`, or `DIR/train/CLASS/*.jpg` beside `DIR/test/CLASS/*.jpg`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from train.evaluate.sets import SUFFIXES, ImageSet, Picture, SetError, Split, checked_classes
from train.evaluate.sets.templates import read_lines, templates_of

SPLITS = {"test": "test", "train": "train", "val": "val", "valid": "val", "validation": "val"}
"""What the folder of a split may be called, and what the split is called here."""


def split_folders(root: Path) -> dict[str, Path]:
    """Return the splits' folders, by the splits' names, of a set that has nothing but those; empty for any other.

    A class may be called `train`, too: a split's folder has folders or tars in it, and no images.
    """
    folders = subfolders(root)
    if not folders or any(folder.name not in SPLITS for folder in folders):
        return {}
    for folder in folders:
        entries = list(folder.iterdir())
        if any(is_image(entry) for entry in entries):
            return {}
        if not any(entry.is_dir() or entry.suffix == ".tar" for entry in entries):
            return {}
    splits = {SPLITS[folder.name]: folder for folder in folders}
    if "test" not in splits:  # what is left out of training is what is asked
        splits["test"] = splits.pop("val") if "val" in splits else splits.pop("train")
    return splits


def subfolders(root: Path) -> list[Path]:
    """Return the folders in a folder, hidden ones left out, by name."""
    return sorted(entry for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def is_image(path: Path) -> bool:
    """Return whether a file's name says that it is an image."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def class_folders(root: Path, parts: dict[str, Path]) -> ImageSet:
    """Return a set of class folders.

    Args:
        parts: its splits' folders, which hold the class folders.
    Raises:
        SetError: it has no images, or its class names or templates do not fit.
    """
    folders = sorted({folder.name for part in parts.values() for folder in subfolders(part)})
    splits = {name: _split(part, folders) for name, part in parts.items()}
    if not len(splits["test"]):
        raise SetError(f"{root} has no folders of images, one per class")
    classes = class_names(root, folders)
    templates, source = templates_of(root, root.resolve().name)
    notes = checked_classes(classes, root) + empty_classes(splits["test"].labels, classes)
    return ImageSet(root.resolve().name, root, splits, classes, templates, source, notes=notes)


def empty_classes(labels: np.ndarray | None, classes: list[str]) -> list[str]:
    """Return a note about classes that no test image shows."""
    if labels is None or labels.ndim != 1:
        return []
    empty = [name for number, name in enumerate(classes) if not (labels == number).any()]
    if not empty:
        return []
    return [
        f"{len(empty)} of {len(classes)} classes have no test image ({empty[0]!r}); they can be answered all the same"
    ]


def _split(root: Path, folders: Iterable[str]) -> Split:
    files = [
        (file, label)
        for label, folder in enumerate(folders)
        if (root / folder).is_dir()
        for file in sorted((root / folder).rglob("*"))
        if is_image(file)
    ]
    pictures = [Picture(str(file.relative_to(root)), file) for file, _ in files]
    return Split(pictures, np.array([label for _, label in files], np.int64))


def class_names(root: Path, folders: list[str]) -> list[str]:
    """Return what prompts call the classes: as `classes.txt` or `classnames.txt` has it, else as the folders are
    called.

    Raises:
        SetError: the file's lines are not those of the folders.
    """
    path = next((root / name for name in ("classes.txt", "classnames.txt") if (root / name).is_file()), None)
    if path is None:
        return [folder.replace("_", " ").replace("-", " ") for folder in folders]
    lines = read_lines(path)
    if lines and all("\t" in line for line in lines):
        names = dict(line.split("\t", 1) for line in lines)
        if missing := [folder for folder in folders if folder not in names]:
            raise SetError(f"{path} has no line for the folder {missing[0]}")
        return [names[folder].strip() for folder in folders]
    if len(lines) != len(folders):
        raise SetError(f"{path} must have a line for each of the {len(folders)} folders, not {len(lines)}")
    return [line.strip() for line in lines]

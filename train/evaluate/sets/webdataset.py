"""WebDataset tars: CLIP_benchmark's folders, DataComp's (`wds_NAME_test`), and any tars with labels or captions.

CLIP_benchmark's layout (its README, "webdataset"): `classnames.txt`, `zeroshot_classification_templates.txt` and
`dataset_type.txt` in the set's folder, `test/nshards.txt` and `test/0.tar`, … below it. A sample is an image with
`.cls` (the number of its class), `.npy` (a 0 or 1 for each class) or `.txt` (a caption a line).
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dataset.store.storage import Storage
from dataset.webdataset.shards import key_and_part
from dataset.webdataset.tar import DamagedTarError, by_offset, members
from train.evaluate.datacomp import task_of
from train.evaluate.sets import ImageSet, Picture, SetError, Split, checked_classes
from train.evaluate.sets.folders import empty_classes
from train.evaluate.sets.templates import classes_of, read_lines, read_text, templates_of

_IMAGES = frozenset({"jpg", "jpeg", "png", "webp"})
_MOST_LABEL_BYTES = 2**20
_KINDS = ("classification", "multilabel", "retrieval")


def webdataset(root: Path, parts: Mapping[str, Path]) -> ImageSet:
    """Return a set of tars.

    Args:
        parts: its splits' folders, or single tars.
    Raises:
        SetError: a tar is damaged, a shard is missing, or samples have no labels that fit.
    """
    kind = read_text(root / "dataset_type.txt").strip().lower() if (root / "dataset_type.txt").is_file() else ""
    if kind and kind not in _KINDS:
        raise SetError(f"{root / 'dataset_type.txt'} must say {', '.join(_KINDS)}, not {kind[:40]!r}")
    samples_of = {name: list(_samples(_tars(part))) for name, part in parts.items()}
    if not samples_of["test"]:
        raise SetError(f"{parts['test']} has no samples: their members must be KEY.jpg, KEY.cls, …")
    name = root.resolve().name
    if not kind:
        first = samples_of["test"][0][1]
        kind = "retrieval" if "cls" not in first and "npy" not in first else "classification"
        kind = "multilabel" if "npy" in first and "cls" not in first else kind
    notes: list[str] = []
    if kind == "retrieval":
        splits = {split: _split_with_captions(samples, notes) for split, samples in samples_of.items()}
        if not len(splits["test"]):
            raise SetError(f"{parts['test']} has no image with a caption: its samples need KEY.txt, a caption a line")
        return ImageSet(name, root, splits, notes=notes)
    file = next((root / each for each in ("classnames.txt", "classes.txt") if (root / each).is_file()), None)
    classes = [line.strip() for line in read_lines(file)] if file is not None else classes_of(name)
    if classes is None:
        raise SetError(
            f"{root} has no classnames.txt: write one, with a line for each class in the order of the labels"
        )
    task = task_of(name)
    fields = task.fields if task is not None else ()
    if task is not None and fields and not task.metric:  # FairFace, UTKFace: attributes, and no class
        splits = {split: _people(samples, classes, fields) for split, samples in samples_of.items()}
        return ImageSet(name, root, splits, notes=notes)
    if kind == "multilabel":
        splits = {split: _multilabel(samples, len(classes), root) for split, samples in samples_of.items()}
    else:
        splits = {split: _split_with_labels(samples, classes, root, fields) for split, samples in samples_of.items()}
    templates, source = templates_of(root, name)
    notes = checked_classes(classes, file or root) + empty_classes(splits["test"].labels, classes)
    return ImageSet(name, root, splits, classes, templates, source, notes=notes)


def _tars(part: Path) -> list[Path]:
    """A split's tars, in the order of their numbers. Raises SetError if `nshards.txt` names more."""
    if part.is_file():
        return [part]
    tars = sorted(part.glob("*.tar"), key=lambda tar: (len(tar.stem), tar.stem))
    if (part / "nshards.txt").is_file():
        try:
            count = int(read_text(part / "nshards.txt"))
        except ValueError:
            raise SetError(f"{part / 'nshards.txt'} must be a number of tars") from None
        if missing := [number for number in range(count) if not (part / f"{number}.tar").is_file()]:
            raise SetError(f"{part / f'{missing[0]}.tar'} is not there, and nshards.txt says {count}; fetch it again")
        tars = [part / f"{number}.tar" for number in range(count)]
    return tars


def _samples(tars: list[Path]) -> Iterator[tuple[Picture, dict[str, bytes]]]:
    """Each sample's image and the bytes of its other parts."""
    for tar in tars:
        storage = Storage(str(tar.parent), leave=True)
        picture: Picture | None = None
        parts: dict[str, bytes] = {}
        last = ""
        try:
            with storage.open(tar.name) as file:
                read = by_offset(file, local=True)
                for member in members(read, file.size()):
                    named = key_and_part(member.name) if member.kind == "file" else None
                    if named is None:
                        continue
                    key, part = named
                    if key != last:
                        if picture is not None:
                            yield picture, parts
                        picture, parts, last = None, {}, key
                    if part.lower() in _IMAGES:
                        picture = Picture(f"{tar.name}/{member.name}", tar, member.data, member.size)
                    elif member.size <= _MOST_LABEL_BYTES:
                        parts[part.lower()] = read(member.data, member.size)
        except DamagedTarError as error:
            raise SetError(f"{tar} cannot be read at byte {error.position}: {error}; fetch it again") from None
        if picture is not None:
            yield picture, parts


Samples = list[tuple[Picture, dict[str, bytes]]]


def _split_with_labels(samples: Samples, classes: list[str], root: Path, fields: Sequence[str]) -> Split:
    labels = []
    for picture, parts in samples:
        text = parts.get("cls", b"").decode("utf-8", "replace").strip()
        try:
            label = int(text)
        except ValueError:
            label = classes.index(text) if text in classes else -1
        if not 0 <= label < len(classes):
            said = f"the label {text[:40]!r}" if text else "no label (KEY.cls)"
            raise SetError(f"{picture.name} in {root} has {said}; it must be a number below {len(classes)}, a class's")
        labels.append(label)
    columns = {
        **_columns(samples),
        **{name: list(map(str, values)) for name, values in _numbers(samples, fields).items()},
    }
    return Split([picture for picture, _ in samples], np.array(labels, np.int64), columns=columns)


def _numbers(samples: Samples, fields: Sequence[str]) -> dict[str, list[int]]:
    """The attributes that DataComp's sets have as a row of numbers; none where a sample lacks it."""
    rows = [_array(parts) for _, parts in samples] if fields else []
    if not rows or any(row.shape != (len(fields),) for row in rows):
        return {}
    return {name: [int(row[place]) for row in rows] for place, name in enumerate(fields)}


def _people(samples: Samples, classes: Sequence[str], fields: Sequence[str]) -> Split:
    """Attributes by name: `classnames.txt` has `race:…`, `gender:…`, each in the order of its numbers."""
    names: dict[str, list[str]] = {}
    for line in classes:
        kind, _, value = line.partition(":")
        names.setdefault(kind.strip(), []).append(value.strip())
    columns = {
        field: [dict(enumerate(names.get(field, ()))).get(number, str(number)) for number in numbers]
        for field, numbers in _numbers(samples, fields).items()
    }
    return Split([picture for picture, _ in samples], columns=columns)


def _array(parts: Mapping[str, bytes]) -> np.ndarray:
    """A sample's KEY.npy; empty where it has none."""
    try:
        array: np.ndarray = np.load(io.BytesIO(parts.get("npy", b"")), allow_pickle=False)
    except (ValueError, EOFError, OSError):
        array = np.empty(0)
    return array


def _multilabel(samples: Samples, classes: int, root: Path) -> Split:
    labels = []
    for picture, parts in samples:
        row = _array(parts)
        if row.shape != (classes,):
            raise SetError(
                f"{picture.name} in {root} must have KEY.npy with a 0 or 1 for each of the {classes} classes"
            )
        labels.append(row.astype(bool))
    return Split([picture for picture, _ in samples], np.stack(labels))


def _split_with_captions(samples: Samples, notes: list[str]) -> Split:
    pictures, captions = [], []
    for picture, parts in samples:
        lines = parts.get("txt", b"").decode("utf-8", "replace").splitlines()
        if stripped := [line.strip() for line in lines if line.strip()]:
            pictures.append(picture)
            captions.append(stripped)
    if missing := len(samples) - len(pictures):
        notes.append(f"{missing} of {len(samples)} images have no caption and are not asked")
    return Split(pictures, captions=captions)


def _columns(samples: Samples) -> dict[str, list[str]]:
    """The attributes that every sample's `.json` has."""
    rows: list[dict[str, Any]] = []
    for _, parts in samples:
        try:
            row = json.loads(parts.get("json", b"{}"))
        except (ValueError, RecursionError):
            row = {}
        rows.append(row if isinstance(row, dict) else {})
    names = set.intersection(*(set(row) for row in rows)) if rows else set()
    kept = sorted(name for name in names if all(isinstance(row[name], (str, int, float)) for row in rows))
    return {name: [str(row[name]) for row in rows] for name in kept}

"""Tables of images: CSV, TSV or Parquet with a path and a label, captions, or attributes; and COCO's caption JSON."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from dataset.store.storage import Storage
from dataset.tables import read_parquet
from train.evaluate.sets import SUFFIXES, ImageSet, Picture, SetError, Split, checked_classes
from train.evaluate.sets.associations import COLUMNS, associations_of
from train.evaluate.sets.folders import SPLITS, class_names, empty_classes
from train.evaluate.sets.templates import read_text, templates_of

TABLES = frozenset({".csv", ".tsv", ".parquet"})
PATH = ("path", "filepath", "file", "file_name", "filename", "image", "image_path", "img_path")
LABEL = ("label", "class", "class_name", "category", "target")
CAPTION = ("caption", "captions", "text", "title", "comment", "sentence")
_SPLIT = ("split", "part")


def read_rows(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Return (columns, rows) of a table, every value as text. Raises SetError if it is none."""
    if path.suffix.lower() == ".parquet":
        try:
            table = read_parquet(Storage(str(path.parent), leave=True), path.name)
        except (ValueError, OSError, pa.ArrowException) as error:
            raise SetError(f"{path} cannot be read as Parquet: {' '.join(str(error).split())[:200]}") from None
        rows = [{name: "" if value is None else str(value) for name, value in row.items()} for row in table.to_pylist()]
        return table.column_names, rows
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    reader = csv.DictReader(read_text(path).splitlines(), delimiter=delimiter, restval="")
    try:
        rows = [{name: value or "" for name, value in row.items() if name is not None} for row in reader]
    except csv.Error as error:
        raise SetError(f"{path} cannot be read as a table: {error}") from None
    return list(reader.fieldnames or []), rows


def table_set(path: Path) -> ImageSet:
    """Return a set from a table: a row an image, or a row a caption.

    Paths are relative to the table's folder. Columns are known by their names: PATH, LABEL, CAPTION and `split`; all
    others are attributes.

    Raises:
        SetError: it has no column with paths, none that says what is in the images, or no rows.
    """
    columns, rows = read_rows(path)
    if set(columns) >= COLUMNS:
        return associations_of(path, rows)
    where = _column(columns, PATH)
    if where is None:
        raise SetError(
            f"{path} must have a column of paths, called {', '.join(PATH[:3])} …; it has {', '.join(columns) or 'none'}"
        )
    rows = [row for row in rows if row[where].strip()]
    if not rows:
        raise SetError(f"{path} has no rows that name an image")
    label, caption, split = (_column(columns, names) for names in (LABEL, CAPTION, _SPLIT))
    parts = {_split_of(row[split], path) if split else "test" for row in rows}
    name = path.stem if path.stem.lower() not in {"labels", "test", "metadata"} else path.resolve().parent.name
    if "test" not in parts:
        raise SetError(f"{path} has no row whose {split} is test")
    chosen = {part: [row for row in rows if not split or _split_of(row[split], path) == part] for part in sorted(parts)}
    notes: list[str] = []
    if caption is not None and label is None:
        splits = {
            part: _split_with_captions(path, part_rows, where, caption, notes) for part, part_rows in chosen.items()
        }
        if not len(splits["test"]):
            raise SetError(f"{path} has no image with a caption")
        return ImageSet(name, path, splits, notes=notes)
    others = [column for column in columns if column not in {where, label, split}]
    if label is None:
        splits = {part: _split_with_attributes(path, part_rows, where, others) for part, part_rows in chosen.items()}
        return ImageSet(name, path, splits)
    if missing := sum(not row[label].strip() for row in rows):
        raise SetError(f"{path} has {missing} rows without a {label}; label them, or take them out")
    labels = sorted({row[label].strip() for row in rows}, key=lambda text: (not text.isdigit(), len(text), text))
    if not all(text.isdigit() for text in labels):
        labels.sort()
    classes = class_names(path.parent, labels)
    templates, source = templates_of(path.parent, name)
    splits = {
        part: _split_with_attributes(path, part_rows, where, others, label, labels)
        for part, part_rows in chosen.items()
    }
    notes = checked_classes(classes, path) + empty_classes(splits["test"].labels, classes)
    return ImageSet(name, path, splits, classes, templates, source, notes=notes)


def coco_captions(path: Path, raw: dict[str, Any]) -> ImageSet:
    """Return a set from a COCO caption file: `images` with file names, `annotations` with captions. Raises SetError."""
    try:
        files = {image["id"]: str(image["file_name"]) for image in raw["images"]}
        captions: dict[Any, list[str]] = {}
        for annotation in raw["annotations"]:
            captions.setdefault(annotation["image_id"], []).append(" ".join(str(annotation["caption"]).split()))
    except (KeyError, TypeError):
        raise SetError(
            f"{path} is no COCO caption file: it needs images (id, file_name) and annotations (caption)"
        ) from None
    below: dict[str, Path] = {}
    for file in sorted(path.parent.rglob("*")):
        if file.suffix.lower() in SUFFIXES:
            below.setdefault(file.name, file)
    asked = [key for key in files if key in captions and Path(files[key]).name in below]
    notes = []
    if lost := sum(key in captions and Path(files[key]).name not in below for key in files):
        notes.append(f"{lost} captioned images are not in {path.parent} and are not asked")
    if not asked:
        raise SetError(f"{path} names no captioned image that lies in {path.parent}")
    pictures = [Picture(files[key], below[Path(files[key]).name]) for key in asked]
    split = Split(pictures, captions=[[text for text in captions[key] if text] or [""] for key in asked])
    return ImageSet(path.resolve().parent.name, path, {"test": split}, notes=notes)


def read_json(path: Path) -> Any:
    """Return a JSON file. Raises SetError."""
    try:
        return json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise SetError(f"{path} is not JSON: {' '.join(str(error).split())[:200]}") from None


def _column(columns: list[str], names: tuple[str, ...]) -> str | None:
    lower = {column.strip().lower(): column for column in reversed(columns)}
    return next((lower[name] for name in names if name in lower), None)


def _split_of(text: str, path: Path) -> str:
    plain = text.strip().lower()
    if plain not in SPLITS:
        raise SetError(f"{path} has the split {text[:40]!r}; it must be {', '.join(SPLITS)}")
    return SPLITS[plain]


def _picture(path: Path, name: str) -> Picture:
    return Picture(name, path.parent / name)


def _split_with_attributes(
    path: Path,
    rows: list[dict[str, str]],
    where: str,
    others: list[str],
    label: str | None = None,
    labels: list[str] | None = None,
) -> Split:
    numbers = {text: number for number, text in enumerate(labels or [])}
    label_numbers = None if label is None else np.array([numbers[row[label].strip()] for row in rows], np.int64)
    columns = {name: [row[name].strip() for row in rows] for name in others}
    return Split([_picture(path, row[where].strip()) for row in rows], label_numbers, columns=columns)


def _split_with_captions(path: Path, rows: list[dict[str, str]], where: str, caption: str, notes: list[str]) -> Split:
    captions: dict[str, list[str]] = {}
    for row in rows:
        captions.setdefault(row[where].strip(), []).append(row[caption].strip())
    kept = {name: [text for text in texts if text] for name, texts in captions.items() if any(texts)}
    if missing := len(captions) - len(kept):
        notes.append(f"{missing} of {len(captions)} images have no caption and are not asked")
    return Split([_picture(path, name) for name in kept], captions=list(kept.values()))

"""Fine classes: accuracy at each level of a class hierarchy. Is it the wrong make of car, or no car at all?

The hierarchy is a CSV, the set's own `hierarchy.csv` or `--hierarchy FILE`: a row a class, the class's name (or its
folder's) first, then what it belongs to, level by level from fine to coarse; the head names the levels. Or it is
WordNet's `data.noun`: levels are then depths below the root, and a class is a noun or a WordNet id such as n02084071.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from train.evaluate.results.row import Figure, Row, bits, share
from train.evaluate.sets import ImageSet, SetError
from train.evaluate.sets.tables import read_rows
from train.evaluate.sets.templates import read_text
from train.evaluate.view import View

OPTIONS: Mapping[str, Any] = {"depths": [2, 4, 6, 8]}  # of WordNet's levels
LEAST = {"depths": 0}
_FILE = "hierarchy.csv"


def refuses(what: ImageSet, shared: Mapping[str, Any]) -> str:
    """Return why a set cannot be examined; empty if it can."""
    if not what.is_classified:
        return "its images have not one class each"
    return "" if _file(what, shared) else f"it has no {_FILE}, and --hierarchy names none"


def _file(what: ImageSet, shared: Mapping[str, Any]) -> Path | None:
    if shared.get("hierarchy"):
        return Path(shared["hierarchy"])
    folder = what.path if what.path.is_dir() else what.path.parent
    return folder / _FILE if (folder / _FILE).is_file() else None


def evaluate(view: View) -> Row:
    """Return acc1, acc1[LEVEL] for each level, and how many of the errors stay within each level's right branch."""
    what, file = view.what, _file(view.what, view.shared)
    assert file is not None and what.test.labels is not None
    levels = _wordnet(file, what.classes, view.options["depths"]) if file.name.startswith("data") else _csv(file, what)
    images = view.images()
    labels = what.test.labels[images.rows]
    answers = (images.embeddings @ view.class_features().T).argmax(1)
    wrong = answers != labels
    figures = {"acc1": share(~wrong, 1 / len(what.classes))}
    for level, branches in levels.items():
        groups = np.unique(branches, return_inverse=True)[1]
        same = groups[answers] == groups[labels]
        sizes = np.bincount(groups)
        figures[f"acc1[{level}]"] = share(same, float(sizes[groups[labels]].mean() / len(groups)))
        others = (sizes[groups[labels[wrong]]] - 1) / (len(groups) - 1) if wrong.any() else np.empty(0)
        chance = float(others.mean()) if len(others) else None
        within = f"errors_within[{level}]"
        figures[within] = share(same[wrong], chance) if wrong.any() else Figure(None, 0)
    notes = [f"levels: {', '.join(levels)}, of {file.name}"]
    asked = what.test.take(images.rows).identity()
    return view.row(figures, "acc1", images, notes=notes, asked=asked, right=bits(~wrong))


def _csv(path: Path, what: ImageSet) -> dict[str, list[str]]:
    """{level: the branch of each class}. Raises SetError if a class is missing."""
    columns, rows = read_rows(path)
    if len(columns) < 2:
        raise SetError(f"{path} must have a column of classes and at least one of what they belong to")
    by_name = {_normalize_name(row[columns[0]]): row for row in rows}
    if missing := [name for name in what.classes if _normalize_name(name) not in by_name]:
        raise SetError(f"{path} has no row for {len(missing)} classes, such as {missing[0]!r}")
    return {
        level: [_normalize_name(by_name[_normalize_name(name)][level]) for name in what.classes]
        for level in columns[1:]
    }


def _normalize_name(name: str) -> str:
    return " ".join(name.casefold().replace("_", " ").replace("-", " ").split())


def _wordnet(path: Path, classes: Sequence[str], depths: Sequence[int]) -> dict[str, list[str]]:
    """{depth: the ancestor of each class there}; a class above a depth is its own branch. Raises SetError."""
    synsets: dict[str, tuple[list[str], list[str]]] = {}
    first: dict[str, tuple[int, str]] = {}
    for line in read_text(path).splitlines():
        fields = line.split(" | ")[0].split()
        if not re.fullmatch(r"\d{8}", fields[0] if fields else "") or len(fields) < 5:
            continue
        count = int(fields[3], 16)
        words = [(fields[4 + 2 * each], int(fields[5 + 2 * each], 16)) for each in range(count)]
        pointers = fields[5 + 2 * count :]
        above = [pointers[index + 1] for index in range(0, len(pointers) - 3, 4) if pointers[index] in ("@", "@i")]
        synsets[fields[0]] = ([word for word, _ in words], above)
        for word, sense in words:
            key = _normalize_name(word)
            first[key] = min(first.get(key, (99, "")), (sense, fields[0]))

    def chain(name: str) -> list[str]:
        """Return the way from the root to the class."""
        match = re.fullmatch(r"n(\d{8})", name.strip())
        synset = match[1] if match and match[1] in synsets else first.get(_normalize_name(name), (0, ""))[1]
        if synset not in synsets:
            raise SetError(f"{path} has no noun {name!r}; name the class as WordNet does, or give a CSV")
        way = [synset]
        while synsets[way[-1]][1] and len(way) < 50:
            way.append(synsets[way[-1]][1][0])
        return way[::-1]

    chains = [chain(name) for name in classes]
    return {f"depth {depth}": [way[min(depth, len(way) - 1)] for way in chains] for depth in depths}

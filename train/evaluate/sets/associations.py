"""Questions of association, as WinoGAViL has them: a CSV of cues, candidates and those that go with the cue.

The columns are `cue`, `candidates` and `associations`, the latter two JSON lists of names; the images are called
NAME.jpg (or .png, …) and lie beside the file, in `images` or in `winogavil_images`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from train.evaluate.sets import SUFFIXES, Association, ImageSet, Picture, SetError, Split

COLUMNS = frozenset({"cue", "candidates", "associations"})
_FOLDERS = ("", "images", "winogavil_images")


def associations_of(path: Path, rows: Sequence[Mapping[str, str]]) -> ImageSet:
    """Return the questions of a table. Raises SetError if a row is none."""
    below = {
        file.stem: file
        for folder in reversed(_FOLDERS)
        if (path.parent / folder).is_dir()
        for file in sorted((path.parent / folder).iterdir())
        if file.suffix.lower() in SUFFIXES
    }
    places: dict[str, int] = {}
    questions = []
    for number, row in enumerate(rows, 2):
        candidates, answers = _names(path, number, row["candidates"]), _names(path, number, row["associations"])
        if not row["cue"].strip() or not set(answers) < set(candidates) or not answers:
            raise SetError(
                f"{path} has no question in line {number}: it needs a cue, and associations that are some of its "
                "candidates"
            )
        asked = [places.setdefault(name, len(places)) for name in candidates]
        questions.append(Association(row["cue"].strip(), asked, [candidates.index(name) for name in answers]))
    if not questions:
        raise SetError(f"{path} has no rows")
    pictures = [Picture(name, below.get(name, path.parent / f"{name}.jpg")) for name in places]
    name = path.stem.removesuffix("_dataset")
    return ImageSet(name, path, {"test": Split(pictures)}, associations=questions)


def _names(path: Path, number: int, text: str) -> list[str]:
    try:
        names = json.loads(text)
    except (ValueError, RecursionError):
        names = None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise SetError(f"{path} has no JSON list of names in line {number}, but {text[:40]!r}")
    return list(dict.fromkeys(names))

"""Prompt templates and class names: a set's own, those of the package clip-benchmark by the set's name, or ImageNet's.

A class stands in a template as `{}` or, as CLIP_benchmark writes it, `{c}`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from train.evaluate.sets import SetError

OWN = ("templates.txt", "zeroshot_classification_templates.txt")
IMAGENET = "ImageNet's 80 of open_clip"
_PLACE = re.compile(r"\{c?\}")


def fill_template(template: str, name: str) -> str:
    """Return a template with a class's name in it."""
    return _PLACE.sub(lambda _: name, template)


def templates_of(folder: Path, set_name: str) -> tuple[list[str], str]:
    """Return (templates, where they are from) of a set. Raises SetError if its own file has a line without a class's
    place.
    """
    for file in OWN:
        if (folder / file).is_file():
            return read_templates(folder / file), file
    known = _read_clip_benchmark("en_zeroshot_classification_templates.json").get(_clip_benchmark_name(set_name))
    if isinstance(known, list) and all(isinstance(line, str) and _PLACE.search(line) for line in known):
        return known, f"clip-benchmark's for {_clip_benchmark_name(set_name)}"
    from open_clip import OPENAI_IMAGENET_TEMPLATES

    return [template("{}") for template in OPENAI_IMAGENET_TEMPLATES], IMAGENET


def read_templates(path: Path) -> list[str]:
    """Return a file's templates, a line each. Raises SetError."""
    templates = read_lines(path)
    if not templates or not all(map(_PLACE.search, templates)):
        raise SetError(f"{path} must have a template with {{}} or {{c}} on each line, where the class's name stands")
    return templates


def classes_of(set_name: str) -> list[str] | None:
    """Return the class names that the package clip-benchmark has for a set of this name; None without it."""
    known = _read_clip_benchmark("en_classnames.json").get(_clip_benchmark_name(set_name))
    return known if isinstance(known, list) else None


def read_lines(path: Path) -> list[str]:
    """Return the lines of a text file that have anything. Raises SetError if it is no text."""
    return [line for line in read_text(path).splitlines() if line.strip()]


def read_text(path: Path) -> str:
    """Return a text file. Raises SetError if it is none."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise SetError(f"{path} is not UTF-8 at byte {error.start}; save it as UTF-8") from None
    except OSError as error:
        raise SetError(f"{path} cannot be read: {error.strerror}") from None


def _clip_benchmark_name(set_name: str) -> str:
    """A set's name as clip-benchmark knows it: `wds_vtab-cifar10_test` of DataComp is `cifar10`."""
    plain = set_name.lower().removeprefix("wds_").removesuffix("_test").replace("-", "_")
    return plain.removeprefix("vtab_").removeprefix("fairness_")


@cache
def _read_clip_benchmark(file: str) -> dict[str, Any]:
    spec = find_spec("clip_benchmark")
    folders: Sequence[str] = (spec.submodule_search_locations or []) if spec is not None else []
    for folder in folders:
        path = Path(folder) / "datasets" / file
        if path.is_file():
            loaded = json.loads(path.read_text(encoding="utf-8"))
            return loaded if isinstance(loaded, dict) else {}
    return {}

"""The evaluators: each file of `train/evaluate/evaluators` is one, and its name is the evaluator's.

An evaluator's module has

    OPTIONS = {"seeds": 3}                       what may be set, with the defaults
    def refuses(what, shared) -> str             why it cannot examine a set, as a sentence's end; empty if it can
    def evaluate(view) -> Row                    examines one

`runs_by_default(what, shared)` may say that it examines a set only where it is asked for, and `LEAST = {"seeds": 1}`
how small an option's numbers may be.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from train.evaluate.results.row import Row
    from train.evaluate.sets import ImageSet
    from train.evaluate.view import View

_FOLDER = Path(__file__).parent / "evaluators"


class Module(Protocol):
    """What an evaluator's module has."""

    OPTIONS: Mapping[str, Any]

    def refuses(self, what: ImageSet, shared: Mapping[str, Any]) -> str:
        """Return why it cannot examine a set; empty if it can."""

    def evaluate(self, view: View) -> Row:
        """Examine a set."""


@dataclass(frozen=True)
class Evaluator:
    """An evaluator, with the options that it runs by."""

    name: str
    module: Module
    options: Mapping[str, Any]

    def by_default(self, what: ImageSet, shared: Mapping[str, Any]) -> bool:
        """Return whether it examines a set where nobody asked for it."""
        allows = getattr(self.module, "runs_by_default", None)
        return True if allows is None else bool(allows(what, shared))


def names() -> list[str]:
    """Return all evaluators, by what their files are called; nothing is imported."""
    return sorted(path.stem for path in _FOLDER.glob("*.py") if not path.stem.startswith("_"))


def check(wanted: Sequence[str]) -> None:
    """Raise ValueError, in a sentence, if there is no such evaluator."""
    for name in wanted:
        if name not in names():
            near = difflib.get_close_matches(name, names(), 1)
            hint = f", did you mean {near[0]}?" if near else ""
            raise ValueError(f"there is no evaluator {name!r}{hint}; the evaluators are {', '.join(names())}")


def evaluators(wanted: Mapping[str, Mapping[str, Any]]) -> list[Evaluator]:
    """Return evaluators by their names, with the options that were set. Raises ValueError."""
    check(list(wanted))
    chosen = []
    for name, options in wanted.items():
        module: Any = importlib.import_module(f"train.evaluate.evaluators.{name}")
        if unknown := [key for key in options if key not in module.OPTIONS]:
            known = ", ".join(module.OPTIONS) or "none"
            raise ValueError(f"{name} has no option {unknown[0]}; its options are: {known}")
        for key, value in options.items():
            default = module.OPTIONS[key]
            if not _is_like(value, default, getattr(module, "LEAST", {}).get(key)):
                raise ValueError(f"{name}.{key} must be such as {default!r}, not {value!r}")
        chosen.append(Evaluator(name, module, {**module.OPTIONS, **options}))
    return chosen


def _is_like(value: Any, default: Any, least: float | None) -> bool:
    """Whether an option's value is of its default's kind, its numbers of a list, too, and not below the least."""
    if isinstance(default, list):
        kinds = type(default[0]) if default else str
        return isinstance(value, list) and all(_is_like(each, kinds(0), least) for each in value)
    if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    return type(value) is type(default) and (least is None or value >= least)

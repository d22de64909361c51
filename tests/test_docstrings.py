"""What a docstring begins with: what a number is, or what a function does, before what it is of."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("bench", "crawl", "dataset", "demo", "filters", "openwit", "pipeline", "train")
PREPOSITIONS = frozenset(["As", "At", "By", "For", "From", "In", "Of", "On", "Within", "Without"])


def docstrings() -> Iterator[tuple[str, str]]:
    """Yield the place and the text of each docstring of a function, a class, a constant or a config key."""
    for path in (path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            body = getattr(node, "body", None)
            for statement in body[isinstance(node, ast.Module) :] if isinstance(body, list) else ():
                match statement:
                    case ast.Expr(value=ast.Constant(value=str() as text)):
                        yield f"{path.relative_to(ROOT)}:{statement.lineno}", text


def test_no_docstring_begins_with_what_it_is_of() -> None:
    found = list(docstrings())
    assert len(found) > 2_000
    assert [(place, text) for place, text in found if text.split()[0].rstrip(",") in PREPOSITIONS] == []


PARTICIPLES = frozenset((
    "made", "told", "found", "kept", "given", "taken", "said", "asked", "done",
    "ended", "gone", "held", "known", "meant", "left", "shown", "begun",
))  # fmt: skip


def test_no_function_is_called_by_a_bare_participle() -> None:
    """`_told`, `made`: whoever meets such a call must look up what it does. A verb says so, or what it returns."""
    trees = [ast.parse(path.read_text(encoding="utf-8")) for room in ROOMS for path in (ROOT / room).rglob("*.py")]
    names = {node.name.strip("_") for tree in trees for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    assert len(names) > 1_000 and names & PARTICIPLES == set()

"""A class's name tells it from every other: who reads `Response` or finds it by a search meets one."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("openwit", "dataset", "crawl", "filters", "train", "pipeline")
TWICE: dict[str, str] = {}
"""Public class names that may stand in several modules, and why. It is meant to stay empty."""


def test_no_public_class_has_the_name_of_another() -> None:
    places = defaultdict(list)
    for path in (path for room in ROOMS for path in (ROOT / room).rglob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert len(places) > 200
    assert {name: where for name, where in places.items() if len(where) > 1 and name not in TWICE} == {}

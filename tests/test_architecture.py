"""The arrows between the rooms point one way."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ALLOWED = {
    "dataset": {"dataset"},
    "crawl": {"crawl", "dataset"},
    "filters": {"filters", "dataset"},
    "train": {"train", "dataset"},
    "pipeline": {"pipeline", "crawl", "filters", "train", "dataset"},
    "openwit": {"openwit", "pipeline", "train", "dataset"},
}
HEAVY = {"dataset": {"ray", "torch"}, "train": {"ray", "duckdb", "fasttext", "pydantic"}}


WINGS = {
    "dataset/store": {"dataset.query", "dataset.webdataset"},
    "dataset/ledger": {"dataset.query", "dataset.webdataset"},
    "dataset/webdataset": {"dataset.query"},
    "crawl/archives": {"crawl.pages", "crawl.wat", "crawl.candidates", "crawl.web"},
    "crawl/pages": {"crawl.archives", "crawl.candidates", "crawl.web"},
    "pipeline/workers": {"pipeline.stages", "pipeline.reports", "pipeline.query_list", "pipeline.training"},
    "pipeline/engine": {"pipeline.stages", "pipeline.reports", "pipeline.query_list", "pipeline.training"},
    "pipeline/stages": {"pipeline.reports", "pipeline.query_list", "pipeline.training"},
}
"""What a wing of a room must not import."""


def imports(path: Path) -> set[str]:
    """The first part of every module that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module.partition(".")[0])
    return found


def imported_modules(path: Path) -> set[str]:
    """The modules that a file imports, and the names that it imports from them, as `module.name`."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


@pytest.mark.parametrize("room", ALLOWED)
def test_a_room_imports_only_the_rooms_below_it(room: str) -> None:
    files = list((ROOT / room).rglob("*.py"))
    assert files
    for path in files:
        above = (imports(path) & (set(ALLOWED) | {"demo"})) - ALLOWED[room]
        assert not above, f"{path.relative_to(ROOT)} imports {above}"
        heavy = imports(path) & HEAVY.get(room, set())
        assert not heavy, f"{path.relative_to(ROOT)} imports {heavy}"


@pytest.mark.parametrize("wing", WINGS)
def test_a_wing_imports_only_what_is_below_it(wing: str) -> None:
    files = list((ROOT / wing).rglob("*.py"))
    assert files
    for path in files:
        names = imported_modules(path)
        above = {name for name in names for banned in WINGS[wing] if f"{name}.".startswith(f"{banned}.")}
        assert not above, f"{path.relative_to(ROOT)} imports {above}"


def test_opening_a_dataset_needs_neither_ray_nor_torch() -> None:
    modules = "dataset.query.views, dataset.ledger.commits, dataset.webdataset.shards"
    code = f"import sys; sys.modules['ray'] = sys.modules['torch'] = None; import {modules}"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


MANY = {"bench"}
"""Rooms that hold more than a dozen modules on one level: a bench is a claim of its own, and a command."""


def test_no_file_is_longer_than_400_lines() -> None:
    files = [path for room in (*ALLOWED, "bench", "demo", "tests") for path in (ROOT / room).rglob("*.py")]
    lengths = {str(path.relative_to(ROOT)): path.read_bytes().count(b"\n") for path in files}
    assert {name: length for name, length in lengths.items() if length > 400} == {}


def test_no_room_has_more_than_a_dozen_modules() -> None:
    rooms = [folder for room in (*ALLOWED, "bench", "demo") for folder in (ROOT / room, *(ROOT / room).rglob("*/"))]
    modules = {room: [path for path in room.glob("*.py") if path.name != "__init__.py"] for room in rooms}
    assert {str(room.relative_to(ROOT)) for room, inside in modules.items() if len(inside) > 12} <= MANY


def test_what_a_stage_runs_fits_on_a_screen() -> None:
    trees = [(path, ast.parse(path.read_text())) for path in (ROOT / "pipeline/stages").rglob("*.py")]
    runs = {
        str(path.relative_to(ROOT)): node.end_lineno - node.lineno + 1
        for path, tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and node.name == "run" and node.end_lineno
    }
    assert len(runs) > 10 and {path: lines for path, lines in runs.items() if lines > 50} == {}

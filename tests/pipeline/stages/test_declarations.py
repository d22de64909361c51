"""What the stages declare holds together, and nobody says it twice."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from dataclasses import Field, fields
from pathlib import Path
from typing import Any

import pytest

from dataset.reasons import TRANSIENT, reasons
from dataset.stages import Stage, names, path, table_names, tables
from pipeline.config import Config
from pipeline.engine.phase import PHASES

ROOT = Path(__file__).resolve().parents[3]
ROOMS = ("dataset", "crawl", "filters", "pipeline", "train", "openwit", "demo", "sql")
OF_A_RUN = {"sources", "out", "name", "against", "allow_programs", "seed", "run"}
"""Keys of the config that are no stage's."""


@pytest.mark.parametrize("stage", path(), ids=lambda stage: stage.name)
def test_a_stage_has_the_phases_that_it_declares(stage: Stage) -> None:
    for declared in path():
        declared.load()
    assert {name for name, phase in PHASES.items() if phase.stage is stage and not phase.of} == set(stage.phases)


def test_a_phase_and_its_function_have_one_name() -> None:
    for declared in path():
        declared.load()
    of_the_path = {name: phase for name, phase in PHASES.items() if phase.stage in path() and not phase.of}
    for name, phase in of_the_path.items():
        own = name.partition(".")[2].rstrip("0123456789")  # of several that one function makes
        assert own == phase.function.__name__.strip("_"), f"{name} is the function {phase.function.__name__}"


def test_every_section_of_the_config_is_a_stages() -> None:
    sections = {section for stage in path() for section in stage.sections}
    assert sections == {item.name for item in fields(Config)} - OF_A_RUN


def test_a_phases_name_stands_in_its_stage_alone() -> None:
    declared = {name: stage.name for stage in path() for name in stage.phases}
    keys = {f"{item.name}.{key.name}" for item in fields(Config) for key in _keys(item.default_factory)}
    sought = set(declared) - keys  # what is a key as well may be meant as one
    for file in [file for room in ROOMS for file in (ROOT / room).rglob("*") if file.suffix in (".py", ".sql")]:
        for name in set(re.findall(r"\w+\.\w+", "\n".join(_literals(file)))) & sought:
            home = ROOT / "pipeline" / "stages" / declared[name]
            assert home in file.parents, f"{file.relative_to(ROOT)} says {name}, which is {declared[name]}'s to say"


def _keys(section: Any) -> list[Field[Any]]:
    return list(fields(section)) if hasattr(section, "__dataclass_fields__") else []


def _literals(file: Path) -> list[str]:
    """A Python file's strings, docstrings aside; a SQL file's lines, comments aside."""
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".sql":
        return [line.partition("--")[0] for line in text.splitlines()]
    tree = ast.parse(text)
    prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    strings = (node for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str))
    return [node.value for node in strings if id(node) not in prose]  # type: ignore[misc]


def test_a_misspelt_table_is_named_and_not_silently_empty() -> None:
    with pytest.raises(KeyError, match="no stage gives a table pears; there are candidates, sources, texts"):
        tables("pears")
    assert len(set(table_names())) == len(table_names()) and len(set(names())) == len(names())


def test_reasons_are_told_in_the_order_of_the_path() -> None:
    known = reasons()
    assert (next(iter(known)), next(reversed(known))) == ("url_invalid", "quarantined")
    assert known["query_full"][0] == "prebalance, balance"
    assert set(known) >= TRANSIENT


def test_declarations_import_nothing_heavy() -> None:
    code = "import sys, pipeline.stages; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"duckdb", "ray", "torch", "pyarrow.dataset", "pydantic", "pipeline.config", "pipeline.engine.run"}
    assert not heavy & set(done.stdout.split())

"""Paths are not patterns: a dataset is read and written whatever its folder is called, and its neighbours are not."""

from __future__ import annotations

from pathlib import Path

import pytest

import dataset
from pipeline.cli import main
from tests.pipeline.dataset_fixture import HandMade

NAMES = ("it's", "a*b", "c[1]", "q?r", 'dq"x', "back\\slash", "b\\*", "sp ace", " lead", "new\nline", "{a,b}", "%41",
         "#h", "a;b", "url=1", "~t", "$HOME", "x:y", "ünï", "x.tar", "\x1b[31mred", "x\u202ey", "a&b|c",
         "<i>")  # fmt: skip
NEIGHBOURS = ("axb", "c1", "qxr", "ax", "b*")
COMMANDS = (
    ["status", "OUT"],
    ["sql", "OUT", "SELECT * FROM candidates"],
    ["audit", "OUT", "conservation"],
    ["explain", "OUT", "http://a.example/1.jpg"],
    ["report", "OUT"],
    ["balance", "OUT", "--caps", "5"],
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Datasets by all the names, beside each other; each has a pair of its own."""
    folder = tmp_path_factory.mktemp("names")
    for number, name in enumerate((*NAMES, *NEIGHBOURS)):
        rows = [
            {"url": "http://a.example/1.jpg", "text": f"rose {number}"},
            {"url": "http://a.example/2.jpg", "text": "x", "drop": ("text", "text_too_short", {})},
        ]
        HandMade(folder / name, name="n").write(rows)
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_a_dataset_is_read_by_its_own_name_alone(
    folder: Path, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    for out in (str(folder / name), name):
        found = dataset.open(out).sql("SELECT text FROM candidates ORDER BY ordinal").fetchall()
        assert found == [(f"rose {NAMES.index(name)}",), ("x",)]
    assert main(["status", name]) == 0, capsys.readouterr().err


@pytest.mark.parametrize("name", ["it's", "a*b", "b\\*", "c[1]"])
@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_every_command_takes_every_name(
    folder: Path, name: str, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    argv = [str(folder / name) if word == "OUT" else word for word in command]
    assert main(argv) == 0, capsys.readouterr().err
    assert (folder / name / "report.html").exists() or command[0] != "report"

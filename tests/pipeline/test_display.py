"""A stranger's text moves no cursor, reorders no line and hides nothing; files keep their data."""

from __future__ import annotations

import csv
import io
import json
import logging
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataset.display import UNSAFE, clean, escaped_json, no_formula
from pipeline.cli import main
from tests.pipeline.dataset_fixture import HandMade

HOSTILE = "\x1b]0;owned\x07\x9b31m\u202egpj.\u2066x\u2069\U000e0041\U000e0042\u200f\u2028"
FORMULA = "=HYPERLINK(1)"


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A dataset in which everything that a stranger chooses is hostile, its folder's name, too."""
    made = HandMade(tmp_path_factory.mktemp("display") / f"out{HOSTILE}", name="n")
    drop = ("text", "text_too_short", {"a": HOSTILE})
    rows = [
        {"url": "http://a.example/1.jpg", "text": f"{HOSTILE} a rose"},
        {"url": "http://a.example/2.jpg", "text": FORMULA},
        {"url": "http://a.example/3.jpg", "text": "x", "drop": drop},
    ]
    return made.write(rows, error=f"cannot be read {HOSTILE}")


@pytest.mark.parametrize(
    "command",
    [
        ["status", "OUT"],
        ["sql", "OUT", "SELECT text FROM candidates"],
        ["sql", "OUT", f"SELECT '{HOSTILE}' AS \"{HOSTILE}\""],
        ["sql", "OUT", "SELECT text FROM candidates", "--format", "json"],
        ["sql", "OUT", f"SELECT nosuch{HOSTILE}"],
        ["audit", "OUT", "sources_failed"],
        ["audit", "OUT", HOSTILE],
        ["explain", "OUT", "http://a.example/3.jpg"],
        ["explain", "OUT", "http://a.example/3.jpg", "--format", "json"],
        ["report", "OUT"],
        ["status", f"/nowhere/{HOSTILE}"],
        ["run", f"/nowhere/{HOSTILE}.yaml"],
        ["run", f"/nowhere/{HOSTILE}.yaml", "--debug"],
    ],
    ids=str,
)
def test_no_command_prints_what_a_terminal_obeys(
    out: str, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    main([out if word == "OUT" else word for word in command])
    printed = "".join(capsys.readouterr())
    assert printed.strip()
    assert not UNSAFE.search(printed)


def test_what_was_typed_wrongly_is_repeated_without_it(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["status", "a", HOSTILE])  # a shell's pattern finds whoever's files
    printed = "".join(capsys.readouterr())
    assert "unrecognized arguments" in printed and not UNSAFE.search(printed)


def test_a_page_shows_nothing_that_reorders_or_hides(out: str) -> None:
    main(["report", out])
    assert not UNSAFE.search((Path(out) / "report.html").read_text())


def test_csv_and_json_keep_the_data(out: str, capsys: pytest.CaptureFixture[str]) -> None:
    query = "SELECT text FROM candidates ORDER BY ordinal"
    for form in ("csv", "json"):
        main(["sql", out, query, "--format", form])
        printed = capsys.readouterr().out
        if form == "json":
            texts = [row["text"] for row in json.loads(printed)]
        else:
            texts = [row[0] for row in csv.reader(io.StringIO(printed, newline=""))][1:]
        assert texts == [f"{HOSTILE} a rose", FORMULA, "x"]


def test_a_spreadsheet_computes_nothing(out: str, capsys: pytest.CaptureFixture[str]) -> None:
    query = f"SELECT text, -1 AS number, '+1' AS \"{FORMULA}\" FROM candidates WHERE text = '{FORMULA}'"
    assert main(["sql", out, query, "--format", "csv", "--spreadsheet"]) == 0
    assert capsys.readouterr().out == f"text,number,'{FORMULA}\n'{FORMULA},-1,'+1\n"
    for begin in "=+-@\t\r＝＋－＠":
        assert no_formula(f"{begin}1") == f"'{begin}1"


def test_a_log_says_it_plainly(out: str, capsys: pytest.CaptureFixture[str]) -> None:
    main(["status", out])
    capsys.readouterr()
    logging.getLogger("wit").warning("%s is damaged", HOSTILE)
    printed = capsys.readouterr().err
    assert "is damaged" in printed
    assert not UNSAFE.search(printed)


@given(st.text())
def test_json_with_escapes_is_the_same_data(text: str) -> None:
    told = json.dumps({text: text}, ensure_ascii=False)
    assert json.loads(escaped_json(told)) == {text: text}
    assert not UNSAFE.search(escaped_json(told))


@given(st.text(st.characters(categories=["L", "N", "P", "S", "Zs"])))
def test_what_is_written_for_people_stays_as_it_is(text: str) -> None:
    assert clean(text) == text

"""The forms of an answer: a table for people, and data whole in every other."""

from __future__ import annotations

import csv
import io
import json
import math
import signal
import threading
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest

from pipeline.asking.answers import as_table, form_of
from pipeline.asking.interrupt import interruptible
from pipeline.cli import main
from tests.pipeline.dataset_fixture import HandMade

HARD = "a | b\n\x1b[31mred \u202e" + "x" * 300
QUERY = """SELECT 1234567 AS number, text, ['a', NULL] AS list, {'a': 1} AS struct, 'nan'::DOUBLE AS none,
    1.50::DECIMAL(9,2) AS part, DATE '2020-01-02' AS day, '\\xAA'::BLOB AS bytes FROM candidates ORDER BY text"""
ROWS = [
    {"number": 1234567, "text": text, "list": ["a", None], "struct": {"a": 1}, "none": None, "part": 1.5,
     "day": "2020-01-02", "bytes": "aa"}
    for text in sorted([HARD, "rose"])
]  # fmt: skip


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> str:
    rows = [{"url": "http://a.example/1.jpg", "text": "rose"}, {"url": "http://a.example/2.jpg", "text": HARD}]
    return HandMade(tmp_path_factory.mktemp("answers") / "out").write(rows)


def test_json_and_its_lines_hold_the_data(out: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sql", out, QUERY, "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == ROWS
    assert main(["sql", out, QUERY, "--format", "jsonl"]) == 0
    printed = capsys.readouterr().out
    assert [json.loads(line) for line in printed.splitlines()] == ROWS
    assert "\x1b" not in printed
    assert main(["sql", out, "SELECT 1 AS a WHERE false", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_csv_holds_the_data_and_lists_as_json(out: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sql", out, QUERY, "--format", "csv"]) == 0
    found = list(csv.DictReader(io.StringIO(capsys.readouterr().out, newline="")))
    assert [row["text"] for row in found] == sorted([HARD, "rose"])
    assert {row["list"] for row in found} == {'["a", null]'} and {row["bytes"] for row in found} == {"aa"}


def test_csv_sends_a_terminal_nothing_that_it_obeys(
    out: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for is_terminal in (True, False):
        monkeypatch.setattr("sys.stdout.isatty", lambda is_terminal=is_terminal: is_terminal)
        assert main(["sql", out, "SELECT text, [text] AS list FROM candidates", "--format", "csv"]) == 0
        printed = capsys.readouterr().out
        assert "red " in printed and ("\x1b" in printed) is not is_terminal


def test_markdown_is_a_table_of_markdown(out: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sql", out, "SELECT 1234567 AS n, text FROM candidates ORDER BY text", "--format", "markdown"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["| n | text |", "| ---: | --- |"]
    assert lines[2].startswith("| 1,234,567 | a \\| b<br>�[31mred �xxx") and len(lines) == 4


@pytest.mark.parametrize("name", ["a.csv", "a.json", "a.jsonl", "a.ndjson", "a.parquet", "a.md", "a.txt", "a"])
def test_a_files_name_says_its_form(out: str, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sql", out, QUERY, "--output", str(tmp_path / name)]) == 0
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert main(["sql", out, QUERY, "--output", str(tmp_path / "b"), "--format", form_of(None, name)]) == 0
    assert (tmp_path / name).read_bytes() == (tmp_path / "b").read_bytes()
    assert capsys.readouterr().out == ""


def test_parquet_keeps_the_types(out: str, tmp_path: Path) -> None:
    assert main(["sql", out, QUERY, "--output", str(tmp_path / "a.parquet")]) == 0
    found = pq.read_table(tmp_path / "a.parquet")
    assert [str(field.type) for field in found.schema][:2] == ["int32", "string"]
    assert found["list"].to_pylist() == [["a", None]] * 2
    assert found["text"].to_pylist() == sorted([HARD, "rose"]) and math.isnan(found["none"][0].as_py())


def test_no_answer_is_written_into_the_dataset(out: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "link").symlink_to(out)
    before = sorted(Path(out).rglob("*"))
    for place in (f"{out}/new.csv", f"{out}/manifest.json", f"{tmp_path}/link/shards/x.csv", f"{out}/../out/x"):
        assert main(["sql", out, "FROM funnel", "--output", place]) == 2
        assert "is inside the dataset" in capsys.readouterr().err
    assert sorted(Path(out).rglob("*")) == before


def test_a_file_is_there_when_its_answer_is_whole(out: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.csv").write_text("before")
    fails = "SELECT CASE WHEN i < 15000 THEN i ELSE error('too far') END FROM range(20000) t(i)"
    assert main(["sql", out, fails, "--output", str(tmp_path / "a.csv")]) == 2
    assert "too far" in capsys.readouterr().err
    assert [path.read_text() for path in tmp_path.iterdir()] == ["before"]
    assert main(["sql", out, "FROM funnel", "--output", str(tmp_path / "new" / "a.csv")]) == 0
    assert main(["sql", out, "FROM funnel", "--output", str(tmp_path / "a.csv" / "a.csv")]) != 0


def test_a_query_comes_from_a_file_or_from_standard_input(
    out: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "q.sql"
    file.write_text("\ufeff-- é\nSELECT 'é' AS a;\n", encoding="utf-8")
    assert main(["sql", out, "--file", str(file), "--format", "csv"]) == 0
    for arguments in ([], ["-"]):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(file.read_bytes())))
        assert main(["sql", out, *arguments, "--format", "csv"]) == 0
    assert capsys.readouterr().out == "a\né\n" * 3
    file.write_bytes(b"SELECT '\xff'")
    assert main(["sql", out, "--file", str(file)]) == 2
    assert main(["sql", out, "SELECT 1", "--file", str(file)]) == 2
    assert main(["sql", out, "--file", str(tmp_path / "none.sql")]) == 2


@pytest.mark.parametrize("command", [["status"], ["audit", "dropped_by_reason"], ["balance", "--caps", "1,2"]])
def test_every_command_that_answers_knows_every_form(
    out: str, command: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    counts = set()
    for form in ("json", "jsonl", "csv", "markdown", "parquet"):
        target = tmp_path / form
        done = main([command[0], out, *command[1:], "--format", form, "--output", str(target)])
        assert done == 0, capsys.readouterr().err
        read = {
            "json": lambda path: len(json.loads(path.read_text())),
            "parquet": lambda path: pq.read_metadata(path).num_rows,
            "markdown": lambda path: len(path.read_text().splitlines()) - 2,
            "csv": lambda path: len(path.read_text().splitlines()) - 1,
            "jsonl": lambda path: len(path.read_text().splitlines()),
        }[form]
        counts.add(read(target))
    assert len(counts) == 1


def test_on_a_terminal_wide_texts_are_cut_and_no_row_is_folded() -> None:
    rows: list[tuple[Any, ...]] = [(1, "x" * 500 + "\nsecond line"), (2, "short")]
    lines = as_table(["n", "text"], rows, 60).splitlines()
    assert len(lines) == 3 and max(map(len, lines)) <= 60 and "…" in lines[1]
    assert "x" * 500 in as_table(["n", "text"], rows)


def test_a_wide_column_does_not_take_a_narrow_one_s_room() -> None:
    line = as_table(["text", "url", "n"], [["a red rose in a garden", "x" * 500, 7]], 60).splitlines()[1]
    assert line.startswith("a red rose in a garden  xxx") and line.endswith("…  7") and len(line) == 60
    assert as_table(["text", "url"], [["t" * 99, "u" * 500]], 60).splitlines()[1] == f"{'t' * 28}…  {'u' * 28}…"


def test_ctrl_c_stops_a_query_and_not_its_connection() -> None:
    connection = duckdb.connect()
    main_thread = threading.main_thread().ident
    assert main_thread is not None
    begun = threading.Event()

    def work() -> Any:
        begun.set()
        return connection.sql("SELECT count(*) FROM range(100_000_000_000) t(i) WHERE hash(i) % 7 = 3").fetchall()

    def press() -> None:
        assert begun.wait(60)
        signal.pthread_kill(main_thread, signal.SIGINT)

    threading.Thread(target=press, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        interruptible(connection, work)
    assert interruptible(connection, lambda: connection.sql("SELECT 7").fetchall()) == [(7,)]


def test_what_goes_wrong_in_a_query_is_raised() -> None:
    with pytest.raises(duckdb.Error, match="nothing"):
        interruptible(duckdb.connect(), lambda: duckdb.sql("FROM nothing"))

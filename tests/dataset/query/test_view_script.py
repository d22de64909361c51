"""views.sql: a bare DuckDB has the views of `wit sql`, wherever the dataset lies and from wherever it is asked."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dataset.ledger.damage import DamagedError
from dataset.query.view_columns import VIEW_COLUMNS, markdown, types
from dataset.query.view_script import NAME, script, write
from dataset.query.views import Dataset
from dataset.store.storage import Storage
from pipeline.cli import main
from tests.pipeline.dataset_fixture import HandMade

SHELL = Path(sys.executable).with_name("duckdb")
ROWS = [
    {"url": "http://a.example/1.jpg", "text": "a rose; -- 'quoted'"},
    {"url": "http://a.example/2.jpg", "text": "b", "drop": ("text", "text_too_short", {"characters": 1})},
    {"url": "http://b.example/3-300x200.jpg", "text": "a tree", "drop": ("balance", "query_full", {"query_id": 0})},
]


def made(out: Path, to: str = "pack") -> Path:
    hand_made = HandMade(out)
    hand_made.write(ROWS, error="cut; here", to=to)
    schema = pa.schema([("row", pa.uint32()), ("my ' score\n.shell", pa.float32())])
    hand_made.commit("image.custom", {"measures": (pa.table([[0], [0.5]], schema=schema), schema)})
    hand_made.manifest({"text": {"input": 3, "kept": 2, "dropped": 1}}, complete=True)
    write(Storage(str(out)))
    return out


def bare(text: str, dataset: Path | None = None) -> duckdb.DuckDBPyConnection:
    """A DuckDB with nothing of ours that has read a script."""
    connection = duckdb.connect()
    if dataset is not None:
        connection.execute("SET VARIABLE dataset = $1", [str(dataset)])
    connection.execute(text)
    return connection


def check_equal(connection: duckdb.DuckDBPyConnection, out: Path) -> None:
    ours = Dataset(str(out))
    for view in VIEW_COLUMNS:
        for query in (f"DESCRIBE {view}", f"SELECT * FROM {view} ORDER BY ALL"):
            assert connection.execute(query).fetchall() == ours.sql(query).fetchall(), view
    order = "SELECT stage FROM funnel"
    assert connection.execute(order).fetchall() == ours.sql(order).fetchall()


@pytest.mark.parametrize("name", ["out", "a*b [c]? 'd' é", "x/y/z"])
def test_a_bare_duckdb_has_the_views_of_wit_sql(tmp_path: Path, name: str) -> None:
    out = made(tmp_path / name)
    check_equal(bare((out / NAME).read_text(), out), out)


def test_a_pair_id_alone_finds_its_rows(tmp_path: Path) -> None:
    out = made(tmp_path / "out")
    connection, ours = bare((out / NAME).read_text(), out), Dataset(str(out))
    pairs = ours.sql("SELECT url, pair_id FROM candidates").fetchall()
    for view in ("candidates", "matches", "images", "dropped", "scores", "pairs"):
        key = "url" if view == "images" else "pair_id"
        for url, pair_id in pairs:
            value = url if view == "images" else pair_id
            wanted = connection.execute(f"SELECT * FROM {view} WHERE {key} = $1 ORDER BY ALL", [value]).fetchall()
            by_id = f"SELECT * FROM {view}('{pair_id}') ORDER BY ALL"
            assert connection.execute(by_id).fetchall() == ours.sql(by_id).fetchall() == wanted, view


@pytest.mark.skipif(not SHELL.exists(), reason="DuckDB's shell, duckdb-cli, is not installed: make setup")
def test_duckdbs_own_shell_of_another_version_has_them(tmp_path: Path) -> None:
    out = made(tmp_path / "mine [b] 'c'")
    ours = Dataset(str(out))
    ((pair_id,),) = ours.sql("SELECT min(pair_id) FROM pairs").fetchall()
    texts = [f"(SELECT string_agg(v::VARCHAR, chr(10) ORDER BY v::VARCHAR) FROM {view} AS v)" for view in VIEW_COLUMNS]
    by_id = ("candidates", "images", "matches", "scores", "pairs")
    wanted = ours.sql(f"SELECT md5(concat({', '.join(texts)}))").fetchall()[0][0]
    queries = [f"SELECT md5(concat({', '.join(texts)}))", *(f"SELECT count(*) FROM {v}('{pair_id}')" for v in by_id)]
    queries += [f"SELECT count(*) FROM candidates WHERE pair_id = '{pair_id}'"]
    answers = [str(ours.sql(query).fetchall()[0][0]) for query in queries[1:]]
    assert set(answers) == {"1"} and len(wanted) == 32
    for folder, first in ((out, ["-init", NAME]), (tmp_path, ["-init", f"{out.name}/{NAME}"])):
        command = [str(SHELL), "-csv", "-noheader", *first, "-c", "; ".join(queries)]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        assert done.stdout.split() == [wanted, *answers], done.stderr


@pytest.mark.parametrize("below", ["out", "data/out", "data/mine/out", "../out", "../other/out", "."])
def test_it_is_found_around_the_current_folder(tmp_path: Path, below: str, monkeypatch: pytest.MonkeyPatch) -> None:
    here = tmp_path / "a" / "b"
    here.mkdir(parents=True)
    out = made((here / below).resolve())
    monkeypatch.chdir(here)
    check_equal(bare((out / NAME).read_text()), out)


def test_a_sibling_that_has_many_of_its_files_is_not_taken_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = made(tmp_path / "out")
    for sibling in ("a", "out/z [b]"):
        shutil.copytree(out, tmp_path / "copy")
        (tmp_path / "copy").rename(tmp_path / sibling)
        shutil.rmtree(tmp_path / sibling / "image")
    monkeypatch.chdir(tmp_path)
    check_equal(bare((out / NAME).read_text()), out)


def test_a_moved_dataset_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = made(tmp_path / "before")
    text = (out / NAME).read_text()
    assert str(tmp_path) not in text
    moved = out.rename(tmp_path / "after")
    check_equal(bare(text, moved), moved)
    assert not write(Storage(str(moved)))


def test_where_it_is_not_found_it_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (made(tmp_path / "one" / "out") / NAME).read_text()
    (tmp_path / "a/b/c/d").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a/b/c/d")
    monkeypatch.setenv("HOME", str(tmp_path / "a/b"))
    with pytest.raises(duckdb.Error, match="SET VARIABLE dataset to its folder before this file is read"):
        bare(text)


def test_two_datasets_are_asked_one_after_the_other(tmp_path: Path) -> None:
    first, second = made(tmp_path / "first"), tmp_path / "second"
    HandMade(second).write(ROWS[:1])
    write(Storage(str(second)))
    connection = bare((first / NAME).read_text(), first)
    connection.execute("SET VARIABLE dataset = $1", [str(second)])
    connection.execute((second / NAME).read_text())
    assert connection.execute("SELECT count(*) FROM candidates").fetchall() == [(1,)]


def test_it_follows_the_commits_and_no_glob(tmp_path: Path) -> None:
    out = made(tmp_path / "out")
    (file,) = (out / "extract" / "candidates").glob("candidates-*.parquet")
    (file.parent / "candidates-00001-stale.parquet").write_bytes(file.read_bytes())
    check_equal(bare((out / NAME).read_text(), out), out)


def test_a_footer_that_has_rotted_and_says_other_columns_is_damaged(tmp_path: Path) -> None:
    """So that a run makes the file anew; one that was committed so is no dataset of ours."""
    out = made(tmp_path / "out")
    (file,) = out.glob("extract/candidates/candidates-*.parquet")
    table = pq.read_table(file)
    place = table.column_names.index("url")
    pq.write_table(table.set_column(place, "url", table["url"].cast(pa.binary())), file)
    with pytest.raises(DamagedError, match=file.name):
        script(Storage(str(out)))


def test_of_a_dataset_that_was_only_begun_every_view_is_there_and_empty(tmp_path: Path) -> None:
    begun = HandMade(tmp_path / "out")
    connection = bare(script(begun.storage))
    for view in set(VIEW_COLUMNS) - {"reasons", "settings"}:
        assert connection.execute(f"SELECT count(*) FROM {view}").fetchall() == [(0,)]


def test_no_view_and_no_column_lacks_its_sentence(tmp_path: Path) -> None:
    for view, (sentence, columns) in VIEW_COLUMNS.items():
        assert set(columns) == set(types()[view]), view
        for text in (sentence, *columns.values()):
            assert re.fullmatch(r"[A-Za-z0-9].+\.", text), text
    asked = Dataset(str(made(tmp_path / "out")))
    assert {row[0] for row in asked.sql("SHOW TABLES").fetchall()} == set(VIEW_COLUMNS)
    every = {row[0] for row in asked.sql("FROM (SHOW TABLES)").fetchall()}
    assert every > {*VIEW_COLUMNS, "_candidates", "_text_verdicts"}


def test_names_types_and_sentences_stand_in_it(tmp_path: Path) -> None:
    text = (made(tmp_path / "out") / NAME).read_text()
    for view, (sentence, columns) in VIEW_COLUMNS.items():
        assert f"-- {view}: {sentence}\n" in text
        for column, told in columns.items():
            assert f"--     {column} {types()[view][column]}: {told}\n" in text


def test_the_page_on_views_is_as_it_would_be_written() -> None:
    page = Path(__file__).parents[3] / "docs" / "views.md"
    assert page.read_text(encoding="utf-8") == markdown(), "python -m dataset.query.view_columns > docs/views.md"


def test_wit_status_gives_an_older_dataset_its_views(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = made(tmp_path / "out")
    for before in (None, "SELECT 'of an earlier state';"):
        (out / NAME).unlink()
        if before is not None:
            (out / NAME).write_text(before)
        assert main(["status", str(out)]) == 0
        check_equal(bare((out / NAME).read_text(), out), out)

    def refuse(*_: object) -> bool:
        raise PermissionError("read-only")

    monkeypatch.setattr("dataset.query.view_script.put", refuse)
    (out / NAME).unlink()
    assert main(["status", str(out)]) == 0  # it says how far the dataset is all the same
    assert not (out / NAME).exists()

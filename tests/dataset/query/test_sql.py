"""dataset.query.sql: SQL files over Arrow tables."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import takewhile

import duckdb
import pyarrow as pa
import pytest

from dataset.query import sql


@dataclass(frozen=True)
class Config:
    limit: int = 2
    names: tuple[str, ...] = ("a", "b")
    none: tuple[str, ...] = ()


def test_a_query_sees_the_tables_and_the_config() -> None:
    rows = pa.table({"row": pa.array([3, 1, 2], pa.uint32()), "name": ["c", "a", "b"]})
    query = "SELECT row FROM rows, config WHERE row <= config.limit AND list_contains(names, name) ORDER BY row"
    assert sql.run(query, {"rows": rows}, Config()).to_pydict() == {"row": [1, 2]}
    assert sql.run(query, {"rows": rows}, {"limit": 1, "names": ["a"]}).to_pydict() == {"row": [1]}


def test_an_empty_list_is_a_list_of_strings() -> None:
    assert sql.run("SELECT len(none) AS n FROM config", {}, Config()).to_pydict() == {"n": [0]}


def test_a_query_sees_nothing_else() -> None:
    secret = pa.table({"x": [1]})
    assert sql.run("SELECT * FROM other", {"other": secret}).equals(secret)
    for name in ("secret", "other"):  # a local variable, the table of the query before
        with pytest.raises(duckdb.CatalogException):
            sql.run(f"SELECT * FROM {name}", {})


def test_a_config_must_be_a_config() -> None:
    with pytest.raises(TypeError):
        sql.config_table(3)


def test_every_file_is_one_select_that_begins_with_a_sentence() -> None:
    files = sorted(sql.FOLDER.rglob("*.sql"))
    assert {path.parent.name for path in files} >= {"audits", "decisions", "dedup", "exchange", "report", "views"}
    for path in files:
        text = path.read_text()
        comment = " ".join(line.removeprefix("--").strip() for line in takewhile(_is_comment, text.splitlines()))
        assert "." in comment, path
        assert len(duckdb.extract_statements(text)) == 1, path
        assert path.parent.name not in ("decisions", "dedup") or "ORDER BY" in text, path


def _is_comment(line: str) -> bool:
    return line.startswith("--")


def test_an_unknown_file_is_an_error() -> None:
    with pytest.raises(FileNotFoundError):
        sql.load("decisions/no_such_decision")

"""A question answers. What else DuckDB could be made to do with it, it does not: nothing is written or read outside."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from dataset.query.questions import NotAQuestionError
from dataset.query.views import Dataset
from pipeline.cli import main
from tests.pipeline.dataset_fixture import HandMade

REFUSED = [
    "COPY (SELECT 1) TO 'TARGET'",
    "COPY pairs TO 'OUT/shards/new.parquet'",
    "COPY funnel FROM 'SECRET'",
    "EXPLAIN ANALYZE COPY (SELECT 1) TO 'TARGET'",
    "EXPLAIN (ANALYZE, FORMAT json) COPY (SELECT 1) TO 'TARGET'",
    "/* a */ EXPLAIN /* b */ ANALYZE -- c\n COPY (SELECT 1) TO 'TARGET'",
    "WITH a AS (COPY (SELECT 1) TO 'TARGET') FROM a",
    "WITH a AS (COPY (SELECT 1) TO 'OUT/PARQUET') FROM a",
    "WITH a AS NOT MATERIALIZED ( /* ( */\n copy (SELECT 1) TO 'TARGET') FROM a",
    "EXPLAIN ANALYZE WITH a AS (COPY (SELECT 1) TO 'TARGET') FROM a",
    "CREATE TEMP TABLE x AS WITH a AS (COPY (SELECT 1) TO 'TARGET') FROM a",
    "WITH a AS (DELETE FROM funnel RETURNING *) FROM a",
    "FROM json_execute_serialized_sql(json_serialize_sql('WITH a AS (COPY (SELECT 1) TO ''TARGET'') FROM a'))",
    "FROM \"JSON_execute_serialized_sql\"/**/(json_serialize_sql('WITH a AS (COPY (SELECT 1) TO ''TARGET'') FROM a'))",
    "FROM query('FROM json_execute' || '_serialized_sql(json_serialize_sql(''WITH a AS (COPY (SELECT 1) TO ' || "
    "'''''TARGET'''') FROM a''))')",
    "PRAGMA json_execute_serialized_sql('x')",
    "CREATE TEMP MACRO m() AS TABLE FROM query('SELECT 1')",
    "EXPORT DATABASE 'TARGET'",
    "IMPORT DATABASE 'FOLDER'",
    "ATTACH 'TARGET' AS x",
    "DETACH temp",
    "INSTALL httpfs",
    "LOAD httpfs",
    "SET enable_external_access = true",
    "SET GLOBAL lock_configuration = false",
    "SET VARIABLE a = 1",
    "RESET allowed_paths",
    "PRAGMA enable_profiling",
    "CALL enable_logging(storage = 'file', storage_path = 'TARGET')",
    "FROM enable_logging(storage = 'file', storage_path = 'TARGET')",
    "FROM enable_profiling(save_location = 'TARGET')",
    "CHECKPOINT",
    "VACUUM",
    "USE temp",
    "BEGIN",
    "PREPARE p AS COPY (SELECT 1) TO 'TARGET'",
    "EXECUTE p",
    "SELECT 1; COPY (SELECT 1) TO 'TARGET'",
    "CREATE TEMP TABLE x AS SELECT 1; DROP VIEW pairs",
    "DROP VIEW pairs",
    "ALTER VIEW pairs RENAME TO p",
    "COMMENT ON VIEW pairs IS 'x'",
    "INSERT INTO funnel VALUES (1)",
    "UPDATE funnel SET kept = 0",
    "MERGE INTO funnel USING pairs ON true WHEN MATCHED THEN DELETE",
    "CREATE TABLE x AS SELECT 1",
    "CREATE VIEW x AS SELECT 1",
    "CREATE SCHEMA x",
    "CREATE PERSISTENT SECRET (TYPE s3)",
    "CREATE TEMPORARY SECRET (TYPE s3)",
    "CREATE TYPE x AS ENUM ('a')",
    "CREATE OR REPLACE TEMP VIEW pairs AS SELECT 1",
    'CREATE TEMP TABLE IF NOT EXISTS "Dropped" AS SELECT 1',
    "CREATE TEMPORARY VIEW temp.main._candidates(a) AS SELECT 1",
    "EXPLAIN CREATE TEMP TABLE x AS SELECT 1",
    "UPDATE EXTENSIONS",
    "FORCE INSTALL spatial FROM community",
    "COPY FROM DATABASE memory TO temp",
    "ATTACH IF NOT EXISTS ':memory:' AS z",
    "ATTACH 'TARGET' (TYPE sqlite)",
    "PREPARE p AS FROM read_text($1); EXECUTE p('SECRET')",
    "PRAGMA memory_limit = '1GB'",
    "SET SESSION threads = 1",
    "FROM system.main.query('SELECT 1')",
    "SELECT query('SELECT 1')",
    "FROM query(E'SELECT 1')",
    "FROM pairs WHERE url IN (COPY (SELECT 1) TO 'TARGET')",
    "WITH RECURSIVE a AS (SELECT 1 UNION ALL COPY (SELECT 1) TO 'TARGET') FROM a",
    "FROM pairs |> COPY TO 'TARGET'",
    "CREATE TEMP TYPE x AS ENUM (SELECT text FROM pairs)",
    "CREATE TEMP SEQUENCE x",
    "CREATE INDEX x ON pairs(url)",
    "FROM disable_logging()",
    "CREATE TEMP MACRO hex(x) AS 'another'",
    "CREATE TEMP MACRO Read_Parquet(a, file_row_number := 1) AS TABLE SELECT 1",
    "CREATE OR REPLACE TEMP VIEW duckdb_views AS SELECT 1",
    "FROM main.query('SELECT 1')",
    "WITH a AS MATERIALIZED (INSERT INTO x VALUES (1) RETURNING *) SELECT * FROM a",
    "CALL force_checkpoint('memory')",
    "PRAGMA profiling_output = 'TARGET'",
    "SELECT 1;;;COPY (SELECT 1) TO 'TARGET'",
    "EXPLAIN ANALYZE INSERT INTO funnel SELECT 1",
    "COPY pairs TO '/dev/stdout'",
    "ATTACH 'http://127.0.0.1:9/x.duckdb' AS q",
    "",
    "-- nothing",
    ";",
]
OUTSIDE = [
    "FROM read_text('SECRET')",
    "FROM read_csv('SECRET')",
    "FROM read_csv('SECRET', store_rejects = true)",
    "FROM 'SECRET'",
    "FROM glob('FOLDER/*')",
    "FROM sniff_csv('SECRET')",
    "FROM read_duckdb('SECRET')",
    "FROM parquet_metadata('SECRET')",
    "CREATE TEMP TABLE x AS FROM read_blob('SECRET')",
    "FROM read_text('/proc/self/environ')",
    "FROM read_text('OUT/config.yaml')",
    "FROM read_text('OUT/../secret.csv')",
    "FROM 'https://a.example/b.parquet'",
    "FROM 's3://bucket/b.parquet'",
    "SELECT getenv('HOME')",
    "CREATE TEMP MACRO home() AS getenv(chr(72) || 'OME'); SELECT home()",
    "FROM query_table('SECRET')",
    "FROM query_table(['pairs', 'SECRET'])",
    "CREATE TEMP MACRO reading(x) AS TABLE FROM read_text(x); FROM reading('SECRET')",
    "CREATE TEMP VIEW seen AS FROM read_text('SECRET')",
    "FROM range(1) AS t, LATERAL (FROM read_text('SECRET'))",
    "EXPLAIN ANALYZE FROM read_text('SECRET')",
    "FROM read_csv('file://SECRET')",
    "FROM read_csv('gzip://SECRET')",
    "FROM read_single_csv_file('SECRET')",
    "FROM read_ndjson_objects('SECRET')",
    "FROM parquet_bloom_probe('SECRET', 'a', 1)",
    "FROM 'OUT/PARQUET/../../../../secret.csv'",
    "FROM read_text('/dev/stdin')",
    "FROM read_parquet('dataset-0123456789abcdef://manifest.json')",
    "FROM 'hf://datasets/a/b.csv'",
    "FROM 'gcs://bucket/b.parquet'",
    "FROM arrow_scan(1, 2, 3)",
    "FROM python_map_function()",
    "SELECT file_exists('SECRET')",
]
ASKED = [
    "FROM funnel",
    "SELECT 1 -- a\n;",
    "/* a */ EXPLAIN SELECT 1",
    "EXPLAIN ANALYZE (SELECT 1)",
    "EXPLAIN (FORMAT json) SELECT 1",
    "DESCRIBE pairs",
    "SUMMARIZE funnel",
    "SHOW TABLES",
    "VALUES ((1))",
    "PIVOT funnel ON stage USING sum(kept)",
    "SELECT query FROM queries WHERE query IN (SELECT query FROM queries)",
    "SELECT '(COPY' AS a",
    'SELECT 1 AS "COPY"',
    "SELECT (('query(1)'))",
    "CREATE TEMP TABLE mine AS SELECT 1 AS a",
    "CREATE TEMP TABLE mine AS SELECT 1 AS a; CREATE TEMP VIEW twice AS SELECT a * 2 AS b FROM mine; FROM twice",
    "CREATE OR REPLACE TEMPORARY MACRO twice(x) AS 2 * x; SELECT twice(21)",
    "CREATE TEMP MACRO hosts() AS TABLE SELECT url FROM candidates; FROM hosts()",
    "CREATE TEMP FUNCTION one() AS 1; SELECT one()",
]


@pytest.fixture
def out(tmp_path: Path) -> str:
    return HandMade(tmp_path / "out").write([{"url": "http://a.example/1.jpg", "text": "a rose"}])


def filled(statement: str, out: str, folder: Path) -> str:
    parquet = next(str(path.relative_to(out)) for path in sorted(Path(out).rglob("candidates-*.parquet")))
    places = {"TARGET": folder / "target", "SECRET": folder / "secret.csv", "FOLDER": folder, "OUT": out}
    statement = statement.replace("PARQUET", parquet)
    for name, place in places.items():
        statement = statement.replace(name, str(place))
    return statement


@pytest.fixture(autouse=True)
def unchanged(out: str, tmp_path: Path) -> Iterator[None]:
    (tmp_path / "secret.csv").write_text("a\n1\n")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    yield
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("allow_files", [False, True])
def test_what_would_do_more_than_answer_is_refused(out: str, tmp_path: Path, allow_files: bool) -> None:
    dataset = Dataset(out, allow_files=allow_files)
    for statement in REFUSED:
        try:
            dataset.sql(filled(statement, out, tmp_path)).fetchall()
        except (NotAQuestionError, duckdb.ParserException):
            continue
        pytest.fail(f"went through: {statement}")
    assert dataset.sql("SELECT count(*) FROM pairs").fetchall() == [(1,)]


def test_nothing_outside_the_dataset_is_read(out: str, tmp_path: Path) -> None:
    dataset = Dataset(out)
    for statement in OUTSIDE:
        with pytest.raises(duckdb.Error):
            dataset.sql(filled(statement, out, tmp_path)).fetchall()
    assert str(Path.home() / ".duckdb") not in str(dataset.sql("FROM duckdb_settings()").fetchall())
    assert dataset.sql("FROM duckdb_secrets()").fetchall() == []


@pytest.mark.parametrize("statement", ASKED)
def test_what_answers_is_answered(out: str, statement: str) -> None:
    assert Dataset(out).sql(statement).fetchall()


def test_own_files_are_read_where_that_is_allowed(out: str, tmp_path: Path) -> None:
    joined = f"SELECT count(*) FROM pairs, '{tmp_path}/secret.csv' AS mine"
    assert Dataset(out, allow_files=True).sql(joined).fetchall() == [(1,)]


def test_a_refusal_names_the_way(out: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sql", out, f"COPY pairs TO '{tmp_path}/mine.csv'"]) == 2
    told = capsys.readouterr().err
    assert told.startswith("wit: COPY does more than answer; ") and told.count("\n") == 1
    assert main(["sql", out, f"FROM '{tmp_path}/secret.csv'"]) == 2
    assert "--allow-files lets it read files of your own" in capsys.readouterr().err
    assert main(["sql", out, f"FROM '{tmp_path}/secret.csv'", "--allow-files", "--format", "csv"]) == 0
    assert capsys.readouterr().out == "a\n1\n"


def test_own_tables_stay_with_who_made_them(out: str) -> None:
    dataset = Dataset(out)
    assert dataset.sql("CREATE TEMP TABLE mine AS SELECT 7 AS a").fetchall() == [("mine",)]
    assert dataset.sql("FROM mine").fetchall() == [(7,)]
    with pytest.raises(duckdb.CatalogException):
        Dataset(out).sql("FROM mine")

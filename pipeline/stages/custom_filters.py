"""A user's own filter: a Python function that measures, named in the config.

The function's source travels with the task, so that it needs no installation on a cluster, and so that a changed
function is a changed fingerprint.
"""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from dataset.ledger.commits import Commit
from dataset.ledger.damage import DamagedError, open_table
from dataset.query import arrow_alone, sql
from pipeline.config import Config, ConfigError, CustomFilter, check_files
from pipeline.engine.run import Run
from pipeline.engine.verdicts import custom_decision

_MISSING_COLUMN = re.compile(r'Referenced column "([^"]+)" (?:was )?not found')  # DuckDB's binder


def check(config: Config, stage: str, rows: pa.Schema, measures: pa.Schema, cutoffs: Sequence[str] = ()) -> None:
    """Read the code and SQL of a stage's own filters before any work is done.

    Args:
        rows: of the stage.
        measures: that the stage has besides those of the filters' functions, whose columns only a run can tell.
        cutoffs: the names of quantiles.

    Raises:
        ConfigError: a file is no Python or defines no such function, `drop_when` is no predicate, or it names a column
            that is not there and that no function could add.
    """
    filters = [item for item in config.filters if item.stage == stage]
    for item in filters:
        key = f"filters.{item.name}"
        if item.measure:
            path, _, function = item.measure.rpartition(":")
            check_files("filters.measure", [path])
            try:
                names = compile(_source(item), path, "exec").co_names  # of the file's top level
            except (SyntaxError, ValueError) as error:
                raise ConfigError(f"{key}.measure: {path} is not Python: {error}") from None
            if function not in names:
                raise ConfigError(f"{key}.measure: {path} defines no function {function}")
        try:
            statements = duckdb.extract_statements(f"SELECT 1 WHERE ({item.drop_when}\n)")
        except duckdb.Error as error:
            raise ConfigError(f"{key}.drop_when is not SQL: {item.drop_when!r}: {_first_line(error)}") from None
        if len(statements) != 1 or not item.drop_when.strip():
            raise ConfigError(f"{key}.drop_when must be one predicate, for example `words < 3`, not {item.drop_when!r}")
    if not any(item.measure for item in filters):
        check_columns(config, stage, rows, measures, cutoffs)


def check_answers(
    run: Run, stage: str, rows: pa.Schema, measures: pa.Schema, answered: Sequence[Commit], cutoffs: Sequence[str] = ()
) -> None:
    """Do `check_columns` before a stage's decision is made, where functions have measured.

    Args:
        answered: the commits of their phase; what one partition's file has, every one has.

    Raises:
        ConfigError: a predicate names a column that nobody measures.
    """
    for commit in answered[:1]:
        try:
            with open_table(run.storage, commit.files["measures"]) as file:
                answers = pq.read_schema(file)
        except (DamagedError, FileNotFoundError):
            return  # the decision reads it, and has it measured again
        known = {field.name: field.type for schema in (measures, answers) for field in schema}
        check_columns(run.config, stage, rows, pa.schema(known), cutoffs)


def check_columns(config: Config, stage: str, rows: pa.Schema, measures: pa.Schema, cutoffs: Sequence[str]) -> None:
    """Check whether every column that a stage's predicates name is there. Raises ConfigError."""
    number = pa.field("row", pa.uint32())
    tables = {
        name: pa.schema([number, *(field for field in schema if field.name != "row")]).empty_table()
        for name, schema in (("rows", rows), ("measures", measures))
    }
    if cutoffs:
        tables["cutoffs"] = pa.schema([(name, pa.float64()) for name in cutoffs]).empty_table()
    for item in (item for item in config.filters if item.stage == stage):
        try:
            sql.run(custom_decision(item.name, item.drop_when, (), bool(cutoffs)), tables)
        except duckdb.Error as error:
            if missing := _MISSING_COLUMN.search(str(error)):  # whatever else is wrong, the decision says
                names = sorted({name for table in tables.values() for name in table.column_names})
                near = difflib.get_close_matches(missing[1], names, n=3)
                raise ConfigError(
                    f"filters.{item.name}.drop_when names {missing[1]}, which nothing measures in the stage {stage}; "
                    + (f"is it {' or '.join(near)}?" if near else f"there are {', '.join(names)}")
                ) from None


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def measuring_filters(config: Config, stage: str) -> list[dict[str, str]]:
    """Return the filters of a stage that measure something, as task options: name, function and source text."""
    return [
        {"name": item.name, "function": item.measure.rpartition(":")[2], "source": _source(item)}
        for item in config.filters
        if item.stage == stage and item.measure
    ]


def deciding_filters(config: Config, stage: str) -> list[dict[str, str]]:
    """Return the predicates of a stage's filters, as task options."""
    return [{"name": item.name, "drop_when": item.drop_when} for item in config.filters if item.stage == stage]


def _source(item: CustomFilter) -> str:
    path = item.measure.rpartition(":")[0]
    try:
        return Path(path).expanduser().read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"filters.{item.name}.measure: {path} cannot be read: {error}") from None


@lru_cache(maxsize=32)
def load_function(key: str, function: str, source: str) -> Any:
    """Return a function out of a file's source text; `key` is the config's that names it. Raises ConfigError."""
    namespace: dict[str, Any] = {"__name__": key.replace(".", "_")}
    # The user's own code, named by the user's own config.
    exec(compile(source, f"<{key}>", "exec"), namespace)  # noqa: S102
    if function not in namespace:
        raise ConfigError(f"{key}: the file defines no function {function}")
    return namespace[function]


def measure(rows: pa.Table, filters: Sequence[Mapping[str, str]]) -> pa.Table:
    """Run the functions over a table of rows (its first column is `row`).

    Returns:
        `row` and every column that the functions answer.

    Raises:
        ConfigError: a function answers no columns, another number of rows, or a column that is there already.
        Whatever a function raises.
    """
    columns: dict[str, Any] = {"row": rows.column("row")}
    taken = {name.casefold() for name in rows.column_names}  # as SQL compares them
    for item in filters:
        function = load_function(f"filters.{item['name']}.measure", item["function"], item["source"])
        if "pandas" in item["source"] or "pandas" in sys.modules:
            arrow_alone.find_pandas()
        table = _as_table(function(rows), f"filters.{item['name']}")
        if table.num_rows != rows.num_rows:
            raise ConfigError(f"filters.{item['name']}: answered {table.num_rows} rows for {rows.num_rows}")
        for column, values in zip(table.column_names, table.columns, strict=True):
            if column.casefold() in taken:
                raise ConfigError(f"filters.{item['name']}: the column {column} is there already; choose another name")
            taken.add(column.casefold())
            columns[column] = values
    return pa.table(columns)


def _as_table(answer: Any, key: str) -> pa.Table:
    """What a function answers, as a table. Raises ConfigError."""
    if isinstance(answer, (pa.Table, pa.RecordBatch)):
        return pa.table(answer)
    try:
        return pa.table(dict(answer))
    except (TypeError, ValueError, AttributeError, ArithmeticError, pa.ArrowException) as error:
        said = f"{type(error).__name__}: {_first_line(error)}"[:200]
        raise ConfigError(
            f"{key}: answered {type(answer).__name__}, which is no table and no mapping of names to columns ({said})"
        ) from None

"""The repo's SQL files, and a DuckDB that runs one as a pure function of Arrow tables.

Every file in `sql/` is a single SELECT over tables that its first comment names; the same text runs in a DuckDB
shell over the dataset's Parquet. A query must end in a total ORDER BY: the order of rows is part of a file's bytes.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from dataset import heartbeat
from dataset.query.sandbox import MEMORY_LIMIT, connect

FOLDER = Path(__file__).parents[2] / "sql"
_PLAIN = (bool, int, float, str)
_PATTERN = re.compile(r"[*?\[]")
_TABLE = re.compile(r'"table_name":"(\w+)"')
_READ: dict[str, frozenset[str]] = {}  # by a view's text


@cache
def load(name: str) -> str:
    """Return the text of sql/NAME.sql, e.g. `load("decisions/image")`; of /elsewhere/NAME.sql, where a stage is not of
    ours.

    Raises:
        FileNotFoundError: there is no such file.
    """
    return (FOLDER / f"{name}.sql").read_text(encoding="utf-8")


def parse_statement(connection: duckdb.DuckDBPyConnection, select: str) -> str:
    """Return a SELECT as DuckDB's parser has it, in JSON; what it cannot parse is an object with an error."""
    ((answer,),) = connection.execute("SELECT json_serialize_sql(?)", [select]).fetchall()
    return str(answer)


def tables_read(connection: duckdb.DuckDBPyConnection, view: str) -> frozenset[str]:
    """Return the names of the tables that a view's SELECT reads, as DuckDB's parser has them.

    Views are few, and the same of every dataset: to parse them again would take a sixth of opening one.
    """
    if view not in _READ:
        _READ[view] = frozenset(_TABLE.findall(parse_statement(connection, view)))
    return _READ[view]


def literal(text: str) -> str:
    """Return a text as SQL's string literal, where a parameter cannot stand: in a view."""
    return "'" + text.replace("'", "''") + "'"


def identifier(name: str) -> str:
    """Return a column's or table's name as SQL's quoted identifier."""
    return '"' + name.replace('"', '""') + '"'


_TYPES = {
    pa.string(): "VARCHAR",
    pa.bool_(): "BOOLEAN",
    pa.int32(): "INTEGER",
    pa.int64(): "BIGINT",
    pa.uint32(): "UINTEGER",
    pa.uint64(): "UBIGINT",
    pa.float32(): "FLOAT",
    pa.float64(): "DOUBLE",
}


def type_name(kind: pa.DataType) -> str:
    """Return DuckDB's name for the type that it reads Arrow's as."""
    if pa.types.is_list(kind):
        return f"{type_name(kind.value_type)}[]"
    if pa.types.is_struct(kind):
        return f"STRUCT({', '.join(f'{identifier(field.name)} {type_name(field.type)}' for field in kind.fields)})"
    if pa.types.is_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return "BLOB"
    return _TYPES[kind]


def exactly(path: str) -> str:
    """Return a path as DuckDB's `read_parquet` takes it, which reads `*`, `?` and `[` as patterns, for this one
    file.
    """
    return _PATTERN.sub(lambda char: f"[{char[0]}]", path)


@lru_cache(maxsize=4)
def _database(pid: int, threads: int, memory_limit: str, temp_directory: str | None) -> duckdb.DuckDBPyConnection:
    """One empty database per process and settings: to open one takes longer (20 ms) than most queries.

    What a cursor of it registers no other sees.
    """
    return connect(threads=threads, memory_limit=memory_limit, temp_directory=temp_directory)


def config_table(config: object) -> pa.Table:
    """Return a config dataclass or mapping as a table of one row; tuples become lists, nested configs JSON."""
    values: Mapping[str, Any]
    if is_dataclass(config) and not isinstance(config, type):
        values = asdict(config)
    elif isinstance(config, Mapping):
        values = config
    else:
        raise TypeError(f"a config is a dataclass or a mapping, not {type(config).__name__}")
    columns: dict[str, pa.Array] = {}
    for key, value in values.items():
        if isinstance(value, (list, tuple, set, frozenset)) and all(isinstance(item, _PLAIN) for item in value):
            items = sorted(value) if isinstance(value, (set, frozenset)) else list(value)
            columns[key] = pa.array([items], type=None if items else pa.list_(pa.string()))
        elif value is None or isinstance(value, _PLAIN):
            columns[key] = pa.array([value])
        else:
            columns[key] = pa.array([json.dumps(value, sort_keys=True, default=str)])
    return pa.table(columns) if columns else pa.table({"_": pa.array([True])})


def run(
    sql: str,
    tables: Mapping[str, pa.Table],
    config: object | None = None,
    *,
    threads: int = 1,
    memory_limit: str = MEMORY_LIMIT,
    temp_directory: str | None = None,
) -> pa.Table:
    """Return the result of a query over the tables by their names, and over `config` as a table of one row if given.

    Raises:
        duckdb.Error: the query is wrong, or needs more than `memory_limit` and the folder that it spills to.
    """
    connection = _database(os.getpid(), threads, memory_limit, temp_directory).cursor()
    try:
        for name, table in tables.items():
            connection.register(name, table)
        if config is not None:
            connection.register("config", config_table(config))
        with heartbeat.doing(f"a query over {sum(table.num_rows for table in tables.values()):,} rows"):
            return connection.sql(sql).to_arrow_table()
    finally:
        connection.close()

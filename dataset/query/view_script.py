"""`views.sql`: a dataset's views for any DuckDB, with nothing of ours installed.

    duckdb -init OUT/views.sql

It names the files that the commit records name, and no folder: what lies at the dataset's top is the same bytes
wherever the dataset lies. The script finds the folder when it is read, at the variable `dataset`, where that is set,
else around the current folder: the one that has a file of each table, for two datasets of the same sources have many
files in common.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from string import Template
from typing import Any

import pyarrow as pa

from dataset.ids import checksum
from dataset.ledger.commits import put
from dataset.ledger.committed import Committed, Known, Schemas
from dataset.query import sql
from dataset.query.point_queries import macro
from dataset.query.side_tables import public_suffixes
from dataset.query.view_columns import OWN, VIEW_COLUMNS, types
from dataset.query.view_tables import CommittedTable, constants, tables, views
from dataset.store.storage import Storage

NAME = "views.sql"
_AROUND = ("./", "./*/", "./*/*/", "./*/*/*/", "../", "../*/", "../*/*/", "../../", "../../*/", "~/", "~/*/", "~/*/*/")
_HEAD = """\
-- The views of this dataset, for any DuckDB from 1.4 on; nothing else needs to be installed:
--     duckdb -init views.sql
-- The dataset is found in the current folder and around it: up to three folders down, two up, or in one's home. Where
-- it is elsewhere, say so before:
--     duckdb -cmd "SET VARIABLE dataset = '/data/mine'" -cmd ".read /data/mine/views.sql"
--     connection.execute("SET VARIABLE dataset = '/data/mine'")
--     connection.execute(open("/data/mine/views.sql").read())
-- In a bucket it is read by DuckDB's extension httpfs, where that is loaded: SET VARIABLE dataset = 's3://bucket/mine'
-- Ids are shown as digits, which no file has: FROM pairs('27dbb70fdb31254d1c3f4ee3afed9b96') finds a pair_id in a small
-- part of the bytes that WHERE pair_id = '…' reads; so do candidates, images, scores, matches and dropped.
-- It names the files of the last stage that was done; `wit run` and `wit status` write it anew.
"""
_ROOT = Template(r"""SET VARIABLE ${root}_places = (SELECT list(left(file, -$length)) FROM glob([$around]));
-- Two datasets of the same sources have many files in common: it is where all of these are.
-- A folder's name is a name, and no pattern.
SET VARIABLE ${root}_files = coalesce((
    SELECT list(regexp_replace(place, '([*?\[])', '[\1]', 'g') || '/' || name)
    FROM (SELECT unnest(getvariable('${root}_places')) AS place), (SELECT unnest([$markers]) AS name)), ['$last']);
SET VARIABLE ${root}_files = (SELECT list(file) FROM glob(getvariable('${root}_files')));
SET VARIABLE $root = coalesce(
    (SELECT min(left(file, -$length)) FROM glob(coalesce(getvariable('dataset') || '/$last', ''))),
    (SELECT min_by(place, (place <> '.', place)) FROM (
        SELECT place
        FROM (SELECT unnest(getvariable('${root}_places')) AS place), (SELECT unnest([$markers]) AS name)
        WHERE list_contains(getvariable('${root}_files'), place || '/' || name)
        GROUP BY place HAVING count(*) = $count)),
    error('the dataset is not around the current folder: SET VARIABLE dataset to its folder before this file is read'));
SET VARIABLE $root = regexp_replace(getvariable('$root'), '([*?\[])', '[\1]', 'g');
""")


def write(storage: Storage, known: Known | None = None, schemas: Schemas | None = None) -> bool:
    """Write a dataset's views.sql, if it is another than what is there; says whether it was.

    known, schemas: see `dataset.ledger.committed.Committed`.

    Raises:
        OSError: the dataset cannot be written.
    """
    text = script(storage, known, schemas).encode()
    if storage.exists(NAME) and storage.read(NAME) == text:
        return False
    put(storage, NAME, text)
    return True


def script(storage: Storage, known: Known | None = None, schemas: Schemas | None = None) -> str:
    """Return the text of a dataset's views.sql; see `write`."""
    committed = Committed(storage, known, schemas)
    view_tables = list(tables(committed))
    files = sorted(file.name for table in view_tables for _, file in table.files)
    root = f"dataset_{checksum(chr(10).join(files).encode())[:8]}"
    markers = [table.files[0][1].name for table in view_tables if table.files]
    parts = [_HEAD, *([_root(root, markers)] if markers else [])]
    parts += [_table(committed, table, root) for table in view_tables]
    parts += [_constant(name, make()) for name, make in constants(committed).items()]
    parts += [f"CREATE OR REPLACE TEMP VIEW {name} AS\n{text.rstrip()};\n" for name, text in views().items()]
    parts += [f"{makes};\n" for name, text in views().items() if (makes := macro(name, text))]
    unified_columns = {field.name for table in view_tables if table.unify for field in table.schema} - {"row"}
    return "\n".join([*parts, *_columns(sorted(unified_columns))])


def _root(variable: str, markers: Sequence[str]) -> str:
    """Where the dataset is: the first place that has a file of each table."""
    last = markers[-1]
    return _ROOT.substitute(
        root=variable,
        last=last,
        length=len(last) + 1,
        around=", ".join(f"'{folder}{last}'" for folder in _AROUND),
        markers=", ".join(f"'{name}'" for name in markers),
        count=len(markers),
    )


def _table(committed: Committed, table: CommittedTable, root: str) -> str:
    begin = f"CREATE OR REPLACE TEMP VIEW {sql.identifier(table.name)} AS "
    if table.files:
        paths = ", ".join(f"getvariable('{root}') || '/{file.name}'" for _, file in table.files)
        return f"{begin}{table.select(committed, f'[{paths}]')};\n"
    return f"{begin}{table.nothing};\n"


def _constant(name: str, rows: pa.Table) -> str:
    if name == "_public_suffixes":
        return f"CREATE OR REPLACE TEMP VIEW {name} AS SELECT unnest(string_split({_suffixes()}, ' ')) AS rule;\n"
    return f"CREATE OR REPLACE TEMP VIEW {name} AS {_rows(rows)};\n"


@cache
def _suffixes() -> str:
    """Thousands of short words, which DuckDB reads fastest as one text."""
    return sql.literal(" ".join(public_suffixes().column("rule").to_pylist()))


def _rows(rows: pa.Table) -> str:
    """Rows of texts and whole numbers as a SELECT."""
    names = [(sql.identifier(field.name), sql.type_name(field.type)) for field in rows.schema]
    columns = ", ".join(f"{name}::{kind} AS {name}" for name, kind in names)
    values = [", ".join(_literal(value) for value in row.values()) for row in rows.to_pylist()]
    listed = ",\n    ".join(f"({row})" for row in values or [", ".join("NULL" for _ in names)])
    nothing = "" if values else " WHERE false"
    return f"SELECT {columns} FROM (VALUES\n    {listed}) AS t({', '.join(name for name, _ in names)}){nothing}"  # noqa: S608


def _literal(value: Any) -> str:
    if value is None:
        return "NULL"
    return sql.literal(value) if isinstance(value, str) else str(int(value))


def _columns(names: list[str]) -> Iterator[str]:
    """What the views and their columns are, as comments."""
    kinds: Mapping[str, Mapping[str, str]] = types()
    for view, (sentence, columns) in VIEW_COLUMNS.items():
        lines = [f"-- {view}: {sentence}"]
        lines += [f"--     {name} {kind}: {columns[name]}" for name, kind in kinds[view].items()]
        if view == "scores":
            lines += [f"--     {name!r}: {OWN}" for name in names]
        yield "\n".join(lines) + "\n"

"""A dataset's views: what a person asks, over what the commit records name.

Every view exists always; a stage that has not run, or is switched off, leaves it empty. Ids are shown as hexadecimal
digits. A dataset may be anybody's: what it names (files, columns) is quoted, and the connection that reads it opens no
file but those that the commit records name. What DuckDB reads is held against what was committed before it reads it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import duckdb
import pyarrow as pa

from dataset import sql
from dataset.commits import FileRef
from dataset.committed import Committed
from dataset.damage import check_length, content, read_table
from dataset.questions import Question, questions
from dataset.storage import Storage
from dataset.view_tables import CommittedTable, constants, tables, views

CHECKED_BYTES = 2 * 2**30
"""So much of what questions read is held against its checksums, in a second or two; of the rest the lengths are."""
_WORD = re.compile(r"\w+")


class Dataset(Committed):
    """A dataset to ask questions of.

    Args:
        url: where it is: a path or s3:// URL.
        connection: a DuckDB connection to make the views in, which can do what its owner lets it; by default a new one
            in memory, which can open the dataset's own files and nothing else.
        allow_files: let that new connection read any file, to join one's own with the dataset.
        progress: have that connection show on the terminal how far a long query is.
        deep: hold all that a question reads against its checksums, however much it is.

    Raises:
        FileNotFoundError: there is no dataset at the URL.
        RecordError, DamagedError: a file of it is not what was committed.
    """

    def __init__(
        self,
        url: str,
        connection: duckdb.DuckDBPyConnection | None = None,
        *,
        allow_files: bool = False,
        deep: bool = False,
        progress: bool = False,
    ):
        storage = Storage(url)
        if not storage.exists("manifest.json") and not storage.exists("config.yaml"):
            raise FileNotFoundError(
                f"{url} is no dataset: it has no manifest.json; `wit run CONFIG --out {url}` makes one"
            )
        super().__init__(storage)
        self.connection = connection if connection is not None else sql.asking(progress=progress)
        self._files: list[str] = []  # that the views read, as DuckDB opens them
        self._unread: dict[str, list[FileRef]] = {}  # by view: files whose bytes nobody has looked at yet
        self._behind: dict[str, set[str]] = {}  # by view: the views that it reads
        self._left = None if deep else CHECKED_BYTES
        self._made: set[str] = set()  # the names of all views
        self._make()
        if connection is None and allow_files:
            sql.lock(self.connection)
        elif connection is None:
            sql.close(self.connection, self._files)

    def sql(self, query: str, **options: Any) -> duckdb.DuckDBPyRelation:
        """The answer of a query over the views, as a DuckDB relation: of several statements that of the last.

        Raises:
            NotAQuestionError: it would do more than answer; see `dataset.questions`.
            duckdb.Error: it cannot be answered.
            DamagedError: a file that it reads is not what was committed.
        """
        last = self._prepared(query)
        if last.makes is None:
            return self.connection.sql(last.text, **options)
        self.connection.execute(last.text)
        return self.connection.sql(_made(last.makes))

    def answer(self, query: str, values: Mapping[str, object] | None = None) -> duckdb.DuckDBPyConnection:
        """The answer of a query as `sql` takes it, to be read by `description` and `fetchmany`. Raises as `sql`.

        values: of the parameters that its last statement names as `$name`.
        """
        last = self._prepared(query)
        done = self.connection.execute(last.text, values or None)
        return done if last.makes is None else done.execute(_made(last.makes))

    def _prepared(self, query: str) -> Question:
        """The last statement of a query, after the others were run."""
        asked = questions(self.connection, query, self._made)
        self._check(query)
        for question in asked[:-1]:
            self.connection.execute(question.text)
        return asked[-1]

    def ask(self, query: str, values: object = None) -> duckdb.DuckDBPyConnection:
        """A query of our own with values for its parameters, executed. Raises duckdb.Error, DamagedError."""
        self._check(query)
        return self.connection.execute(query, values)

    def _check(self, query: str) -> None:
        """Raises DamagedError if a file behind a view that a query names is not what was committed."""
        waiting, seen = [query], set[str]()
        while waiting:
            named = {word.lower() for word in _WORD.findall(waiting.pop())} - seen
            seen |= named
            for name in named:
                waiting += self._behind.get(name, ())
                for file in self._unread.pop(name, ()):
                    if self._left is None or file.bytes <= self._left:
                        content(self.storage, file)
                        self._left = None if self._left is None else self._left - file.bytes

    def _make(self) -> None:
        for table in tables(self):
            self._made.add(table.name)
            if not table.files:
                self.connection.register(table.name, table.numbered_schema.empty_table())
            elif self.storage.local and self._viewed(table):
                self._unread[table.name] = [file for _, file in table.files]
            else:
                self.connection.register(table.name, self._arrow(table))
        for name, rows in constants(self.manifest).items():
            self._made.add(name)
            self.connection.register(name, rows)
        for name, text in views().items():
            self._made.add(name)
            self._behind[name] = set(_WORD.findall(text))
            self.connection.execute(f"CREATE OR REPLACE TEMP VIEW {sql.identifier(name)} AS {text}")

    def _viewed(self, table: CommittedTable) -> bool:
        """DuckDB reads local Parquet itself: only the columns and row groups that a query needs.

        False where it cannot open a path as it is written: one with a pattern's characters beside a backslash.
        """
        for _, file in table.files:
            check_length(self.storage, file)
        paths = [self.storage.path(file.name) for _, file in table.files]
        exact = [sql.exactly(path) for path in paths]
        selected = table.select(self.storage, f"[{', '.join(map(sql.literal, exact))}]")
        try:
            self.connection.execute(f"CREATE OR REPLACE TEMP VIEW {sql.identifier(table.name)} AS {selected}")
        except duckdb.Error:
            for _, file in table.files:  # it may be the file's fault
                content(self.storage, file)
            if exact == paths:
                raise
            return False
        self._files += {*paths, *exact}
        return True

    def _arrow(self, table: CommittedTable) -> pa.Table:
        """Other storage is read whole, through Arrow: DuckDB's httpfs is not in its wheel."""
        schema, parts = table.schema, []
        for partition, file in table.files:
            found = read_table(self.storage, file)
            for column in schema.names:
                if column not in found.column_names:
                    found = found.append_column(column, pa.nulls(found.num_rows, schema.field(column).type))
            found = found.select(schema.names) if table.unify else found.select(schema.names).cast(schema)
            if table.numbered and "row" not in schema.names:
                found = found.add_column(0, "row", pa.array(range(found.num_rows), pa.uint32()))
            if table.numbered:
                found = found.add_column(0, "partition", pa.array([partition] * found.num_rows, pa.int32()))
            parts.append(found)
        return pa.concat_tables(parts, promote_options="permissive" if table.unify else "none")


def _made(name: str) -> str:
    """What is said where a temporary table, view or macro was made."""
    return f"SELECT {sql.literal(name)} AS made"

"""A dataset's views: what a person asks, over what the commit records name.

Every view exists always; a stage that has not run, or is switched off, leaves it empty. Ids are shown as hexadecimal
digits. A dataset may be anybody's: what it names (files, columns) is quoted, and the connection that reads it opens no
file but those that the commit records name. What DuckDB reads is held against what was committed before it reads it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from dataset import sql
from dataset.commits import FileRef
from dataset.committed import Committed
from dataset.damage import check_length, content, opened, read_table
from dataset.questions import Question, questions
from dataset.reasons import reasons
from dataset.schema import NSFW, VERDICTS
from dataset.stages import Rows, Table, judging, path, table_names
from dataset.storage import Storage

_FUNNEL = pa.schema(
    [("step", pa.int32()), ("stage", pa.string()), ("input", pa.int64()), ("kept", pa.int64()), ("dropped", pa.int64())]
)
_STAGES = pa.schema([("step", pa.int32()), ("stage", pa.string())])
_OF_ALL = ("views/dropped", "views/funnel")
"""Views over what every stage gives."""
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
    ):
        storage = Storage(url)
        if not storage.exists("manifest.json") and not storage.exists("config.yaml"):
            raise FileNotFoundError(
                f"{url} is no dataset: it has no manifest.json; `wit run CONFIG --out {url}` makes one"
            )
        super().__init__(storage)
        self.connection = connection if connection is not None else sql.asking()
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

    def answer(self, query: str) -> duckdb.DuckDBPyConnection:
        """The answer of a query as `sql` takes it, to be read by `description` and `fetchmany`. Raises as `sql`."""
        last = self._prepared(query)
        done = self.connection.execute(last.text)
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
        for name in table_names():
            table = self.table(name)
            if table.is_view:
                self._table(table)
        self._all_verdicts("candidates")
        self._all_verdicts("pairs")
        steps = [{"step": step, "stage": stage.name} for step, stage in enumerate(path())]
        self._made |= {"_stages", "_funnel", "reasons"}
        self.connection.register("_stages", pa.Table.from_pylist(steps, schema=_STAGES))
        funnel = self.manifest.get("funnel", {})
        rows = [
            {**step, **{name: funnel[step["stage"]][name] for name in ("input", "kept", "dropped")}}
            for step in steps
            if step["stage"] in funnel
        ]
        self.connection.register("_funnel", pa.Table.from_pylist(rows, schema=_FUNNEL))
        known = [{"reason": name, "stage": stage, "meaning": text} for name, (stage, text) in reasons().items()]
        self.connection.register("reasons", pa.Table.from_pylist(known))
        for view in (*(view for stage in path() for view in stage.views), *_OF_ALL):
            self._view(view.rpartition("/")[2], sql.load(view))

    def _view(self, name: str, text: str) -> None:
        self._made.add(name)
        self._behind[name] = set(_WORD.findall(text))
        self.connection.execute(f"CREATE OR REPLACE TEMP VIEW {sql.identifier(name)} AS {text}")

    def _all_verdicts(self, rows: Rows) -> None:
        """One view of the verdicts that stages have given on candidates, or on pairs."""
        parts = []
        for stage in judging(rows):
            table = Table(f"{stage.name}_verdicts", stage.decision, "verdicts", VERDICTS)
            self._table(table)
            parts.append(f"SELECT {sql.literal(stage.name)} AS stage, * FROM {sql.identifier(table.view)}")  # noqa: S608
        self._view(f"_{rows}_verdicts", " UNION ALL ".join(parts))

    def _table(self, table: Table) -> None:
        """Make a view of a table's files; of an empty table if there is none.

        Where the config names the columns the files' types may differ, for where a column has no values it has no type.
        """
        name, numbered, unify = table.view, table.is_numbered, table.schema is None
        self._made.add(name)
        schema = self._own(table) if table.schema is None else table.schema
        commits = [commit for commit in self.commits(table.phase) if table.role in commit.files]
        files = [(commit.partition, commit.files[table.role]) for commit in commits]
        files = [(partition, file) for partition, file in files if file.rows]
        if not files:
            self.connection.register(name, _numbered(schema, numbered).empty_table())
        elif self.storage.local and self._viewed(name, files, schema, numbered, unify):
            self._unread[name] = [file for _, file in files]
        else:
            self.connection.register(name, self._arrow(files, schema, numbered, unify))

    def _own(self, table: Table) -> pa.Schema:
        """The columns that a config's own models or filters have made, as the first partition has them."""
        files = [commit.files[table.role] for commit in self.commits(table.phase) if table.role in commit.files]
        columns = pa.schema([("row", pa.uint32())])
        for file in [file for file in files if file.rows][:1]:
            with opened(self.storage, file) as source:
                found = pq.read_schema(source)
            taken = {"", "row", "partition", *NSFW.names}  # a head may be the NSFW model
            for field in found:
                if field.name.lower() not in taken:  # SQL's names differ by more than case
                    columns = columns.append(field.remove_metadata())
                    taken.add(field.name.lower())
        return columns

    def _viewed(
        self, name: str, files: Sequence[tuple[int, FileRef]], schema: pa.Schema, numbered: bool, unify: bool
    ) -> bool:
        """DuckDB reads local Parquet itself: only the columns and row groups that a query needs.

        False where it cannot open a path as it is written: one with a pattern's characters beside a backslash.
        """
        for _, file in files:
            check_length(self.storage, file)
        paths = [self.storage.path(file.name) for _, file in files]
        exact = [sql.exactly(path) for path in paths]
        missing = _missing(self.storage, files[0][1], schema)
        columns = ", ".join(
            f"NULL::{missing[column]} AS {sql.identifier(column)}" if column in missing else sql.identifier(column)
            for column in schema.names
        )
        if numbered:
            partitions = ", ".join(str(int(partition)) for partition, _ in files)
            row = "" if "row" in schema.names else "file_row_number::UINTEGER AS row, "
            columns = f"list_extract([{partitions}], (file_index + 1)::BIGINT)::INTEGER AS partition, {row}{columns}"
        listed = ", ".join(map(sql.literal, exact))
        try:
            self.connection.execute(
                f"CREATE OR REPLACE TEMP VIEW {sql.identifier(name)} AS SELECT {columns} "  # noqa: S608
                f"FROM read_parquet([{listed}], file_row_number = true, hive_partitioning = false, "
                f"union_by_name = {unify})"
            )
        except duckdb.Error:
            for _, file in files:  # it may be the file's fault
                content(self.storage, file)
            if exact == paths:
                raise
            return False
        self._files += {*paths, *exact}
        return True

    def _arrow(self, files: Iterable[tuple[int, FileRef]], schema: pa.Schema, numbered: bool, unify: bool) -> pa.Table:
        """Other storage is read whole, through Arrow: DuckDB's httpfs is not in its wheel."""
        tables = []
        for partition, file in files:
            found = read_table(self.storage, file)
            for column in schema.names:
                if column not in found.column_names:
                    found = found.append_column(column, pa.nulls(found.num_rows, schema.field(column).type))
            found = found.select(schema.names) if unify else found.select(schema.names).cast(schema)
            if numbered and "row" not in schema.names:
                found = found.add_column(0, "row", pa.array(range(found.num_rows), pa.uint32()))
            if numbered:
                found = found.add_column(0, "partition", pa.array([partition] * found.num_rows, pa.int32()))
            tables.append(found)
        return pa.concat_tables(tables, promote_options="permissive" if unify else "none")


def _made(name: str) -> str:
    """What is said where a temporary table, view or macro was made."""
    return f"SELECT {sql.literal(name)} AS made"


def _missing(storage: Storage, file: FileRef, schema: pa.Schema) -> dict[str, str]:
    """Columns that the files lack (the query list has no counts before pack), with their SQL types."""
    with opened(storage, file) as source:
        there = set(pq.read_schema(source).names)
    return {
        field.name: "VARCHAR" if pa.types.is_string(field.type) else "BIGINT"
        for field in schema
        if field.name not in there
    }


def _numbered(schema: pa.Schema, numbered: bool) -> pa.Schema:
    if not numbered:
        return schema
    front = [pa.field("partition", pa.int32())]
    if "row" not in schema.names:
        front.append(pa.field("row", pa.uint32()))
    return pa.schema([*front, *schema])

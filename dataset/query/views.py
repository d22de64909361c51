"""A dataset's views: what a person asks, over what the commit records name.

Every view exists always; a stage that has not run, or is switched off, leaves it empty. Ids are shown as hexadecimal
digits. A dataset may be anybody's: what it names (files, columns) is quoted, and the connection that reads it opens no
file but those that the commit records name. What DuckDB reads on this machine is held against what was committed
before it reads it. Of a dataset in a bucket it reads what a question needs and no more, so that there only the files'
lengths are checked, unless all is to be. A view is made when a question first names it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self, TypeVar

import duckdb
import pyarrow as pa

from dataset.ledger.commits import FileRef, RecordError
from dataset.ledger.committed import Committed
from dataset.ledger.damage import content, name_damage, open_table, read_table, rows_in
from dataset.ledger.lookup import Partitions
from dataset.query import sandbox, sql
from dataset.query.files_on_disk import FilesOnDisk
from dataset.query.point_queries import macro, narrow_query, narrow_tables, places_of
from dataset.query.questions import Question, names_in, questions
from dataset.query.side_tables import timings
from dataset.query.view_tables import CommittedTable, check_columns, constants, kinds, makers, views
from dataset.store.storage import Storage

if TYPE_CHECKING:
    from dataset.query.remote_files import RemoteFiles

Answer = TypeVar("Answer")
CHECKED_BYTES = 2 * 2**30
"""Bytes of what questions read that are held against checksums, in a second or two; of the rest the lengths are."""
_WORD = re.compile(r"\w+")
_NAME = re.compile(r"[A-Za-z]\w*", re.ASCII)
_TAKEN = frozenset(("memory", "temp", "system", "main", "pg_catalog", "information_schema"))
_BEGINS_WITH = re.compile(r"(?:\s|--[^\n]*\n)*WITH\b")
_LISTS = re.compile(r"\bshow\b|\bduckdb_|\bpragma_|information_schema|pg_catalog|query_table|\bcatalog", re.IGNORECASE)
"""Questions for the views themselves, which name none of them."""


class Dataset(Committed):
    """A dataset to ask questions of.

    Args:
        url: where it is: a path or s3:// URL.
        connection: a DuckDB connection to make the views in, which can do what its owner lets it; by default a new one
            in memory, which can open the dataset's own files and nothing else.
        allow_files: let that new connection read any file, to join one's own with the dataset.
        progress: have that connection show on the terminal how far a long query is.
        deep: hold all that a question reads against its checksums, however much it is.
        beside: other datasets to ask in the same questions: by the name that stands before their views', as `b` in
            `b.pairs`, where each is.
        catalog: a database of the connection to make the views in, instead of the temporary ones.

    Raises:
        FileNotFoundError: there is no dataset at the URL.
        ValueError: a name of `beside` cannot be one.
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
        beside: Mapping[str, str] | None = None,
        catalog: str | None = None,
    ):
        self._options: dict[str, Any] = {"allow_files": allow_files, "deep": deep, "progress": progress}
        storage = Storage(url)
        if not storage.exists("manifest.json") and not storage.exists("config.yaml"):
            raise FileNotFoundError(
                f"{url} is no dataset: it has no manifest.json; `wit run CONFIG --out {url}` makes one"
            )
        super().__init__(storage)
        self.connection = connection if connection is not None else sandbox.connect_for_questions(progress=progress)
        self._catalog = catalog
        self._beside = [self._open_beside(name, there, deep) for name, there in (beside or {}).items()]
        self._remote = None if storage.local else self._register_files()
        self._disk = FilesOnDisk(storage)
        self._unread: dict[str, list[FileRef]] = {}  # by view: files whose bytes nobody has looked at yet
        self._left = None if deep else CHECKED_BYTES
        self._seen: set[str] = set()  # files that were held against their checksums, or are not any more
        self._makers, self._kinds = makers(self), kinds()
        self._tables: dict[str, CommittedTable] = {}  # some of whose files were asked for
        self._waiting = dict(self._makers)  # tables that are not made yet
        self._selects = views()  # of every view
        self._texts = dict(self._selects)  # those of views that are not made yet
        self._behind = {name: sql.tables_read(self.connection, text) for name, text in self._texts.items()}
        self._constants = {**constants(self), "_timings": lambda: timings(self.storage)}  # that are not made yet
        self._reserved = {
            *self._waiting,
            *self._texts,
            *self._constants,
        }  # names that a question may not take for its own
        if connection is not None:
            self._make(self._reserved)
        if connection is None and allow_files:
            sandbox.lock(self.connection)
        elif connection is None:
            every = [self, *self._beside]
            remote = [f"{one._remote.protocol}://" for one in every if one._remote]
            here = [path for one in every if not one._remote for path in one._disk.allowed_paths(one.table_names())]
            sandbox.confine(self.connection, here, remote)

    def with_beside(self, beside: Mapping[str, str]) -> Self:
        """Return the same dataset, with others to ask in the same questions. Raises as the class."""
        return type(self)(self.storage.url, beside=beside, **self._options)

    def _open_beside(self, name: str, url: str, deep: bool) -> Dataset:
        if not _NAME.fullmatch(name) or name.lower() in _TAKEN:
            raise ValueError(f"{name} cannot stand before a view; give {url} a name of letters and digits, such as b")
        self.connection.execute(f"ATTACH ':memory:' AS {sql.identifier(name)}")
        return Dataset(url, self.connection, deep=deep, catalog=name)

    def _register_files(self) -> RemoteFiles:
        from dataset.query.remote_files import RemoteFiles  # imports fsspec, which no question of a local dataset needs

        files = RemoteFiles(self.storage)
        self.connection.register_filesystem(files)
        return files

    def schema(self, file: FileRef) -> pa.Schema:
        return super().schema(file) if self._remote is None else self._remote.schema(file)

    def files(self, name: str) -> dict[int, FileRef]:
        """Return a table's files; on this machine the first of them has the table's columns. Raises RecordError."""
        files, schema = super().files(name), self.table(name).schema
        first = next((file for file in files.values() if file.rows), None)
        if first is not None and schema is not None and self._remote is None:
            check_columns(self.schema(first), schema, self.storage.url_of(first.name))
        return files

    def rows_of(self, file: FileRef, row: int | None = None) -> pa.Table:
        """Return a committed table, or one row; a bucket's file is read whole. Raises DamagedError, IndexError."""
        if row is None and self._remote is None:
            return read_table(self.storage, file)
        whole = None if self._remote is None else pa.BufferReader(self._remote.whole(file))
        with name_damage(self.storage, file.name), open_table(self.storage, file) if whole is None else whole as source:
            return rows_in(source, row)

    def sql(self, query: str, **options: Any) -> duckdb.DuckDBPyRelation:
        """Return the answer of a query over the views, as a DuckDB relation: of several statements that of the last.

        Raises:
            NotAQuestionError: it would do more than answer; see `dataset.query.questions`.
            duckdb.Error: it cannot be answered.
            DamagedError: a file that it reads is not what was committed.
        """
        last = self._prepare(query)
        if last.makes is None:
            return self._execute(lambda: self.connection.sql(last.text, **options))
        self.connection.execute(last.text)
        return self.connection.sql(_created_message(last.makes))

    def answer(self, query: str, values: Mapping[str, object] | None = None) -> duckdb.DuckDBPyConnection:
        """Return the answer of a query as `sql` takes it, to be read by `description` and `fetchmany`. Raises as `sql`.

        values: of the parameters that its last statement names as `$name`.
        """
        last = self._prepare(query)
        done = self._execute(lambda: self.connection.execute(last.text, values or None))
        return done if last.makes is None else done.execute(_created_message(last.makes))

    def _execute(self, ask: Callable[[], Answer]) -> Answer:
        """What DuckDB answers. A name that it does not know may be near that of a view that is not made yet."""
        try:
            return ask()
        except duckdb.CatalogException:
            if self._remote is not None:
                raise
            self._make(self._reserved)
            return ask()

    def _prepare(self, query: str) -> Question:
        """The last statement of a query, after the others were run."""
        *before, last = questions(self.connection, query, self._reserved)
        text = rest = last.text
        if last.makes is None:
            text, rest = narrow_query(self.connection, text, self._narrow_view)
        self._check("\n".join([*(question.text for question in before), rest]))
        for question in before:
            self.connection.execute(question.text)
        return Question(text, last.makes)

    def _narrow_view(self, view: str, column: str, value: str) -> str | None:
        """A view's SELECT over the rows alone whose column is a value; None where it would read no less."""
        tables = narrow_tables(view, column, value, self.lookup is not None)
        if not tables:
            return None
        places = {} if self.lookup is None else places_of(self.lookup, column, value)
        with_ = self._with_clause([*tables, *self._behind[view]], places, tables)
        return f"WITH {with_}\n{self._selects[view]}"

    def ask(self, query: str, values: object = None, within: Partitions | None = None) -> duckdb.DuckDBPyConnection:
        """Execute a query of our own with values for its parameters, and return the connection.

        within: the partitions that have the rows that it asks for, where they are known; see `dataset.ledger.lookup`.

        Raises:
            DamagedError: a file behind it is not what was committed.
            RecordError: its tables hold numbers that openwit writes none of.
            duckdb.Error: it failed otherwise.
        """
        if within is None:
            self._check(query)
        else:
            with_ = self._with_clause([word.lower() for word in _WORD.findall(names_in(query))], within)
            with_clause = _BEGINS_WITH.match(query)
            query = f"WITH {with_}, {query[with_clause.end() :]}" if with_clause else f"WITH {with_}\n{query}"
        try:
            return self.connection.execute(query, values)
        except (duckdb.ConversionException, duckdb.OutOfRangeException) as error:
            message = " ".join(str(error).split())[:200]
            raise RecordError(f"{self.storage.url} is not as openwit writes it: {message}") from None

    def _with_clause(self, names: Iterable[str], places: Partitions, where: Mapping[str, str] | None = None) -> str:
        """What stands behind WITH where a query reads only some partitions: the tables that it names, of the files of
        these, and all views between. What it names besides is made ready.

        Args:
            names: that the query has, in lower case; other words may be among them.
            places: partitions by what their rows are; of rows that are not among them all are read.
            where: a condition on the rows of a table; in the order in which they may name each other.
        """
        behind = self._reachable(names)
        conditions = {name: f" WHERE {condition}" for name, condition in (where or {}).items()}
        some = {name: places[kind] for name, kind in self._kinds.items() if name in behind and kind in places}
        parts: dict[str, str] = {}
        for name in [*conditions, *(name for name in some if name not in conditions)]:
            source = f"({self._select_partitions(name, some[name])})" if name in some else f"temp.{name}"
            parts[name] = f"{name} AS (SELECT * FROM {source}{conditions.get(name, '')})"  # noqa: S608
        for view, select in self._selects.items():
            if view in behind and self._reachable(self._behind[view]) & parts.keys():
                parts[view] = f"{view} AS ({select})"
        self._make_and_check(behind - some.keys() - (parts.keys() - conditions.keys()))
        return ", ".join(parts.values())

    def _select_partitions(self, name: str, partitions: Collection[int]) -> str:
        """The SELECT that reads the files that a table has of some partitions."""
        if name not in self._tables:
            self._tables[name] = self._makers[name]()
        table = self._tables[name].of(partitions)
        if not table.files:
            return table.nothing
        files = [file for _, file in table.files]
        if self._remote is not None:
            self._remote.get_whole(files)
        paths = self._paths(files)
        for file in files if self._remote is None or self._left is None else ():
            self._compare(file)
        return table.select(self, f"[{', '.join(sql.literal(sql.exactly(path)) for path in paths)}]")

    def _paths(self, files: Sequence[FileRef]) -> list[str]:
        """Where DuckDB opens files. Raises DamagedError: one is not as long as it was committed."""
        if self._remote is None:
            self._disk.check(files)
            return [self._disk.path(file) for file in files]
        paths = [self._remote.path(file) for file in files]
        self._remote.prepare(files)
        return paths

    def _reachable(self, names: Iterable[str]) -> set[str]:
        """Names, and those of all that they read."""
        waiting, seen = list(names), set[str]()
        while waiting:
            name = waiting.pop()
            if name not in seen:
                seen.add(name)
                waiting += self._behind.get(name, ())
        return seen

    def _check(self, query: str) -> None:
        """Make what a query names, and hold what it reads against its checksums.

        Raises:
            DamagedError: a file behind it is not what was committed.
        """
        for other in self._beside:
            other._check(query)
        query = names_in(query)
        everything = _LISTS.search(query) is not None
        words = (word.lower() for word in _WORD.findall(query))
        self._make_and_check(self._reserved if everything else self._reachable(words))

    def _make_and_check(self, names: Collection[str]) -> None:
        """Make tables and views, and hold what they read against its checksums. Raises DamagedError."""
        self._make(names)
        for name in names & self._unread.keys():
            for file in self._unread.pop(name):
                self._compare(file)

    def _compare(self, file: FileRef) -> None:
        """Hold a file against its checksum, unless much has been held already. Raises DamagedError."""
        if file.name not in self._seen and (self._left is None or file.bytes <= self._left):
            content(self.storage, file)
            self._left = None if self._left is None else self._left - file.bytes
        self._seen.add(file.name)

    def _make(self, names: Collection[str]) -> None:
        """Make the tables and views of some names that are not made yet; all that they read is among the names."""
        for name in [name for name in self._constants if name in names]:
            self._register(name, self._constants[name]())
            del self._constants[name]
        for name in [name for name in self._waiting if name in names]:
            table = self._waiting[name]()
            if not table.files or not self._parquet_view(table):
                self._register(name, table.read(self.storage) if table.files else table.numbered_schema.empty_table())
            del self._waiting[name]
        for name in [name for name in self._texts if name in names]:
            self._view(name, self._in_own_catalog(self._texts[name]))
            del self._texts[name]
            if self._catalog is None and (statement := macro(name, self._selects[name])):
                self.connection.execute(statement)

    def _register(self, name: str, rows: pa.Table) -> None:
        """Have a name stand for rows."""
        self.connection.execute("SELECT 1").fetchall()  # an answer that nobody has read to its end forbids it
        if self._catalog is None:
            self.connection.register(name, rows)
            return
        self.connection.register("_arriving", rows)
        self.connection.execute(f"CREATE TABLE {self._catalog_name(name)} AS FROM _arriving")
        self.connection.unregister("_arriving")
        self._show_view(name)

    def _view(self, name: str, select: str) -> None:
        """Have a name stand for a SELECT. Raises duckdb.Error."""
        if self._catalog is None:
            self.connection.execute(f"CREATE OR REPLACE TEMP VIEW {sql.identifier(name)} AS {select}")
            return
        self.connection.execute(f"CREATE OR REPLACE VIEW {self._catalog_name(name)} AS {select}")
        self._show_view(name)

    def _catalog_name(self, name: str) -> str:
        """What is called `name` in a catalog is this behind it. DuckDB leaves the catalog out of what it keeps of a
        view, and a temporary view of a name goes before any other: no temporary view has such a name."""
        catalog = self._catalog or ""
        return f"{sql.identifier(catalog)}.main.{sql.identifier(f'{catalog}:{name}')}"

    def _show_view(self, name: str) -> None:
        seen = f"{sql.identifier(self._catalog or '')}.main.{sql.identifier(name)}"
        self.connection.execute(f"CREATE OR REPLACE VIEW {seen} AS FROM {self._catalog_name(name)}")

    def _in_own_catalog(self, select: str) -> str:
        """A view's SELECT; in a catalog, over the tables there."""
        if self._catalog is None:
            return select
        raw = select.encode()
        tree = json.loads(sql.parse_statement(self.connection, select))
        for offset, name in sorted(_places(tree, self._reserved), reverse=True):
            written = len(name.encode()) + (2 if raw[offset : offset + 1] == b'"' else 0)
            raw = raw[:offset] + self._catalog_name(name).encode() + raw[offset + written :]
        return raw.decode()

    def _parquet_view(self, table: CommittedTable) -> bool:
        """DuckDB reads Parquet itself: only the columns and row groups that a query needs.

        False where it cannot open a path as it is written: one with a pattern's characters beside a backslash.
        """
        files = [file for _, file in table.files]
        paths = self._paths(files)
        exact = [sql.exactly(path) for path in paths]
        selected = table.select(self, f"[{', '.join(map(sql.literal, exact))}]")
        try:
            self._view(table.name, selected)
        except duckdb.Error:
            for _, file in table.files:  # it may be the file's fault
                content(self.storage, file)
            if exact == paths:
                raise
            return False
        if self._remote is None or self._left is None:
            self._unread[table.name] = files
        return True


def _places(node: Any, names: Collection[str]) -> Iterator[tuple[int, str]]:
    """Yield at which byte of a statement each table is named that is one of some; and that name."""
    if isinstance(node, list):
        for item in node:
            yield from _places(item, names)
    elif isinstance(node, dict):
        if node.get("type") == "BASE_TABLE" and node["table_name"] in names and not node["schema_name"]:
            yield node["query_location"], node["table_name"]
        for item in node.values():
            yield from _places(item, names)


def _created_message(name: str) -> str:
    """What is said where a temporary table, view or macro was made."""
    return f"SELECT {sql.literal(name)} AS made"

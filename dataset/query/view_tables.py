"""What a dataset's views are made of: which committed files, of which columns, and which SQL over them.

Every table exists always; of a stage that has not run, or is switched off, it has no files.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pyarrow as pa

from dataset.hosts import HOST_SQL
from dataset.ledger.commits import FileRef, RecordError
from dataset.ledger.committed import Committed
from dataset.ledger.damage import content, read_table
from dataset.query import sql
from dataset.query.side_tables import TIMINGS, public_suffixes, settings
from dataset.reasons import reasons
from dataset.schema import NSFW, VERDICTS
from dataset.stages import Rows, Stage, Table, judging_stages, path, table_names
from dataset.stages import tables as declared
from dataset.store.storage import Storage

_FUNNEL = pa.schema(
    [("step", pa.int32()), ("stage", pa.string()), ("input", pa.int64()), ("kept", pa.int64()), ("dropped", pa.int64())]
)
_STAGES = pa.schema([("step", pa.int32()), ("stage", pa.string())])
_OF_ALL = ("views/dropped", "views/funnel")
"""Views over what every stage gives."""
_INSTEAD = {"host": HOST_SQL}
"""What an older version did not write, of what it wrote."""
_JUDGED: tuple[Rows, ...] = ("candidates", "pairs")


@dataclass(frozen=True)
class CommittedTable:
    """A table of the files that a phase has committed.

    numbered: rows have the columns `partition` and `row` before those of the schema.
    unify: the files' types may differ, for where a column has no values it has no type.
    """

    name: str
    files: tuple[tuple[int, FileRef], ...]  # partition, file
    schema: pa.Schema
    numbered: bool = True
    unify: bool = False

    @property
    def numbered_schema(self) -> pa.Schema:
        """The columns that people see."""
        if not self.numbered:
            return self.schema
        front = [pa.field("partition", pa.int32())]
        if "row" not in self.schema.names:
            front.append(pa.field("row", pa.uint32()))
        return pa.schema([*front, *self.schema])

    def of(self, partitions: Collection[int]) -> CommittedTable:
        """Return the table of the files of some partitions alone."""
        return replace(self, files=tuple(file for file in self.files if file[0] in partitions))

    @property
    def nothing(self) -> str:
        """The SELECT of no rows."""
        columns = ", ".join(
            f"NULL::{sql.type_name(field.type)} AS {sql.identifier(field.name)}" for field in self.numbered_schema
        )
        return f"SELECT {columns} WHERE false"

    def select(self, committed: Committed, paths: str) -> str:
        """Return the SELECT that reads the files; `paths` is the SQL of the list of where they are. Raises
        RecordError, DamagedError.
        """
        first = self.files[0][1]
        file_schema = committed.schema(first)
        try:
            check_columns(file_schema, self.schema, committed.storage.url_of(first.name))
        except RecordError:
            content(committed.storage, first)  # a footer that has rotted may say anything: a run makes the file anew
            raise
        missing = _missing_columns(file_schema, self.schema)
        columns = ", ".join(
            f"{missing[column]} AS {sql.identifier(column)}" if column in missing else sql.identifier(column)
            for column in self.schema.names
        )
        if self.numbered:
            partitions = ", ".join(str(int(partition)) for partition, _ in self.files)
            row = "" if "row" in self.schema.names else "file_row_number::UINTEGER AS row, "
            columns = f"list_extract([{partitions}], (file_index + 1)::BIGINT)::INTEGER AS partition, {row}{columns}"
        return (
            f"SELECT {columns} FROM read_parquet({paths}, file_row_number = true, "  # noqa: S608
            f"hive_partitioning = false, union_by_name = {str(self.unify).lower()})"
        )

    def read(self, storage: Storage) -> pa.Table:
        """Return all rows, through Arrow. Raises DamagedError, FileNotFoundError."""
        schema, parts = self.schema, []
        for partition, file in self.files:
            rows = read_table(storage, file)
            for column in schema.names:
                if column not in rows.column_names:
                    rows = rows.append_column(column, pa.nulls(rows.num_rows, schema.field(column).type))
            rows = rows.select(schema.names) if self.unify else rows.select(schema.names).cast(schema)
            if self.numbered and "row" not in schema.names:
                rows = rows.add_column(0, "row", pa.array(range(rows.num_rows), pa.uint32()))
            if self.numbered:
                rows = rows.add_column(0, "partition", pa.array([partition] * rows.num_rows, pa.int32()))
            parts.append(rows)
        return pa.concat_tables(parts, promote_options="permissive" if self.unify else "none")


def tables(committed: Committed) -> Iterator[CommittedTable]:
    """Yield every table that is made of files."""
    for make in makers(committed).values():
        yield make()


def makers(committed: Committed) -> dict[str, Callable[[], CommittedTable]]:
    """Return what makes each table that is made of files, by its name in questions; the commit records are read
    by it.
    """
    maker_of: dict[str, Callable[[], CommittedTable]] = {}
    for name in table_names():
        table = declared(name)[-1]
        if table.is_view:
            maker_of[table.view] = partial(_files_of, committed, name)
    for rows in _JUDGED:
        for stage in judging_stages(rows):
            maker_of[_verdicts(stage).view] = partial(_files_of, committed, _verdicts(stage))
    return maker_of


def kinds() -> dict[str, str]:
    """Return which of candidates, pairs and samples the files of a table are partitions of, by the table's name."""
    kind_of = {"_samples": "samples"}
    order = [stage.name for stage in path()]
    last = max(order.index(stage.name) for stage in judging_stages("candidates"))
    for name in table_names():
        table = declared(name)[-1]
        if table.is_view and table.is_numbered:
            of_pairs = name == "pairs" or order.index(table.phase.partition(".")[0]) > last
            kind_of[table.view] = "pairs" if of_pairs else "candidates"
    return kind_of | {_verdicts(stage).view: rows for rows in _JUDGED for stage in judging_stages(rows)}


def constants(committed: Committed) -> dict[str, Callable[[], pa.Table]]:
    """Return what makes the tables that no committed file holds: the stages, the funnel's counts, the config, what the
    reasons mean.
    """
    return {
        "_stages": lambda: pa.Table.from_pylist(_steps(), schema=_STAGES),
        "_funnel": lambda: _funnel(committed),
        "_timings": TIMINGS.empty_table,  # of the log, which no other run's is the same as; `Dataset` reads it
        "_public_suffixes": public_suffixes,
        "settings": lambda: settings(committed.storage),
        "reasons": _reasons,
    }


def _steps() -> list[dict[str, Any]]:
    return [{"step": step, "stage": stage.name} for step, stage in enumerate(path())]


def _funnel(committed: Committed) -> pa.Table:
    funnel = committed.manifest.get("funnel", {})
    rows = [
        {**step, **{name: funnel[step["stage"]][name] for name in ("input", "kept", "dropped")}}
        for step in _steps()
        if step["stage"] in funnel
    ]
    return pa.Table.from_pylist(rows, schema=_FUNNEL)


def _reasons() -> pa.Table:
    known = [{"reason": name, "stage": stage, "meaning": text} for name, (stage, text) in reasons().items()]
    return pa.Table.from_pylist(known)


def views() -> dict[str, str]:
    """Return the SELECT of every view over these tables, in an order in which each reads only what stands before it."""
    selects = {f"_{rows}_verdicts": _all_verdicts(rows) for rows in _JUDGED}
    for view in (*(view for stage in path() for view in stage.views), *_OF_ALL):
        selects[view.rpartition("/")[2]] = sql.load(view)
    return selects


def _verdicts(stage: Stage) -> Table:
    return Table(f"{stage.name}_verdicts", stage.decision, "verdicts", VERDICTS)


def _all_verdicts(rows: Rows) -> str:
    """The verdicts that stages have given on candidates, or on pairs."""
    selects = (
        f"SELECT {sql.literal(stage.name)} AS stage, * FROM {sql.identifier(_verdicts(stage).view)}"  # noqa: S608
        for stage in judging_stages(rows)
    )
    return " UNION ALL ".join(selects)


def _files_of(committed: Committed, table: Table | str) -> CommittedTable:
    """The files of a table, or of a table's name.

    Where the config names the columns the files' types may differ, for where a column has no values it has no type.
    """
    if isinstance(table, str):
        table = committed.table(table)
    commits = [commit for commit in committed.commits(table.phase) if table.role in commit.files]
    files = [(commit.partition, commit.files[table.role]) for commit in commits]
    files = [(partition, file) for partition, file in files if file.rows]
    schema = _custom_columns(committed, files) if table.schema is None else table.schema
    return CommittedTable(table.view, tuple(files), schema, table.is_numbered, table.schema is None)


def _custom_columns(committed: Committed, files: list[tuple[int, FileRef]]) -> pa.Schema:
    """The columns that a config's own models or filters have made, as the first partition has them."""
    columns = pa.schema([("row", pa.uint32())])
    for _, file in files[:1]:
        taken = {"", "row", "partition", *NSFW.names}  # a head may be the NSFW model
        for field in committed.schema(file):
            if field.name.lower() not in taken:  # SQL's names differ by more than case
                columns = columns.append(field.remove_metadata())
                taken.add(field.name.lower())
    return columns


def check_columns(file_schema: pa.Schema, wanted: pa.Schema, where: str) -> None:
    """Raise RecordError if a file has a column twice, or of another type than is wanted; some it may lack."""
    for field in wanted:
        there = [file_schema.field(place).type for place in file_schema.get_all_field_indices(field.name)]
        if there not in ([], [field.type]):
            types = " and ".join(str(kind)[:60] for kind in there[:2])
            raise RecordError(
                f"{where} is not as openwit writes it: its column {field.name} is {types}, not {field.type}"
            )


def _missing_columns(file_schema: pa.Schema, wanted: pa.Schema) -> dict[str, str]:
    """Columns that the files lack (the query list has no counts before pack), with what stands for them in SQL."""
    lacking = [field for field in wanted if field.name not in file_schema.names]
    return {field.name: _INSTEAD.get(field.name, f"NULL::{sql.type_name(field.type)}") for field in lacking}

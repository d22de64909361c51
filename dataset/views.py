"""A dataset's views: what a person asks, over what the commit records name.

Every view exists always; a stage that has not run, or is switched off, leaves it empty. Ids are shown as hexadecimal
digits.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from dataset.commits import Commit, FileRef, read_manifest, read_records
from dataset.reasons import REASONS
from dataset.schema import (
    CANDIDATE_STAGES,
    CANDIDATES,
    CAPS,
    CELLS,
    CLIP_SCORES,
    FACES,
    IMAGES,
    MATCHES,
    NSFW,
    PAIR_STAGES,
    PAIRS,
    QUERIES,
    SAMPLES,
    SOURCES,
    STAGES,
    TEXT_SCORES,
    VERDICTS,
)
from dataset.storage import Storage

_QUERY_COUNTS = pa.schema([*QUERIES, ("candidate_count", pa.int64()), ("kept_count", pa.int64())])
_FUNNEL = pa.schema(
    [("step", pa.int32()), ("stage", pa.string()), ("input", pa.int64()), ("kept", pa.int64()), ("dropped", pa.int64())]
)
FOLDER = Path(__file__).resolve().parent.parent / "sql" / "views"


class Dataset:
    """A dataset to ask questions of.

    Args:
        url: where it is: a path or s3:// URL.
        connection: a DuckDB connection to make the views in; a new one in memory by default.

    Raises:
        FileNotFoundError: there is no dataset at the URL.
    """

    def __init__(self, url: str, connection: duckdb.DuckDBPyConnection | None = None):
        self.storage = Storage(url)
        if not self.storage.exists("manifest.json") and not self.storage.exists("config.yaml"):
            raise FileNotFoundError(
                f"{url} is no dataset: it has no manifest.json; `wit run CONFIG --out {url}` makes one"
            )
        self.manifest: dict[str, Any] = read_manifest(self.storage)
        self.connection = connection if connection is not None else _connect()
        self._commits: dict[str, list[Commit]] = {}
        self._phases = {entry["phase"]: entry["records"] for entry in self.manifest["phases"]}
        self._make()

    def sql(self, query: str, **options: Any) -> duckdb.DuckDBPyRelation:
        """The answer of a query over the views, as a DuckDB relation."""
        return self.connection.sql(query, **options)

    def commits(self, phase: str) -> list[Commit]:
        """The commit records of a closed phase; none if it has not run."""
        if phase not in self._commits:
            records = self._phases.get(phase)
            self._commits[phase] = read_records(self.storage, records) if records else []
        return self._commits[phase]

    def _make(self) -> None:
        table = self._table
        table("_candidates", "extract.candidates", "candidates", CANDIDATES)
        table("_sources", "extract.candidates", "sources", SOURCES, numbered=False)
        table("_matches", "match.measure", "measures", MATCHES)
        table("_pairs", "prebalance.pairs", "pairs", PAIRS)
        table("_images", "fetch.get", "images", IMAGES)
        table("caps", "prebalance.caps", "caps", CAPS, numbered=False)
        table("_nsfw", "image.nsfw" if self.commits("image.nsfw") else "image.heads", "measures", NSFW)
        table("_texts", "text.measure", "measures", TEXT_SCORES)
        table("_clip_scores", "image.embed", "measures", CLIP_SCORES)
        table("_faces", "image.faces", "measures", FACES)
        table("_cells", "image.cell", "measures", CELLS)
        for phase in ("models", "heads", "custom"):  # whose columns the config names
            table(f"_image_{phase}", f"image.{phase}", "measures", self._own(f"image.{phase}"), unify=True)
        table("_samples", "pack.shard", "samples", SAMPLES, numbered=False)
        for stage in (*CANDIDATE_STAGES, *PAIR_STAGES):
            table(f"_{stage}_verdicts", f"{stage}.decide", "verdicts", VERDICTS)
        if self.commits("pack.queries"):
            table("queries", "pack.queries", "queries", _QUERY_COUNTS, numbered=False)
        else:
            table("queries", "match.queries", "queries", _QUERY_COUNTS, numbered=False)
        funnel = self.manifest.get("funnel", {})
        rows = [
            {"step": step, "stage": stage, **{name: funnel[stage][name] for name in ("input", "kept", "dropped")}}
            for step, stage in enumerate(STAGES)
            if stage in funnel
        ]
        self.connection.register("_funnel", pa.Table.from_pylist(rows, schema=_FUNNEL))
        reasons = [{"reason": name, "stage": stage, "meaning": text} for name, (stage, text) in REASONS.items()]
        self.connection.register("reasons", pa.Table.from_pylist(reasons))
        for name in ("sources", "candidates", "matches", "images", "scores", "dropped", "pairs", "funnel"):
            self.connection.execute(f"CREATE OR REPLACE TEMP VIEW {name} AS {(FOLDER / f'{name}.sql').read_text()}")

    def _table(
        self, name: str, phase: str, role: str, schema: pa.Schema, *, numbered: bool = True, unify: bool = False
    ) -> None:
        """Make a view of a phase's files; of an empty table if there is none.

        unify: the files' types may differ, for where a column has no values it has no type.
        """
        commits = self.commits(phase)
        files = [(commit.partition, commit.files[role]) for commit in commits if role in commit.files]
        files = [(partition, file) for partition, file in files if file.rows]
        if not files:
            self.connection.register(name, _numbered(schema, numbered).empty_table())
        elif self.storage.local:
            self.connection.execute(
                f"CREATE OR REPLACE TEMP VIEW {name} AS {self._local(files, schema, numbered, unify)}"
            )
        else:
            self.connection.register(name, self._remote(files, schema, numbered, unify))

    def _own(self, phase: str) -> pa.Schema:
        """The columns that a config's own models or filters have made in a phase, as the first partition has them."""
        files = [commit.files["measures"] for commit in self.commits(phase) if "measures" in commit.files]
        columns = pa.schema([("row", pa.uint32())])
        for file in [file for file in files if file.rows][:1]:
            with self.storage.open(file.name) as source:
                found = pq.read_schema(source)
            for field in found:
                if field.name not in ("row", "partition", *NSFW.names):  # a head may be the NSFW model
                    columns = columns.append(field.remove_metadata())
        return columns

    def _local(self, files: Sequence[tuple[int, FileRef]], schema: pa.Schema, numbered: bool, unify: bool) -> str:
        """DuckDB reads local Parquet itself: only the columns and row groups that a query needs."""
        paths = ", ".join("'" + self.storage.path(file.name).replace("'", "''") + "'" for _, file in files)
        columns = ", ".join(f'"{column}"' for column in schema.names)
        missing = _missing(self.storage, files[0][1], schema)
        columns = ", ".join(f'NULL::{missing[c]} AS "{c}"' if c in missing else f'"{c}"' for c in schema.names)
        if not numbered:
            return f"SELECT {columns} FROM read_parquet([{paths}])"  # noqa: S608
        row = "" if "row" in schema.names else "file_row_number::UINTEGER AS row, "
        numbers = ", ".join(f"'{self.storage.path(file.name)}': {partition}" for partition, file in files)
        return (
            f"SELECT (MAP {{{numbers}}})[filename]::INTEGER AS partition, {row}{columns} "  # noqa: S608
            f"FROM read_parquet([{paths}], filename = true, file_row_number = true, union_by_name = {unify})"
        )

    def _remote(self, files: Iterable[tuple[int, FileRef]], schema: pa.Schema, numbered: bool, unify: bool) -> pa.Table:
        """Other storage is read through Arrow: DuckDB's httpfs is not in its wheel."""
        tables = []
        for partition, file in files:
            with self.storage.open(file.name) as source:
                found = pq.read_table(source)
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


def _connect() -> duckdb.DuckDBPyConnection:
    return duckdb.connect(
        config={
            "autoload_known_extensions": False,
            "autoinstall_known_extensions": False,
            "threads": os.cpu_count() or 1,
        }
    )


def _missing(storage: Storage, file: FileRef, schema: pa.Schema) -> dict[str, str]:
    """Columns that the files lack (the query list has no counts before pack), with their SQL types."""
    with storage.open(file.name) as source:
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

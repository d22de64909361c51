"""What was measured once is not measured again when other rows are alive: a threshold of an earlier stage has changed.

A phase that reuses its measures writes, beside each table of them, a table of keys that say what each row was
measured on: the place of an image's stored bytes, which never changes, or a text. When the phase is to be done again
by the same method, its tasks are told the files that its earlier commits left, and take from these what they have.
The result is the same either way.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from dataset.ledger.commits import Commit, FileRef
from dataset.ledger.damage import read_table
from pipeline.engine.phase import KEYS, Context, Result, Task

MOST_ROWS = 5_000_000
"""Rows of earlier commits that a task looks through where the partitions have become more or fewer, so that each may
have its rows anywhere: some 100 MB of keys."""


def what_is_missing(
    tasks: Sequence[Task], known: Mapping[tuple[int, str], Commit], *is_usable: Callable[[Commit], bool]
) -> tuple[dict[int, Commit], list[Task]]:
    """Return what is done of a phase's tasks: their commits by partition, and the tasks that are to be done, in their
    order.

    Args:
        known: the phase's commits, by partition and fingerprint.
        is_usable: what a commit must be besides; the later are asked only where the earlier say yes.
    """
    commits: dict[int, Commit] = {}
    missing: list[Task] = []
    for task in tasks:
        commit = known.get((task.partition, task.fingerprint))
        if commit is not None and all(ask(commit) for ask in is_usable):
            commits[task.partition] = commit
        else:
            missing.append(task)
    return commits, missing


def with_earlier_measures(tasks: Sequence[Task], partitions: int, known: Iterable[Commit]) -> list[Task]:
    """Return tasks with a hint `earlier`: files of the phase's earlier commits, by role, that may have what they
    measure.

    Args:
        tasks: those that are to be done.
        partitions: how many the phase has.
        known: all commits of the phase whose files are there.
    """
    by_method: dict[str, dict[int, list[dict[str, FileRef]]]] = {}
    rows: Counter[str] = Counter()
    for commit in sorted(known, key=lambda commit: (commit.partition, commit.fingerprint)):
        method = commit.facts.get("method", "")
        files = {role: file for role, file in commit.files.items() if file.rows}
        by_method.setdefault(method, {}).setdefault(commit.partition, []).append(files)
        rows[method] += sum(file.rows for file in commit.files.values())
    answer = []
    for task in tasks:
        method = task.method
        earlier_files = by_method.get(method, {})
        if len(earlier_files) == partitions:
            earlier = earlier_files.get(task.partition, [])
        else:
            earlier = [files for part in earlier_files.values() for files in part] if rows[method] <= MOST_ROWS else []
        answer.append(task.with_hints({"earlier": earlier}))
    return answer


def image_keys(images: pa.Table) -> pa.Array:
    """Return where the stored bytes of images lie. string (n,)"""
    offset = images.column("blob_offset").cast(pa.string())
    return pc.binary_join_element_wise(images.column("blob"), offset, " ").combine_chunks()


def image_contents(images: pa.Table) -> pa.Array:
    """Return what stored images are: equal for two that were one file and were stored alike, at whatever place. binary
    (n,)

    The checksum of what is stored tells apart those of one file that were stored under different configs; alone it
    would not do, for whoever wants can make two images of one xxHash.
    """
    parts = [images.column("sha256").cast(pa.binary())]
    if "blob_checksum" in images.column_names:  # older datasets lack it
        parts.append(pc.fill_null(images.column("blob_checksum"), 0).cast(pa.string()).cast(pa.binary()))
    else:
        parts.append(image_keys(images).cast(pa.binary()))
    contents = pc.binary_join_element_wise(*parts, b" ")
    return contents.combine_chunks() if isinstance(contents, pa.ChunkedArray) else contents


def reuse_measures(
    context: Context,
    result: Result,
    role: str,
    rows: pa.Table,
    keys: pa.Array,
    measure: Callable[[pa.Table], pa.Table],
    contents: pa.Array | None = None,
) -> pa.Table:
    """Return measures of rows, of which those that an earlier commit has are not made again, and copies only once.

    Args:
        result: gets the table as `role`, and its keys.
        rows: with `row`, distinct.
        keys: string (n,): equal for two rows only if their measures are.
        measure: rows → `row` and what is measured on them, in their order.
        contents: (n,): what is measured of each row, where `keys` are places; of rows with one content the first is
            measured, and its measures are those of the others too.

    Returns:
        The measures, in the order of the rows.
    """
    earlier_tables = [_read(context, files, role) for files in context.task.hints.get("earlier", ()) if role in files]
    known = pa.concat_tables(earlier_tables) if earlier_tables else None
    indices = (
        pc.index_in(keys, value_set=known.column("key").combine_chunks()) if known else pa.nulls(len(keys), pa.int32())
    )
    new = pc.is_null(indices)
    fresh = _measure_distinct(rows.filter(new), (keys if contents is None else contents).filter(new), measure)
    table = fresh
    if known is not None and indices.null_count < len(indices):
        kept = known.drop_columns(["key"]).take(indices.drop_null())
        kept = kept.set_column(0, fresh.field(0), rows.column("row").filter(pc.is_valid(indices)))
        table = pa.concat_tables([fresh, kept.cast(fresh.schema)] if len(fresh) else [kept])
        table = table.take(pc.index_in(rows.column("row"), value_set=table.column("row").combine_chunks()))
    result.table(role, table).table(f"{role}{KEYS}", pa.table({"row": rows.column("row"), "key": keys}))
    return table


def _measure_distinct(rows: pa.Table, contents: pa.Array, measure: Callable[[pa.Table], pa.Table]) -> pa.Table:
    """Measures of rows, made of the first of those with one content alone."""
    distinct = pc.unique(contents)
    if len(distinct) == len(rows):
        return measure(rows)
    answer = measure(rows.take(pc.index_in(distinct, value_set=contents)))
    of_each = answer.take(pc.index_in(contents, value_set=distinct))
    return of_each.set_column(0, answer.field(0), rows.column("row"))


def _read(context: Context, files: Mapping[str, FileRef], role: str) -> pa.Table:
    """The measures of a commit with their keys; `row`, which means another row by now, is the first column."""
    measures = read_table(context.storage, files[role])
    keys = read_table(context.storage, files[f"{role}{KEYS}"])
    indices = pc.index_in(measures.column("row"), value_set=keys.column("row").combine_chunks())
    assert indices.null_count == 0 and measures.column_names[0] == "row"
    plain = pa.schema([(field.name, _with_default_list_names(field.type)) for field in measures.schema])
    return measures.cast(plain).replace_schema_metadata(None).append_column("key", keys.column("key").take(indices))


def _with_default_list_names(type_: pa.DataType) -> pa.DataType:
    """A type as it was before Parquet gave other names to what is in its lists."""
    if pa.types.is_fixed_size_list(type_):
        return pa.list_(_with_default_list_names(type_.value_type), type_.list_size)
    return pa.list_(_with_default_list_names(type_.value_type)) if pa.types.is_list(type_) else type_

"""Rows of a partition that are still alive, and the verdicts that a decision in SQL gives on them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dataset import heartbeat, usage
from dataset.ledger.commits import REASON, FileRef, RecordError
from dataset.ledger.damage import read_table
from dataset.query import sql
from dataset.reasons import ANY_STAGE, TRANSIENT, reasons
from dataset.schema import VERDICTS
from dataset.store.storage import Storage
from pipeline.engine.phase import CAPTIONS_ROLE, LEFT_OUT, LEFT_OUT_ROLE, Context, Result
from pipeline.engine.reuse import image_contents
from pipeline.workers.failures import CRASHED

TRANSIENT_SHARE = 0.2
"""The share of a stage's rows that may be dropped for one transient reason before the stage ends with a warning."""


class ConservationError(RuntimeError):
    """kept + dropped ≠ input: a defect of a stage, never of the data."""


def alive_indices(count: int, verdicts: Sequence[pa.Table]) -> np.ndarray:
    """Return indices of the rows that no earlier stage has dropped, ascending. uint32 (n,)."""
    keep = np.ones(count, dtype=bool)
    for table in verdicts:
        keep[table.column("row").to_numpy()] = False
    return np.flatnonzero(keep).astype(np.uint32)


def alive_in(storage: Storage, rows: FileRef, count: int, verdicts: Sequence[FileRef]) -> np.ndarray:
    """Return the indices as `alive_indices` does, of a committed file of so many rows, by committed files of verdicts.

    Raises:
        DamagedError: a file of verdicts is damaged.
        RecordError: one names a row that is not there.
    """
    try:
        return alive_indices(count, [read_table(storage, file, ["row"]) for file in verdicts])
    except IndexError:
        said = f"verdicts name rows that {rows.name} has not; the dataset is not as openwit writes it"
        raise RecordError(f"{storage.url}: {said}") from None


def alive_rows(context: Context, columns: Sequence[str] | None = None) -> pa.Table:
    """Return the alive rows of the task's partition (roles `rows`, `verdicts`), with their index as first column `row`.

    Their texts are those that are judged: see `dataset.schema.CAPTIONS`.
    """
    table = context.table("rows", columns)
    if CAPTIONS_ROLE in context.task.inputs and "text" in table.column_names:
        table = _replace_texts(table, context.table(CAPTIONS_ROLE, ["row", "text"]))
    rows = alive_indices(table.num_rows, context.table_list("verdicts", ["row"]))
    return table.take(pa.array(rows)).add_column(0, pa.field("row", pa.uint32()), pa.array(rows))


def _replace_texts(table: pa.Table, captions: pa.Table) -> pa.Table:
    """Rows with the texts that are judged, and kept, in the place of those that were written; see CAPTIONS."""
    is_other = np.zeros(table.num_rows, dtype=bool)
    is_other[captions.column("row").to_numpy()] = True
    texts = table.column("text").combine_chunks()
    texts = pc.replace_with_mask(texts, pa.array(is_other), captions.column("text").combine_chunks())
    return table.set_column(table.schema.get_field_index("text"), table.schema.field("text"), texts)


def take_units(context: Context, rows: pa.Table) -> pa.Table:
    """Return the rows that a measure works on: all but those that are left out; those of a probe, of a share.

    Args:
        rows: of pairs, or of images (then with `blob`); their positions are the task's units.
    """
    task = context.task
    if not context.is_probe and not task.without and task.share is None:
        return rows
    of_images = "blob" in rows.column_names
    if not context.is_probe and task.share is None:
        for unit, lost in sorted(context.task.without.items()):
            row = rows.slice(unit, 1).to_pylist()[0]
            context.leave_out(lost, **({"url": row["url"]} if of_images else {"row": row["row"]}))
    firsts = None
    if of_images and task.share is not None:
        contents = image_contents(rows)
        firsts = pc.index_in(contents, value_set=contents).to_pylist()
    return rows.take(pa.array(context.units(rows.num_rows, firsts), type=pa.int64()))


_WARM: set[str] = set()  # phases that this process has done before


def measure_in_slices(
    context: Context,
    rows: pa.Table,
    size: int,
    measure: Callable[[pa.Table], pa.Table],
    *,
    of: pa.Table | None = None,
    is_guarded: bool = True,
) -> pa.Table:
    """Return what a measure answers for rows, asked slice by slice, so that it is known where the work is.

    A probe asks row by row, to find the one that fails.

    Args:
        size: rows of a slice.
        measure: answers a table of its rows, in their order, whatever they are asked beside.
        of: the rows whose positions are the task's units, if `rows` are but some of them; both ordered by `row`.
        is_guarded: whether a slice that takes too long is ended: not where a model's size decides how long it takes.
    """
    units = np.arange(rows.num_rows) if of is None else np.searchsorted(of["row"].to_numpy(), rows["row"].to_numpy())
    size = 1 if context.is_probe else size
    if context.task.phase not in _WARM:
        began = time.process_time()
        measure(rows.slice(0, 0))  # models are loaded, code is compiled: that is no record's expense
        usage.count(**{usage.LOADING: time.process_time() - began})
        _WARM.add(context.task.phase)
    parts = []
    for first in range(0, max(1, rows.num_rows), size):
        part = rows.slice(first, size)
        if part.num_rows:
            heartbeat.among(int(units[first]), int(units[first + part.num_rows - 1]) + 1, is_guarded=is_guarded)
        parts.append(measure(part))
        heartbeat.progress(first + part.num_rows, rows.num_rows)
    heartbeat.rest()
    return pa.concat_tables(parts)


def decide_by_sql(
    context: Context,
    decision: str,
    rows: pa.Table,
    tables: Mapping[str, pa.Table],
    config: Mapping[str, Any],
    custom: Sequence[Mapping[str, Any]] = (),
) -> pa.Table:
    """Run a decision, as `dataset.query.sql.load` finds it, then the config's own filters, over the alive rows.

    A row without measures was left out: see `lost_verdicts`. The first verdict on a row counts.
    Returns VERDICTS, ordered by row.

    Raises:
        ValueError: a filter's predicate names a column that nobody measures, or asks of it what it cannot answer.
    """
    verdicts = sql.run(sql.load(decision), {"rows": rows, **tables}, dict(config))
    parts = [verdicts.select(VERDICTS.names).cast(VERDICTS)]
    for filter_ in custom:
        statement = custom_decision(filter_["name"], filter_["drop_when"], filter_["columns"], "cutoffs" in tables)
        try:
            parts.append(sql.run(statement, {"rows": rows, **tables}, dict(config)).cast(VERDICTS))
        except duckdb.Error as error:
            raise ValueError(f"filters.{filter_['name']}.drop_when: {str(error).partition(chr(10))[0]}") from None
    measures = tables.get("measures")
    if measures is not None:
        parts.append(lost_verdicts(context, rows, measures.column("row")))
    return first_verdicts(parts)


def custom_decision(name: str, drop_when: str, columns: Sequence[str], has_cutoffs: bool) -> str:
    """Return the SQL of a config's own filter: VERDICTS of the rows for which its predicate is true.

    Args:
        columns: the measures that are its evidence.
        has_cutoffs: whether the predicate may name a quantile, of the one row of `cutoffs`.
    """
    evidence = ", ".join(f"{sql.literal(column)}, measures.{sql.identifier(column)}" for column in columns)
    numbers = " CROSS JOIN cutoffs" if has_cutoffs else ""
    return (
        f"SELECT row, {sql.literal(name)} AS reason, json_object({evidence})::VARCHAR AS evidence "  # noqa: S608
        f"FROM rows JOIN measures USING (row){numbers} WHERE ({drop_when}\n) ORDER BY row"
    )


def lost_verdicts(context: Context, rows: pa.Table, measured: pa.ChunkedArray) -> pa.Table:
    """Return verdicts for the alive rows that could not be measured: VERDICTS, by what their measure left out."""
    missing = rows.filter(pc.invert(pc.is_in(rows.column("row"), value_set=measured.combine_chunks())))
    if not missing.num_rows:
        return VERDICTS.empty_table()
    left_out = pa.concat_tables([LEFT_OUT.empty_table(), *context.table_list(LEFT_OUT_ROLE)]).to_pylist()
    by_row = {item["row"]: item for item in left_out if item["row"] is not None}
    by_url = {item["url"]: item for item in left_out if item["url"] is not None}
    unknown = {"reason": CRASHED, "evidence": json.dumps({"stage": context.stage.name})}
    verdicts = []
    for row in missing.select([name for name in ("row", "url") if name in missing.column_names]).to_pylist():
        unit = by_row.get(row["row"]) or by_url.get(row.get("url")) or unknown
        verdicts.append({"row": row["row"], "reason": unit["reason"], "evidence": unit["evidence"]})
    return pa.Table.from_pylist(verdicts, schema=VERDICTS)


def left_join_by_row(measures: pa.Table, keys: pa.ChunkedArray, table: pa.Table) -> pa.Table:
    """Return a table's columns beside the measures by its `row`; a row that it lacks (quarantine) is left out.

    keys: what each row of the measures is called in the table's `row`.

    Raises:
        ValueError: both have a column of one name.
    """
    indices = pc.index_in(keys, value_set=table.column("row").combine_chunks())
    joined = measures.filter(indices.is_valid())
    for name in table.column_names:
        if name in joined.column_names and name != "row":
            raise ValueError(f"two measures of a stage are called {name}; give one of them another name")
        if name != "row":
            joined = joined.append_column(name, table.column(name).take(indices.drop_null()))
    return joined


def first_verdicts(parts: Sequence[pa.Table]) -> pa.Table:
    """Return one verdict a row, the earliest part's, ordered by row."""
    table = pa.concat_tables([VERDICTS.empty_table(), *parts])
    _, first = np.unique(table.column("row").to_numpy(), return_index=True)
    return table.take(pa.array(first))


def verdict_result(context: Context, rows: pa.Table, verdicts: pa.Table, more_reasons: Sequence[str] = ()) -> Result:
    """Return the result of a deciding phase, with the counts that conservation is checked by.

    more_reasons: the reasons that the config's own filters add to those that the stage declares.

    Raises:
        ConservationError: a verdict on a row that is not alive, two on one row, or a reason that its stage lacks.
    """
    dropped = verdicts.column("row").to_numpy()
    if len(np.unique(dropped)) != len(dropped) or not np.isin(dropped, rows.column("row").to_numpy()).all():
        raise ConservationError("a stage gave a verdict twice, or on a row that an earlier stage had dropped")
    known = {*context.stage.reasons, *ANY_STAGE, *more_reasons}
    unknown = set(pc.unique(verdicts.column("reason")).to_pylist()) - known
    if unknown:
        raise ConservationError(
            f"the stage {context.stage.name} declares no reason {', '.join(sorted(map(str, unknown)))}"
        )
    reasons = {
        f"{REASON}{item['values']}": item["counts"] for item in pc.value_counts(verdicts.column("reason")).to_pylist()
    }
    counts = {
        "input": rows.num_rows,
        "dropped": len(dropped),
        "kept": rows.num_rows - len(dropped),
        **dict(sorted(reasons.items())),
    }
    return Result(counts=counts).table("verdicts", verdicts, VERDICTS)


def warnings(stage: str, rows: int, counts: Mapping[str, int]) -> list[str]:
    """Return what to say of a stage that lost many of its rows for one reason that may pass: an outage, not the web.

    Args:
        counts: reason -> how many of the rows were dropped for it.
    """
    return [
        f"warning: {stage} dropped {count:,} of {rows:,} ({count / rows:.0%}) for {reason}: {reasons()[reason][1]}. "
        "That may pass: see whether this machine reaches the network, then run the same command with "
        "--retry transient, which asks again for these alone"
        for reason, count in sorted(counts.items(), key=lambda item: -item[1])
        if reason in TRANSIENT and count > TRANSIENT_SHARE * rows
    ]

"""Rows of a partition that are still alive, and the verdicts that a decision in SQL gives on them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dataset import sql
from dataset.reasons import REASONS
from dataset.schema import VERDICTS
from pipeline.phase import Context, Result


class ConservationError(RuntimeError):
    """kept + dropped ≠ input: a defect of a stage, never of the data."""


def alive(count: int, verdicts: Sequence[pa.Table]) -> np.ndarray:
    """Indices of the rows that no earlier stage has dropped, ascending. uint32 (n,)."""
    keep = np.ones(count, dtype=bool)
    for table in verdicts:
        keep[table.column("row").to_numpy()] = False
    return np.flatnonzero(keep).astype(np.uint32)


def alive_rows(context: Context, columns: Sequence[str] | None = None) -> pa.Table:
    """The alive rows of the task's partition (roles `rows`, `verdicts`), with their index as first column `row`."""
    table = context.table("rows", columns)
    rows = alive(table.num_rows, context.table_list("verdicts", ["row"]))
    return table.take(pa.array(rows)).add_column(0, pa.field("row", pa.uint32()), pa.array(rows))


def take_units(context: Context, rows: pa.Table) -> pa.Table:
    """The rows that a measure works on: without those in quarantine (units are positions among the alive rows)."""
    if context.task.only is None and not context.task.without:
        return rows
    return rows.take(pa.array(context.units(rows.num_rows), type=pa.int64()))


def decide(
    context: Context,
    decision: str,
    rows: pa.Table,
    tables: Mapping[str, pa.Table],
    config: Mapping[str, Any],
    custom: Sequence[Mapping[str, Any]] = (),
) -> pa.Table:
    """Run `sql/decisions/DECISION.sql`, then the config's own filters, over the alive rows.

    A row without measures crashed its worker: `quarantined`. The first verdict on a row counts.
    Returns VERDICTS, ordered by row.

    Raises:
        ValueError: a filter's predicate names a column that nobody measures, or asks of it what it cannot answer.
    """
    verdicts = sql.run(sql.load(f"decisions/{decision}"), {"rows": rows, **tables}, dict(config))
    numbers = " CROSS JOIN cutoffs" if "cutoffs" in tables else ""
    parts = [verdicts.select(VERDICTS.names).cast(VERDICTS)]
    for filter_ in custom:
        columns = filter_["columns"]
        evidence = ", ".join(f"{sql.literal(name)}, measures.{sql.identifier(name)}" for name in columns)
        statement = (
            f"SELECT row, {sql.literal(filter_['name'])} AS reason, json_object({evidence})::VARCHAR AS evidence "  # noqa: S608
            f"FROM rows JOIN measures USING (row){numbers} WHERE ({filter_['drop_when']}\n) ORDER BY row"
        )
        try:
            parts.append(sql.run(statement, {"rows": rows, **tables}, dict(config)).cast(VERDICTS))
        except duckdb.Error as error:
            raise ValueError(f"filters.{filter_['name']}.drop_when: {str(error).partition(chr(10))[0]}") from None
    measures = tables.get("measures")
    if measures is not None:
        parts.append(quarantined(rows.column("row"), measures.column("row"), context.task.phase))
    return first_verdicts(parts)


def quarantined(rows: pa.ChunkedArray, measured: pa.ChunkedArray, phase: str) -> pa.Table:
    """Verdicts for the rows that could not be measured."""
    missing = rows.filter(pc.invert(pc.is_in(rows, value_set=measured.combine_chunks())))
    evidence = json.dumps({"stage": phase.split(".")[0]})
    return pa.table(
        {"row": missing, "reason": ["quarantined"] * len(missing), "evidence": [evidence] * len(missing)},
        schema=VERDICTS,
    )


def first_verdicts(parts: Sequence[pa.Table]) -> pa.Table:
    """One verdict a row, the earliest part's, ordered by row."""
    table = pa.concat_tables([VERDICTS.empty_table(), *parts])
    _, first = np.unique(table.column("row").to_numpy(), return_index=True)
    return table.take(pa.array(first))


def verdict_result(rows: pa.Table, verdicts: pa.Table, vocabulary: Sequence[str] = ()) -> Result:
    """The result of a deciding phase, with the counts that conservation is checked by.

    Raises:
        ConservationError: a verdict on a row that is not alive, two on one row, or a reason outside the vocabulary.
    """
    dropped = verdicts.column("row").to_numpy()
    if len(np.unique(dropped)) != len(dropped) or not np.isin(dropped, rows.column("row").to_numpy()).all():
        raise ConservationError("a stage gave a verdict twice, or on a row that an earlier stage had dropped")
    unknown = set(pc.unique(verdicts.column("reason")).to_pylist()) - set(REASONS) - set(vocabulary)
    if unknown:
        raise ConservationError(f"reasons outside the vocabulary: {', '.join(sorted(map(str, unknown)))}")
    reasons = {
        f"reason:{item['values']}": item["counts"] for item in pc.value_counts(verdicts.column("reason")).to_pylist()
    }
    counts = {
        "input": rows.num_rows,
        "dropped": len(dropped),
        "kept": rows.num_rows - len(dropped),
        **dict(sorted(reasons.items())),
    }
    return Result(counts=counts).table("verdicts", verdicts, VERDICTS)

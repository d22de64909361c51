"""Rows and verdicts: who is alive, which verdict counts, and what no stage may answer."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataset.schema import VERDICTS
from pipeline.engine.phase import LEFT_OUT, LEFT_OUT_ROLE, Context
from pipeline.engine.verdicts import (
    ConservationError,
    alive_indices,
    alive_rows,
    decide_by_sql,
    first_verdicts,
    lost_verdicts,
    verdict_result,
)

ROWS = st.lists(st.integers(0, 19), unique=True, max_size=20)


class Given:
    """A context that has its tables at hand."""

    def __init__(self, **tables: Any):
        self.task = SimpleNamespace(inputs=tables)
        self.stage = SimpleNamespace(name="toy", reasons={"large": "it is large"})
        self._tables = tables

    def table(self, role: str, columns: Any = None) -> pa.Table:
        return self._tables[role] if columns is None else self._tables[role].select(columns)

    def table_list(self, role: str, columns: Any = None) -> list[pa.Table]:
        return self._tables.get(role, [])


def context(**tables: Any) -> Context:
    return cast(Context, Given(**tables))


def numbered(rows: list[int], **columns: list[Any]) -> pa.Table:
    return pa.table({"row": pa.array(rows, pa.uint32()), **columns})


def verdicts(rows: list[int], reason: str = "large") -> pa.Table:
    return pa.table([rows, [reason] * len(rows), ["{}"] * len(rows)], schema=VERDICTS)


@given(dropped=st.lists(ROWS, max_size=3))
def test_a_row_is_alive_that_no_stage_has_dropped(dropped: list[list[int]]) -> None:
    gone = {row for rows in dropped for row in rows}
    assert alive_indices(20, [verdicts(rows) for rows in dropped]).tolist() == [
        row for row in range(20) if row not in gone
    ]


def test_alive_rows_keep_their_numbers_and_have_the_texts_that_are_judged() -> None:
    rows = pa.table({"text": ["a", "b", "c", "d"], "url": ["1", "2", "3", "4"]})
    captions = numbered([1, 2], text=["B", "C"])
    found = alive_rows(context(rows=rows, captions=captions, verdicts=[verdicts([0, 2])]), ["text"])
    assert found.to_pylist() == [{"row": 1, "text": "B"}, {"row": 3, "text": "d"}]


@given(parts=st.lists(ROWS, min_size=1, max_size=4))
def test_the_first_verdict_on_a_row_counts(parts: list[list[int]]) -> None:
    found = first_verdicts([verdicts(sorted(rows), f"reason {number}") for number, rows in enumerate(parts)])
    expected: dict[int, str] = {}
    for number, rows in enumerate(parts):
        expected = {**dict.fromkeys(rows, f"reason {number}"), **expected}
    assert [(row["row"], row["reason"]) for row in found.to_pylist()] == sorted(expected.items())


def test_what_is_counted_of_a_decision() -> None:
    rows, own = numbered([1, 4, 6, 9]), pa.concat_tables([verdicts([4]), verdicts([9], "mine")])
    counts = verdict_result(context(), rows, own, ["mine"]).counts
    assert counts == {"input": 4, "dropped": 2, "kept": 2, "reason:large": 1, "reason:mine": 1}


@pytest.mark.parametrize(
    ("rows", "reason", "says"),
    [
        ([4, 4], "large", "a verdict twice, or on a row that an earlier stage had dropped"),
        ([5], "large", "a verdict twice, or on a row that an earlier stage had dropped"),
        ([4], "strange", "the stage toy declares no reason strange"),
    ],
)
def test_what_no_stage_may_answer(rows: list[int], reason: str, says: str) -> None:
    with pytest.raises(ConservationError, match=says):
        verdict_result(context(), numbered([1, 4, 6]), verdicts(rows, reason))


def test_what_was_not_measured_is_dropped_for_why_it_was_left_out() -> None:
    left_out = pa.Table.from_pylist(
        [
            {"row": 1, "url": None, "reason": "processing_time_exceeded", "evidence": "{}"},
            {"row": None, "url": "c", "reason": "processing_memory_exceeded", "evidence": "{}"},
        ],
        LEFT_OUT,
    )
    rows = numbered([0, 1, 2, 3], url=["a", "b", "c", "d"])
    measured = pa.chunked_array([pa.array([0], pa.uint32())])
    found = lost_verdicts(context(**{LEFT_OUT_ROLE: [left_out]}), rows, measured).to_pylist()
    assert [(item["row"], item["reason"]) for item in found] == [
        (1, "processing_time_exceeded"),
        (2, "processing_memory_exceeded"),
        (3, "quarantined"),
    ]
    assert json.loads(found[2]["evidence"]) == {"stage": "toy"}


def test_a_decision_is_sql_and_the_config_s_own_predicates_come_after_it(tmp_path: Path) -> None:
    (tmp_path / "toy.sql").write_text(
        "SELECT row, 'large' AS reason, '{}' AS evidence FROM rows JOIN measures USING (row), config "
        "WHERE size > most ORDER BY row"
    )
    rows, measures = numbered([0, 1, 2]), numbered([0, 1, 2], size=[1, 5, 9])
    custom = {"name": "odd", "drop_when": "size % 2 = 1", "columns": ["size"]}
    found = decide_by_sql(context(), str(tmp_path / "toy"), rows, {"measures": measures}, {"most": 6}, [custom])
    assert [tuple(row.values()) for row in found.to_pylist()] == [
        (0, "odd", '{"size":1}'),
        (1, "odd", '{"size":5}'),
        (2, "large", "{}"),
    ]
    with pytest.raises(ValueError, match=r"filters\.odd\.drop_when: .*weight"):
        wrong = {**custom, "drop_when": "weight > 1"}
        decide_by_sql(context(), str(tmp_path / "toy"), rows, {"measures": measures}, {"most": 6}, [wrong])

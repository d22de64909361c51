"""sql/decisions/match.sql: a text that holds no query is dropped."""

from __future__ import annotations

import pyarrow as pa

from dataset.query import sql
from dataset.schema import MATCHES

NOTHING = pa.table({"row": pa.array([], pa.uint32()), "language": pa.array([], pa.string())})


def test_only_texts_without_a_query_are_dropped() -> None:
    tables = {
        "rows": pa.table({"row": pa.array([2, 4, 9], pa.uint32())}),
        "measures": pa.table({"row": [9, 4, 2], "query_ids": [[], [1, 7], []]}, schema=MATCHES),
        "texts": NOTHING,
    }
    assert sql.run(sql.load("decisions/match"), tables, {"rule": "words", "ignored_query_ids": []}).to_pylist() == [
        {"row": 2, "reason": "no_query_match", "evidence": '{"rule":"words"}'},
        {"row": 9, "reason": "no_query_match", "evidence": '{"rule":"words"}'},
    ]


def test_where_each_language_has_a_list_the_language_is_told() -> None:
    tables = {
        "rows": pa.table({"row": pa.array([3], pa.uint32())}),
        "measures": pa.table({"row": [3], "query_ids": [[]]}, schema=MATCHES),
        "texts": pa.table({"row": pa.array([2, 3], pa.uint32()), "language": ["de", "fr"]}),
    }
    (verdict,) = sql.run(sql.load("decisions/match"), tables, {"rule": "words", "ignored_query_ids": []}).to_pylist()
    assert verdict["evidence"] == '{"rule":"words","language":"fr"}'


def test_stop_words_alone_are_no_query_where_they_are_ignored() -> None:
    tables = {
        "rows": pa.table({"row": pa.array([2, 4, 9], pa.uint32())}),
        "measures": pa.table({"row": [2, 4, 9], "query_ids": [[], [1, 7], [1, 5, 7]]}, schema=MATCHES),
        "texts": NOTHING,
    }
    assert sql.run(sql.load("decisions/match"), tables, {"rule": "words", "ignored_query_ids": [1, 7]}).to_pylist() == [
        {"row": 2, "reason": "no_query_match", "evidence": '{"rule":"words"}'},
        {"row": 4, "reason": "no_query_match", "evidence": '{"rule":"words","stopwords":2}'},
    ]

"""Every audit states its rows: a few rows of the tables that it reads, and what it answers."""

from __future__ import annotations

from typing import Any

import duckdb
import pyarrow as pa
import pytest

from dataset.query.side_tables import public_suffixes
from pipeline.reports import audits
from tests.sql.audit_rows import JUDGED, REASONS, Rows, candidate, drop, image, pair, query

EXAMPLES: dict[str, tuple[dict[str, Rows], list[tuple[Any, ...]]]] = {
    "aspects": ({"pairs": [pair(1), pair(2, width=64)]}, [(1.0, 1.1, 1, 0.5), (1.5, 2.0, 1, 0.5)]),
    "concentration": (
        {"pairs": [pair(1), pair(2, url="http://img.a1.co.uk/2.jpg"), pair(3, size=600)]},
        [(1, 2, 0.6667, 0.75), (2, 2, 1.0, 1.0)],
    ),
    "concept_by_host": (
        {
            "candidates": [candidate(1, text="My PHOTO"), candidate(2), candidate(3, text="photographs")],
            "pairs": [pair(1)],
        },
        [("a.example", 1, 1, "My PHOTO")],
    ),
    "concept_by_query": (
        {
            "queries": [query(0, 5, 1, query="a photo"), query(1, 9, 9, query="photograph"), query(2, 9, 9)],
            "pairs": [pair(1)],
        },
        [("a photo", "wordnet", 5, 1, "a red rose")],
    ),
    "cost_by_stage": (
        {
            "_timings": [
                {"phase": "fetch.get", "partitions": 4, "rows": 9, "seconds": 3.0},
                {"phase": "fetch.decide", "partitions": 4, "rows": 9, "seconds": 1.0},
            ],
            "_stages": [{"step": 5, "stage": "fetch"}],
        },
        [("fetch", 2, 4.0, 1.0, 8, "fetch.get", 3.0)],
    ),
    "dead_links": (
        {
            "_images": [image(1), image(2, "http_client_error")],
            "_pairs": [{"partition": 0, **candidate(number)} for number in (1, 1, 2)],
        },
        [("2019", 2, 1, 1)],
    ),
    "detected_languages": (
        {
            "_texts": JUDGED["_texts"],
            "_candidates": [{"partition": 0, "row": row, "pair_id": bytes([row] * 16)} for row in (1, 2)],
            "_samples": [{"pair_id": bytes([1] * 16)}],
        },
        [("de", 1, 0.5, 0), ("en", 1, 0.9, 1)],
    ),
    "domains": (
        {"candidates": [candidate(1), candidate(2)], "pairs": [pair(1, url="http://a.example:80/1.jpg")]},
        [("a.example", 2, 1, 1, 50.0)],
    ),
    "dropped_examples": (
        # of one reason two rows, with the pair's id of the first, and one too many; the same id for another reason
        {
            "_candidates": [
                {**candidate(number, text=text), "pair_id": bytes([id_] * 16), "partition": 0, "row": row}
                for row, (number, id_, text) in enumerate(
                    [(4, 2, "d"), (2, 1, "b"), (1, 1, "a"), (5, 3, "e"), (9, 9, "f")]
                )
            ],
            "_candidates_verdicts": [
                {
                    "stage": "text",
                    "reason": "text_too_short",
                    "partition": 0,
                    "row": row,
                    "evidence": f'{{"row": {row}}}',
                }
                for row in range(5)
            ],
            "_pairs": [{**candidate(7, text="p"), "pair_id": bytes([1] * 16), "partition": 0, "row": 0}],
            "_pairs_verdicts": [
                {"stage": "image", "reason": "image_too_small", "partition": 0, "row": 0, "evidence": "{}"}
            ],
        },
        [
            ("image", "image_too_small", "p", "http://a.example/7.jpg", "{}"),
            ("text", "text_too_short", "a", "http://a.example/1.jpg", '{"row": 2}'),
            ("text", "text_too_short", "b", "http://a.example/2.jpg", '{"row": 1}'),
            ("text", "text_too_short", "d", "http://a.example/4.jpg", '{"row": 0}'),
        ],
    ),
    "duplicate_clusters": (
        {
            "dropped": [
                drop(number, "neardup", "near_duplicate_image", evidence=f'{{"duplicate_of_url_id": "{to}"}}')
                for number, to in ((1, "aa"), (2, "aa"), (3, "bb"))
            ]
        },
        [(2, 1, 1, "bb"), (3, 1, 2, "aa")],
    ),
    "fetch_failures": (
        {"images": [image(1), image(2, "http_client_error"), image(3, "http_client_error")], "reasons": REASONS},
        [("http_client_error", 404, 2, 1, "a.example", 2, "the server refuses it")],
    ),
    "fetches": (
        {"images": [image(1), image(2, "http_client_error")], "reasons": REASONS},
        [
            ("http", "http_client_error", 1, 1.0, "the server refuses it"),
            ("http", "ok", 1, 1.0, "the image was accepted"),
        ],
    ),
    "filters_alone": (
        JUDGED,
        [
            ("text", "image_is_stand_in", 3, 3, 0),
            ("text", "address_unsafe", 3, 1, 0),
            ("text", "domain_blocked", 3, 1, 0),
            ("text", "image_is_logo", 3, 1, 0),
            ("text", "language_not_allowed", 3, 1, 0),
            ("text", "page_content_usage", 3, 1, 0),
            ("text", "page_noai", 3, 1, 0),
            ("text", "page_rsl_payment_required", 3, 1, 0),
            ("text", "personal_data", 3, 1, 0),
            ("text", "text_blocked", 3, 1, 0),
            ("text", "text_is_filename", 3, 1, 0),
            ("text", "text_is_interface", 3, 1, 0),
            ("text", "text_profane", 3, 1, 0),
            ("text", "text_repeats_on_site", 3, 1, 0),
            ("text", "text_too_short", 3, 1, 1),
            ("text", "url_scheme_not_allowed", 3, 1, 0),
            ("text", "image_is_advertisement", 3, 0, 0),
            ("text", "image_is_avatar", 3, 0, 0),
            ("text", "page_content_signal", 3, 0, 0),
            ("text", "page_error", 3, 0, 0),
            ("text", "page_rsl_prohibited", 3, 0, 0),
            ("text", "page_rsl_unreadable", 3, 0, 0),
            ("text", "page_tdm_reserved", 3, 0, 0),
            ("text", "page_wish_unreadable", 3, 0, 0),
            ("text", "text_is_code", 3, 0, 0),
            ("text", "text_is_credit", 3, 0, 0),
            ("text", "text_too_long", 3, 0, 0),
            ("text", "url_invalid", 3, 0, 0),
            ("match", "no_query_match", 2, 1, 0),
            ("image", "clip_score_low", 1, 1, 0),
            ("image", "image_has_face", 1, 1, 0),
            ("image", "image_too_small", 1, 1, 1),
            ("image", "image_aspect", 1, 0, 0),
            ("image", "nsfw_image", 1, 0, 0),
        ],
    ),
    "image_sizes": ({"pairs": [pair(1), pair(2, height=300)]}, [(64, 127, 2, 3.13)]),
    "kept_by_one_query": (
        {"pairs": [pair(1), pair(2, query_ids=[0, 1])], "queries": [query(0, 5, 2)]},
        [("query 0", "wordnet", 1, 50.0)],
    ),
    "languages": (
        {"candidates": [candidate(1), candidate(2, page_language=None)], "pairs": [pair(1)]},
        [("(none)", 1, 0), ("en", 1, 1)],
    ),
    "licences": (
        {"candidates": [candidate(1, page_license="http://cc.example/by")], "pairs": [pair(1), pair(2)]},
        [("", 1), ("http://cc.example/by", 1)],
    ),
    "near_thresholds": (
        JUDGED,
        [
            ("min_characters", 10.0, 1, 2, f"{2:032x}", f"{1:032x}"),
            ("min_clip_score", 0.28, 1, 1, "01" * 16, "02" * 16),
            ("min_side", 52.0, 1, 0, "01" * 16, None),
        ],
    ),
    "other_caps": (
        {
            "queries": [query(0, 30, 5), query(1, 10, 5), query(2, None, None)],
            "settings": [{"key": "balance.cap", "value": "20"}],
        },
        [(10, 1, 20, 50.0), (20, 1, 30, 75.0), *((cap, 0, 40, 100.0) for cap in (100, 1000, 5000, 20000, 100000))],
    ),
    "lost_queries": (
        {
            "queries": [query(0, 3, 0), query(1, 9, 1), query(2, 4, 0), query(3, None, None)],
            "matches": [
                {"pair_id": f"{row:032x}", "query_id": query} for query, row in ((0, 1), (0, 2), (0, 3), (1, 1))
            ],
            "dropped": [drop(1, "image", "image_too_small"), *(drop(row, "fetch", "unreachable") for row in (2, 3))],
        },
        [("query 2", "wordnet", 4, None, None, None), ("query 0", "wordnet", 3, "unreachable", 2, "x")],
    ),
    "queries_without_pairs": (
        {"queries": [query(0, 5, 2), query(1, 5, 0), query(2, None, None)]},
        [("wordnet", 3, 2, 1, 1)],
    ),
    "query_histogram": (
        {"queries": [query(0, 5, 3), query(1, 6, 2), query(2, None, None)]},
        [(0, 0, 1, 1, 0, 0), (2, 3, 0, 2, 0, 5), (4, 7, 2, 0, 11, 0)],
    ),
    "registrable_domains": (
        {
            "pairs": [
                pair(1),
                pair(2, url="http://b.img.a1.co.uk:80/2.jpg"),
                pair(3, url="https://me.github.io/x.png"),
                pair(4, url="https://x.www.ck/x.png"),  # an exception of *.ck
                pair(5, url="https://x.y.z.ck/x.png"),
                pair(6, url="http://127.0.0.1/x.png"),
                pair(7, url="http://localhost/x.png"),
            ]
        },
        [
            ("a1.co.uk", 2, 2, 0.2857, 200, 0.2857),
            ("127.0.0.1", 1, 1, 0.1429, 100, 0.1429),
            ("localhost", 1, 1, 0.1429, 100, 0.1429),
            ("me.github.io", 1, 1, 0.1429, 100, 0.1429),
            ("www.ck", 1, 1, 0.1429, 100, 0.1429),
            ("y.z.ck", 1, 1, 0.1429, 100, 0.1429),
        ],
    ),
    "resized_images": (
        {"candidates": [candidate(1, url_group="g"), candidate(2, url_group="g")]},
        [("g", 2, "http://a.example/1.jpg", "http://a.example/2.jpg")],
    ),
    "shards": ({"pairs": [pair(1), pair(2)]}, [("train-00000.tar", "train", 2, 200)]),
    "sources_failed": (
        {
            "sources": [
                {
                    "file": name,
                    "type": "warc",
                    "records": 9,
                    "candidates": 3,
                    "damaged_records": n,
                    "lost_bytes": n,
                    "error": error,
                }
                for name, n, error in (("good", 0, None), ("bad", 1, "cut off"))
            ]
        },
        [("bad", "warc", 9, 3, 1, 1, "cut off")],
    ),
    "splits": (
        {"pairs": [pair(1), pair(2, split="heldout", sha256=f"{1:064x}", text="A RED rose")]},
        [("train", 1, 1, 1, 1, 1, 100, 1, 1), ("heldout", 1, 1, 1, 1, 1, 100, 1, 1)],
    ),
    "tail_coverage": (
        {"queries": [query(0, 30, 5), query(1, 10, 5)]},
        [(1, 2, 75.0, 50.0), (10, 2, 100.0, 100.0)],
    ),
    "text_sources": (
        {"candidates": [candidate(1), candidate(2)], "pairs": [pair(1)]},
        [("alt", 2, 1, 50.0)],
    ),
    "top_queries": (
        {"queries": [query(0, 30, 5), query(1, 10, 5)]},
        [("query 0", "wordnet", 30, 5, 75.0, 50.0), ("query 1", "wordnet", 10, 5, 25.0, 50.0)],
    ),
    "total_words": ({"pairs": [pair(1, text="ä b")]}, [("train", 1, 2, 2.0, 4, 0.0)]),
}
ELSEWHERE = {  # in test_audits of the reports, over a whole dataset; `wishes` in tests/pipeline/stages/fetch
    *("concept", "concept_examples", "conservation", "dropped_by_host", "dropped_by_reason", "hosts"),
    *("repeated_texts", "text_lengths", "wishes"),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_audit_answers(name: str) -> None:
    tables, expected = EXAMPLES[name]
    audit = audits.find(name)
    connection = duckdb.connect()
    connection.register("_public_suffixes", public_suffixes())
    for table, rows in tables.items():
        connection.register(table, pa.Table.from_pylist(rows))
    answer = connection.execute(audit.text, audit.values() or None)
    assert [column[0] for column in answer.description or ()] == list(audit.columns)
    about = [tuple(pytest.approx(value) if isinstance(value, float) else value for value in row) for row in expected]
    assert answer.fetchall() == about


def test_every_audit_has_an_example() -> None:
    assert set(EXAMPLES) | ELSEWHERE == set(audits.list_audits())

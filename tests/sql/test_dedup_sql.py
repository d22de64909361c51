"""sql/dedup and sql/decisions/text_spam.sql: rows in, rows out."""

from __future__ import annotations

import pyarrow as pa

from dataset.query import sql


def test_text_keys_are_md5_and_distinct() -> None:
    rows = pa.table({"url": ["u", "u", "v"], "text": ["a", "a", "a"]})
    got = sql.run(sql.load("dedup/text_keys"), {"rows": rows}).to_pylist()
    assert [(row["text_key"].hex()[:4], row["url_key"].hex()[:4]) for row in got] == [
        ("0cc1", "7b77"),
        ("0cc1", "9e36"),
    ]


def test_spam_is_more_than_the_limit_not_as_many() -> None:
    keys = pa.table({"text_key": [b"a", b"a", b"a", b"b", b"b"], "url_key": [b"1", b"2", b"3", b"1", b"2"]})
    got = sql.run(sql.load("dedup/spam"), {"keys": keys}, {"max_images_per_text": 2})
    assert got.to_pylist() == [{"text_key": b"a", "images": 3}, {"text_key": None, "images": 5}]


def test_text_spam_says_how_many() -> None:
    rows = pa.table({"row": pa.array([4, 1], pa.uint32()), "text": ["a", "a"]})
    spam = pa.table({"text_key": [bytes.fromhex("0cc175b9c0f1b6a831c399e269772661")], "images": [3], "of_all": [9]})
    config = {"max_images_per_text": 2, "max_share_per_text": 0.1}
    got = sql.run(sql.load("decisions/text_spam"), {"rows": rows, "spam": spam}, config)
    evidence = '{"images":3,"max_images_per_text":2,"of_all":9,"max_share_per_text":0.1}'
    assert got.to_pylist() == [
        {"row": 1, "reason": "text_spam", "evidence": evidence},
        {"row": 4, "reason": "text_spam", "evidence": evidence},
    ]


def test_duplicates_name_the_row_that_stays() -> None:
    home = 2 << 32
    keys = pa.table(
        {
            "url_key": [b"u"] * 4,
            "text_key": [b"a", b"b", b"a", b"b"],
            "characters": [5, 9, 5, 9],
            "locator": [home + 1, home + 2, home + 3, home + 4],
            "dataset": pa.nulls(4, pa.int16()),
        }
    )
    config = {"texts_per_url": "longest", "against": []}
    got = sql.run(sql.load("dedup/duplicates"), {"keys": keys}, config).to_pylist()
    assert [(row["locator"] - home, row["reason"], row["evidence"]) for row in got] == [
        (1, "url_has_other_text", '{"texts_per_url":"longest","chosen_partition":2,"chosen_row":2}'),
        (3, "duplicate_pair", '{"first_partition":2,"first_row":1}'),
        (4, "duplicate_pair", '{"first_partition":2,"first_row":2}'),
    ]


def test_a_pair_of_a_dataset_that_exists_comes_before_all_others() -> None:
    keys = pa.table(
        {
            "url_key": [b"u", b"u", b"u", b"v"],
            "text_key": [b"a", b"a", b"b", b"a"],
            "characters": [1, 1, 9, 1],
            "locator": [3, 8 << 32, 4, 5],
            "dataset": pa.array([None, 1, None, None], pa.int16()),
        }
    )

    def verdicts(texts_per_url: str) -> list[tuple[int, str, str]]:
        config = {"texts_per_url": texts_per_url, "against": ["old", "older"]}
        rows = sql.run(sql.load("dedup/duplicates"), {"keys": keys}, config).to_pylist()
        return [(row["locator"], row["reason"], row["evidence"]) for row in rows]

    known = (3, "duplicate_pair", '{"first_dataset":"older","first_partition":8,"first_row":0}')
    other = '{"texts_per_url":"longest","chosen_dataset":"older","chosen_partition":8,"chosen_row":0}'
    assert verdicts("all") == [known]
    assert verdicts("longest") == [known, (4, "url_has_other_text", other)]


def test_caption_keys_ignore_case_and_white_space() -> None:
    rows = pa.table({"row": [0, 1, 2], "text": ["A  red\nCircle ", "a red circle", "a red circles"]})
    keys = sql.run(sql.load("dedup/caption_keys"), {"rows": rows}).column("key").to_pylist()
    assert keys[0] == keys[1] != keys[2]

"""The decisions on images, as rows in and verdicts out: fetch, image, neardup, decontaminate."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa

from dataset.query import sql
from dataset.reasons import reasons
from dataset.schema import IMAGES, VERDICTS
from pipeline.stages.fetch.licenses import SAID

ROWS = pa.table(
    {
        "row": pa.array([2, 5, 7, 9], pa.uint32()),
        "url": ["http://a/1", "http://a/2", "http://a/1", "http://a/3"],
        "page_url": ["http://p/1", "http://p/2", "http://p/2", None],
    }
)


def verdicts(name: str, tables: dict[str, pa.Table], config: dict[str, Any] | None = None) -> list[tuple[Any, ...]]:
    table = sql.run(sql.load(f"decisions/{name}"), {"rows": ROWS, **tables}, config).cast(VERDICTS)
    assert set(table.column("reason").to_pylist()) <= set(reasons())
    return [(row["row"], row["reason"], json.loads(row["evidence"])) for row in table.to_pylist()]


def test_fetch_gives_the_outcome_as_the_reason_of_every_pair_of_the_url() -> None:
    images = pa.table(
        {
            "url": ["http://a/1", "http://a/2"],
            "origin": ["http", "archive"],
            "outcome": ["http_client_error", "ok"],
            "status": pa.array([404, None], pa.int32()),
            "final_url": ["http://a/1", None],
            "fetched_bytes": pa.array([None, 10], pa.int64()),
            **{f"wish_{name}": pa.nulls(2, pa.string()) for name in ("signal", "value", "place")},
        }
    )
    gone = {"origin": "http", "status": 404, "final_url": "http://a/1", "fetched_bytes": None}
    unknown = {"origin": None, "status": None, "final_url": None, "fetched_bytes": None}
    nothing = SAID.empty_table()
    assert verdicts("fetch", {"images": images, "licensed": nothing}) == [
        (2, "http_client_error", gone),
        (7, "http_client_error", gone),
        (9, "quarantined", unknown),
    ]


def test_a_page_s_license_refuses_the_pairs_of_that_page_alone() -> None:
    urls = ["http://a/1", "http://a/2", "http://a/3"]
    images = pa.Table.from_pylist([{"url": url, "outcome": "ok"} for url in urls], IMAGES)
    said = {"signal": "RSL", "value": "prohibited: all", "place": "page http://p/2: http://l/"}
    refused = {"url": "http://a/1", "page_url": "http://p/2", "reason": "rsl_prohibited", **said}
    unread = {"url": "http://a/1", "page_url": "http://p/1", **said, "value": "unreadable: HTTP 404"}
    licensed = pa.Table.from_pylist([refused, unread], SAID)
    evidence = {"page_url": "http://p/2", **said}
    assert verdicts("fetch", {"images": images, "licensed": licensed}) == [(7, "rsl_prohibited", evidence)]


FACES = {"drop_faces": False, "min_face_score": 0.5}


def measures(**columns: list[Any]) -> pa.Table:
    """What models say of ROWS; null where not given."""
    given = {"nsfw_probability": [None] * 4, "clip_score": [None] * 4, **columns}
    cells = {"cell": pa.array([0, 1, 2, 3], pa.int32()), "target_images": pa.nulls(4, pa.int32())}
    cells["face_scores"] = pa.array(given.pop("face_scores", [None] * 4), pa.list_(pa.float32()))
    given = {name: pa.array(values, pa.float32()) for name, values in given.items()}
    return pa.table({"row": ROWS.column("row"), **cells, **given})


def test_image_decides_by_the_original_size() -> None:
    config = {"min_side": 10, "max_aspect": 3.0, "max_nsfw_probability": 0.8, "min_clip_score": None, **FACES}
    images = pa.table(
        {
            "url": ["http://a/1", "http://a/2", "http://a/3"],
            "original_width": pa.array([9, 10, 31], pa.int32()),
            "original_height": pa.array([100, 30, 10], pa.int32()),
        }
    )
    small = {"width": 9, "height": 100, "min_side": 10}
    assert verdicts("image", {"images": images, "measures": measures()}, config) == [
        (2, "image_too_small", small),
        (7, "image_too_small", small),
        (9, "image_aspect", {"width": 31, "height": 10, "max_aspect": 3.0}),
    ]


def test_image_decides_by_what_models_say_where_they_say_something() -> None:
    config = {"min_side": 10, "max_aspect": 3.0, "max_nsfw_probability": 0.75, "min_clip_score": 0.25, **FACES}
    images = pa.table(
        {
            "url": ["http://a/1", "http://a/2", "http://a/3"],
            "original_width": pa.array([20, 20, 9], pa.int32()),
            "original_height": pa.array([20, 20, 9], pa.int32()),
        }
    )
    said = measures(nsfw_probability=[0.75, 0.875, None, 1], clip_score=[0.25, 0, 0.125, 1])
    assert verdicts("image", {"images": images, "measures": said}, config) == [
        (5, "nsfw_image", {"nsfw_probability": 0.875, "max_nsfw_probability": 0.75}),
        (7, "clip_score_low", {"clip_score": 0.125, "min_clip_score": 0.25}),
        (9, "image_too_small", {"width": 9, "height": 9, "min_side": 10}),
    ]
    seen = measures(face_scores=[[0.375, 0.5], [0.25], [], None])
    for drop, expected in ((False, []), (True, [(2, "image_has_face", {"face_score": 0.5, "min_score": 0.5})])):
        given = verdicts("image", {"images": images, "measures": seen}, {**config, "min_side": 1, "drop_faces": drop})
        assert given == expected


def test_neardup_drops_every_pair_of_an_image_that_does_not_stay() -> None:
    images = pa.table({"url": ["http://a/1", "http://a/2", "http://a/3"], "row": pa.array([0, 1, 2], pa.uint32())})
    home = 3 << 32
    clusters = pa.table(
        {
            "locator": [home, home + 1, home + 2],
            "representative": [home + 1, home + 1, 7],
            "representative_url_id": pa.array([b"\x0a" * 8, b"\x0a" * 8, b"\xff" * 8], pa.binary(8)),
            "representative_dataset": pa.array([None, None, 1], pa.int16()),
            "hamming": pa.array([4, 0, 0], pa.int32()),
            "identical": [None, "bytes", "pixels"],
        }
    )
    config = {"hash": "pdq", "max_hamming": 15, "against": ["a", "b"]}
    elsewhere = {"duplicate_of_dataset": "b", "duplicate_of_url_id": "ff" * 8, "identical": "pixels"}
    near = {"duplicate_of_url_id": "0a" * 8, "pdq_hamming": 4, "max_hamming": 15}
    assert verdicts("neardup", {"images": images, "clusters": clusters}, config) == [
        (2, "near_duplicate_image", near),
        (7, "near_duplicate_image", near),
        (9, "duplicate_image", elsewhere | {"pdq_hamming": 0, "max_hamming": 15}),
    ]


def test_decontaminate_names_the_evaluation_image() -> None:
    images = pa.table({"url": ["http://a/1", "http://a/2", "http://a/3"], "row": pa.array([0, 1, 2], pa.uint32())})
    found = pa.table(
        {
            "row": pa.array([1, 2], pa.uint32()),
            "name": ["set/x.png", "set/y.png"],
            "pdq_hamming": pa.array([12, 9], pa.int32()),
            "cosine_name": [None, None],
            "cosine": pa.array([None, None], pa.float64()),
        }
    )
    config = {"max_hamming": 10, "min_cosine": 0.6}
    look = {"evaluation_image": "set/y.png", "pdq_hamming": 9, "max_hamming": 10}
    assert verdicts("decontaminate", {"images": images, "found": found}, config) == [(9, "in_evaluation_set", look)]

    found = found.drop_columns(["cosine_name", "cosine"])
    found = found.append_column("cosine_name", pa.array(["set/z.png", "set/y.png"]))
    found = found.append_column("cosine", pa.array([0.6, 0.5]))
    copy = {"nearest_by_model": "set/z.png", "cosine": 0.6, "min_cosine": 0.6}
    assert verdicts("decontaminate", {"images": images, "found": found}, config) == [
        (5, "in_evaluation_set", {"evaluation_image": "set/z.png"} | copy),
        (9, "in_evaluation_set", look),
    ]

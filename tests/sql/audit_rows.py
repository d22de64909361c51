"""Rows of the views and tables that audits read, for tests to state."""

from __future__ import annotations

from typing import Any

from dataset.hosts import hostname
from tests.pipeline.dataset_fixture import SILENT_PAGE

Rows = list[dict[str, Any]]


def pair(number: int, **more: Any) -> dict[str, Any]:
    url = more.get("url", f"http://img.a{number}.co.uk/{number}.jpg")
    return {
        "pair_id": f"{number:032x}",
        "url": url,
        "host": hostname(url),
        "text": "a red rose",
        "text_source": "alt",
        "shard": "train-00000.tar",
        "split": "train",
        "size": 100,
        "width": 96,
        "height": 64,
        "sha256": f"{number:064x}",
        "archive": "a.warc.gz",
        "archive_offset": number,
        "query_ids": [0],
        **more,
    }


def candidate(number: int, **more: Any) -> dict[str, Any]:
    return {
        "pair_id": f"{number:032x}",
        "url": f"http://a.example/{number}.jpg",
        "url_group": f"http://a.example/{number}.jpg",
        "text": "a red rose",
        "text_source": "alt",
        "host": "a.example",
        "page_language": "en-GB",
        **SILENT_PAGE,
        "page_date": "2019-05-01T00:00:00Z",
        "personal_data": [],
        "archive": "a.warc.gz",
        "offset": number,
        "ordinal": 0,
        **more,
    }


def query(number: int, before: int | None, after: int | None, **more: Any) -> dict[str, Any]:
    counts = {"candidate_count": before, "kept_count": after}
    return {"query_id": number, "query": f"query {number}", "source": "wordnet", **counts, **more}


def drop(number: int, stage: str, reason: str, **more: Any) -> dict[str, Any]:
    place = {"archive": "a.warc.gz", "offset": number, "ordinal": 0}
    return {
        "pair_id": f"{number:032x}",
        "url": f"http://a.example/{number}.jpg",
        "host": "a.example",
        "text": "x",
        "stage": stage,
        "reason": reason,
        "evidence": "{}",
        **place,
        **more,
    }


def image(number: int, outcome: str = "ok", **more: Any) -> dict[str, Any]:
    return {
        "url": f"http://a.example/{number}.jpg",
        "host": "a.example",
        "outcome": outcome,
        "origin": "http",
        "status": 200 if outcome == "ok" else 404,
        "fetched_bytes": 1_000_000,
        "original_width": 100,
        "original_height": 50,
        "partition": 0,
        "row": number,
        **more,
    }


def measured(number: int, **more: Any) -> dict[str, Any]:
    return {
        "partition": 0,
        "row": number,
        "language": "en",
        "language_probability": 0.9,
        "profanity_probability": None,
        "is_undetermined": False,
        "characters": 12,
        "words": 3,
        "is_filename": False,
        "texts_on_page": 1,
        "not_captions": [],
        "blocked_domains": [],
        "blocked_terms": [],
        "unsafe_address": None,
        **more,
    }


def weak(term: str, language: str) -> dict[str, str]:
    return {"term": term, "list": "ldnoobw", "language": language}


REASONS = [{"reason": "http_client_error", "stage": "fetch", "meaning": "the server refuses it"}]
SETTINGS = [
    {"key": "text.min_characters", "value": "10"},
    {"key": "text.min_words", "value": "1"},
    {"key": "text.max_characters", "value": "100"},
    {"key": "text.languages", "value": '["en"]'},
    {"key": "text.max_profanity_probability", "value": "0.9"},
    {"key": "text.max_texts_on_page", "value": "2"},
    {"key": "text.allowed_terms", "value": '["sex"]'},
    {"key": "text.max_site_texts_per_image", "value": "10"},
    {"key": "text.max_site_page_share", "value": "0.5"},
    {"key": "image.min_side", "value": "52"},
    {"key": "image.max_aspect", "value": "3.0"},
    {"key": "image.min_clip_score", "value": "0.28"},
]
JUDGED: dict[str, Rows] = {
    "candidates": [
        candidate(1),
        candidate(2, text="too short", page_noai=True),
        candidate(3, personal_data=["email"], page_content_usage="train-ai=n", page_rsl="payment: purchase"),
    ],
    "_texts": [
        measured(
            1,
            profanity_probability=0.95,
            not_captions=[{"kind": "logo", "found": "logo"}],
            blocked_domains=[{"entry": "a.example", "list": "mine", "category": "adult"}],
            blocked_terms=[weak("bitch", "de"), weak("tits", "en")],
        ),
        measured(
            2,
            language="de",
            language_probability=0.5,
            characters=9,
            is_filename=True,
            texts_on_page=3,
            blocked_terms=[weak("bitch", "de"), weak("tits", "de")],
        ),
        measured(
            3,
            language="de",
            is_undetermined=True,
            not_captions=[{"kind": "interface", "found": "icon"}, {"kind": "stand_in", "found": "spacer"}],
            blocked_terms=[{"term": "sex", "list": "builtin", "language": "de"}],
            unsafe_address="porn",
        ),
    ],
    "_matches": [{"partition": 0, "row": 1, "query_ids": [7]}, {"partition": 0, "row": 3, "query_ids": []}],
    "_pairs": [{"pair_id": bytes([1] * 16), "partition": 0, "row": 1, "url": "http://a.example/1.jpg"}],
    "_images": [image(1)],
    "_captions": [
        {"partition": 0, "row": 1, "is_repeat": True, "image_texts": 11, "image_pages": None, "of_pages": None},
        {"partition": 0, "row": 2, "is_repeat": False, "image_texts": None, "image_pages": 6, "of_pages": 12},
        {"partition": 0, "row": 3, "is_repeat": False, "image_texts": 10, "image_pages": 7, "of_pages": 12},
    ],
    "_candidates": [
        {"partition": 0, "row": 1, **candidate(1)},
        {"partition": 0, "row": 2, **candidate(2, url="ftp://a.example/2.jpg", page_noai=True)},
        {
            "partition": 0,
            "row": 3,
            **candidate(3, personal_data=["email"], page_content_usage="train-ai=n", page_rsl="payment: purchase"),
        },
    ],
    "_candidates_verdicts": [{"stage": "text", "reason": "text_too_short"}],
    "_pairs_verdicts": [{"stage": "image", "reason": "image_too_small"}],
    "_faces": [{"partition": 0, "row": 1, "face_scores": [0.1, 0.7]}],
    "_nsfw": [{"partition": 0, "row": 1, "nsfw_probability": 0.2}],
    "_clip_scores": [{"partition": 0, "row": 1, "clip_score": 0.27}],
    "scores": [
        {"pair_id": "01" * 16, "profanity_probability": 0.95, "nsfw_probability": 0.2, "clip_score": 0.27},
        {"pair_id": "02" * 16, "profanity_probability": None, "nsfw_probability": None, "clip_score": 0.281},
    ],
    "settings": SETTINGS,
}

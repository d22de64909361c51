"""The demo's web is the same for the same seed, says what it draws, and keeps its examination apart."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from dataset.reasons import reasons
from demo.__main__ import hash_of
from demo.score import UNPROVOKED
from demo.site import build
from demo.web import CLASS_NAMES, KEEP, Web
from demo.world import HELD_OUT, render, scene


@pytest.fixture(scope="module")
def web() -> Web:
    return build(3, 0.02)


def test_the_same_seed_draws_the_same_web(web: Web) -> None:
    again = build(3, 0.02)
    assert again.checksum == web.checksum
    assert again.truth.equals(web.truth)
    assert build(4, 0.02).checksum != web.checksum


def test_a_picture_is_the_same_bytes_and_no_other_scene_is() -> None:
    one, other = scene(1, "a"), scene(1, "b")
    assert render(1, one).tobytes() == render(1, one).tobytes()
    assert render(1, one).tobytes() != render(1, other).tobytes()


def test_every_reason_that_a_web_can_give_is_planted(web: Web) -> None:
    planted = set(web.truth.column("expected").to_pylist())
    never = UNPROVOKED | {"query_full", "duplicate_pair"}  # the last is planted as occurrences
    assert planted - {KEEP} == set(reasons()) - never


def test_there_are_enough_classes_and_held_out_combinations() -> None:
    assert len(CLASS_NAMES) >= 80
    assert len(HELD_OUT) >= 20


def test_no_caption_names_a_held_out_combination(web: Web) -> None:
    good = [row["text"].lower() for row in web.truth.to_pylist() if row["expected"] == KEEP]
    for colour, shape in HELD_OUT:
        assert not [text for text in good if re.search(rf"\b{colour} {shape}", text)]


def test_held_out_combinations_are_what_the_examination_shows(web: Web) -> None:
    classes = {Path(name).parts[0] for name in web.evaluation}
    assert classes == {f"{colour} {shape}" for colour, shape in HELD_OUT}


def test_a_list_of_looks_holds_another_file_than_the_web_has(web: Web) -> None:
    served = {answer.body for answer in web.answers.values()}
    assert web.listed["md5"] and set(web.listed["md5"]) <= served
    rows = [row for row in web.truth.to_pylist() if row["kind"] == "on a list of pdq"]
    assert rows and {row["expected"] for row in rows} == {"hash_list_match"}
    near = [near_by(hash_of("pdq", listed), row, web) for row, listed in zip(rows, web.listed["pdq"], strict=True)]
    assert all(0 < bits <= 31 for bits in near)


def near_by(listed: str, row: dict[str, object], web: Web) -> int:
    """Bits between an entry and the picture that the web has at an address."""
    parts = urlsplit(str(row["url"]))
    found = hash_of("pdq", web.answers[parts.netloc, parts.path].body)
    return (int(listed, 16) ^ int(found, 16)).bit_count()

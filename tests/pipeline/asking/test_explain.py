"""Explain tells the story of a kept pair, and of one dropped at each stage, with the evidence made out for people."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

import dataset
from dataset.ids import order_hash, pair_id
from dataset.schema import PAIR_ID
from dataset.stages import names
from filters.queries.balance import draws, salt_of
from pipeline.asking.explain import explain
from pipeline.asking.story import margins
from pipeline.cli import main
from pipeline.config_errors import ConfigError
from tests.pipeline import small_archive
from tests.pipeline.dataset_fixture import HandMade, picture
from tests.pipeline.prebuilt import Prebuilt
from tests.pipeline.stories import told


@pytest.fixture(scope="module")
def built(large: Prebuilt) -> str:
    """A dataset made by every stage."""
    return str(large.at())


def test_every_reason_of_a_run_has_a_story_with_its_evidence(built: str) -> None:
    """The reasons that this run does not give are told in test_reasons and test_models."""
    assert told(built) == small_archive.PROVOKES


def test_a_kept_pair_is_followed_to_its_shard(built: str) -> None:
    ((url, shard, key),) = dataset.open(built).sql("SELECT url, shard, key FROM pairs ORDER BY url LIMIT 1").fetchall()
    (story,) = explain(built, url)
    assert story.outcome == "kept"
    assert [step.stage for step in story.steps] == list(names())
    facts = {step.stage: step.facts for step in story.steps}
    assert facts["pack"]["shard"] == shard and facts["pack"]["key"] == key
    assert facts["text"]["language"] == "en"
    assert facts["fetch"]["width"] > 0 and len(facts["fetch"]["pdq"]) == 64
    assert facts["match"]["queries"][0].split()[0] in story.text


def test_a_near_duplicate_names_the_image_that_stands_for_it(built: str) -> None:
    ((which,),) = (
        dataset.open(built)
        .sql("SELECT pair_id FROM dropped WHERE reason = 'near_duplicate_image' ORDER BY pair_id LIMIT 1")
        .fetchall()
    )
    other = explain(built, which)[0].steps[-1].facts["the image that stands for it"]
    assert other["url"].startswith("http://") and other["pair_id"] != which
    assert other["url"] != explain(built, which)[0].url


def test_a_repeated_pair_names_the_first_one_and_its_end(built: str) -> None:
    ((which,),) = (
        dataset.open(built)
        .sql("SELECT pair_id FROM dropped WHERE reason = 'duplicate_pair' ORDER BY pair_id LIMIT 1")
        .fetchall()
    )
    first, second = explain(built, which)
    told = second.steps[-1].facts["the first one"]
    assert told["pair_id"] == which
    assert told["offset"] == first.steps[0].facts["offset"]
    assert told["end"].startswith(("shards/", "dropped by"))


def test_a_prefix_of_the_id_or_the_url_as_people_write_it_will_do(built: str) -> None:
    ((url, which),) = dataset.open(built).sql("SELECT url, pair_id FROM pairs ORDER BY url LIMIT 1").fetchall()
    for given in (which.upper(), which[:20], url.replace("http://", "HTTP://") + "#top"):
        assert [story.pair_id for story in explain(built, given)] == [which]


def test_what_is_not_there_has_no_story(built: str) -> None:
    for given in ("http://nowhere.example/a.jpg", "0" * 32, "not a url", "'; DROP TABLE x; --", "abc"):
        assert len(explain(built, given)) == 0


def test_an_ambiguous_prefix_is_an_error(tmp_path: Path) -> None:
    url = "http://a.example/1.jpg"
    out = HandMade(tmp_path).write([{"url": url, "text": "one"}, {"url": url, "text": "two"}])
    with pytest.raises(ConfigError, match="give more digits"):
        explain(out, pair_id(url, "one").hex()[:16])


def test_a_filter_of_the_users_own_has_a_story(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"url": "http://a.example/1.jpg", "text": "x", "drop": ("text", "no_shouting", {"share": 0.9})}
    ]
    (story,) = explain(HandMade(tmp_path).write(rows), rows[0]["url"])
    assert story.reason == "no_shouting"
    assert story.steps[-1].facts["share"] == 0.9


def test_a_row_of_a_half_built_dataset_is_waiting(tmp_path: Path) -> None:
    rows = [{"url": "http://a.example/1.jpg", "text": "a rose"}]
    (story,) = explain(HandMade(tmp_path).write(rows, to="match"), rows[0]["url"])
    assert (story.outcome, story.steps[-1].stage) == ("waiting", "dedup")


def test_hostile_text_cannot_move_the_cursor(tmp_path: Path) -> None:
    rows = [{"url": "http://a.example/1.jpg", "text": "a rose\x1b[2J\r\nfake \u202egpj"}]
    (story,) = explain(HandMade(tmp_path).write(rows), rows[0]["url"])
    assert not set(story.as_text()) & set("\x1b\r\u202e")
    assert story.as_dict()["text"] == rows[0]["text"]


NEAR: list[dict[str, Any]] = [
    {"url": "http://a.example/roses/1.jpg", "text": "a red rose in June"},
    {
        "url": "http://a.example/roses/2.jpg",
        "text": "rose",
        "drop": ("text", "text_too_short", {"characters": 4, "min_characters": 10}),
    },
    {"url": "http://b.example/3.jpg?a=1&b=2", "text": "a Tulip"},
    {
        "url": "http://b.example/4.jpg",
        "text": "a rose again",
        "drop": ("balance", "query_full", {"query_id": 0, "count": 900, "cap": 2, "estimated_rank": 7}),
    },
]


@pytest.fixture(scope="module")
def near(tmp_path_factory: pytest.TempPathFactory) -> str:
    return HandMade(tmp_path_factory.mktemp("near")).write(NEAR)


@pytest.mark.parametrize(
    ("which", "urls"),
    [
        ("HTTP://A.example:80/x/../roses/1.jpg#top", [0]),
        ("http://a.example/roses/1.jpg?utm_source=mail", [0]),
        ("a.example/roses/1.jpg", [0]),
        ("//a.example/roses/1.jpg", [0]),
        ("http://b.example/3.jpg?a=1&amp;b=2", [2]),
        ("http://page.example/", [0, 1, 2, 3]),
        ("RED ROSE in", [0]),
        ("tulip", [2]),
        ("00000000002", [2]),
        ("train-00000.tar/00000000000", [0]),
        ("shards/train-00000/00000000000", [0]),
        ("0" * 64, []),
        ("' OR true --", []),
        ("%", []),
        ("x" * 5000, []),
    ],
)
def test_a_pair_is_found_by_whatever_a_person_has_of_it(near: str, which: str, urls: list[int]) -> None:
    assert [story.url for story in explain(near, which)] == [NEAR[number]["url"] for number in urls]


def test_of_many_the_first_are_told(near: str) -> None:
    told = explain(near, "http://page.example/", most=2)
    assert (len(told), told.total) == (2, 4)
    assert "4 candidates" in told.found_as and "and 2 more" in told.as_text()


def test_of_a_url_never_seen_it_says_what_its_host_gave(near: str) -> None:
    told = explain(near, "http://www.a.example/roses/9.jpg")
    assert not told and told.found_as.splitlines() == [
        "no candidate has the image or page http://www.a.example/roses/9.jpg",
        "the host a.example gave 2 candidates, 1 of them in the dataset; dropped: text_too_short 1",
        "its addresses most like it: http://a.example/roses/1.jpg, http://a.example/roses/2.jpg",
    ]
    assert "from the host c.example" in explain(near, "http://c.example/1.jpg").found_as
    assert "no address of the web" in explain(near, "http://[/").found_as


def test_thresholds_have_margins_and_a_full_query_its_rank(near: str) -> None:
    short, full = (explain(near, NEAR[number]["url"])[0].steps[-1].facts for number in (1, 3))
    assert short["margin"] == ["characters 4 is 6 below min_characters 10"]
    assert full["its rank there"] == "about 7 of 900 pairs, by hash; the first 2 have room"


@pytest.mark.parametrize(
    ("evidence", "told"),
    [
        ({"width": 20, "height": 100, "min_side": 32}, ["side 20 is 12 below min_side 32"]),
        ({"width": 20, "height": 100, "max_aspect": 3}, ["aspect 5.0 is 2.0 above max_aspect 3"]),
        ({"pdq_hamming": 3, "max_hamming": 31}, ["pdq_hamming 3 is 28 below max_hamming 31"]),
        ({"face_score": 0.9, "min_score": 0.9}, ["face_score 0.9 is exactly at min_score 0.9"]),
        ({"images": 70, "max_images_per_text": 50}, ["images 70 is 20 above max_images_per_text 50"]),
        (
            {"language_probability": 0.75, "language_min_probability": 0.5},
            ["language_probability 0.75 is 0.25 above language_min_probability 0.5"],
        ),
        ({"blocked_term": "x", "max_words": None}, []),
    ],
)
def test_a_margin_is_what_lies_between_measure_and_threshold(evidence: dict[str, Any], told: list[str]) -> None:
    assert margins(evidence) == told


def test_an_image_file_is_told_by_its_bytes_and_by_its_look(built: str, tmp_path: Path) -> None:
    kept = dataset.open(built)
    url, sha256, blob, offset, length = kept.sql(
        "SELECT url, sha256, blob, blob_offset, blob_length FROM images JOIN pairs USING (url, sha256) "
        "WHERE pdq_quality > 50 AND outcome = 'ok' ORDER BY url LIMIT 1"
    ).fetchall()[0]
    body = kept.storage.read(blob)[offset : offset + length]
    (tmp_path / "stored.jpg").write_bytes(body)
    with Image.open(tmp_path / "stored.jpg") as image:
        image.resize((image.width * 2, image.height * 2)).save(tmp_path / "larger.png")
    (tmp_path / "none.jpg").write_bytes(b"no image")
    (tmp_path / "flat.png").write_bytes(picture(1))
    assert {story.url for story in explain(built, sha256)} >= {url}
    assert url in {story.url for story in explain(built, str(tmp_path / "stored.jpg"))}
    alike = explain(built, str(tmp_path / "larger.png"))
    assert "of PDQ's 256 bits differ" in alike.found_as and len(alike) > 0
    assert not explain(built, str(tmp_path / "flat.png"))
    with pytest.raises(ConfigError, match=r"none\.jpg is no image"):
        explain(built, str(tmp_path / "none.jpg"))


def test_the_command_line_tells_lines_or_json(near: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", near, "tulip", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["found_as"] == "“tulip” in a text: 1 candidate" and row["url"] == NEAR[2]["url"]
    assert main(["explain", near, "no such text", "--json"]) == 2
    assert json.loads(capsys.readouterr().out) == []
    assert main(["explain", near, "tulip"]) == 0
    assert "kept, shards/train-00000.tar, key 00000000002, train" in capsys.readouterr().out
    assert max(map(len, explain(near, "tulip").as_text(width=60).splitlines())) <= 60


@pytest.mark.parametrize("mode", ["cap", "sample"])
def test_a_full_query_has_the_exact_rank_where_all_its_pairs_are_known(
    mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rank is by the order in which the balance lets them pass, among those that came so far as its stage."""
    dropped = ("balance", "query_full", {"query_id": 0, "count": 5, "cap": 4, "estimated_rank": 5})
    rows: list[dict[str, Any]] = [{"url": f"http://a.example/{n}.jpg", "text": f"rose {n}"} for n in range(5)]
    ids = pa.array([pair_id(row["url"], row["text"]) for row in rows], PAIR_ID)
    hashes = order_hash(ids, 0)
    if mode == "sample":
        hashes = draws(hashes, np.zeros(len(rows), np.int32), salt_of("balance", 0))
    order = np.argsort(hashes).tolist()
    rows[order[2]]["drop"] = dropped
    rows.append(
        {"url": "http://a.example/9.jpg", "text": "rose", "drop": ("text", "text_too_short", {"characters": 4})}
    )
    made = HandMade(tmp_path / "whole")
    made.storage.write("config.yaml", json.dumps({"name": "hand-made", "balance": {"mode": mode}}).encode())
    out = made.write(rows)
    by = {"cap": "by hash; the first 4 have room", "sample": "by draw; 4 are expected to be drawn"}[mode]

    def rank(**how: bool) -> str:
        (story,) = explain(out, rows[order[2]]["url"], **how)
        return str(story.steps[-1].facts["its rank there"])

    assert rank() == f"3 of 5 pairs, {by}"
    monkeypatch.setattr("pipeline.asking.rank.COUNTED", 4)
    assert rank() == f"about 5 of 5 pairs, {by}"
    assert rank(exact=True) == f"3 of 5 pairs, {by}"

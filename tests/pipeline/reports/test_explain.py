"""Explain tells the story of a kept pair, and of one dropped at each stage, with the evidence made out for people."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import dataset
from dataset.ids import pair_id
from dataset.stages import names
from pipeline.build import build
from pipeline.config import build as make_config
from pipeline.config_errors import ConfigError
from pipeline.reports.explain import explain
from tests.pipeline import small_archive
from tests.pipeline.dataset_fixture import HandMade
from tests.pipeline.stories import told


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A dataset made by every stage."""
    folder = tmp_path_factory.mktemp("explain")
    archive = small_archive.write(folder / "small.warc.gz")
    build(make_config(small_archive.config(archive, folder / "out")), quiet=True)
    return str(folder / "out")


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
        assert explain(built, given) == []


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

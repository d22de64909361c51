"""Audits: each is one query with a sentence, answers on any dataset, and `conservation` sees what is lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import dataset
from pipeline.config_errors import ConfigError
from pipeline.reports import audits
from tests.pipeline.dataset_fixture import HandMade

PAIRS: list[dict[str, Any]] = [
    {"url": "http://a.example/1.jpg", "text": "a red rose"},
    {"url": "http://a.example/2.jpg", "text": "a red rose"},
    {"url": "http://b.example/3.jpg", "text": "rose", "drop": ("text", "text_too_short", {"characters": 4})},
    {"url": "http://b.example/4.jpg", "text": "a rose again", "drop": ("balance", "query_full", {"query_id": 0})},
]


def ask(out: str, name: str) -> list[tuple[Any, ...]]:
    return dataset.open(out).sql(audits.load(name)).fetchall()


@pytest.mark.parametrize("name", audits.available())
def test_every_audit_answers_on_a_finished_and_on_an_empty_dataset(name: str, tmp_path: Path) -> None:
    finished = HandMade(tmp_path / "finished").write(PAIRS)
    begun = HandMade(tmp_path / "begun")
    for out in (finished, begun.storage.url):
        dataset.open(out).sql(audits.load(name)).fetchall()


def test_every_audit_says_in_a_sentence_what_it_answers() -> None:
    for name, sentence in audits.available().items():
        assert sentence.endswith(".") and len(sentence) > 20, name


def test_an_unknown_audit_is_answered_with_a_near_name() -> None:
    with pytest.raises(ConfigError, match=r"there is no audit conversation; did you mean conservation\?"):
        audits.load("conversation")


@pytest.mark.parametrize("name", ["../views/pairs", "", "/etc/passwd"])
def test_only_audits_are_audits(name: str) -> None:
    with pytest.raises(ConfigError):
        audits.load(name)


def test_a_sound_dataset_has_no_violation(tmp_path: Path) -> None:
    assert ask(HandMade(tmp_path).write(PAIRS), "conservation") == []


def test_conservation_sees_rows_that_a_stage_lost(tmp_path: Path) -> None:
    made = HandMade(tmp_path)
    out = made.write(PAIRS)
    funnel = {row[0]: dict(zip(("input", "kept", "dropped"), row[1:], strict=True)) for row in _funnel(out)}
    funnel["match"]["kept"] -= 1
    made.manifest(funnel, complete=True)
    found = {(stage, violation.split()[0]) for stage, violation, *_ in ask(out, "conservation")}
    assert found == {("match", "kept"), ("dedup", "the")}


def test_conservation_sees_verdicts_that_the_funnel_does_not_count(tmp_path: Path) -> None:
    made = HandMade(tmp_path)
    out = made.write(PAIRS)
    funnel = {row[0]: dict(zip(("input", "kept", "dropped"), row[1:], strict=True)) for row in _funnel(out)}
    funnel["text"] = {"input": 4, "kept": 4, "dropped": 0}
    made.manifest(funnel, complete=True)
    assert ("text", "not one verdict for each row dropped", 0, 1) in ask(out, "conservation")


def test_dropped_by_reason_names_the_share_and_the_meaning(tmp_path: Path) -> None:
    answer = ask(HandMade(tmp_path).write(PAIRS), "dropped_by_reason")
    assert [row[:4] for row in answer] == [
        ("text", "text_too_short", 1, 25.0),
        ("balance", "query_full", 1, pytest.approx(33.33)),
    ]


def test_repeated_texts_counts_the_images_of_a_text(tmp_path: Path) -> None:
    assert ask(HandMade(tmp_path).write(PAIRS), "repeated_texts") == [("a red rose", 2, 2)]


def _funnel(out: str) -> list[tuple[Any, ...]]:
    return dataset.open(out).sql("SELECT stage, input, kept, dropped FROM funnel").fetchall()

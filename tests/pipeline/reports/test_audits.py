"""Audits: each is one query with a sentence, answers on any dataset, and `conservation` sees what is lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import dataset
from dataset.query.views import Dataset
from pipeline.cli import main
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


@pytest.fixture(scope="module")
def finished_and_begun(tmp_path_factory: pytest.TempPathFactory) -> list[Dataset]:
    folder = tmp_path_factory.mktemp("audited")
    finished = HandMade(folder / "finished").write(PAIRS)
    return [dataset.open(out) for out in (finished, HandMade(folder / "begun").storage.url)]


@pytest.mark.parametrize("name", audits.list_audits())
def test_every_audit_answers_on_a_finished_and_on_an_empty_dataset(
    name: str, finished_and_begun: list[Dataset]
) -> None:
    for asked in finished_and_begun:
        audit = audits.find(name)
        answer = asked.answer(audit.text, audit.values())
        assert [column[0] for column in answer.description or ()] == list(audit.columns)


def test_every_audit_says_in_a_sentence_what_it_answers() -> None:
    for name, sentence in audits.list_audits().items():
        assert sentence.endswith(".") and len(sentence) > 20, name


def test_an_unknown_audit_is_answered_with_a_near_name() -> None:
    with pytest.raises(ConfigError, match=r"there is no audit conversation; did you mean conservation\?"):
        audits.load("conversation")


@pytest.mark.parametrize("name", ["../views/pairs", "", "/etc/passwd"])
def test_only_audits_are_audits(name: str) -> None:
    with pytest.raises(ConfigError):
        audits.load(name)


@pytest.fixture(scope="module")
def finished(finished_and_begun: list[Dataset]) -> str:
    """Where the finished one is; not to be changed."""
    return finished_and_begun[0].storage.url


def test_a_sound_dataset_has_no_violation(finished: str) -> None:
    assert ask(finished, "conservation") == []


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


def test_dropped_by_reason_names_the_share_and_the_meaning(finished: str) -> None:
    answer = ask(finished, "dropped_by_reason")
    assert [row[:4] for row in answer] == [
        ("text", "text_too_short", 1, 25.0),
        ("balance", "query_full", 1, pytest.approx(33.33)),
    ]


def test_repeated_texts_counts_the_images_of_a_text(finished: str) -> None:
    assert ask(finished, "repeated_texts") == [("a red rose", 2, 2)]


def _funnel(out: str) -> list[tuple[Any, ...]]:
    return dataset.open(out).sql("SELECT stage, input, kept, dropped FROM funnel").fetchall()


OWN = """-- Pairs of a word.
-- $word = rose: what the text holds
-- $most = 2: how many
SELECT url FROM candidates WHERE contains(text, $word) ORDER BY url LIMIT $most
"""


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    assert main(["audit", *arguments, "--format", "csv"]) == 0
    return capsys.readouterr().out.splitlines()[1:]


def test_a_folder_of_ones_own_has_audits_with_parameters(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = HandMade(tmp_path / "out").write(PAIRS)
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "mine.sql").write_text(OWN)
    (tmp_path / "own" / "folder.sql").mkdir()  # is none
    (tmp_path / "own" / "domains.sql").write_text("-- Instead of ours.\nSELECT 'mine' AS domain\n")
    own = ["--audits", str(tmp_path / "own")]
    assert printed(capsys, out, "mine", *own) == ["http://a.example/1.jpg", "http://a.example/2.jpg"]
    assert printed(capsys, out, "mine", *own, "--set", "word=again", "--set", "most=9") == ["http://b.example/4.jpg"]
    assert printed(capsys, out, "mine", *own, "--set", "word=' OR true --") == []
    assert printed(capsys, out, "domains", *own) == ["mine"]
    assert main(["audit", out, *own]) == 0
    listed = capsys.readouterr().out
    assert "Pairs of a word." in listed and "--set word=rose: what the text holds" in listed
    assert main(["report", out, *own]) == 0
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Pairs of a word." in page and "<td><bdi>mine</bdi></td>" in page
    capsys.readouterr()
    for wrong in ("most=few", "colour=red", "word"):
        assert main(["audit", out, "mine", *own, "--set", wrong]) == 2
        assert capsys.readouterr().err.startswith(f"wit: {wrong}: ")


def test_a_parameter_that_is_not_declared_is_a_sentence_with_the_line_to_add(tmp_path: Path) -> None:
    (tmp_path / "mine.sql").write_text(
        "-- It costs $much.\nSELECT '$said', 1 AS \"$name\", $$a $text$$, $x$a $text$x$ WHERE 1 > $least\n"
    )
    with pytest.raises(ConfigError, match=r"mine\.sql uses \$least .* add a line `-- \$least = 10: what it is`"):
        audits.find("mine", str(tmp_path))


def test_an_audit_of_ones_own_writes_nothing(finished: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "mine.sql").write_text(f"-- x\nCOPY pairs TO '{tmp_path}/stolen.csv'")
    assert main(["audit", finished, "mine", "--audits", str(tmp_path / "own")]) == 2
    assert "the audit mine failed: COPY does more than answer" in capsys.readouterr().err
    assert not (tmp_path / "stolen.csv").exists()


def test_all_audits_are_written_to_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = HandMade(tmp_path / "out").write(PAIRS)
    assert main(["audit", out, "--all", "--output", str(tmp_path / "audits")]) == 0
    found = {path.stem for path in (tmp_path / "audits").iterdir() if path.suffix == ".csv"}
    assert found == set(audits.list_audits())
    assert main(["audit", out, "--all"]) == 2
    assert main(["audit", out, "--all", "--output", f"{out}/audits"]) == 2


def test_what_became_of_a_concept(finished: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys, finished, "concept", "--set", "concept=RED rose") == ["en,2,1,2"]
    assert printed(capsys, finished, "concept_examples", "--set", "concept=again")[0].endswith(",balance: query_full")
    assert printed(capsys, finished, "dropped_by_host", "--set", "reason=query_full") == ["b.example,2,1,0.5"]
    assert [row.split(",")[:3] for row in printed(capsys, finished, "hosts")] == [["a.example", "2", "1.0"]]
    assert printed(capsys, finished, "text_lengths") == ["3,2,6"]

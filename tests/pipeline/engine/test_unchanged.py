"""When a run says that there is nothing to do without making its plan: while all that it would look at is as it was."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dataset.ledger.lease import LEASE
from pipeline.config_files import with_presets
from pipeline.engine import unchanged
from pipeline.engine.unchanged import NOTE, Note

SAID = Note(["extract 3 in 3 kept"], [["extract", 3, 3, 0]], ["a.warc.gz: it ends early"])


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a source, a list of words, code, and something like a dataset."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(unchanged, "_CODE", (tmp_path / "code",))
    for name in (
        "code/stage.py",
        "crawls/a.warc.gz",
        "words.txt",
        "filter.py",
        "out/manifest.json",
        "out/shards/0.tar",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    return tmp_path


def config(**more: Any) -> dict[str, Any]:
    return with_presets(
        {
            "sources": ["crawls/*.warc.gz"],
            "text": {"blocklist": ["words.txt"]},
            "match": {"queries": "builtin:en"},
            "filters": [{"name": "mine", "measure": "filter.py:measure"}],
            **more,
        }
    )


def asked(**more: Any) -> str | None:
    return unchanged.inputs_digest(config(**more), "out")


def test_the_next_run_says_what_the_last_one_said(place: Path) -> None:
    question = asked()
    assert question is not None
    assert unchanged.read("out", question) is None
    unchanged.leave("out", question, SAID)
    assert unchanged.read("out", question) == SAID
    assert asked() == question
    (place / "out" / "log" / "run.jsonl").write_text("{}")  # a log is none of what is committed
    assert unchanged.read("out", question) == SAID


def _touch(path: Path) -> None:
    info = path.stat()
    os.utime(path, ns=(info.st_atime_ns, info.st_mtime_ns + 1))


CHANGES: dict[str, Callable[[Path], object]] = {
    "a source": lambda place: (place / "crawls/a.warc.gz").write_text("another"),
    "a source of the same size": lambda place: _touch(place / "crawls/a.warc.gz"),
    "a source more that the glob matches": lambda place: (place / "crawls/b.warc.gz").write_text(""),
    "a source less": lambda place: (place / "crawls/a.warc.gz").unlink(),
    "a list of words": lambda place: (place / "words.txt").write_text("others"),
    "a filter of the user's": lambda place: (place / "filter.py").write_text("others"),
    "the code": lambda place: (place / "code/stage.py").write_text("another"),
    "the code, by a file more": lambda place: (place / "code/more.py").write_text(""),
    "the dataset": lambda place: (place / "out/shards/0.tar").write_text("0ut/shards/0.tar"),
    "the dataset, by a file less": lambda place: (place / "out/shards/0.tar").unlink(),
    "the dataset, by a file more": lambda place: (place / "out/README.md").write_text(""),
    "the dataset, by a link": lambda place: (place / "out/link").symlink_to("manifest.json"),
    "the dataset's lease": lambda place: (place / "out" / LEASE).write_text(""),
    "the dataset's place": lambda place: (place / "out").rename(place / "elsewhere"),
    "the note": lambda place: (place / "out" / NOTE).write_text('{"values": {"asked": "me"}, "checksum": ""}'),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=list(CHANGES))
def test_a_run_goes_its_whole_way_where_anything_has_changed(place: Path, change: Callable[[Path], object]) -> None:
    question = asked()
    assert question is not None
    unchanged.leave("out", question, SAID)
    change(place)
    now = asked()
    assert now is None or unchanged.read("out", now) is None


def test_a_damage_that_leaves_a_time_of_change_as_it_was_is_seen(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the file's content; where that is not read, by the time that only the system writes."""
    for most in (unchanged.REREAD_BYTES, 0):
        monkeypatch.setattr(unchanged, "REREAD_BYTES", most)
        question, file = asked(), place / "out/manifest.json"
        assert question is not None
        unchanged.leave("out", question, SAID)
        assert unchanged.read("out", question) == SAID
        info, damaged = file.stat(), file.read_bytes()[::-1]
        while file.stat().st_ctime_ns == info.st_ctime_ns:  # some systems' clock of files ticks every ten milliseconds
            file.write_bytes(damaged)
            os.utime(file, ns=(info.st_atime_ns, info.st_mtime_ns))
        assert unchanged.read("out", question) is None


def test_another_question_is_another_run(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    questions = [
        asked(),
        asked(seed=1),
        asked(sources=["crawls/a.warc.gz"]),
        unchanged.inputs_digest(config(), "elsewhere"),
    ]
    shutil.copytree(place, place / "copy")
    monkeypatch.chdir(place / "copy")  # where relative paths are others
    questions.append(asked())
    assert None not in questions
    assert len(set(questions)) == len(questions)


@pytest.mark.parametrize(
    "more",
    [
        {"sources": ["https://data.example/a.warc.gz"]},
        {"sources": ["cc:CC-MAIN-2026-40[0:2]"]},
        {"against": ["s3://bucket/dataset"]},
        {"image": {"embedding_model": "ViT-B-32"}},
        {"image": {"models": [{"name": "mine", "path": "gone.onnx"}]}},
        {"sources": ["gone.warc.gz"]},
    ],
    ids=str,
)
def test_what_a_look_cannot_tell_is_left_to_the_run(place: Path, more: dict[str, Any]) -> None:
    assert asked() is not None
    assert asked(**more) is None
    assert unchanged.inputs_digest(config(), "s3://bucket/out") is None

"""The bench of captions counts what is kept, lost and junk as a reader's labels say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench import captions

LABELS: list[dict[str, Any]] = [
    {"text": "A grey cat sleeps on a wooden chair", "language": "en", "verdict": "caption", "kind": "description"},
    {"text": "Eine graue Katze schläft auf dem Stuhl", "language": "de", "verdict": "caption", "kind": "description"},
    {"text": "A dog and the sea, seen from a hill in the evening", "language": "en", "verdict": "junk", "kind": "ad"},
    {"text": "IMG_2034.jpg", "language": "und", "verdict": "junk", "kind": "file_name"},
    {"text": "cat", "language": "en", "verdict": "caption", "kind": "description"},
]


def write(folder: Path, labels: list[dict[str, Any]]) -> Path:
    file = folder / "labels.jsonl"
    page = {"set": "news", "page_url": "https://e.org/", "page_language": None, "texts_of_url": 1}
    lines = [json.dumps({**page, "url": f"https://e.org/{number}.jpg", **label}) for number, label in enumerate(labels)]
    file.write_text("\n".join(lines), encoding="utf-8")
    return file


def last_line(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    captions.main(arguments)
    found: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return found


def test_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sets = last_line(capsys, str(write(tmp_path, LABELS)))["sets"]
    assert sets["news"] == {
        "kept": 2,  # the cat and what a reader calls junk
        "junk_among_kept": 0.5,
        "captions_lost": 0.5,  # of two in English "cat" is too short; German was not asked for
        "language_right": pytest.approx(1, abs=0.25),  # "cat" alone may be taken for anything
        "unsafe_kept": 0,
    }
    assert sets["laion"]["kept"] == 0 and sets["laion"]["captions_lost"] is None


def test_languages_and_presets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = str(write(tmp_path, LABELS))
    assert last_line(capsys, file, "--languages", "de")["sets"]["news"]["kept"] == 1
    assert last_line(capsys, file, "--languages", "all")["sets"]["news"]["kept"] == 3
    (tmp_path / "brief.yaml").write_text("text: {max_characters: 40}")
    assert last_line(capsys, file, "--preset", str(tmp_path / "brief.yaml"))["sets"]["news"]["kept"] == 1


def test_halves_are_the_whole(tmp_path: Path) -> None:
    file = write(tmp_path, LABELS * 5)
    halves = [captions.read_labels(file, half) for half in (0, 1)]
    assert all(halves) and sorted(map(str, [*halves[0], *halves[1]])) == sorted(map(str, captions.read_labels(file)))


def test_what_is_no_file_of_labels_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="there is no file"):
        captions.main([str(tmp_path / "none.jsonl")])
    (tmp_path / "other.jsonl").write_text('{"text": "a cat"}')
    with pytest.raises(SystemExit, match="has lines without kind, language, set, url, verdict"):
        captions.main([str(tmp_path / "other.jsonl")])


def test_the_interval_is_wilsons() -> None:
    assert str(captions.Share(5, 50)) == "5/50 10 % (4 to 21)"
    assert str(captions.Share(0, 0)) == "-" and captions.Share(0, 0).share is None

"""A text is blocked by whole words of a list, and by nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from filters.lines import read_lines
from filters.texts.blocklist import DATA, blocked_terms
from filters.texts.text import TextConfig


def found(texts: Any, names: Sequence[str], patterns: Sequence[str] = ()) -> list[list[str]]:
    array = texts if isinstance(texts, pa.Array) else pa.array(texts, pa.string())
    return [[item["term"] for item in items] for items in blocked_terms(array, names, patterns).to_pylist()]


@pytest.mark.parametrize(
    ("text", "term"),
    [
        ("free PORN here", "porn"),
        ("ｐｏｒｎ", "porn"),
        ("por\u200bn", "porn"),
        ("a Sex  Tape leaked", "sex tape"),
        ("Scunthorpe United", None),
        ("blue tit on a branch, Sussex, Essex", None),
        ("a nude by Modigliani", None),
        (None, None),
        ("", None),
    ],
)
def test_builtin(text: str | None, term: str | None) -> None:
    assert found([text], ["builtin"]) == [[term] if term else []]


def test_own_list(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("# a comment\n\nUgly Word\r\nzwei\n", encoding="utf-8-sig")
    texts = pa.array(["an ugly word", "# a comment", "eins zwei", "porn"])
    assert found(texts, [str(path)]) == [["Ugly Word"], [], ["zwei"], []]
    assert found(texts, [str(path), "builtin"]) == [["Ugly Word"], [], ["zwei"], ["porn"]]


def test_no_list() -> None:
    assert found(["porn"], []) == [[]]
    assert found([], []) == []


def test_unreadable_lists(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        found(["a"], [str(tmp_path / "nowhere.txt")])
    path = tmp_path / "latin1.txt"
    path.write_bytes("häßlich".encode("latin-1"))
    with pytest.raises(ValueError, match=r"latin1\.txt is not UTF-8"):
        found(["a"], [str(path)])


@pytest.mark.parametrize(
    ("text", "language", "term"),
    [
        ("so eine Fotze", "de", "fotze"),
        ("これはポルノです", "ja", "ポルノ"),  # no spaces: wherever its characters stand
        ("你这个王八蛋", "zh", "王八蛋"),
        ("puki mo, tang ina", "tl", "tang ina"),  # LDNOOBW's fil is lid.176's tl
        ("un tabarnak de beau char", "fr", "tabarnak"),
    ],
)
def test_lists_have_their_language(text: str, language: str, term: str) -> None:
    assert {"term": term, "list": "ldnoobw", "language": language} in blocked_terms(
        pa.array([text]), ["ldnoobw"]
    ).to_pylist()[0]


@pytest.mark.parametrize(
    "text",
    [
        "Spring field of rape photo shows a beautiful spring",
        "Car Dash Windshield Mount for Escort Passport 9500ix Radar Detector",
        "Sexy Hot Skinny Long Sleeve Clubwear Party Bodycon Midi Dress",
        "Senator Dick Durbin, center",
        "analysis of a class",
        "牛乳と卵",
        "性能",
        "女の子",
    ],
)
def test_ordinary_words_are_passed_over_unless_asked_for(text: str) -> None:
    assert found([text], ["builtin", "ldnoobw"]) == [[]]
    if text not in ("analysis of a class", "牛乳と卵", "性能"):
        assert found([text], ["ldnoobw:all"]) != [[]]


def test_every_ordinary_word_is_of_a_list() -> None:
    for line in read_lines(str(DATA / "ordinary_words.txt")).to_pylist():
        language, _, word = line.partition(" ")
        if language != "#":
            words = read_lines(str(DATA / "ldnoobw" / f"{language}.txt")).to_pylist()
            assert word.casefold() in {item.casefold() for item in words}, line


def test_patterns() -> None:
    texts = ["free CASINO bonus", None, "casinos", "a porn casino"]
    assert found(texts, ["builtin"], [r"(?i)\bcasino\b", "x{3}"]) == [
        *([r"(?i)\bcasino\b"], [], [], ["porn", r"(?i)\bcasino\b"])
    ]
    assert blocked_terms(pa.array(["xxx"]), [], ["x{3}"]).to_pylist() == [
        [{"term": "x{3}", "list": "blocked_patterns", "language": None}]
    ]
    with pytest.raises(ValueError, match=r"blocked_patterns: '\(' is no regular expression"):
        TextConfig(blocked_patterns=("(",))

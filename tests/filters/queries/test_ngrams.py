"""Words, bigrams and views are counted as a plain reading counts them."""

from __future__ import annotations

import gzip
import re
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters.queries import ngrams
from filters.queries.entries import COUNTS

TEXTS = st.lists(st.lists(st.sampled_from(["The", "the", "cat", "isn't", "'", "7", "é", ",", " ", " ", "\n", "_"])))


def plain(texts: list[str]) -> tuple[Counter[str], Counter[str]]:
    words: Counter[str] = Counter()
    bigrams: Counter[str] = Counter()
    for text in texts:
        for phrase in re.split(r"[^\w'’ ]|_", text):
            found = [word.strip("'’") for word in phrase.split(" ") if re.search(r"\w", word)]
            words.update(found)
            bigrams.update(f"{one} {other}" for one, other in pairwise(found))
    return words, bigrams


def as_dict(table: pa.Table) -> dict[str, float]:
    return dict(zip(table["query"].to_pylist(), table["score"].to_pylist(), strict=True))


@given(pieces=TEXTS)
def test_counts_are_those_of_a_plain_reading(pieces: list[list[str]]) -> None:
    texts = ["".join(piece) for piece in pieces]
    for table, expected in zip(ngrams.count(texts), plain(texts), strict=True):
        assert as_dict(ngrams.merge([table])) == expected


@given(pieces=TEXTS, cut=st.integers(0, 5), least=st.integers(0, 4))
def test_folding_parts_is_folding_the_whole(pieces: list[list[str]], cut: int, least: int) -> None:
    texts = ["".join(piece) for piece in pieces]
    whole = ngrams.fold([ngrams.count(texts)[0]], least)
    assert ngrams.fold([ngrams.count(texts[cut:])[0], ngrams.count(texts[:cut])[0]], least).equals(whole)
    assert all(score >= least for score in whole["score"].to_pylist())


def test_a_word_has_its_most_frequent_spelling() -> None:
    counts = pa.table([["Paris", "paris", "PARIS", "The", "the"], [5.0, 1.0, 1.0, 2.0, 2.0]], schema=COUNTS)
    assert as_dict(ngrams.fold([counts], 3)) == {"Paris": 7.0, "The": 4.0}
    assert len(set(ngrams.keys(counts).tolist())) == 2


def test_a_segmenter_cuts_phrases() -> None:
    words, bigrams = ngrams.count(["東京大学、京都"], lambda text: [text[i : i + 2] for i in range(0, len(text), 2)])
    assert as_dict(words) == {"東京": 1, "大学": 1, "京都": 1}
    assert as_dict(bigrams) == {"東京 大学": 1}


HOUR = """en Eiffel_Tower 60 0
en.m Eiffel_Tower 50 0
en Eiffel_Tower 49 0
de Eiffelturm 900 0
en Special:Search 900 0
en Star_Trek:_Discovery 70 0
en "Heroes" 51 0
en too many fields 80 0
"""


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_views(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"pageviews-20240501-120000{ending}"
    path.write_bytes(gzip.compress(HOUR.encode()) if ending else HOUR.encode())
    assert as_dict(ngrams.views(str(path), "en", 50)) == {
        "Eiffel Tower": 110,
        "Star Trek: Discovery": 70,
        '"Heroes"': 51,
    }
    assert as_dict(ngrams.views(str(path), "de", 0)) == {"Eiffelturm": 900}


def test_what_is_no_file_of_views(tmp_path: Path) -> None:
    path = tmp_path / "views"
    path.write_bytes(b"en Title many 0\n")
    with pytest.raises(ValueError, match="views is no file of pageviews"):
        ngrams.views(str(path), "en", 50)

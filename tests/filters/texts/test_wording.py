"""filters.texts.wording: markup decoded, file names that say something made words."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters.texts.text import TextConfig
from filters.texts.wording import reword, words_of


def said(*texts: str | None, url: str = "https://example.org/a.jpg", **keys: bool) -> list[tuple[str, list[str]]]:
    rows = pa.table(
        {
            "row": pa.array(range(len(texts)), pa.uint32()),
            "url": [url] * len(texts),
            "text": pa.array(texts, pa.string()),
        }
    )
    found, changes = reword(rows, TextConfig(**keys))
    return list(zip(found.to_pylist(), changes.to_pylist(), strict=True))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("old-us41-bridge.jpg", "old us41 bridge"),
        ("white_horse_near_leeds-300x200.png", "white horse near leeds"),
        ("kennedy_nixon_debate_chicago_1960", "kennedy nixon debate chicago 1960"),
        ("three%20old%20ships.jpeg", "three old ships"),
        ("лошадь_в_белом_поле.jpg", "лошадь в белом поле"),
        ("IMG_2034.jpg", ""),
        ("9f86d081884c7d659a2feaa0c55ad015", ""),
        ("menu-left.gif", ""),
        ("company-logo-white-on-black.png", ""),
        ("11055575_446053378891567_362551651_n", ""),
        ("", ""),
    ],
)
def test_a_file_s_name_that_says_something_is_words(name: str, words: str) -> None:
    assert words_of(name) == words


def test_two_words_are_a_caption_of_a_photograph_alone() -> None:
    assert words_of("koala-rescue.jpg") == "koala rescue"
    assert [words_of(name) for name in ("koala-rescue.png", "koala-rescue", "red-kettle.jpg")] == ["", "", ""]
    photograph, drawing = "https://e.org/koala-rescue.jpg?w=9#a.png", "https://e.org/koala-rescue.png?a.jpg"
    assert [words_of("koala-rescue", url) for url in (photograph, drawing)] == ["koala rescue", ""]
    assert words_of("koala-rescue.png", photograph) == ""


def test_slugs_become_words_and_all_else_stays() -> None:
    texts = [
        "old-us41-bridge.jpg",
        "IMG_2034.jpg",
        "an old-fashioned bridge",
        "https://example.org/old-us41-bridge",
        None,
    ]
    changed = ("old us41 bridge", ["slug"])
    assert said(*texts) == [changed, *((text or "", []) for text in texts[1:])]
    assert all(not changes for _, changes in said(*texts, slugs_to_words=False))


def test_hyphens_alone_make_no_slug_but_where_the_image_s_file_is_called_so() -> None:
    assert said("inside-blue-mosque") == [("inside-blue-mosque", [])]
    assert said("inside-blue-mosque", url="https://example.org/Inside-Blue-Mosque-300x200.jpg") == [
        ("inside blue mosque", ["slug"])
    ]


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("Tom &amp; Jerry", "Tom & Jerry"),
        ("Tom &amp;amp; Jerry", "Tom & Jerry"),
        ("Valle d&#39;Aosta&nbsp;", "Valle d'Aosta"),
        ("Red<br>Dress<br>100% Rayon<br/>", "Red Dress 100% Rayon"),
        ("<a href='http://example.org/'>Ribbon</a> cutting", "Ribbon cutting"),
        ("a&#8203;b &#0; c&#10;d", "ab \ufffd c d"),
        ("1 < 2 <and> 3 & 4; AT&T", "1 < 2 <and> 3 & 4; AT&T"),
        ("&unknown; thing", "&unknown; thing"),
        ("<b></b>", "<b></b>"),
    ],
)
def test_markup_that_was_left_is_decoded(text: str, meant: str) -> None:
    assert said(text) == [(meant, ["markup"] if meant != text else [])]
    assert said(text, decode_markup=False) == [(text, [])]


@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=40), max_size=5))
def test_every_text_has_an_answer_that_is_not_empty_and_says_whether_it_changed(texts: list[str]) -> None:
    for text, (answer, changes) in zip(texts, said(*texts), strict=True):
        assert bool(answer) == bool(text)
        assert bool(changes) == (answer != text)

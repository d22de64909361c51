from __future__ import annotations

import unicodedata

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawl.clean import MAX_TEXT_CHARS, clean_text, clean_texts


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a plain text", "a plain text"),
        ("  two\n\t lines\r\n ", "two lines"),
        ("no\u00a0break\u3000ideographic\u2028line", "no break ideographic line"),
        ("cafe\u0301", "café"),
        ("schÃ¶ne GrÃ¼ÃŸe", "schöne Grüße"),
        ("â€œquotedâ€\x9d", "“quoted”"),
        ("für alle Ärzte, Öfen und Übel", "für alle Ärzte, Öfen und Übel"),
        ("soft\u00adhyphen\u200b and\ufeff marks\u202e", "softhyphen and marks"),
        ("family 👨\u200d👩\u200d👧 می\u200cخواهم", "family 👨\u200d👩\u200d👧 می\u200cخواهم"),
        ("nul\x00 and bell\x07 and \x85", "nul and bell and"),
        ("joined \ud83d\ude00, lone \ud83d.", "joined 😀, lone \ufffd."),
        ("\u200d\u200b \u00a0", ""),
        ("", ""),
        (None, ""),
    ],
)
def test_cleaning(text: str | None, expected: str) -> None:
    assert clean_texts([text]).to_pylist() == [expected]


def test_long_texts_are_cut() -> None:
    texts = ["x" * 50_000, "ü" * 50_000, "x" * MAX_TEXT_CHARS, " " * 50_000 + "end"]
    assert [len(text) for text in clean_texts(texts).to_pylist()] == [MAX_TEXT_CHARS, MAX_TEXT_CHARS, MAX_TEXT_CHARS, 3]


def test_takes_arrow_arrays() -> None:
    chunked = pa.chunked_array([["a  b"], [None, "c"]])
    assert clean_texts(chunked).to_pylist() == ["a b", "", "c"]
    assert clean_texts(pa.array(["a", "b "]).slice(1)).to_pylist() == ["b"]
    assert clean_texts([]).type == pa.string()
    assert len(clean_texts(pa.array([None, None]))) == 2


MOJIBAKE = st.text(max_size=30).map(lambda text: text.encode("utf-8", "replace").decode("latin-1"))


TRICKY = st.text("ÂÃâ€™ é\u00a0\u200b\x80\x9d", max_size=12)


@given(st.lists(st.text(max_size=30) | MOJIBAKE | TRICKY, max_size=5))
def test_idempotent_normal_and_the_same_alone_or_together(texts: list[str]) -> None:
    once = clean_texts(texts)
    assert clean_texts(once).equals(once)
    assert once.to_pylist() == [clean_texts([text])[0].as_py() for text in texts] == list(map(clean_text, texts))
    for text in once.to_pylist():
        assert text == clean_text(text) == unicodedata.normalize("NFC", text)
        assert text == " ".join(text.split())


@given(st.lists(st.text(st.characters(codec="utf-8", categories=["Cs", "L", "Zs"]), max_size=10), max_size=4))
def test_surrogates_never_fail(texts: list[str]) -> None:
    assert len(clean_texts(texts)) == len(texts)


@given(st.text(st.characters(min_codepoint=0xD7F0, max_codepoint=0xE010, exclude_categories=[]), max_size=8))
def test_lone_surrogates(text: str) -> None:
    clean_texts([text, "plain"]).to_pylist()[0].encode()

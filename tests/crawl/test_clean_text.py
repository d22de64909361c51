from __future__ import annotations

import re
import sys
import unicodedata

import ftfy.badness
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawl.clean_text import _UNSETTLED, MAX_TEXT_CHARS, _mojibake, _to_re2, clean_text, clean_texts, without_templates


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
        ("a cat\U000e0001\U000e0049\U000e0067\U000e006e\U000e007f on a mat", "a cat on a mat"),
        ("\u202e\u2066turned\u2069\u202c \u061cround\u200f", "turned round"),
        ("葛\U000e0100 \u2764\ufe0f c\u034fo\u2064de", "葛 \u2764\ufe0f code"),
        ("voilÃ\u00a0", "voilà"),
        ("\u00d0\u0085", "Ѕ"),
        ("family 👨\u200d👩\u200d👧 می\u200cخواهم", "family 👨\u200d👩\u200d👧 می\u200cخواهم"),
        ("nul\x00 and bell\x07 and \x85", "nul and bell and"),
        ("joined \ud83d\ude00, lone \ud83d.", "joined 😀, lone \ufffd."),
        ("\u200d\u200b \u00a0", ""),
        (" \u00d0\u0098 \t \u200d", "И"),
        ("x \u200d\n", "x"),
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


BAD = "".join(sorted(set(ftfy.badness.BADNESS_RE.pattern)))
# Joiners, spaces, controls, invisible characters, marks, jamo, mojibake and what stands beside it, other scripts.
NASTY = "ab.Œé ßÂÃÎ×à€™£²┬Ж\t\n\x00\x1d\x85\x9d\xa0\xad\u200b\u200c\u200d\u2000\u2028\u3000\ufeff" + (
    "\u0301\u0323\u0344\u093c\u0915\u0e48\u1100\u1161\u11a8각か\u3099\u212b\u2126\uf900漢ไ👨\ufe0f\ufffd"
)


@given(st.lists(st.text(NASTY, max_size=8) | st.text(BAD, max_size=8), max_size=8))
def test_a_column_is_cleaned_as_its_texts_are(texts: list[str]) -> None:
    assert clean_texts(texts).to_pylist() == [clean_text(text) for text in texts]


def test_every_character_is_cleaned_in_a_column_as_in_a_text() -> None:
    plane = [chr(code) for code in range(0x10000) if not 0xD800 <= code < 0xE000]
    others = map(chr, range(0x10000, sys.maxunicode, 29))
    texts = [text for character in (*plane, *others) for text in (f"a{character}b", character)]
    assert clean_texts(texts).to_pylist() == [clean_text(text) for text in texts]


def test_what_is_settled_is_left_alone_by_normalization_whatever_stands_beside_it() -> None:
    """Its quick check says Yes to each character, and none of them is ever moved (Unicode, UAX 15, section 9)."""
    characters = [chr(code) for code in range(sys.maxunicode + 1) if not 0xD800 <= code < 0xE000]
    unsettled = pc.match_substring_regex(pa.array([f"a{character}b" for character in characters]), _UNSETTLED)
    settled = {character for character, dirty in zip(characters, unsettled.to_pylist(), strict=True) if not dirty}
    assert len(settled) > 40_000
    assert all(unicodedata.is_normalized("NFC", character) for character in settled)
    assert not any(unicodedata.combining(character) for character in settled)
    joined = set(map(chr, [*range(0x1161, 0x1176), *range(0x11A8, 0x11C3)]))  # Hangul is composed by rule
    for character in characters:
        parts = unicodedata.decomposition(character).split()
        if len(parts) == 2 and parts[0][0] != "<" and unicodedata.is_normalized("NFC", character):
            joined.add(chr(int(parts[1], 16)))
    assert not settled & joined


@given(st.text(BAD, max_size=12) | MOJIBAKE | TRICKY)
def test_mojibake_is_seen_in_a_column_wherever_ftfy_sees_it(text: str) -> None:
    seen = pc.match_substring_regex(pa.array([text.strip()]), _mojibake())[0].as_py()
    assert seen or not ftfy.badness.is_bad(text.strip())


def test_mojibake_has_a_pattern_of_its_own_and_a_wider_one_if_ftfys_cannot_be_read() -> None:
    column = pa.array(["größer", "Medellín", "Фото", "MedellÃ\xadn", "“Jaime” más"])
    assert pc.match_substring_regex(column, _mojibake()).to_pylist() == [False, False, False, True, False]
    readable = re.compile("[ #] \\s  # a hash or a space, then another\n | x \\x20 \\w", re.VERBOSE)
    found = pc.match_substring_regex(pa.array(["#\xa0", " x", "x é", "x.", "x-y"]), _to_re2(readable, "wider"))
    assert found.to_pylist() == [True, False, True, False, False]
    for pattern in (r"a(?=b)", r"(a)\1", r"\bx", r"[\d]", r"x\Z"):
        assert _to_re2(re.compile(pattern, re.VERBOSE), "wider") == "wider"
    assert _to_re2(re.compile("a b"), "wider") == "wider"


@pytest.mark.parametrize(
    "text",
    [
        *(
            "{{ item.title }}",
            "Buy {{product.name}} now",
            "{{#each x}}",
            "<%= title %>",
            "{% block %}",
            "${name}",
            "[[title]]",
        ),
        *("{title}", "%s", "Photo of %1$s", "undefined", "null", "[object Object]", "<?= $t ?>", "%TITLE%"),
    ],
)
def test_a_text_that_a_script_was_still_to_fill_in_is_none(text: str) -> None:
    assert without_templates(pa.array([text, "a cat"])).to_pylist() == ["", "a cat"]


@pytest.mark.parametrize(
    "text",
    [
        *(r"{\displaystyle {{a}}+{b}}", "x^{2}", "50 %", "50%sale", "[1] a map", "Null Island", "a null", "{a, b}"),
        *("<3", "a {red} car", "C# {x"),
    ],
)
def test_formulas_and_signs_are_texts(text: str) -> None:
    assert without_templates(pa.array([text])).to_pylist() == [text]


def test_marks_without_end_are_cut_before_they_are_sorted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sorting them takes a time that grows with the square of their number."""
    runs: list[int] = []
    normalize = unicodedata.normalize

    def watched(form: str, text: str) -> str:
        runs.append(max((len(run) for run in re.findall(r"[\u0300-\u036f]+", text)), default=0))
        return normalize(form, text)  # type: ignore[arg-type]

    monkeypatch.setattr(unicodedata, "normalize", watched)
    cleaned = clean_text("a kettle" + "\u0300\u0316" * 15_000 + " on a table")
    assert cleaned.startswith("a kettl") and cleaned.endswith("on a table") and len(cleaned) < 100
    assert runs and max(runs) <= 30
    assert clean_text(cleaned) == cleaned
    few = "a" + "\u0316\u0300" * 40
    assert len(clean_text(few)) == len(normalize("NFC", few))

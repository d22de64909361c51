"""Texts as they are first written: nothing changes one later."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import cache

import ftfy
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from ftfy.badness import BADNESS_RE, is_bad

from crawl.urls import scalar_values

MAX_TEXT_CHARS = 10_000
"""A longer text is cut here: enough for the text stage to say that it is too long."""

_RAW_CHARS = 4 * MAX_TEXT_CHARS  # what is looked at before white space collapses
_ROUNDS = 8  # a repaired text can show another fault; four layers of mojibake are the most ever reported to ftfy
# What cleaning would give back: printable ASCII with single spaces inside, and, standing alone as mojibake does not,
# Latin letters and signs, dashes, quotation marks, euro, trade mark and U+FFFD, which NFC leaves as they are.
_TO_CLEAN = (
    r"[^\x20-\x7e\x{a1}-\x{ac}\x{ae}-\x{17f}\x{2010}-\x{2027}\x{20ac}\x{2122}\x{fffd}]"
    r"|[^\x00-\x7f]{2}|[\x{c2}\x{c3}\x{e2}] |  |^ | $"
)
# Mojibake is a lead byte's character and a continuation byte's, or a lead byte whose partner became a space.
_MAYBE_MOJIBAKE = re.compile(r"[^\x00-\x7f]{2}|[ÂÃâ] ")
# Unicode categories Cc and Cs, and line and paragraph separators.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
# Zero width, soft hyphen, byte order mark, marks that turn the direction, tags, in which a sentence can hide, and the
# supplementary variation selectors; joiners (U+200C, U+200D) and an emoji's selectors shape what is seen, and stay.
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff0-\ufffb"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]+"
)
_EDGES = " \u200c\u200d"
_MOST_MARKS = 30
"""The most combining marks in a row; the rest is left out. No language stacks as many (Unicode's UAX #15,
section 13, the Stream-Safe Text Format), and normalization sorts them in a time that grows with their square.
"""
_FEW_CHARS = 1_000  # a shorter text may have any: a millisecond's worth
# What `str.strip` takes away, but for the two that may be the end of a letter in mojibake, as in "voilÃ\xa0"; in RE2,
# what it takes away and _CONTROL without the space, and where cleaning puts a single space.
_WHITE = "".join(char for char in map(chr, range(0x3001)) if char.isspace() and char not in "\x85\xa0")
_BLANK = r"\x00-\x1f\x7f-\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}"
_UNEVEN = rf"(?:[{_BLANK}]| [ {_BLANK}])[ {_BLANK}]*"
# Characters that are visible, and that NFC neither changes nor joins to a neighbour nor moves: letters from
# Latin to Armenian, of Hebrew, Arabic, Thai, Georgian, kana, ideographs, Hangul syllables, signs and emoji.
_STEADY = (
    r" -~\x{a1}-\x{ac}\x{ae}-\x{2ff}\x{370}-\x{373}\x{375}-\x{37d}\x{384}-\x{386}\x{388}-\x{482}\x{48a}-\x{58f}"
    r"\x{5d0}-\x{5f4}\x{620}-\x{64a}\x{660}-\x{66f}\x{671}-\x{6d5}\x{6f0}-\x{6ff}\x{e01}-\x{e37}\x{e3f}-\x{e47}"
    r"\x{10a0}-\x{10ff}\x{1e00}-\x{1eff}\x{200c}\x{200d}\x{2010}-\x{2027}\x{2030}-\x{205e}\x{2070}-\x{20c0}"
    r"\x{2100}-\x{2125}\x{2150}-\x{2328}\x{232b}-\x{2adb}\x{2add}-\x{2bff}\x{3001}-\x{3029}\x{3030}-\x{3096}"
    r"\x{309b}-\x{9fff}\x{ac00}-\x{d7a3}\x{fe0e}\x{fe0f}\x{ff01}-\x{ffef}\x{fffd}\x{1f000}-\x{1faff}"
)
_UNSETTLED = rf"[^{_STEADY}]|^[\x{{200c}}\x{{200d}}]|[\x{{200c}}\x{{200d}}]$"

# What a script was still to fill in, as template languages mark it, or filled in without having it. Formulas of LaTeX
# hold braces, too, but a backslash beside them.
_TEMPLATE = (
    r"\{\{\{?[#/&!>^@]?[ ]*[A-Za-z_$][^{}]*\}\}|\{%[^{}]*%\}|<%[^<>]*%>|<\?(?:php|=)|[$#]\{[A-Za-z_][^{}]*\}"
    r"|\[\[[^\[\]]*\]\]|^\{[A-Za-z_][A-Za-z0-9_.-]*\}$|^%?%[A-Za-z_]+%%?$|(?:^|[^0-9A-Za-z%])%(?:[0-9][$])?s(?:[^0-9A-Za-z]|$)"
    r"|^(?:undefined|null|NaN|\[object Object\])$"
)


def _to_re2(python: re.Pattern[str], otherwise: str) -> str:
    """A pattern for RE2 that finds all that Python's verbose one finds in a stripped text, and little more.

    Args:
        python: the pattern.
        otherwise: is given back if RE2 cannot express it.
    """
    wider = {r"\s": r"[\x00-\x20\x{7f}-\x{10ffff}]", r"\w": r"[0-9A-Za-z_\x{80}-\x{10ffff}]"}  # RE2's are ASCII
    tokens = re.findall(r"\[\^?\]?(?:\\.|[^\]\\])*\]|\\.|#.*|\s|[^\\#\s\[]+", python.pattern)
    pattern = "".join(wider.get(token, token) for token in tokens if token[0] != "#" and not token.isspace())
    if python.flags != re.VERBOSE | re.UNICODE or re.search(r"\\[0-9A-Za-wyz]", pattern):
        return otherwise
    try:
        pc.match_substring_regex(pa.array([""]), pattern)
    except pa.ArrowInvalid:
        return otherwise
    return pattern


@cache
def _mojibake() -> str:
    return _to_re2(BADNESS_RE, otherwise=_MAYBE_MOJIBAKE.pattern)


@cache
def _too_many_marks() -> re.Pattern[str]:
    """_MOST_MARKS combining marks, and more of them."""
    marks = "".join(char for char in map(chr, range(0x300, 0x1F000)) if unicodedata.combining(char))
    return re.compile(f"([{marks}]{{{_MOST_MARKS}}})[{marks}]+")


def clean_texts(texts: Sequence[str | None] | pa.Array | pa.ChunkedArray) -> pa.Array:
    """Clean texts: mojibake repaired, NFC, no control or invisible characters, white space collapsed, stripped, cut.

    Args:
        texts: shape (n,); null is the empty text. Entities are decoded already.

    Returns:
        string array of shape (n,) without nulls. Cleaning it again changes nothing.
    """
    array = to_arrow(texts)
    longest = pc.max(pc.binary_length(array)).as_py()
    if not longest:
        return array
    dirty = pc.match_substring_regex(array, _TO_CLEAN)
    if longest > MAX_TEXT_CHARS:
        dirty = pc.or_(dirty, pc.greater(pc.binary_length(array), MAX_TEXT_CHARS))
    if not pc.any(dirty).as_py():
        return array
    return pc.replace_with_mask(array, dirty, _clean_mostly_clean(array.filter(dirty)))


def _clean_mostly_clean(texts: pa.Array) -> pa.Array:
    """`clean_texts` of texts of which most need no more than white space put right, if anything; the others one by one.

    `clean_text` looks for mojibake before and after white space is put right, and so does this.
    """
    stripped = pc.utf8_trim(texts, _WHITE)
    spaced = pc.utf8_trim(pc.replace_substring_regex(stripped, _UNEVEN, " "), " ")
    bad = pc.match_substring_regex(pa.concat_arrays([stripped, spaced]), _mojibake())
    hard = pc.or_(pc.match_substring_regex(spaced, _UNSETTLED), pc.or_(bad[: len(texts)], bad[len(texts) :]))
    hard = pc.or_(hard, pc.greater(pc.binary_length(texts), MAX_TEXT_CHARS))
    cleaned = pa.array([clean_text(text) for text in texts.filter(hard).to_pylist()], pa.string())
    return pc.replace_with_mask(spaced, hard, cleaned)


def without_templates(texts: pa.Array) -> pa.Array:
    """Return cleaned texts of shape (n,), the empty one where a script was still to fill one in (`{{ item.title
    }}`).
    """
    if not pc.max(pc.binary_length(texts)).as_py():
        return texts
    has_template = pc.match_substring_regex(texts, _TEMPLATE)
    if not pc.any(has_template).as_py():
        return texts
    return pc.if_else(pc.and_not(has_template, pc.match_substring(texts, "\\")), "", texts)


def clean_text(text: str) -> str:
    """Return one text, as `clean_texts` cleans it."""
    text = text.strip(_WHITE)[:_RAW_CHARS]
    if text.isascii():
        return " ".join(_CONTROL.sub(" ", text).split())[:MAX_TEXT_CHARS].rstrip()
    for _ in range(_ROUNDS):
        before = text
        if _MAYBE_MOJIBAKE.search(text) and is_bad(text):
            text = ftfy.fix_encoding(text)
        text = _INVISIBLE.sub("", _CONTROL.sub(" ", text))
        if len(text) > _FEW_CHARS:
            text = _too_many_marks().sub(r"\1", text)
        text = " ".join(unicodedata.normalize("NFC", text).split())[:MAX_TEXT_CHARS].strip(_EDGES)
        if text == before:
            break
    return text


def to_arrow(texts: Sequence[str | None] | pa.Array | pa.ChunkedArray) -> pa.Array:
    """Return texts of shape (n,) as a string array: null is the empty text, lone surrogates are U+FFFD."""
    if isinstance(texts, pa.ChunkedArray):
        texts = texts.combine_chunks()
    if not isinstance(texts, pa.Array):
        try:
            texts = pa.array(texts, pa.string())
        except UnicodeEncodeError:  # lone surrogates; those that form pairs are joined
            texts = pa.array([None if text is None else scalar_values(text) for text in texts], pa.string())
    return pc.fill_null(texts.cast(pa.string()), "")


def not_empty(texts: pa.Array) -> np.ndarray:
    """Return which texts of shape (n,) have a character, as bool of shape (n,)."""
    return pc.greater(pc.binary_length(texts), 0).to_numpy(zero_copy_only=False)

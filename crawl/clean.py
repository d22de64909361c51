"""Texts as they are first written: nothing changes one later."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

import ftfy
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from ftfy.badness import is_bad

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
# Zero width, soft hyphen, byte order mark, direction marks; joiners (U+200C, U+200D) shape words and emoji and stay.
_INVISIBLE = re.compile("[\u00ad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]+")
_EDGES = " \u200c\u200d"


def clean_texts(texts: Sequence[str | None] | pa.Array | pa.ChunkedArray) -> pa.Array:
    """Clean texts: mojibake repaired, NFC, no control or invisible characters, white space collapsed, stripped, cut.

    Args:
        texts: shape (n,); null is the empty text. Entities are decoded already.

    Returns:
        string array of shape (n,) without nulls. Cleaning it again changes nothing.
    """
    array = to_arrow(texts)
    if not len(array):
        return array
    dirty = pc.match_substring_regex(array, _TO_CLEAN)
    if pc.max(pc.binary_length(array)).as_py() > MAX_TEXT_CHARS:
        dirty = pc.or_(dirty, pc.greater(pc.binary_length(array), MAX_TEXT_CHARS))
    if not pc.any(dirty).as_py():
        return array
    cleaned = pa.array([clean_text(text) for text in array.filter(dirty).to_pylist()], pa.string())
    return pc.replace_with_mask(array, dirty, cleaned)


def clean_text(text: str) -> str:
    """One text, as `clean_texts` cleans it."""
    text = text.strip()[:_RAW_CHARS]
    if text.isascii():
        return " ".join(_CONTROL.sub(" ", text).split())[:MAX_TEXT_CHARS].rstrip()
    for _ in range(_ROUNDS):
        before = text
        if _MAYBE_MOJIBAKE.search(text) and is_bad(text):
            text = ftfy.fix_encoding(text)
        text = _INVISIBLE.sub("", _CONTROL.sub(" ", text))
        text = " ".join(unicodedata.normalize("NFC", text).split())[:MAX_TEXT_CHARS].strip(_EDGES)
        if text == before:
            break
    return text


def to_arrow(texts: Sequence[str | None] | pa.Array | pa.ChunkedArray) -> pa.Array:
    """Texts of shape (n,) as a string array: null is the empty text, lone surrogates are U+FFFD."""
    if isinstance(texts, pa.ChunkedArray):
        texts = texts.combine_chunks()
    if not isinstance(texts, pa.Array):
        try:
            texts = pa.array(texts, pa.string())
        except UnicodeEncodeError:  # lone surrogates; those that form pairs are joined
            texts = pa.array([None if text is None else without_surrogates(text) for text in texts], pa.string())
    return pc.fill_null(texts.cast(pa.string()), "")


def without_surrogates(text: str) -> str:
    """A text that can be encoded: surrogate pairs are joined, lone ones become U+FFFD."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def not_empty(texts: pa.Array) -> np.ndarray:
    """Which texts of shape (n,) have a character, as bool of shape (n,)."""
    return pc.greater(pc.binary_length(texts), 0).to_numpy(zero_copy_only=False)

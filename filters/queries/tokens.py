"""Texts cut into tokens, by array operations over their UTF-8 bytes.

Two rules:

`words`
    NFKC, then full case folding, as `str.casefold` does; a token is a run of letters, marks, digits and connector
    punctuation (Unicode categories L, M, N, Pc), or any single other character that is neither white space nor a
    control. Scripts that are written without spaces are cut into their characters. Two tokens follow each other
    whatever white space is between them, so "New  York" holds "new york" and "AT & T" holds "at&t".

`metaclip`
    MetaCLIP's `substr_matching`: the text as it is, `,` `.` `;` `:` `?` `!` and the backtick wrapped in spaces, tab
    and line ends made spaces, and a query must stand in it with a space on either side. Tokens follow each other
    where exactly one space is then between them. Characters of scripts that are written without spaces are tokens by
    themselves, and a query needs no space beside one: what MetaCLIP does for languages in these scripts.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

Rule = Literal["words", "metaclip"]

_SPACE, _WORD, _SINGLE, _INSIDE = range(4)  # INSIDE: a later byte of a character that is a token by itself
_PERHAPS_SINGLE = 4  # the first byte of characters some of which are tokens by themselves
_IGNORED = ("\u00ad", "\u200b", "\u2060", "\ufeff")  # invisible: soft hyphen, zero-width space, word joiner, BOM
_JOIN_CONTROLS = "\u200c\u200d"  # part of words in Indic and Arabic script (UTS #18, \w)
_WITHOUT_SPACES = (  # Thai, Lao, Myanmar, Khmer, kana, Han
    (0x0E00, 0x0EFF),
    (0x1000, 0x109F),
    (0x1780, 0x17FF),
    (0x3040, 0x30FF),
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x3FFFF),
)


@dataclass(frozen=True)
class Tokens:
    """The tokens of several texts, in order within each text.

    data: uint8 (bytes,), the texts as they are compared.
    starts, ends: int64 (tokens,), each token's bytes in `data`.
    rows: int64 (tokens,), the index of the token's text.
    follows: bool (tokens,), whether a phrase can go on to this token from the one before it.
    glued: bool (tokens,), whether it goes on without a space, which matters to the rule `metaclip`; None if none does.
    alone: bool (tokens,), whether it is a character of a script without spaces; None with `glued`.
    """

    data: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    rows: np.ndarray
    follows: np.ndarray
    glued: np.ndarray | None = None
    alone: np.ndarray | None = None


def normalize(text: str) -> str:
    """Return what the rule `words` compares: NFKC and case folding, without invisible characters."""
    for character in _IGNORED:
        text = text.replace(character, "")
    return unicodedata.normalize("NFKC", text).casefold()


def tokenize(texts: pa.Array, rule: Rule) -> Tokens:
    """Cut texts (string; null is empty) into tokens."""
    texts = texts.fill_null("")
    if rule == "metaclip":
        data, offsets = _buffers(texts)
        classes = _translate(data, _METACLIP_CLASS)
        perhaps = np.flatnonzero(classes == _PERHAPS_SINGLE)
        if len(perhaps):
            classes = _split_unspaced(data, classes, perhaps)
        return _cut(data, classes, offsets, exact_spaces=True)
    is_ascii = pc.string_is_ascii(texts)
    data, offsets = _buffers(texts.filter(is_ascii))
    ascii_part = _cut(_translate(data, _LOWER), _translate(data, _ASCII_CLASS), offsets)
    special = ~is_ascii.to_numpy(zero_copy_only=False)
    if not special.any():
        return ascii_part
    other_part = _cut(*_normalize(texts.filter(pa.array(special))))
    base = len(ascii_part.data)
    return Tokens(
        np.concatenate([ascii_part.data, other_part.data]),
        np.concatenate([ascii_part.starts, other_part.starts + base]),
        np.concatenate([ascii_part.ends, other_part.ends + base]),
        np.concatenate([np.flatnonzero(~special)[ascii_part.rows], np.flatnonzero(special)[other_part.rows]]),
        np.concatenate([ascii_part.follows, other_part.follows]),
    )


def _buffers(texts: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """The bytes of a string array, and where each text starts, with the end of the last."""
    texts = texts.cast(pa.large_string())
    offsets = np.frombuffer(texts.buffers()[1], np.int64, len(texts) + 1, texts.offset * 8) if len(texts) else _NO_TEXTS
    data = texts.buffers()[2]
    if data is None:
        return np.empty(0, np.uint8), np.zeros(len(offsets), np.int64)
    return np.frombuffer(data, np.uint8)[offsets[0] : offsets[-1]], offsets - offsets[0]


def _translate(data: np.ndarray, table: np.ndarray) -> np.ndarray:
    """table[data], five times as fast. Both uint8."""
    return np.frombuffer(data.tobytes().translate(table.tobytes()), np.uint8)


def _normalize(texts: pa.Array) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Texts normalised as one string (the work is then C's), as UTF-8, its classes, and where each text starts."""
    lines = pc.replace_substring(texts, "\n", " ")
    whole = pc.binary_join(pa.ListArray.from_arrays([0, len(lines)], lines.cast(pa.string())), "\n")[0].as_py()
    whole = normalize(whole) + "\n"
    data = np.frombuffer(whole.encode(), np.uint8)
    leads = (data & 0xC0) != 0x80
    classes = _character_classes(np.frombuffer(whole.encode("utf-32-le"), np.uint32))[np.cumsum(leads) - 1]
    classes[~leads & (classes == _SINGLE)] = _INSIDE
    return data, classes, np.concatenate([[0], np.flatnonzero(data == ord("\n")) + 1])


def _split_unspaced(data: np.ndarray, classes: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """The classes of bytes, with the characters of scripts without spaces as tokens by themselves.

    at: int64, the first bytes of characters of three or four bytes that may be such.
    """
    classes = classes.copy()
    classes[positions] = _WORD
    lead = data[positions].astype(np.int64)
    last = np.where(lead < 0xF0, 2, 3)
    code = np.where(lead < 0xF0, lead & 0x0F, lead & 0x07)
    for later in (1, 2, 3):
        more = later <= last
        byte = data[np.where(more, positions + later, positions)].astype(np.int64)
        code = np.where(more, code << 6 | (byte & 0x3F), code)
    single = np.zeros(len(positions), bool)
    for low, high in _WITHOUT_SPACES:
        single |= (code >= low) & (code <= high)
    positions, last = positions[single], last[single]
    classes[positions] = _SINGLE
    for later in (1, 2, 3):
        classes[positions[later <= last] + later] = _INSIDE
    return classes


def _cut(data: np.ndarray, classes: np.ndarray, offsets: np.ndarray, *, exact_spaces: bool = False) -> Tokens:
    """Tokens of concatenated texts: maximal runs of WORD within one text, and SINGLE characters."""
    first = np.zeros(len(data) + 1, bool)
    first[offsets] = True
    word = classes == _WORD
    begins = word.copy()
    begins[1:] &= ~word[:-1] | first[1:-1]
    begins |= classes == _SINGLE
    stops = classes != _SPACE
    stops[:-1] &= (classes[1:] == _SPACE) | begins[1:] | first[1:-1]
    starts, ends = np.flatnonzero(begins), np.flatnonzero(stops) + 1
    counts = np.diff(np.searchsorted(starts, offsets))
    rows = np.repeat(np.arange(len(counts)), counts)
    follows = np.zeros(len(starts), bool)
    follows[1:] = rows[1:] == rows[:-1]
    if not exact_spaces:
        return Tokens(data, starts, ends, rows, follows)
    single, mark = classes.take(starts) == _SINGLE, data.take(starts) < 0x80
    mark &= single
    gap = (starts[1:] - ends[:-1]) + mark[1:] + mark[:-1]
    glued = follows.copy()
    glued[1:] &= gap == 0
    follows[1:] &= gap <= 1
    if not glued.any():
        return Tokens(data, starts, ends, rows, follows)
    return Tokens(data, starts, ends, rows, follows, glued, single & ~mark)


def _class_table(space: str, single: str, perhaps_single: bytes) -> np.ndarray:
    table = np.full(256, _WORD, np.uint8)
    table[list(space.encode())] = _SPACE
    table[list(single.encode())] = _SINGLE
    table[list(perhaps_single)] = _PERHAPS_SINGLE
    return table


def _category_class(character: str) -> int:
    category = unicodedata.category(character)
    if category[0] in "LMN" or category == "Pc" or character in _JOIN_CONTROLS:
        return _WORD
    return _SPACE if category[0] in "ZC" else _SINGLE


def _character_classes(codes: np.ndarray) -> np.ndarray:
    """The class of each code point, uint8.

    Those of a block of neighbours are looked up when the first of them is met: all 1.1 million would take every process
    more time than most of its tasks.
    """
    classes = _CLASSES[codes]
    if (missing := codes[classes == _NOT_YET]).size:
        for block in np.unique(missing // _BLOCK).tolist():
            there = np.arange(block * _BLOCK, (block + 1) * _BLOCK)
            class_of = np.array([_category_class(chr(code)) for code in there], np.uint8)
            for low, high in _WITHOUT_SPACES:
                class_of[(class_of == _WORD) & (there >= low) & (there <= high)] = _SINGLE
            _CLASSES[there] = class_of
        classes = _CLASSES[codes]
    return classes


_BLOCK = 2**10
_NOT_YET = 255
_CLASSES = np.full(0x110000, _NOT_YET, np.uint8)
_NO_TEXTS = np.zeros(1, np.int64)
_LOWER = np.array([ord(chr(byte).lower()) if byte < 128 else byte for byte in range(256)], np.uint8)
_ASCII_CLASS = np.array([_category_class(chr(byte)) if byte < 128 else _WORD for byte in range(256)], np.uint8)
_METACLIP_SPACES, _METACLIP_MARKS = " \t\n\r", ",.;:?!`"
_LEADS_WITHOUT_SPACES = bytes(  # 64 characters or more have one first byte
    {chr(code).encode()[0] for low, high in _WITHOUT_SPACES for code in range(low, high + 1, 64)}
)
_METACLIP_CLASS = _class_table(_METACLIP_SPACES, _METACLIP_MARKS, _LEADS_WITHOUT_SPACES)

"""Texts that hold a term of a list, as whole words, whatever their case and Unicode form; or a match of a pattern.

What is measured is every term that a text holds, of every list and language; which of them count for a text, in its
language, is for `sql/decisions/text.sql` to say. Scripts that are written without spaces have no words to tell apart:
there a term is found wherever its characters stand.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from filters.lines import read_lines
from filters.queries.match import Matcher

DATA = Path(__file__).parents[1] / "data"
BUILTIN = DATA / "blocklist_en.txt"
DOUBTFUL = DATA / "doubtful_words.txt"
ORDINARY = DATA / "ordinary_words.txt"
NAMES = ("builtin", "doubtful", "ldnoobw", "ldnoobw:all")
"""Lists that come with openwit; every other name is a file."""
PATTERNS = "blocked_patterns"
"""What stands for a list where a pattern was found."""

TERM = pa.struct([("term", pa.string()), ("list", pa.string()), ("language", pa.string())])
"""What a text holds: the entry, its list's name, and the language that the entry is of (as lid.176 codes it), null if
it counts in every language."""
_LANGUAGES = {"fil": "tl", "fr-CA": "fr"}  # LDNOOBW's files -> lid.176, where they differ
_SCRIPTS_WITHOUT_SPACES = ("ja", "th", "zh")


def blocked_terms(
    texts: pa.Array | pa.ChunkedArray, names: Sequence[str] = ("builtin", "ldnoobw"), patterns: Sequence[str] = ()
) -> pa.ListArray:
    """Return the terms that each text holds, in the order of the lists, then the patterns found in it. list<TERM> (n,).

    Args:
        texts: string (n,); a null text holds nothing.
        names: of NAMES, or paths or URLs of text files with one term a line (`#` starts a comment line).
        patterns: RE2.

    Raises:
        FileNotFoundError, OSError, ValueError: a list cannot be read.
    """
    terms, matcher = _load(tuple(names))
    term_ids = matcher.match(texts)
    rows = [np.repeat(np.arange(len(term_ids)), np.diff(term_ids.offsets.to_numpy()))]
    ids = [term_ids.values.to_numpy()]
    array = texts.combine_chunks() if isinstance(texts, pa.ChunkedArray) else texts
    for number, pattern in enumerate(patterns):
        hits = pc.fill_null(pc.match_substring_regex(array.cast(pa.string()), pattern), False)
        rows.append(np.flatnonzero(hits.to_numpy(zero_copy_only=False)))
        ids.append(np.full(len(rows[-1]), len(terms) + number, np.int32))
    row, id_ = np.concatenate(rows), np.concatenate(ids)
    order = np.argsort(row, kind="stable")
    offsets = np.append(0, np.cumsum(np.bincount(row, minlength=len(array))))
    listed = pa.concat_arrays([terms, pa.array([(pattern, PATTERNS, None) for pattern in patterns], TERM)])
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), listed.take(pa.array(id_[order])))


@lru_cache(maxsize=2)
def _load(names: tuple[str, ...]) -> tuple[pa.StructArray, Matcher]:
    terms = pa.array([], TERM)
    for name in names:
        if name.startswith("ldnoobw"):
            terms = pa.concat_arrays([terms, *_ldnoobw(name)])
        elif name:
            lines = _terms(str({"builtin": BUILTIN, "doubtful": DOUBTFUL}.get(name, name)))
            terms = pa.concat_arrays([terms, _label_terms(lines, name, None)])
    return terms, Matcher(terms.field("term"), "words")


def _ldnoobw(name: str) -> list[pa.StructArray]:
    """LDNOOBW's lists; without `:all`, their terms without those that are ordinary words as well.

    One character of a script without spaces is a part of countless words, so it is never a term by itself.
    """
    ordinary = set() if name.endswith(":all") else set(pc.utf8_lower(_terms(str(ORDINARY))).to_pylist())
    lists = []
    for path in sorted((DATA / "ldnoobw").glob("*.txt")):
        terms = _terms(str(path))
        if path.stem in _SCRIPTS_WITHOUT_SPACES:
            terms = terms.filter(pc.greater(pc.utf8_length(terms), 1))
        keys = pc.utf8_lower(pc.binary_join_element_wise(path.stem, terms, " ")).to_pylist()
        kept = terms.filter(pa.array([key not in ordinary for key in keys], pa.bool_()))
        lists.append(_label_terms(kept, name, _LANGUAGES.get(path.stem, path.stem)))
    return lists


def _terms(file: str) -> pa.StringArray:
    lines = read_lines(file)
    return lines.filter(pc.invert(pc.starts_with(lines, "#")))


def _label_terms(terms: pa.StringArray, name: str, language: str | None) -> pa.StructArray:
    labels = [pa.array([label] * len(terms), pa.string()) for label in (name, language)]
    return pa.StructArray.from_arrays([terms, *labels], fields=list(TERM))

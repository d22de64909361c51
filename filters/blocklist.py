"""Texts that hold a term of a blocklist, as whole words, whatever their case and Unicode form."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from filters.lines import read_lines
from filters.match import Matcher

BUILTIN = Path(__file__).parent / "data" / "blocklist_en.txt"


@lru_cache(maxsize=2)
def _load(name: str) -> tuple[pa.StringArray, Matcher]:
    lines = read_lines(str(BUILTIN) if name == "builtin" else name)
    terms = lines.filter(pc.invert(pc.starts_with(lines, "#")))
    return terms, Matcher(terms, "words")


def blocked_terms(texts: pa.Array | pa.ChunkedArray, name: str = "builtin") -> pa.StringArray:
    """The first term of a blocklist that each text holds; null if it holds none.

    name: `builtin`, a path or URL of a text file with one term a line (`#` starts a comment line), or empty for none.

    Raises:
        FileNotFoundError, OSError, ValueError: the list cannot be read.
    """
    if not name:
        return pa.nulls(len(texts), pa.string())
    terms, matcher = _load(name)
    found = matcher.match(texts)
    starts, stops = found.offsets.to_numpy()[:-1], found.offsets.to_numpy()[1:]
    first = np.zeros(len(found), np.int64)
    held = starts < stops
    first[held] = found.values.to_numpy()[starts[held]]
    return terms.take(pa.array(first, mask=~held))

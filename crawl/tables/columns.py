"""Which columns of a table hold the addresses and the texts, and what became of its rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

_SHOWN_NAMES, _SHOWN_CHARS = 20, 40


class TableError(ValueError):
    """The file is not a table that can be read; the message says why, after the file's name."""


@dataclass(frozen=True)
class Columns:
    """How the columns of tables are called."""

    url: Sequence[str]
    """What the column of addresses may be called, the preferred first; case and white space do not matter."""
    text: Sequence[str]
    """What the column of texts may be called, likewise."""
    order: Sequence[str] = ()
    """The names of the columns of a CSV or TSV that has no header line."""
    quoted_tsv: bool = False
    """Whether values of a TSV may stand in quotation marks."""


@dataclass
class Losses:
    """What no row was read from; complete when the rows are exhausted."""

    rows: Counter[str] = field(default_factory=Counter)
    """How many rows could not be read, by what is wrong with them, to follow "rows"."""
    bytes: int = 0
    """How many bytes of a compressed file cannot be decompressed."""
    error: str | None = None
    """Why it cannot be read any further, to follow the file's name."""

    def sentence(self) -> str | None:
        """Return what was lost, to follow the file's name."""
        parts = [f"has {count:,} rows {what}; the others were read" for what, count in sorted(self.rows.items())]
        return "; ".join([*parts, *([self.error] if self.error else [])]) or None


@dataclass(frozen=True)
class TableBatch:
    """Rows that follow each other in the file, and their texts."""

    first: int
    """The number of the first row in the file."""
    urls: pa.Array  # string, shape (rows,)
    texts: pa.Array  # string, shape (texts,), those of a row together and in their order
    of: np.ndarray  # the row of each text, counted from the first

    @staticmethod
    def of_one_text(first: int, urls: pa.Array, texts: pa.Array) -> TableBatch:
        """Return rows of one text each."""
        return TableBatch(first, urls, texts, np.arange(len(texts)))

    def rows(self, first: int, last: int) -> TableBatch:
        """Return the rows from one to before another, counted from the first."""
        begin, end = np.searchsorted(self.of, [first, last])
        urls, texts = self.urls.slice(first, last - first), self.texts.slice(begin, end - begin)
        return TableBatch(self.first + first, urls, texts, self.of[begin:end] - first)


def choose(have: Sequence[str], columns: Columns) -> tuple[int, int]:
    """Return the numbers of the column of addresses and of that of texts. Raises TableError if there is none,
    or two.
    """
    return _choose(have, columns.url, "url"), _choose(have, columns.text, "text")


def _choose(have: Sequence[str], wanted: Sequence[str], what: str) -> int:
    plain = [name.strip().lower() for name in have]
    for want in wanted:
        exact = [number for number, name in enumerate(have) if name == want]
        alike = [number for number, name in enumerate(plain) if name == want.strip().lower()]
        columns = exact or alike
        if len(columns) > 1:
            raise TableError(f"has {len(columns)} columns called {want}; rename all but one")
        if columns:
            return columns[0]
    shown = ", ".join(name.strip()[:_SHOWN_CHARS] for name in have[:_SHOWN_NAMES])
    raise TableError(f"has no column {' or '.join(wanted)} among {shown}; name yours in extract.{what}_columns")


def names_both(have: Sequence[str], columns: Columns) -> bool:
    """Return whether a column of addresses and one of texts are among these names."""
    plain = {name.strip().lower() for name in have}
    return all(any(want.strip().lower() in plain for want in wanted) for wanted in (columns.url, columns.text))

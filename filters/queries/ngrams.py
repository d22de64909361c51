"""Words, bigrams and views of pages, counted.

A word is a run of letters, marks, digits and apostrophes; a bigram is two words with only a space between them.
Spellings that differ in case alone are one word: their counts are summed, under the most frequent spelling.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pv

from dataset.query import sql
from dataset.store.storage import open_input
from filters.queries.entries import COUNTS

Segmenter = Callable[[str], Sequence[str]]

_BREAK = r"[^\p{L}\p{M}\p{N}\x{200c}\x{200d}'’ ]+"  # what parts phrases: all but words and spaces
_READABLE = r"[\p{L}\p{N}]"
_NAMESPACED = r"^[^ :]+:[^ ]"  # Special:Search, but not "Star Trek: Discovery"
_VIEWS = pa.schema([("domain", pa.string()), ("title", pa.string()), ("views", pa.int64()), ("bytes", pa.string())])


def count(texts: Sequence[str], segmenter: Segmenter | None = None) -> tuple[pa.Table, pa.Table]:
    """Return the words and the bigrams of texts, as COUNTS, in no order.

    segmenter: cuts a phrase into words, in place of its spaces.
    """
    phrases = pc.list_flatten(pc.split_pattern_regex(pa.array(texts, pa.large_string()), _BREAK))
    if segmenter:
        lists = pa.array([list(segmenter(text)) for text in phrases.to_pylist()], pa.list_(pa.string()))
    else:
        lists = pc.split_pattern(phrases, " ")
    words = pc.utf8_trim(pc.list_flatten(lists).cast(pa.string()), " '’")
    real = pc.match_substring_regex(words, _READABLE)
    phrase = pc.list_parent_indices(lists).filter(real).to_numpy()
    encoded = words.filter(real).dictionary_encode()
    codes, spellings = encoded.indices.to_numpy().astype(np.int64), encoded.dictionary
    follows = np.flatnonzero(phrase[1:] == phrase[:-1])
    pairs, times = np.unique(codes[follows] * max(1, len(spellings)) + codes[follows + 1], return_counts=True)
    first, second = np.divmod(pairs, max(1, len(spellings)))
    joined = pc.binary_join_element_wise(spellings.take(pa.array(first)), spellings.take(pa.array(second)), " ")
    single = np.bincount(codes, minlength=len(spellings))
    return _counts(spellings, single), _counts(joined, times)


def _counts(queries: pa.Array, counts: np.ndarray) -> pa.Table:
    return pa.table([queries, counts.astype(np.float64)], schema=COUNTS)


def merge(tables: Sequence[pa.Table]) -> pa.Table:
    """Return COUNTS with one row for each spelling, ordered by it."""
    counts = pa.concat_tables([COUNTS.empty_table(), *tables])
    return sql.run(sql.load("queries/merge"), {"counts": counts}).cast(COUNTS)


def fold(tables: Sequence[pa.Table], min_count: int) -> pa.Table:
    """Return COUNTS with one row for each word or bigram, whatever its case; those with less than `min_count` are left
    out.

    All spellings of a word must be among the tables.
    """
    counts = merge(tables)
    return sql.run(sql.load("queries/fold"), {"counts": counts}, {"min_count": min_count}).cast(COUNTS)


def keys(counts: pa.Table) -> np.ndarray:
    """Return a hash of each query, the same whatever its case. uint64 (n,)."""
    return sql.run(sql.load("queries/keys"), {"counts": counts})["key"].to_numpy()


def views(name: str, language: str, min_views: int) -> pa.Table:
    """Return COUNTS: views of articles, by a file with rows `domain title views bytes`; those with fewer views are left
    out.

    Desktop and mobile views (domains `en` and `en.m`) are rows of their own. Pages of other namespaces are left out.

    Raises:
        OSError, ValueError: the file cannot be read.
    """
    tables = [COUNTS.empty_table()]
    compression = "gzip" if name.endswith(".gz") else None
    options = {
        "read_options": pv.ReadOptions(column_names=_VIEWS.names),
        "parse_options": pv.ParseOptions(delimiter=" ", quote_char=False, invalid_row_handler=lambda row: "skip"),
        "convert_options": pv.ConvertOptions(column_types=_VIEWS),
    }
    try:
        with open_input(name) as raw, pa.input_stream(raw, compression) as file, pv.open_csv(file, **options) as reader:
            for batch in reader:
                table = pa.Table.from_batches([batch])
                ours = pc.is_in(table["domain"], pa.array([language, f"{language}.m"]))
                table = table.filter(pc.and_(ours, pc.greater_equal(table["views"], min_views)))
                titles = pc.replace_substring(table["title"], "_", " ")
                named = pc.invert(pc.match_substring_regex(titles, _NAMESPACED))
                tables.append(pa.table([titles, table["views"].cast(pa.float64())], schema=COUNTS).filter(named))
    except pa.ArrowInvalid as error:
        raise ValueError(f"{name} is no file of pageviews: {error}") from None
    return merge(tables)

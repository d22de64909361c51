"""The sources of a query list, each as a table of entries: word counts, bigrams with their mutual information, names
of articles, WordNet, lists.

Pointwise mutual information of a bigram xy is taken in bits:

    PMI(x, y) = log2( p(xy) / (p(x) · p(y)) ),   p(xy) = count(xy) / N₂,   p(x) = count(x) / N₁

with N₂ the occurrences of all bigrams that were counted and N₁ those of all words. It says how many times (as a power
of 2) more often two words stand together than if words were drawn one by one. Where a file of counts holds only
frequent bigrams, N₂ is their sum and every value is too high by the same amount: the order is right, a threshold is
not comparable with that of another file.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from dataset.query import sql
from filters.lines import read_lines

ENTRIES = pa.schema(
    [
        ("query", pa.string()),  # null for a line that makes no sense
        ("score", pa.float64()),  # null if the source has none
        ("count", pa.int64()),  # occurrences in the text that was counted, null if none was
        ("below", pa.bool_()),  # below a threshold
    ]
)
COUNTS = pa.schema([("query", pa.string()), ("score", pa.float64())])

_COUNTED = r"^(?P<query>.*?)[\t; ]\s*(?P<score>[0-9]{1,15})$"  # word<TAB>count, word;count, two words count
_TITLED = r"^(?P<query>[^\t]*)(?:\t\s*(?P<score>[0-9]{1,15}))?$"  # a title may end in a number: only a tab parts them
_WORDNET = r"^(?P<query>[^ ]+) [nvar] (?P<score>[0-9]+) "  # wndb(5WN): lemma, part of speech, number of its synsets
_PARTS_OF_SPEECH = ("noun", "verb", "adj", "adv")


@dataclass(frozen=True)
class WordCounts:
    """Words or bigrams with their occurrences.

    table: COUNTS; a spelling may stand in several rows.
    total: occurrences of all that were counted, those included that the table leaves out as too rare.
    """

    table: pa.Table
    total: float

    @staticmethod
    def read(name: str) -> WordCounts:
        """Return the counts of a file, one `word<TAB>count` (or `word;count`, `first second count`) a line.

        Raises:
            OSError, ValueError: it cannot be read.
        """
        table = _parse(read_lines(name), _COUNTED)
        return WordCounts(table, pc.sum(table["score"]).as_py() or 0.0)


def unigrams(words: WordCounts, min_count: int) -> pa.Table:
    """Return words as ENTRIES; their score is their count."""
    score = words.table["score"]
    return _entries(words.table, below=pc.less(score, min_count), count=score)


def bigrams(pairs: WordCounts, words: WordCounts, min_count: int, min_pmi: float) -> pa.Table:
    """Return bigrams as ENTRIES; their score is their mutual information over `words`, in bits."""
    informed = sql.run(
        sql.load("queries/mutual_information"),
        {"bigrams": pairs.table, "unigrams": words.table},
        {"of_bigrams": float(pairs.total), "of_words": float(words.total)},
    )
    rare = pc.less(informed["count"], min_count)
    return _entries(informed, below=pc.or_kleene(rare, pc.less(informed["score"], min_pmi)), count=informed["count"])


def read_titles(name: str) -> pa.Table:
    """Return names of articles, one a line, with `<TAB>views` if known. COUNTS. Raises OSError, ValueError."""
    return _parse(read_lines(name), _TITLED)


def titles(table: pa.Table, min_count: int) -> pa.Table:
    """Return names of articles (COUNTS) as ENTRIES; their score is their views."""
    return _entries(table, below=pc.less(pc.fill_null(table["score"], 0), min_count))


def wordnet_files(folder: str) -> list[str]:
    """Return the files of WordNet's database that hold its lemmas."""
    return [f"{folder.rstrip('/')}/index.{part}" for part in _PARTS_OF_SPEECH]


def wordnet(folder: str) -> pa.Table:
    """Return WordNet's lemmas as ENTRIES; their score is the number of synsets that they name. Raises OSError,
    ValueError.
    """
    lemmas = pa.concat_tables([_parse(read_lines(file), _WORDNET) for file in wordnet_files(folder)])
    lemmas = lemmas.filter(pc.is_valid(lemmas["query"]))  # each file begins with its licence
    return _entries(lemmas.set_column(0, "query", pc.replace_substring(lemmas["query"], "_", " ")))


def bare_entries(queries: pa.StringArray) -> pa.Table:
    """Return bare queries as ENTRIES."""
    return _entries(pa.table({"query": queries}))


def _parse(lines: pa.StringArray, pattern: str) -> pa.Table:
    """Lines as COUNTS: score null where none is given, both null for a line that does not fit."""
    fields = pc.extract_regex(lines, pattern)
    score = pc.struct_field(fields, "score")
    score = pc.if_else(pc.equal(score, ""), pa.scalar(None, pa.string()), score)
    return pa.table([pc.struct_field(fields, "query"), score.cast(pa.float64())], schema=COUNTS)


def _entries(table: pa.Table, below: pa.ChunkedArray | None = None, count: pa.ChunkedArray | None = None) -> pa.Table:
    size = len(table)
    score = table["score"] if "score" in table.column_names else pa.nulls(size, pa.float64())
    flags = pa.array([False] * size) if below is None else pc.fill_null(below, True)
    counts = pa.nulls(size, pa.int64()) if count is None else count.cast(pa.int64())
    return pa.table([table["query"], score, counts, flags], schema=ENTRIES)

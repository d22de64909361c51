"""Query lists: built from word counts, titles and WordNet after the paper's recipe, and loaded by name or path.

The paper (Radford et al. 2021, section 2.2): "The base query list is all words occurring at least 100 times in the
English version of Wikipedia. This is augmented with bi-grams with high pointwise mutual information as well as the
names of all Wikipedia articles above a certain search volume. Finally all WordNet synsets not already in the query
list are added."
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dataset import sql
from dataset.schema import QUERIES
from dataset.storage import open_input
from filters.lines import read_lines
from filters.tokens import normalize

DATA = Path(__file__).parent / "data"
SUMMARY = pa.schema(
    [
        ("source", pa.string()),
        ("found", pa.int64()),  # entries of the source
        ("below_threshold", pa.int64()),  # with too low a count
        (
            "unusable",
            pa.int64(),
        ),  # without a letter or digit, with markup in it, or without a count where one is needed
        ("overlap", pa.int64()),  # equal, but for case and Unicode form, to one of an earlier source or of this one
        ("added", pa.int64()),
    ]
)

_COUNTED = r"^(?P<query>.*?)[\t; ]\s*(?P<score>[0-9]{1,15})$"  # word<TAB>count, word;count, two words count
_TITLED = r"^(?P<query>[^\t]*)(?:\t\s*(?P<score>[0-9]{1,15}))?$"  # a title may end in a number: only a tab parts them
_WORDNET = r"^(?P<query>[^ ]+) [nvar] (?P<score>[0-9]+) "  # wndb(5WN): lemma, part of speech, number of its synsets
_READABLE = r"[\p{L}\p{N}]"
_MARKUP = r"[<>{}|\\=\[\]\"]|&?(lt|gt|amp|quot|nbsp);|&(lt|gt|amp|quot|nbsp)|;|^(formula|codice)_\d+$"


@dataclass(frozen=True)
class QueriesConfig:
    """What a query list is built from, in the order in which sources claim a query that several of them hold."""

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    unigrams: str = ""
    """Word counts, one `word<TAB>count` (or `word;count`) a line, plain or gzip; a path, a URL, or
    `package:NAME/FILE` for a file of an installed Python package."""
    min_count: int = 100
    """Occurrences that a word or a bigram must have; the paper's 100."""
    bigrams: str = ""
    """Counts of two words, `first second<TAB>count`."""
    min_pmi: float = 3.0
    """Pointwise mutual information (bits) that a bigram must have over its words; the paper says "high"."""
    titles: str = ""
    """Names of articles, one a line, with `<TAB>count` (views, searches) if known."""
    min_title_count: int = 0
    """Views or searches that a title must have; titles without a count are taken if this is 0."""
    wordnet: str = ""
    """The folder of WordNet's database, with its files index.noun and so on."""
    extra: tuple[str, ...] = ()
    """More queries: text files, one a line."""
    numbers: int = 0
    """Adds the numbers from 0 to below this."""

    def __post_init__(self) -> None:
        for key in ("min_count", "min_title_count", "numbers"):
            if getattr(self, key) < 0:
                raise ValueError(f"{key} must be at least 0, not {getattr(self, key)}")
        if self.bigrams and not self.unigrams:
            raise ValueError("bigrams must come with unigrams, whose counts mutual information is taken over")
        if not (self.unigrams or self.titles or self.wordnet or self.extra or self.numbers):
            raise ValueError("a query list must be built from something: unigrams, titles, wordnet, extra or numbers")


def build(config: QueriesConfig) -> tuple[pa.Table, pa.Table]:
    """The query list (dataset.schema.QUERIES) and what each source gave to it (SUMMARY).

    A query keeps the spelling and the source that named it first, in the order of the config's keys; within a source
    queries go by falling score, then by their code points. Same files, same list.

    Raises:
        FileNotFoundError, OSError, ValueError: a source cannot be read.
    """
    named = []
    for place, (source, table) in enumerate(_sources(config)):
        whence = pa.table({"source": [source] * len(table), "place": pa.array([place] * len(table), pa.int32())})
        named.append(pa.table({**_columns(table), **_columns(whence)}))
    entries = pa.concat_tables(named).combine_chunks()
    spelled = pc.utf8_normalize(pc.replace_substring_regex(entries["query"], r"\s+", " "), "NFC")
    readable = pc.and_(
        pc.match_substring_regex(spelled, _READABLE), pc.invert(pc.match_substring_regex(spelled, _MARKUP))
    )
    entries = entries.set_column(0, "query", spelled)
    entries = entries.append_column("usable", pc.fill_null(readable, False)).append_column("key", _keys(spelled))
    claimed = sql.run(_CLAIM, {"entries": entries})
    queries = sql.run(_LIST, {"claimed": claimed}).cast(QUERIES)
    return queries, sql.run(_SUMMARY, {"claimed": claimed}).cast(SUMMARY)


def load(name: str) -> pa.Table:
    """A query list (dataset.schema.QUERIES): `builtin:NAME`, a Parquet file, or a text file with one query a line.

    Of a Parquet file only the column `query` is needed; `query_id`, where there is one, must count from 0. A text
    file's repeated lines count once.

    Raises:
        FileNotFoundError, OSError: it cannot be read.
        ValueError: it is not a query list, or an empty one.
    """
    if name.startswith("builtin:"):
        known = {
            f"builtin:{file.stem.removeprefix('queries_')}": file for file in sorted(DATA.glob("queries_*.parquet"))
        }
        if name not in known:
            raise ValueError(f"there is no query list {name}; there is {', '.join(known)}")
        name = str(known[name])
    with open_input(name) as file:
        is_parquet = file.read(4) == b"PAR1"
    table = _read_parquet(name) if is_parquet else pa.table({"query": pc.unique(read_lines(name))})
    if not len(table):
        raise ValueError(f"{name} holds no query")
    count = len(table)
    given = {
        "query_id": pa.array(range(count), pa.int32()),
        "source": pa.array(["extra"] * count, pa.string()),
        "source_score": pa.nulls(count, pa.float64()),
        **_columns(table),
    }
    return pa.table([given[column] for column in QUERIES.names], names=QUERIES.names).cast(QUERIES)


def _read_parquet(name: str) -> pa.Table:
    try:
        with open_input(name) as file:
            table = pq.read_table(file)
        if "query" not in table.column_names:
            raise ValueError(f"{name} has no column `query`")
        table = table.select([column for column in QUERIES.names if column in table.column_names])
        table = table.cast(pa.schema([QUERIES.field(column) for column in table.column_names]))
    except pa.ArrowInvalid as error:
        raise ValueError(f"{name} is not a query list: {error}") from None
    if table["query"].null_count:
        raise ValueError(f"{name} has rows without a query")
    if "query_id" in table.column_names and not np.array_equal(table["query_id"], np.arange(len(table))):
        raise ValueError(f"{name}: query_id must count from 0 in the order of the rows")
    return table


def _columns(table: pa.Table) -> dict[str, pa.ChunkedArray]:
    return dict(zip(table.column_names, table.columns, strict=True))


def _sources(config: QueriesConfig) -> Iterator[tuple[str, pa.Table]]:
    """Each source's name and entries: query (null for a line that makes no sense), score, below (its threshold)."""
    if config.unigrams:
        unigrams = _parse(read_lines(config.unigrams), _COUNTED)
        yield "unigram", _entries(unigrams, pc.less(unigrams["score"], config.min_count))
        if config.bigrams:
            bigrams = _parse(read_lines(config.bigrams), _COUNTED)
            informed = sql.run(_MUTUAL_INFORMATION, {"bigrams": bigrams, "unigrams": unigrams})
            rare = pc.less(informed["count"], config.min_count)
            yield "bigram", _entries(informed, pc.or_kleene(rare, pc.less(informed["score"], config.min_pmi)))
    if config.titles:
        titles = _parse(read_lines(config.titles), _TITLED)
        yield "title", _entries(titles, pc.less(pc.fill_null(titles["score"], 0), config.min_title_count))
    if config.wordnet:
        files = [f"{config.wordnet.rstrip('/')}/index.{part}" for part in ("noun", "verb", "adj", "adv")]
        lemmas = pa.concat_tables([_parse(read_lines(file), _WORDNET) for file in files])
        lemmas = lemmas.filter(pc.is_valid(lemmas["query"]))  # each file begins with its licence
        yield "wordnet", _entries(lemmas.set_column(0, "query", pc.replace_substring(lemmas["query"], "_", " ")))
    for name in config.extra:
        yield "extra", _entries(pa.table({"query": read_lines(name)}))
    if config.numbers:
        yield "number", _entries(pa.table({"query": pa.array(range(config.numbers)).cast(pa.string())}))


def _parse(lines: pa.StringArray, pattern: str) -> pa.Table:
    """Lines as query and score (float64, null where none is given); both null for a line that does not fit."""
    found = pc.extract_regex(lines, pattern)
    score = pc.struct_field(found, "score")
    score = pc.if_else(pc.equal(score, ""), pa.scalar(None, pa.string()), score)
    return pa.table({"query": pc.struct_field(found, "query"), "score": score.cast(pa.float64())})


def _entries(table: pa.Table, below: pa.ChunkedArray | None = None) -> pa.Table:
    """query, score (null if the source has none), below (false without a threshold)."""
    score = table["score"] if "score" in table.column_names else pa.nulls(len(table), pa.float64())
    flags = pa.array([False] * len(table)) if below is None else pc.fill_null(below, True)
    return pa.table({"query": table["query"], "score": score, "below": flags})


def _keys(queries: pa.ChunkedArray) -> pa.Array:
    """What the spellings of one query share: the normal form of the rule `words`."""
    return pa.array(normalize("\n".join(pc.fill_null(queries, "").to_pylist())).split("\n"), pa.string())


_MUTUAL_INFORMATION = """
WITH words AS (SELECT query AS word, sum(score) AS count FROM unigrams GROUP BY query)
SELECT query, score AS count, log2(
        score / (SELECT sum(score) FROM bigrams)
        / (first.count / (SELECT sum(count) FROM words))
        / (second.count / (SELECT sum(count) FROM words))
    ) AS score
FROM bigrams
LEFT JOIN words AS first ON first.word = split_part(query, ' ', 1)
LEFT JOIN words AS second ON second.word = split_part(query, ' ', 2)
"""
_CLAIM = """
SELECT place, source, query, score, CASE
        WHEN NOT usable THEN 'unusable'
        WHEN below THEN 'below_threshold'
        WHEN row_number() OVER (PARTITION BY key, usable, below ORDER BY place, score DESC NULLS LAST, query) = 1
            THEN 'added'
        ELSE 'overlap'
    END AS fate
FROM entries
"""
_LIST = """
SELECT row_number() OVER (ORDER BY place, score DESC NULLS LAST, query) - 1 AS query_id,
    query, source, score AS source_score
FROM claimed WHERE fate = 'added' ORDER BY query_id
"""
_SUMMARY = """
SELECT source, count(*) AS found,
    count(*) FILTER (fate = 'below_threshold') AS below_threshold,
    count(*) FILTER (fate = 'unusable') AS unusable,
    count(*) FILTER (fate = 'overlap') AS overlap,
    count(*) FILTER (fate = 'added') AS added
FROM claimed GROUP BY place, source ORDER BY place
"""

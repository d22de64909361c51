"""Query lists: built from word counts, titles and WordNet after the paper's recipe, and loaded by name or path.

The paper (Radford et al. 2021, section 2.2): "The base query list is all words occurring at least 100 times in the
English version of Wikipedia. This is augmented with bi-grams with high pointwise mutual information as well as the
names of all Wikipedia articles above a certain search volume. Finally all WordNet synsets not already in the query
list are added."
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dataset.query import sql
from dataset.schema import QUERIES
from dataset.store.storage import open_input
from filters.lines import read_lines
from filters.queries import entries as sources
from filters.queries.entries import WordCounts
from filters.queries.match import OTHER
from filters.queries.tokens import normalize

DATA = Path(__file__).parents[1] / "data"
_COLUMNS = pa.schema([column for column in QUERIES if column.name != "language"])
QUERY_LIST = pa.schema(
    [
        *_COLUMNS,  # source: the first that gave the query; source_score: its score
        ("count", pa.int64()),  # occurrences in the text whose words or bigrams were counted; null if none counted it
        ("sources", pa.list_(pa.string())),  # all that gave the query, in the order of the config's keys
        ("scores", pa.list_(pa.float64())),  # of each of these: count, PMI (bits), views, synsets; null without one
    ]
)
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
        ("over_cap", pa.int64()),  # beyond max_per_source or max_queries; a later source may still give them
        ("added", pa.int64()),
    ]
)
Source = Literal["unigram", "bigram", "title", "wordnet", "extra", "number"]

WITHOUT_SPACES = ("bo", "dz", "gan", "ja", "km", "lo", "lzh", "my", "shn", "th", "wuu", "yue", "zh", "zh-classical")
"""Codes of Wikipedias whose words no space parts: what stands between two spaces is a phrase."""

_READABLE = r"[\p{L}\p{N}]"
_MARKUP = r"[<>{}|\\=\[\]\"]|&?(lt|gt|amp|quot|nbsp);|&(lt|gt|amp|quot|nbsp)|;|^(formula|codice)_\d+$"
_SYMBOL = r"^[^\s\p{L}\p{N}\p{C}]$"


@dataclass(frozen=True)
class QueriesConfig:
    """What a query list is built from, in the order in which sources claim a query that several of them hold."""

    language: str = "en"
    """The Wikipedia that dumps and pageviews are of: its code, as in en.wikipedia.org."""
    dumps: tuple[str, ...] = ()
    """A Wikipedia's `pages-articles.xml.bz2`, whole or in parts, multistream or not: its words and bigrams are counted,
    in place of `unigrams` and `bigrams`."""
    segmenter: str = ""
    """A function that splits a text into the list of its words, as `path/to/file.py:function`; for languages written
    without spaces."""
    unigrams: str = ""
    """Word counts, one `word<TAB>count` (or `word;count`) a line, plain or gzip; a path, a URL, or
    `package:NAME/FILE` for a file of an installed Python package."""
    min_count: int = 100
    """How often a word or a bigram must occur; the paper's 100."""
    bigrams: str = ""
    """Counts of two words, `first second<TAB>count`."""
    bigram_words: str = ""
    """Word counts of the text that the bigrams were counted in, if that is another than the unigrams'."""
    min_pmi: float = 3.0
    """Pointwise mutual information (bits) that a bigram must have over its words; the paper says "high"."""
    titles: str = ""
    """Names of articles, one a line, with `<TAB>count` (views, searches) if known."""
    pageviews: tuple[str, ...] = ()
    """Hourly pageview files (`domain title count bytes`, plain or gzip), whose views of each title are summed."""
    min_hourly_views: int = 50
    """Rows of a pageview file with fewer views are left out before summing; MetaCLIP's 50."""
    min_title_count: int = 0
    """How many views or searches a title must have, 70 for MetaCLIP; with 0, titles without a count are taken as
    well."""
    wordnet: str = ""
    """The folder of WordNet's database, with its files index.noun and so on."""
    extra: tuple[str, ...] = ()
    """More queries: text files, one a line."""
    numbers: int = 0
    """Adds the numbers from 0 to one less than this as queries; 0 adds none."""
    punctuation: Literal["drop", "keep"] = "drop"
    """What becomes of a query that is a single mark or symbol; MetaCLIP drops them."""
    max_per_source: Mapping[Source, int] = field(default_factory=dict)
    """How many queries a source may add, those of the highest score, by its name: unigram, bigram, title, ..."""
    max_queries: int = 0
    """How many queries the list may have, the earlier sources first; 0 for any number."""

    def __post_init__(self) -> None:
        for key in ("min_count", "min_hourly_views", "min_title_count", "numbers", "max_queries"):
            if getattr(self, key) < 0:
                raise ValueError(f"{key} must be at least 0, not {getattr(self, key)}")
        for source, most in self.max_per_source.items():
            if source not in get_args(Source) or most < 0:
                raise ValueError(f"max_per_source.{source} must be a source and at least 0, not {most}")
        if self.punctuation not in ("drop", "keep"):
            raise ValueError(f"punctuation must be drop or keep, not {self.punctuation!r}")
        if self.dumps and (self.unigrams or self.bigrams or self.bigram_words):
            raise ValueError("dumps must come without unigrams and bigrams, which are counted in them")
        if self.bigrams and not self.unigrams:
            raise ValueError("bigrams must come with unigrams, whose counts mutual information is taken over")
        if self.bigram_words and not self.bigrams:
            raise ValueError("bigram_words must come with bigrams")
        if self.titles and self.pageviews:
            raise ValueError("titles must come without pageviews: one of them gives the names of articles")
        if self.dumps and self.language in WITHOUT_SPACES and not self.segmenter:
            raise ValueError(
                f"segmenter must name a function that cuts {self.language} into words, which it writes without spaces"
            )
        if self.segmenter and not re.fullmatch(r".+\.py:[A-Za-z_]\w*", self.segmenter):
            raise ValueError(f"segmenter must be path/to/file.py:function, not {self.segmenter!r}")
        named_sources = (self.dumps, self.unigrams, self.titles, self.pageviews, self.wordnet, self.extra, self.numbers)
        if not any(named_sources):
            raise ValueError(
                "a query list must be built from something: dumps, unigrams, titles, pageviews, wordnet, extra "
                "or numbers"
            )

    def files(self) -> list[tuple[str, str]]:
        """Return every file that the config names, with its key."""
        return [
            *(("dumps", name) for name in self.dumps),
            *(
                (key, getattr(self, key))
                for key in ("unigrams", "bigrams", "bigram_words", "titles")
                if getattr(self, key)
            ),
            *(("pageviews", name) for name in self.pageviews),
            *(("wordnet", name) for name in (sources.wordnet_files(self.wordnet) if self.wordnet else [])),
            *(("extra", name) for name in self.extra),
        ]


@dataclass(frozen=True)
class Counted:
    """What was counted in files too large to be read here: Wikipedia's dumps, and pageviews."""

    words: WordCounts | None = None
    bigrams: WordCounts | None = None
    views: pa.Table | None = None
    """filters.queries.entries.COUNTS: titles and their views."""


def build(config: QueriesConfig, counted: Counted | None = None) -> tuple[pa.Table, pa.Table]:
    """Return the query list (QUERY_LIST) and what each source gave to it (SUMMARY).

    A query keeps the spelling and the source that named it first, in the order of the config's keys; within a source
    queries go by falling score, then by their code points. Same files, same list.

    Args:
        config: the sources.
        counted: what was counted in `dumps` and `pageviews`.

    Raises:
        FileNotFoundError, OSError, ValueError: a source cannot be read.
    """
    taken: list[pa.ChunkedArray] = []
    claimed = []
    room = config.max_queries or 2**31 - 1
    for place, (source, table) in enumerate(_sources(config, counted or Counted())):
        most = min(room, config.max_per_source.get(source, room))
        entries = _normalize_entries(table, config.punctuation)
        known = pa.table({"key": pa.chunked_array(taken, pa.string())})
        judged = sql.run(sql.load("queries/claim"), {"entries": entries, "taken": known}, {"most": most})
        added = judged.filter(pc.equal(judged["fate"], "added"))
        taken.extend(added["key"].chunks)
        room -= len(added)
        whence = {"source": [source] * len(judged), "place": pa.array([place] * len(judged), pa.int32())}
        claimed.append(pa.table({**_columns(judged), **whence}))
    everything = pa.concat_tables(claimed)
    queries = sql.run(sql.load("queries/list"), {"claimed": everything}).cast(QUERY_LIST)
    return queries, sql.run(sql.load("queries/summary"), {"claimed": everything}).cast(SUMMARY)


def _normalize_entries(entries: pa.Table, punctuation: str) -> pa.Table:
    """Entries with their queries' white space and Unicode form made one, `usable`, and `key`, which the spellings of
    one query share: the normal form of the rule `words`.
    """
    spelled = pc.utf8_normalize(pc.replace_substring_regex(entries["query"], r"\s+", " "), "NFC")
    usable = pc.and_(
        pc.match_substring_regex(spelled, _READABLE), pc.invert(pc.match_substring_regex(spelled, _MARKUP))
    )
    if punctuation == "keep":
        usable = pc.or_(usable, pc.match_substring_regex(spelled, _SYMBOL))
    keys = normalize("\n".join(pc.fill_null(spelled, "").to_pylist())).split("\n")
    entries = entries.set_column(0, "query", spelled)
    return entries.append_column("usable", pc.fill_null(usable, False)).append_column(
        "key", pa.array(keys, pa.string())
    )


def _sources(config: QueriesConfig, counted: Counted) -> Iterator[tuple[Source, pa.Table]]:
    """Each source's name and entries (filters.queries.entries.ENTRIES)."""
    words = WordCounts.read(config.unigrams) if config.unigrams else counted.words
    if words:
        yield "unigram", sources.unigrams(words, config.min_count)
        pairs = WordCounts.read(config.bigrams) if config.bigrams else counted.bigrams
        if pairs:
            over = WordCounts.read(config.bigram_words) if config.bigram_words else words
            table = sources.bigrams(pairs, over, config.min_count, config.min_pmi)
            if config.language in WITHOUT_SPACES:
                table = table.set_column(0, "query", pc.replace_substring(table["query"], " ", ""))
            yield "bigram", table
    names = sources.read_titles(config.titles) if config.titles else counted.views
    if names is not None:
        yield "title", sources.titles(names, config.min_title_count)
    if config.wordnet:
        yield "wordnet", sources.wordnet(config.wordnet)
    for name in config.extra:
        yield "extra", sources.bare_entries(read_lines(name))
    if config.numbers:
        yield "number", sources.bare_entries(pa.array(range(config.numbers)).cast(pa.string()))


def load_all(lists: str | Mapping[str, str]) -> pa.Table:
    """Return the query list of a run (dataset.schema.QUERIES): one for all texts, or one for each language.

    Lists of languages follow each other by their codes, OTHER last; ids count through, so that each list's are its own
    from its first on. Raises as `load` does.
    """
    if isinstance(lists, str):
        return load(lists)
    tables = [
        table.set_column(table.num_columns - 1, "language", pa.array([language] * len(table), pa.string()))
        for language in languages_of(lists)
        for table in [load(lists[language])]
    ]
    table = pa.concat_tables(tables)
    return table.set_column(0, "query_id", pa.array(range(len(table)), pa.int32()))


def languages_of(lists: Mapping[str, str]) -> list[str]:
    """Return the order of the lists of languages."""
    return sorted(lists, key=lambda language: (language == OTHER, language))


IMAGENET_21K = "builtin:imagenet21k"
_TIMM = ("imagenet22k_synsets", "imagenet_synset_to_lemma")


def load(name: str) -> pa.Table:
    """Return a query list (dataset.schema.QUERIES): `builtin:NAME`, a Parquet file, or a text file with one query a
    line.

    `builtin:en` is the list of 500,000; `builtin:imagenet21k` the names of ImageNet-21K's synsets.

    Of a Parquet file only the column `query` is needed; `query_id`, where there is one, must count from 0. A text
    file's repeated lines count once.

    Raises:
        FileNotFoundError, OSError: it cannot be read.
        ValueError: it is not a query list, or an empty one.
    """
    if name == IMAGENET_21K:
        return _fill_columns(_imagenet_21k(), "wordnet")
    if name.startswith("builtin:"):
        name = _builtin_path(name)
    with open_input(name) as file:
        is_parquet = file.read(4) == b"PAR1"
    table = _read_parquet(name) if is_parquet else pa.table({"query": pc.unique(read_lines(name))})
    if not len(table):
        raise ValueError(f"{name} holds no query")
    return _fill_columns(table, "extra")


def _builtin_path(name: str) -> str:
    """Where a list lies that openwit brings. Raises ValueError if it brings none of that name."""
    known = {f"builtin:{file.stem.removeprefix('queries_')}": file for file in sorted(DATA.glob("queries_*.parquet"))}
    if name not in known:
        raise ValueError(f"there is no query list {name}; there is {', '.join([*known, IMAGENET_21K])}")
    return str(known[name])


def check_all(lists: str | Mapping[str, str]) -> None:
    """Check that a run's own query lists can be read; those that openwit brings can be. Raises as `load` does."""
    for name in [lists] if isinstance(lists, str) else lists.values():
        if name.startswith("builtin:") and name != IMAGENET_21K:
            _builtin_path(name)
        else:
            load(name)


def _fill_columns(table: pa.Table, source: str) -> pa.Table:
    """Queries as QUERIES: the columns that are missing filled in."""
    count = len(table)
    columns = {
        "query_id": pa.array(range(count), pa.int32()),
        "source": pa.array([source] * count, pa.string()),
        "source_score": pa.nulls(count, pa.float64()),
        **_columns(table),
        "language": pa.nulls(count, pa.string()),
    }
    return pa.table([columns[column] for column in QUERIES.names], names=QUERIES.names).cast(QUERIES)


def _imagenet_21k() -> pa.Table:
    """The lemmas of ImageNet-21K's 21,841 WordNet synsets, as timm carries them (Apache-2.0), of three letters or more:
    shorter ones are letters and abbreviations (A, OR), which are other words in most texts.
    """
    synsets, lemmas = (read_lines(f"package:timm/data/_info/{name}.txt") for name in _TIMM)
    known = dict(line.split("\t", 1) for line in lemmas.to_pylist())
    names = [lemma.strip() for synset in synsets.to_pylist() for lemma in known[synset].split(",")]
    return pa.table({"query": pa.array(dict.fromkeys(name for name in names if len(name) > 2), pa.string())})


def _read_parquet(name: str) -> pa.Table:
    try:
        with open_input(name) as file:
            table = pq.ParquetFile(file).read()
        if "query" not in table.column_names:
            raise ValueError(f"{name} has no column `query`")
        table = table.select([column for column in _COLUMNS.names if column in table.column_names])
        table = table.cast(pa.schema([_COLUMNS.field(column) for column in table.column_names]))
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise ValueError(f"{name} is not a query list: {error}") from None
    try:
        table.validate(full=True)  # a column that a file calls text may hold anything
    except pa.ArrowInvalid:
        raise ValueError(f"{name} has texts that are not UTF-8; write it anew from texts that are") from None
    if table["query"].null_count:
        raise ValueError(f"{name} has rows without a query")
    if "query_id" in table.column_names and not np.array_equal(table["query_id"], np.arange(len(table))):
        raise ValueError(f"{name}: query_id must count from 0 in the order of the rows")
    return table


def _columns(table: pa.Table) -> dict[str, pa.ChunkedArray]:
    return dict(zip(table.column_names, table.columns, strict=True))

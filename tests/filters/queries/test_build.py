"""Query lists are built by the paper's recipe, the same for the same sources, and loaded by name or path."""

from __future__ import annotations

import gzip
import json
import math
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from dataset.ids import checksum
from dataset.schema import QUERIES
from dataset.tables import to_parquet
from filters.queries.build import DATA, QUERY_LIST, SUMMARY, QueriesConfig, build, load, load_all

WORDNET = "  1 This software\n  2 is licensed\n"


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    (tmp_path / "words.tsv").write_text(
        "the\t9000\nnew\t800\nyork\t700\nrare\t99\ncat\t800\n):\t500\nlt;br&gt\t500\nbroken\n"
    )
    (tmp_path / "bigrams.txt").write_text("new york 400\nthe new 300\nthe york 10\nno where 500\nthe the 4000\n")
    (tmp_path / "titles.txt").write_text("Apollo 11\t9000\nCAT\t500\nObscure Thing\t3\nUncounted 7\n")
    (tmp_path / "more.txt").write_text("  Tabby   Cat \nnew york\n42\n")
    for part, lemmas in {
        "noun": "cat n 8 1 @\nnew_york_bay n 1 1 @\n",
        "verb": "",
        "adj": "tabby a 2 0\n",
        "adv": "",
    }.items():
        (tmp_path / f"index.{part}").write_text(WORDNET + lemmas)
    return tmp_path


def test_build(sources: Path) -> None:
    config = QueriesConfig(
        unigrams=str(sources / "words.tsv"),
        bigrams=str(sources / "bigrams.txt"),
        min_pmi=1.0,
        titles=str(sources / "titles.txt"),
        min_title_count=100,
        wordnet=str(sources),
        extra=(str(sources / "more.txt"),),
        numbers=2,
    )
    table, summary = build(config)
    assert table.schema == QUERY_LIST
    assert summary.schema == SUMMARY
    assert table["query_id"].to_pylist() == list(range(len(table)))
    assert list(zip(table["query"].to_pylist(), table["source"].to_pylist(), strict=True)) == [
        ("the", "unigram"),
        ("cat", "unigram"),
        ("new", "unigram"),
        ("york", "unigram"),
        ("new york", "bigram"),
        ("Apollo 11", "title"),
        ("tabby", "wordnet"),
        ("new york bay", "wordnet"),
        ("42", "extra"),
        ("Tabby Cat", "extra"),
        ("0", "number"),
        ("1", "number"),
    ]
    assert table["source_score"].to_pylist()[:2] == [9000.0, 800.0]
    by_query = {row["query"]: row for row in table.to_pylist()}
    assert (by_query["cat"]["sources"], by_query["cat"]["scores"]) == (["unigram", "title", "wordnet"], [800, 500, 8])
    assert by_query["new york"]["sources"] == ["bigram", "extra"]
    assert (by_query["new york"]["count"], by_query["cat"]["count"], by_query["tabby"]["count"]) == (400, 800, None)
    counts = {item.pop("source"): tuple(item.values()) for item in summary.to_pylist()}
    assert counts == {  # found, below_threshold, unusable, overlap, over_cap, added
        "unigram": (8, 1, 3, 0, 0, 4),
        "bigram": (5, 4, 0, 0, 0, 1),
        "title": (4, 2, 0, 1, 0, 1),
        "wordnet": (3, 0, 0, 1, 0, 2),
        "extra": (3, 0, 0, 1, 0, 2),
        "number": (2, 0, 0, 0, 0, 2),
    }
    assert to_parquet(build(config)[0], QUERY_LIST).equals(to_parquet(table, QUERY_LIST))


def test_mutual_information_is_in_bits_over_all_that_was_counted(sources: Path) -> None:
    given = {"unigrams": str(sources / "words.tsv"), "bigrams": str(sources / "bigrams.txt"), "min_pmi": -99.0}
    table, _ = build(QueriesConfig(**given))  # type: ignore[arg-type]
    score = dict(zip(table["query"].to_pylist(), table["source_score"].to_pylist(), strict=True))
    words, bigrams = 9000 + 800 + 700 + 99 + 800 + 500 + 500, 400 + 300 + 10 + 500 + 4000
    assert score["new york"] == pytest.approx(math.log2((400 / bigrams) / ((800 / words) * (700 / words))))
    (sources / "other.tsv").write_text("new\t10\nyork\t20\nelse\t70\n")
    table, _ = build(QueriesConfig(**given, bigram_words=str(sources / "other.tsv")))  # type: ignore[arg-type]
    score = dict(zip(table["query"].to_pylist(), table["source_score"].to_pylist(), strict=True))
    assert score["new york"] == pytest.approx(math.log2((400 / bigrams) / (0.1 * 0.2)))
    assert "the new" not in score  # a word that was not counted has no mutual information


def test_a_capped_source_keeps_its_best_and_leaves_the_rest_to_later_ones(sources: Path) -> None:
    given = {"unigrams": str(sources / "words.tsv"), "titles": str(sources / "titles.txt"), "numbers": 3}
    table, summary = build(QueriesConfig(**given, max_per_source={"unigram": 1, "number": 2}))  # type: ignore[arg-type]
    assert table["query"].to_pylist() == ["the", "Apollo 11", "CAT", "Obscure Thing", "Uncounted 7", "0", "1"]
    assert table.slice(2, 1).to_pylist()[0]["sources"] == ["unigram", "title"]
    assert summary["over_cap"].to_pylist() == [3, 0, 1]
    assert build(QueriesConfig(**given, max_queries=3))[0]["query"].to_pylist() == ["the", "cat", "new"]  # type: ignore[arg-type]


def test_single_marks_are_dropped_or_kept(tmp_path: Path) -> None:
    (tmp_path / "marks.txt").write_text("&\n;)\na\n©\n")
    assert build(QueriesConfig(extra=(str(tmp_path / "marks.txt"),)))[0]["query"].to_pylist() == ["a"]
    kept, _ = build(QueriesConfig(extra=(str(tmp_path / "marks.txt"),), punctuation="keep"))
    assert kept["query"].to_pylist() == ["&", "a", "©"]


def test_the_bigrams_of_languages_without_spaces_have_none(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("東京 900\n大学 800\n")
    (tmp_path / "pairs.txt").write_text("東京 大学 400\n")
    given = {"unigrams": str(tmp_path / "words.txt"), "bigrams": str(tmp_path / "pairs.txt"), "min_pmi": -9.0}
    assert "東京大学" in build(QueriesConfig(**given, language="ja"))[0]["query"].to_pylist()  # type: ignore[arg-type]
    assert "東京 大学" in build(QueriesConfig(**given))[0]["query"].to_pylist()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("key", "value", "gained"),
    [
        ("min_count", 50, {"rare"}),
        ("min_pmi", -20.0, {"the new", "the the"}),
        ("min_title_count", 0, {"Obscure Thing", "Uncounted 7"}),
    ],
)
def test_thresholds(sources: Path, key: str, value: float, gained: set[str]) -> None:
    given = {
        "unigrams": str(sources / "words.tsv"),
        "bigrams": str(sources / "bigrams.txt"),
        "titles": str(sources / "titles.txt"),
        "min_title_count": 100,
    }
    before = set(build(QueriesConfig(**given))[0]["query"].to_pylist())  # type: ignore[arg-type]
    after = set(build(QueriesConfig(**{**given, key: value}))[0]["query"].to_pylist())  # type: ignore[arg-type]
    assert after - before == gained


def test_builtin_list() -> None:
    table = load("builtin:en")
    assert table.schema == QUERIES
    assert len(table) == 500_000
    assert set(table["source"].unique().to_pylist()) == {"unigram", "bigram", "title", "wordnet"}
    for query in ("the", "cat", "golden retriever", "99", "eiffel tower", "atrial fibrillation"):
        assert pc.any(pc.equal(table["query"], query)).as_py()
    assert (DATA / "queries_en.parquet").stat().st_size < 6_000_000
    said = json.loads((DATA / "queries_en.json").read_text())
    assert said["checksum"] == checksum((DATA / "queries_en.parquet").read_bytes())
    assert sum(row["added"] for row in said["sources"]) == said["queries"] == len(table)


def test_text_file(sources: Path) -> None:
    table = load(str(sources / "more.txt"))
    assert table.schema == QUERIES
    assert table["query"].to_pylist() == ["Tabby   Cat", "new york", "42"]


def test_parquet_file_with_only_queries(tmp_path: Path) -> None:
    pq.write_table(pa.table({"other": [1, 2], "query": ["a", "b"]}), tmp_path / "q.parquet")
    assert load(str(tmp_path / "q.parquet")).to_pylist()[1] == {
        "query_id": 1,
        "query": "b",
        "source": "extra",
        "source_score": None,
        "language": None,
    }


def test_lists_of_languages_follow_each_other_and_their_ids_count_through(tmp_path: Path) -> None:
    for name, lines in (("de", "haus\nrot"), ("en", "red"), ("rest", "taxi\nhaus")):
        (tmp_path / name).write_text(lines)
    lists = {"other": str(tmp_path / "rest"), "en": str(tmp_path / "en"), "de": str(tmp_path / "de")}
    table = load_all(lists)
    assert table.schema == QUERIES
    found = [(row["query_id"], row["language"], row["query"]) for row in table.to_pylist()]
    assert found == [(0, "de", "haus"), (1, "de", "rot"), (2, "en", "red"), (3, "other", "taxi"), (4, "other", "haus")]
    assert load_all(dict(reversed(lists.items()))).equals(table)
    assert load_all(lists["en"]).equals(load(lists["en"]))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (pa.table({"text": ["a"]}), "no column"),
        (pa.table({"query": pa.array(["a", None])}), "without a query"),
        (pa.table({"query": ["a", "b"], "query_id": [1, 0]}), "count from 0"),
        (pa.table({"query": pa.array([], pa.string())}), "no query"),
        (pa.table({"query": ["a"], "query_id": ["x"]}), "not a query list"),
    ],
)
def test_bad_parquet(tmp_path: Path, table: pa.Table, message: str) -> None:
    pq.write_table(table, tmp_path / "q.parquet")
    with pytest.raises(ValueError, match=message):
        load(str(tmp_path / "q.parquet"))


def test_queries_that_are_not_utf8_are_a_sentence(tmp_path: Path) -> None:
    pq.write_table(pa.table({"query": ["caf#"]}), tmp_path / "q.parquet")
    (tmp_path / "q.parquet").write_bytes((tmp_path / "q.parquet").read_bytes().replace(b"caf#", b"caf\xe9"))
    with pytest.raises(ValueError, match=r"q.parquet has texts that are not UTF-8; write it anew"):
        load(str(tmp_path / "q.parquet"))


def test_bad_files(tmp_path: Path) -> None:
    (tmp_path / "cut.parquet").write_bytes(b"PAR1 and no more")
    (tmp_path / "empty.txt").write_bytes(b"\n\n")
    (tmp_path / "cut.txt.gz").write_bytes(gzip.compress(b"a query\n" * 100)[:-9])
    (tmp_path / "none.txt.gz").write_bytes(b"\x1f\x8b and no more")
    for name in ("cut.parquet", "empty.txt", "cut.txt.gz", "none.txt.gz"):
        with pytest.raises(ValueError, match=name):
            load(str(tmp_path / name))
    with pytest.raises(FileNotFoundError):
        load(str(tmp_path / "nowhere.txt"))
    with pytest.raises(ValueError, match="builtin:en"):
        load("builtin:../../secret")


@pytest.mark.parametrize(
    ("given", "key"),
    [
        ({}, "query list"),
        ({"bigrams": "b.txt"}, "bigrams"),
        ({"unigrams": "u", "min_count": -1}, "min_count"),
        ({"numbers": -1}, "numbers"),
        ({"numbers": 1, "max_per_source": {"unigrams": 1}}, "max_per_source.unigrams"),
        ({"numbers": 1, "punctuation": "some"}, "punctuation"),
        ({"dumps": ("d",), "unigrams": "u"}, "dumps"),
        ({"titles": "t", "pageviews": ("p",)}, "titles"),
        ({"unigrams": "u", "bigram_words": "w"}, "bigram_words"),
        ({"dumps": ("d",), "language": "ja"}, "segmenter must name a function that cuts ja into words"),
        ({"dumps": ("d",), "segmenter": "cut"}, "segmenter"),
    ],
)
def test_bad_config(given: dict[str, object], key: str) -> None:
    with pytest.raises(ValueError, match=key):
        QueriesConfig(**given)  # type: ignore[arg-type]

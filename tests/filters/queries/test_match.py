"""A text matches exactly the queries that a plain reading of the rule finds in it."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters.queries import match
from filters.queries.build import load
from filters.queries.match import OTHER, MatchConfig, Matcher, match_by_language
from filters.queries.tokens import normalize

WITHOUT_SPACES = [
    (0xE00, 0xEFF),
    (0x1000, 0x109F),
    (0x1780, 0x17FF),
    (0x3040, 0x30FF),
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x3FFFF),
]


def words(text: str) -> tuple[str, ...]:
    """The rule `words`, a character at a time."""
    tokens: list[str] = []
    in_word = False
    for character in normalize(text):
        category = unicodedata.category(character)
        is_word = category[0] in "LMN" or category == "Pc" or character in "\u200c\u200d"
        alone = any(low <= ord(character) <= high for low, high in WITHOUT_SPACES)
        if is_word and not alone:
            tokens = [*tokens[:-1], tokens[-1] + character] if in_word else [*tokens, character]
            in_word = True
        else:
            in_word = False
            if is_word or category[0] not in "ZC":
                tokens.append(character)
    return tuple(tokens)


def by_words(texts: list[str | None], queries: list[str]) -> list[list[int]]:
    wanted = [words(" ".join(query.split())) for query in queries]
    answer = []
    for text in texts:
        tokens = words(text or "")
        answer.append(
            [
                index
                for index, query in enumerate(wanted)
                if query and any(tokens[at : at + len(query)] == query for at in range(len(tokens) - len(query) + 1))
            ]
        )
    return answer


def without_spaces(character: str) -> bool:
    return any(low <= ord(character) <= high for low, high in WITHOUT_SPACES)


def holds(spaced: str, query: str) -> bool:
    """Whether a query stands in a text with a space at either end that is not of a script without spaces."""
    at = spaced.find(query)
    while at >= 0:
        before, after = spaced[at - 1 : at], spaced[at + len(query) : at + len(query) + 1]
        if (without_spaces(query[0]) or before == " ") and (without_spaces(query[-1]) or after == " "):
            return True
        at = spaced.find(query, at + 1)
    return False


def by_metaclip(texts: list[str | None], queries: list[str]) -> list[list[int]]:
    """MetaCLIP's substr_matching, with white space in queries collapsed."""
    answer = []
    for text in texts:
        spaced = f" {text or ''} "
        for mark in ",.;:?!`":
            spaced = spaced.replace(mark, f" {mark} ")
        for space in "\t\n\r":
            spaced = spaced.replace(space, " ")
        collapsed = [" ".join(query.split()) for query in queries]
        answer.append([index for index, query in enumerate(collapsed) if query and holds(spaced, query)])
    return answer


REFERENCE = {"words": by_words, "metaclip": by_metaclip}
piece = st.sampled_from(
    [
        *("red", "Red", "RED", "car", "cars", "straße", "STRASSE", "new", "york", "international", "internat", "ional"),
        *(
            "東京",
            "京",
            "ไทย",
            "ﬁne",
            "fine",
            "é",
            "e\u0301",
            "c",
            "+",
            ",",
            ".",
            "&",
            "-",
            "'s",
            "_",
            "7",
            "😀",
            "\u00ad",
        ),
        *("\x00", " ", "  ", "\t", "\n", "İ", "naïve-longer-than-seven"),
    ]
)
phrase = st.lists(st.one_of(piece, st.just(" "), st.text(max_size=3)), max_size=8).map("".join)
encodable = phrase.filter(lambda text: not any("\ud800" <= character <= "\udfff" for character in text))


@pytest.mark.parametrize("rule", ["words", "metaclip"])
@given(texts=st.lists(st.one_of(st.none(), encodable), max_size=6), queries=st.lists(encodable, max_size=12))
def test_equals_the_plain_reference(rule: match.Rule, texts: list[str | None], queries: list[str]) -> None:
    queries = [query for query in queries if not set(query) & set("\x0b\x0c\x1c\x1d\x1e\x1f\x85\u2028\u2029\xa0\u3000")]
    found = Matcher(pa.array(queries, pa.string()), rule).match(pa.array(texts, pa.string()))
    assert found.to_pylist() == REFERENCE[rule](texts, queries)


@pytest.mark.parametrize(
    ("text", "query", "holds"),
    [
        ("A RED car", "red car", True),
        ("a red  car", "Red Car", True),
        ("a redcar", "red", False),
        ("the car's wheel", "car", True),
        ("Straße in Köln", "STRASSE", True),
        ("a ﬁne day", "fine", True),
        ("東京タワー", "東京", True),
        ("learn C++ now", "c++", True),
        ("learn C now", "c++", False),
        ("por\u00adtrait of a cat", "portrait", True),
        ("internationalisation", "international", False),
        ("cat\x00s", "cat", True),
    ],
)
def test_words(text: str, query: str, holds: bool) -> None:
    assert Matcher(pa.array([query])).match(pa.array([text])).to_pylist() == [[0] if holds else []]


@pytest.mark.parametrize(
    ("text", "query", "holds"),
    [
        ("a red car", "red car", True),
        ("a Red car", "red car", False),
        ("a car, red", "car", True),
        ("a car, red", "car,", False),
        ("a (car)", "car", False),
        ("mt. st. helens", "st.", False),
        ("a red\tcar", "red car", True),
        ("a red  car", "red car", False),
        ("cat\x00", "cat", False),
        ("私は東京が好き", "東京", True),
        ("私は東 京が好き", "東京", False),
        ("東 京", "東 京", True),
        ("ภาษาไทย", "ไทย", True),
        ("赤いTシャツ", "Tシャツ", False),  # a Latin letter needs its space
        ("赤い Tシャツ", "Tシャツ", True),
        ("東京,京都", "東京", True),
        ("東京,京都", "東京,", False),
        ("東京,京都", "東京 , 京都", True),
        ("iPhone用ケース", "iPhone", False),
    ],
)
def test_metaclip(text: str, query: str, holds: bool) -> None:
    assert Matcher(pa.array([query]), "metaclip").match(pa.array([text])).to_pylist() == [[0] if holds else []]


def test_equal_queries_are_all_found() -> None:
    found = Matcher(pa.array(["Paris", "paris", "PARIS", "", None])).match(pa.array(["In Paris", None, ""]))
    assert found.type == pa.list_(pa.int32())
    assert found.to_pylist() == [[0, 1, 2], [], []]


def test_no_queries_and_no_texts() -> None:
    assert Matcher(pa.array([], pa.string())).match(pa.array(["a"])).to_pylist() == [[]]
    assert Matcher(pa.array(["a"])).match(pa.array([], pa.string())).to_pylist() == []


def test_blocks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = pa.array(["a red car", "", "ein Auto", None, "b" * 500, "new york"] * 50).slice(1)
    finder = Matcher(pa.array(["red", "auto", "new york", "b" * 500]))
    whole = finder.match(texts)
    monkeypatch.setattr(match, "_BLOCK_BYTES", 16)
    assert finder.match(pa.chunked_array([texts.slice(0, 7), texts.slice(7)])).equals(whole)


def spans(tokens: Sequence[str], longest: int = 16) -> Iterator[tuple[str, ...]]:
    """All runs of tokens."""
    for at in range(len(tokens)):
        for stop in range(at + 1, min(len(tokens), at + longest) + 1):
            yield tuple(tokens[at:stop])


def test_real_texts_and_real_queries(shared_data: Path) -> None:
    """Every run of tokens, or of what stands between spaces, looked up among a tenth of the built-in list."""
    texts = pq.read_table(shared_data / "laion-sample-1000.parquet")["TEXT"].to_pylist()
    queries = load("builtin:en")["query"].to_pylist()[::10]
    assert max(len(words(query)) for query in queries) <= 16
    wanted: dict[tuple[str, ...], list[int]] = {}
    for number, query in enumerate(queries):
        wanted.setdefault(words(query), []).append(number)
    by_word = [sorted({n for span in spans(words(text)) for n in wanted.get(span, [])}) for text in texts]
    assert Matcher(pa.array(queries), "words").match(pa.array(texts)).to_pylist() == by_word
    number_of = {query: number for number, query in enumerate(queries)}
    by_space = []
    for text in texts:
        for mark in ",.;:?!`":
            text = text.replace(mark, f" {mark} ")
        joined = {" ".join(span) for span in spans(text.replace("\t", " ").replace("\n", " ").split(" "))}
        by_space.append(sorted(number_of[query] for query in joined & number_of.keys()))
    assert Matcher(pa.array(queries), "metaclip").match(pa.array(texts)).to_pylist() == by_space
    assert sum(map(len, by_word)) > sum(map(len, by_space)) > 300


@given(
    texts=st.lists(encodable, max_size=4),
    queries=st.lists(encodable, max_size=8),
    rule=st.sampled_from(list(REFERENCE)),
)
def test_a_matcher_read_from_its_file_is_the_same(texts: list[str], queries: list[str], rule: match.Rule) -> None:
    built = Matcher(pa.array(queries, pa.string()), rule)
    again = Matcher.from_arrow(built.to_arrow())
    assert again.rule == rule
    assert again.match(pa.array(texts, pa.string())).equals(built.match(pa.array(texts, pa.string())))
    assert again.to_arrow().equals(built.to_arrow())


@pytest.mark.parametrize(("key", "value"), [("rule", "regex"), ("queries", "")])
def test_bad_config(key: str, value: str) -> None:
    with pytest.raises(ValueError, match=key):
        MatchConfig(**{key: value})  # type: ignore[arg-type]


@given(
    st.lists(st.tuples(st.sampled_from(["de", "en", "fr", "zz"]), st.sampled_from(["rot", "red rot", "taxi", ""]))),
    st.booleans(),
)
def test_a_text_is_matched_against_the_list_of_its_language(rows: list[tuple[str, str]], has_other: bool) -> None:
    lists = {"de": ["rot", "haus"], "en": ["red", "rot"], **({OTHER: ["taxi", "rot", "red"]} if has_other else {})}
    firsts, first = {}, 0
    for language, queries in lists.items():
        firsts[language], first = first, first + len(queries)
    matchers = {name: (Matcher(pa.array(queries)), firsts[name]) for name, queries in lists.items()}
    texts = pa.array([text for _, text in rows], pa.string())
    found = match_by_language(texts, pa.array([language for language, _ in rows], pa.string()), matchers)
    expected = []
    for language, text in rows:
        name = language if language in lists else OTHER
        own = enumerate(lists.get(name, []), firsts.get(name, 0))
        expected.append([number for number, query in own if query in text.split()])
    assert found.to_pylist() == expected


@pytest.mark.parametrize("lists", [{}, {"English": "builtin:en"}, {"en": ""}])
def test_lists_of_languages_that_cannot_be(lists: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"^queries(\.\w+)? must (name|be) a "):
        MatchConfig(queries=lists)

"""t of each language, from English's tail share."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from dataset.schema import QUERIES
from filters.queries.balance import COUNTS, sample_cutoffs, windows
from filters.queries.language_caps import caps_of, language_caps, tail_cap

COUNT = st.integers(1, 60) | st.integers(1, 10**12)
LANGUAGES = st.lists(st.tuples(st.sampled_from(["de", "en", "other"]), COUNT | st.just(0)), min_size=1, max_size=30)


def tables(rows: list[tuple[str, int]]) -> tuple[pa.Table, pa.Table]:
    """COUNTS and QUERIES of (language, count) a query, in the order of ids; a query without a pair is not counted."""
    queries = pa.Table.from_pylist([{"query_id": n, "language": row[0]} for n, row in enumerate(rows)], schema=QUERIES)
    counted = [{"query_id": number, "count": count} for number, (_, count) in enumerate(rows) if count]
    return pa.Table.from_pylist(counted, schema=COUNTS), queries


def reference(rows: list[tuple[str, int]], cap: int) -> dict[str, int]:
    """MetaCLIP 2's rule in plain Python, with exact shares."""
    english = [count for language, count in rows if language == "en"]
    made = {}
    for language in {language for language, _ in rows}:
        own = sorted(count for name, count in rows if name == language and count)
        if language == "en" or not own or not sum(english):
            made[language] = cap
            continue
        share = Fraction(sum(count for count in english if count < cap), sum(english))
        reached = Fraction(0)
        nearest = None
        for count in own:
            reached += Fraction(count, sum(own))
            if nearest is None or abs(reached - share) < nearest:
                nearest, made[language] = abs(reached - share), count
    return made


@given(LANGUAGES, COUNT)
def test_a_languages_t_gives_it_englishs_tail_share(rows: list[tuple[str, int]], cap: int) -> None:
    counts, queries = tables(rows)
    made = language_caps(counts, queries, cap, {}, per_language=True)
    assert made["language"].to_pylist() == sorted(made["language"].to_pylist())
    want = reference(rows, cap)
    assert dict(zip(made["language"].to_pylist(), made["cap"].to_pylist(), strict=True)) == want
    of_query = [want[language] for language, count in rows if count]
    assert caps_of(counts, queries, made).tolist() == of_query
    assert caps_of(counts, queries, made, 1.5).tolist() == [round(1.5 * t) for t in of_query]


def test_a_language_like_english_has_its_t() -> None:
    counts = np.array([1, 1, 2, 5, 40, 60])
    tail = int(counts[counts < 40].sum())
    assert tail_cap(counts, tail, int(counts.sum())) == 5  # the largest count of the tail: whatever is above it is full
    assert tail_cap(counts * 3, tail, int(counts.sum())) == 15


def test_caps_that_a_config_names_stand() -> None:
    counts, queries = tables([("de", 9), ("en", 9), ("other", 9)])
    for per_language in (False, True):
        made = language_caps(counts, queries, 5, {"de": 2, "fr": 1}, per_language=per_language)
        caps = dict(zip(made["language"].to_pylist(), made["cap"].to_pylist(), strict=True))
        assert (caps["de"], caps["en"], "fr" in caps) == (2, 5, False)
        assert caps["other"] == (9 if per_language else 5)


def test_each_query_has_its_own_t() -> None:
    counts, _ = tables([("de", 9), ("de", 2), ("en", 9), ("en", 10)])
    caps = np.array([2, 2, 9, 9])
    for made in (windows(counts, caps), sample_cutoffs(counts, caps)):
        assert list(zip(made["query_id"].to_pylist(), made["cap"].to_pylist(), strict=True)) == [(0, 2), (3, 9)]

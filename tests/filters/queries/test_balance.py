"""Balance by a vector of cutoffs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.queries import balance
from filters.queries.balance import BalanceConfig

# A pair: its hash and its queries. Hashes crowd, so that ties and narrow windows occur.
Rows = list[tuple[int, list[int]]]
HASHES = st.one_of(st.integers(0, 2**64 - 1), st.sampled_from([0, 1, 2**63, 2**64 - 1]))
ROWS = st.lists(
    st.tuples(HASHES, st.lists(st.sampled_from([0, 1, 2, 7, 500_000]), max_size=4, unique=True).map(sorted)),
    max_size=40,
)


def table(rows: Rows) -> pa.Table:
    return pa.table(
        {
            "row": pa.array(range(len(rows)), pa.uint32()),
            "query_ids": pa.array([queries for _, queries in rows], pa.list_(pa.int32())),
            "hash": pa.array([hash_ for hash_, _ in rows], pa.uint64()),
        }
    )


def make_cutoffs(partitions: Sequence[Rows], t: int) -> pa.Table:
    tables = [table(rows) for rows in partitions]
    per_part = pa.concat_tables([balance.counts(part.column("query_ids")) for part in tables])
    total = per_part.group_by("query_id").aggregate([("count", "sum")]).rename_columns(["query_id", "count"])
    windows = balance.windows(total.sort_by("query_id"), t)
    while True:
        collected = [
            balance.collect(part.column("query_ids"), part.column("hash").to_numpy(), windows) for part in tables
        ]
        cutoffs = balance.cutoffs(pa.concat_tables(collected), windows)
        if not cutoffs.column("cutoff").null_count:
            return cutoffs
        windows = balance.widen(windows, cutoffs)


def kept(partitions: Sequence[Rows], t: int) -> list[tuple[int, tuple[int, ...]]]:
    cutoffs = make_cutoffs(partitions, t)
    answer = []
    for rows in partitions:
        dropped = set(balance.decide(table(rows), cutoffs).column("row").to_pylist())
        answer += [(hash_, tuple(queries)) for row, (hash_, queries) in enumerate(rows) if row not in dropped]
    return sorted(answer)


def reference(rows: Rows, t: int) -> list[tuple[int, tuple[int, ...]]]:
    """The rule in plain Python: every query takes the t pairs of least hash (and their equals); what is taken stays."""
    stays = set()
    for query in {query for _, queries in rows for query in queries}:
        mine = sorted(hash_ for hash_, queries in rows if query in queries)
        last = mine[min(t, len(mine)) - 1]
        stays |= {row for row, (hash_, queries) in enumerate(rows) if query in queries and hash_ <= last}
    return sorted((h, tuple(q)) for row, (h, q) in enumerate(rows) if row in stays or not q)


@settings(max_examples=30)
@given(rows=ROWS, t=st.integers(1, 6), cut=st.integers(0, 40), seed=st.randoms())
def test_it_keeps_what_the_plain_rule_keeps_in_any_order_and_partitions(rows: Rows, t: int, cut: int, seed) -> None:
    want = reference(rows, t)
    assert kept([rows], t) == want
    shuffled = list(rows)
    seed.shuffle(shuffled)
    assert kept([shuffled[:cut], shuffled[cut:]], t) == want


@settings(max_examples=20)
@given(rows=ROWS, t=st.integers(1, 6))
def test_a_query_beyond_t_holds_only_pairs_that_fill_another(rows: Rows, t: int) -> None:
    """Of a query's kept pairs beyond its own t smallest, each is among the t smallest of another of its queries."""
    everyone = {query for _, queries in rows for query in queries}
    stays = kept([rows], t)
    least = {q: sorted(h for h, queries in rows if q in queries)[:t] for q in everyone}
    for query in everyone:
        mine = [(h, queries) for h, queries in stays if query in queries]
        candidates = sum(query in queries for _, queries in rows)
        assert len(mine) >= min(t, candidates)
        if candidates <= t:
            assert len(mine) == candidates
        for h, queries in mine:
            assert any(h <= least[q][-1] for q in queries)


@settings(max_examples=20)
@given(rows=ROWS, t=st.integers(1, 4))
def test_the_result_at_t_lies_within_that_at_2t(rows: Rows, t: int) -> None:
    small, large = kept([rows], t), kept([rows], 2 * t)
    for pair in set(small):
        assert small.count(pair) <= large.count(pair)


def test_exactly_t_of_a_full_query_and_few_are_collected() -> None:
    hashes = np.random.default_rng(1).integers(0, 2**64, 50_000, dtype=np.uint64)
    queries = pa.ListArray.from_arrays(pa.array(range(50_001), pa.int32()), pa.array([3] * 50_000, pa.int32()))
    windows = balance.windows(balance.counts(queries), 1_000)
    collected = balance.collect(queries, hashes, windows)
    assert 1_000 <= collected.num_rows < 1_500
    cutoffs = balance.cutoffs(collected, windows)
    assert cutoffs.column("cutoff").to_pylist() == [np.sort(hashes)[999]]
    rows = pa.table({"row": pa.array(range(50_000), pa.uint32()), "query_ids": queries, "hash": hashes})
    assert balance.decide(rows, cutoffs).num_rows == 49_000


def test_a_window_that_held_too_few_is_told_and_widened() -> None:
    hashes = np.array([2**63 + i for i in range(100)], dtype=np.uint64)  # all far above any window
    queries = pa.array([[4]] * 100, pa.list_(pa.int32()))
    windows = balance.windows(balance.counts(queries), 2)
    cutoffs = balance.cutoffs(balance.collect(queries, hashes, windows), windows)
    assert cutoffs.column("cutoff").to_pylist() == [None]
    with pytest.raises(ValueError, match="widen"):
        balance.decide(table([(1, [4])]), cutoffs)
    wider = balance.widen(windows, cutoffs).column("window").to_pylist()
    assert wider == [2 * windows.column("window")[0].as_py()]
    assert kept([[(int(h), [4]) for h in hashes]], 2) == [(2**63, (4,)), (2**63 + 1, (4,))]


def test_a_bucket_is_made_of_whole_queries() -> None:
    counts = pa.table([list(range(5)), [1_000_000] * 5], schema=balance.COUNTS)
    windows = balance.windows(counts, 10_000)  # 10,624 hashes a query
    assert balance.bucket_of_query(windows, 25_000).tolist() == [0, 0, 1, 1, 2]
    assert balance.bucket_of_query(windows, 1).tolist() == [0, 1, 2, 3, 4]
    assert balance.bucket_of_query(windows.slice(0, 0), 1).tolist() == []


def test_counts_of_other_pairs_are_an_error_not_an_endless_loop() -> None:
    windows = pa.table([[1], [100], [5], [2**64 - 1]], schema=balance.WINDOWS)
    with pytest.raises(ValueError, match="query 1 was counted with more pairs than were collected"):
        balance.cutoffs(balance.COLLECTED.empty_table(), windows)


def test_evidence_names_the_query_that_came_nearest() -> None:
    rows: Rows = [(10, [1]), (20, [2]), (30, [1, 2]), (2**63, [1, 2]), (40, [1, 2, 3])]
    verdicts = balance.decide(table(rows), make_cutoffs([rows], 1)).to_pylist()
    assert [(row["row"], row["reason"]) for row in verdicts] == [(2, "query_full"), (3, "query_full")]
    assert json.loads(verdicts[1]["evidence"]) == {"query_id": 2, "count": 4, "cap": 1, "estimated_rank": 2}


def test_lists_may_be_slices_and_chunks() -> None:
    queries = pa.array([[9], [1, 2], [2], []], pa.list_(pa.int32())).slice(1)
    assert balance.counts(queries).to_pydict() == {"query_id": [1, 2], "count": [1, 2]}
    assert balance.counts(pa.chunked_array([queries, queries])).to_pydict() == {"query_id": [1, 2], "count": [2, 4]}


def sampled(partitions: Sequence[Rows], t: int, salt: int = 5) -> list[tuple[int, tuple[int, ...]]]:
    """What the mode `sample` keeps."""
    total = pa.concat_tables([balance.counts(table(rows).column("query_ids")) for rows in partitions])
    total = total.group_by("query_id").aggregate([("count", "sum")]).rename_columns(["query_id", "count"])
    cutoffs = balance.sample_cutoffs(total.sort_by("query_id"), t)
    answer = []
    for rows in partitions:
        dropped = set(balance.decide(table(rows), cutoffs, "sample", salt).column("row").to_pylist())
        answer += [(hash_, tuple(queries)) for row, (hash_, queries) in enumerate(rows) if row not in dropped]
    return sorted(answer)


def sample_reference(rows: Rows, t: int, salt: int = 5) -> list[tuple[int, tuple[int, ...]]]:
    """MetaCLIP's loop in plain Python: a pair stays as soon as one of its queries draws it."""
    count = Counter(query for _, queries in rows for query in queries)
    answer = []
    for hash_, queries in rows:
        stays = not queries
        for query in queries:
            (draw,) = balance.draws(np.array([hash_], np.uint64), np.array([query], np.int32), salt).tolist()
            stays = stays or draw < min(1, Fraction(t, count[query])) * 2**64
        answer += [(hash_, tuple(queries))] * stays
    return sorted(answer)


@settings(max_examples=30)
@given(rows=ROWS, t=st.integers(1, 6), cut=st.integers(0, 40), seed=st.randoms())
def test_sampling_is_metaclips_in_any_order_and_partitions(rows: Rows, t: int, cut: int, seed) -> None:
    want = sample_reference(rows, t)
    assert sampled([rows], t) == want
    shuffled = list(rows)
    seed.shuffle(shuffled)
    assert sampled([shuffled[:cut], shuffled[cut:]], t) == want
    for pair in set(want):
        assert want.count(pair) <= sampled([rows], 2 * t).count(pair)


def test_a_query_draws_about_t_of_its_pairs_and_other_salts_draw_others() -> None:
    hashes = np.random.default_rng(2).integers(0, 2**64, 50_000, dtype=np.uint64).tolist()
    rows: Rows = [(hash_, [3]) for hash_ in hashes] + [(hash_, [3, 7]) for hash_ in hashes[:100]]
    kept_ = sampled([rows], 1_000)
    assert sum(pair[1] == (3, 7) for pair in kept_) == 100  # 7 is not full
    assert 900 < len(kept_) - 100 < 1_100  # t draws are expected; their standard deviation is 32
    other = sampled([rows], 1_000, salt=6)
    assert len(set(kept_) & set(other)) < 100 + 60


def test_evidence_of_a_sampled_pair_names_the_query_that_came_nearest() -> None:
    rows: Rows = [(n * 2**54, [1, 2] if n % 2 else [1]) for n in range(400)]
    cutoffs = balance.sample_cutoffs(balance.counts(table(rows).column("query_ids")), 10)
    verdicts = balance.decide(table(rows), cutoffs, "sample", 5).to_pylist()
    of = {1: 400, 2: 200}
    for verdict in verdicts:
        evidence = json.loads(verdict["evidence"])
        hash_, queries = rows[verdict["row"]]
        rank = {
            query: of[query]
            * int(balance.draws(np.array([hash_], np.uint64), np.array([query], np.int32), 5)[0])
            / 2**64
            for query in queries
        }
        nearest = min(queries, key=rank.__getitem__)  # both have the same t: the least rank is the nearest
        assert (evidence["query_id"], evidence["count"], evidence["cap"]) == (nearest, of[nearest], 10)
        assert abs(evidence["estimated_rank"] - rank[nearest]) <= 1
    assert {json.loads(verdict["evidence"])["query_id"] for verdict in verdicts} == {1, 2}


@pytest.mark.parametrize(
    ("given", "message"), [({"cap": 0}, "cap must be at least 1, not 0"), ({"mode": "all"}, "mode must be one of cap")]
)
def test_bad_config(given: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BalanceConfig(**given)  # type: ignore[arg-type]

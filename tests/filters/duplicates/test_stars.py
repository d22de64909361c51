"""Connected components in buckets are those of the whole graph, for any number of buckets."""

from __future__ import annotations

import hashlib

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.duplicates import stars
from filters.duplicates.components import least_node
from tests.filters.graphs import connected, dealt

INTEGERS = stars.edges_schema(pa.int64())


def graph(node: np.ndarray, other: np.ndarray) -> pa.Table:
    return stars.larger_first(pa.table([node, other], schema=INTEGERS))


def union_find(edges: pa.Table) -> dict[object, object]:
    """Each node with the least of its component, in plain Python."""
    parent: dict[object, object] = {}

    def root(node: object) -> object:
        while (above := parent.setdefault(node, node)) != node:
            node = above
        return node

    for node, other in zip(edges["node"].to_pylist(), edges["other"].to_pylist(), strict=True):
        a, b = root(node), root(other)
        parent[max(a, b)] = min(a, b)  # type: ignore[type-var]
    return {node: root(node) for node in parent}


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 15), st.integers(0, 15)), max_size=25), st.integers(1, 6), st.booleans())
def test_rounds_find_what_a_union_find_over_all_edges_does(
    pairs: list[tuple[int, int]], buckets: int, named_by_hashes: bool
) -> None:
    ends = np.array(pairs, np.int64).reshape(-1, 2).T
    edges = graph(ends[0] * 1_000_000_007, ends[1] * 1_000_000_007)  # locators are far apart
    if named_by_hashes:
        columns = [
            [hashlib.sha256(str(node).encode()).digest()[:16] for node in column.to_pylist()] for column in edges
        ]
        edges = stars.larger_first(pa.table(columns, schema=stars.edges_schema(pa.binary(16))))
    found = connected(edges, buckets)
    assert dict(zip(found["node"].to_pylist(), found["other"].to_pylist(), strict=True)) == union_find(edges)


@pytest.mark.parametrize("buckets", [2, 30])
def test_a_long_path_and_a_wide_star_take_few_rounds(buckets: int) -> None:
    row = np.arange(2_000)
    shuffled = np.random.default_rng(3).permutation(row)
    for node, other in ((row[1:], row[:-1]), (shuffled[1:], shuffled[:-1]), (row[1:], np.zeros(1_999, np.int64))):
        edges, rounds = graph(node, other), 0
        while True:
            rounds += 1
            answer = pa.concat_tables([stars.from_both_ends(stars.small_star(part)) for part in dealt(edges, buckets)])
            looked = [stars.large_star(part) for part in dealt(answer, buckets)]
            if not any(left for _, left in looked):
                break
            assert sum(len(part) for part, _ in looked) <= 1_999  # never more edges than before
            edges = pa.concat_tables([part for part, _ in looked])
        assert rounds <= 12
        assert answer.filter(pa.array(answer["other"].to_numpy() == 0)).num_rows == 1_999


@given(st.lists(st.tuples(st.integers(0, 15), st.integers(0, 15)), max_size=25), st.randoms())
@settings(max_examples=30)
def test_a_label_is_the_least_node_that_can_be_reached(edges: list[tuple[int, int]], order: object) -> None:
    label = list(range(16))
    for _ in range(16):
        for a, b in edges:
            label[a] = label[b] = min(label[a], label[b])
    order.shuffle(edges)  # type: ignore[attr-defined]
    ends = np.array(edges, dtype=np.int64).reshape(-1, 2)
    assert least_node(16, ends[:, 0], ends[:, 1]).tolist() == label
    assert least_node(0, ends[:0, 0], ends[:0, 1]).tolist() == []

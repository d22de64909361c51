"""The rounds of `filters.duplicates.stars`, as the pipeline has its tasks do them."""

from __future__ import annotations

import pyarrow as pa

from filters.duplicates import stars


def dealt(edges: pa.Table, buckets: int) -> list[pa.Table]:
    """Deal edges as an exchange brings them: the edges of a node in one bucket."""
    at = stars.bucket_words(edges.column("node")).astype("uint64") % buckets
    return [edges.filter(pa.array(at == number)) for number in range(buckets)]


def connected(edges: pa.Table, buckets: int = 1) -> pa.Table:
    """Every node of the edges with the least of its component, ascending."""
    while True:
        tied = [stars.from_both_ends(stars.small_star(part)) for part in dealt(edges, buckets)]
        answer = pa.concat_tables(tied)
        looked = [stars.large_star(part) for part in dealt(answer, buckets)]
        if not any(left for _, left in looked):
            return pa.concat_tables([stars.labels(part) for part in dealt(answer, buckets)]).sort_by("node")
        edges = pa.concat_tables([part for part, _ in looked])

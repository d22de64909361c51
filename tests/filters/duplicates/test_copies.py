"""Copies of one image in a partition are looked at once, and what is said of it is said of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.duplicates.copies import COPIES, separate_copies, with_copies
from filters.duplicates.near import CLUSTERS, NODES, NearDupConfig, chunk_keys, clusters, edges, members
from tests.filters.duplicates.test_near import crowds, random_hashes
from tests.filters.graphs import connected
from tests.filters.pictures import make_nodes

CONFIG = NearDupConfig()


def looked_at(nodes: pa.Table) -> pa.Table:
    """CLUSTERS of all that is connected."""
    found = connected(edges(chunk_keys(nodes, CONFIG), CONFIG))
    return clusters(members(nodes, found), CONFIG)


def of_partition(table: pa.Table, column: str, number: int) -> pa.Table:
    return table.filter(pa.array(table.column(column).to_numpy() >> 32 == number))


@settings(max_examples=12)
@given(table=crowds(), partitions=st.integers(1, 4), seed=st.integers(0, 99))
def test_copies_are_decided_on_as_if_each_was_looked_at(table: pa.Table, partitions: int, seed: int) -> None:
    """Whatever the partitions; images of another dataset are looked at one by one."""
    of = np.random.default_rng(seed).integers(0, partitions, table.num_rows)
    own = np.where(table.column("dataset").is_null().to_numpy(), of, partitions)
    nodes = table.set_column(0, NODES.field(0), pa.array((own << 32) + np.arange(table.num_rows))).sort_by("locator")
    whole = looked_at(nodes)
    parts = [separate_copies(of_partition(nodes, "locator", number)) for number in range(partitions)]
    distinct = [here for here, _ in parts]
    found = looked_at(pa.concat_tables([*distinct, of_partition(nodes, "locator", partitions)]))
    told = [with_copies(of_partition(found, "locator", n), copies) for n, (_, copies) in enumerate(parts)]
    assert pa.concat_tables(told).to_pylist() == whole.to_pylist()


def test_a_placeholder_at_a_thousand_addresses_is_one_image() -> None:
    sha256 = np.repeat(random_hashes(1), 1000, axis=0)
    nodes = make_nodes(np.zeros((1000, 32), np.uint8), sha256=sha256, quality=0)
    here, copies = separate_copies(nodes)
    assert here.equals(nodes.slice(0, 1))
    assert len(copies) == 999
    found = with_copies(CLUSTERS.empty_table(), copies)
    assert found.equals(looked_at(nodes))


def test_what_differs_in_anything_that_is_compared_is_no_copy() -> None:
    def rows(**other: Any) -> int:
        return len(
            separate_copies(
                make_nodes(**({"pdq": np.zeros((2, 32), np.uint8), "sha256": np.zeros((2, 32), np.uint8)} | other))
            )[0]
        )

    assert rows() == 1
    assert rows(pdq=np.stack([np.zeros(32, np.uint8), np.ones(32, np.uint8)])) == 2
    for name in ("quality", "colour", "pixels"):
        assert rows(**{name: np.array([1, 2])}) == 2
    assert rows(pixel_hash=np.stack([np.zeros(16, np.uint8), np.ones(16, np.uint8)])) == 2
    nothing, none = separate_copies(NODES.empty_table())
    assert len(nothing) == 0 and none.equals(COPIES.empty_table())

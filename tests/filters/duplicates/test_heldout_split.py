"""The split in buckets is the split of all pairs at once, however they are dealt."""

from __future__ import annotations

import hashlib

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.duplicates import heldout_split
from filters.duplicates.components import heldout
from filters.duplicates.stars import from_both_ends, labels
from tests.filters.graphs import connected


def keys(numbers: list[int], width: int) -> pa.Array:
    return pa.array([hashlib.sha256(f"{width} {n}".encode()).digest()[:width] for n in numbers], pa.binary(width))


def dealt(table: pa.Table, column: str, buckets: int) -> list[pa.Table]:
    """Deal rows as an exchange brings them: equal keys in one bucket, null in any."""
    at = np.array([0 if key is None else key[0] % buckets for key in table.column(column).to_pylist()], np.int64)
    return [table.filter(pa.array(at == bucket)) for bucket in range(buckets)]


def in_buckets(groups: pa.Table, buckets: tuple[int, int, int], share: float, seed: int) -> set[int]:
    of_captions = [heldout_split.shared_captions(part) for part in dealt(groups, "caption_key", buckets[0])]
    of_images = dealt(pa.concat_tables(of_captions), "image_key", buckets[1])
    found = connected(pa.concat_tables([heldout_split.bridges(part) for part in of_images]), buckets[0])
    stars = from_both_ends(found.filter(pc.not_equal(found["node"], found["other"])))
    rooted = [
        heldout_split.root_pairs(groups, labels(mine))
        for groups, mine in zip(dealt(groups, "caption_key", buckets[0]), dealt(stars, "node", buckets[0]), strict=True)
    ]
    of_images = dealt(pa.concat_tables(rooted), "image_key", buckets[1])
    members = pa.concat_tables([heldout_split.members(part) for part in of_images])
    parts = dealt(members, "root", buckets[2])
    out = pa.concat_tables([heldout_split.choose_components(part, len(groups), share, seed) for part in parts])
    held = [heldout_split.heldout_locators(part, out, len(groups), share, seed) for part in of_images]
    return {locator for part in held for locator in part.to_pylist()}


@settings(max_examples=30)
@given(
    st.integers(0, 2**32),
    st.integers(0, 60),
    st.sampled_from([3, 20, 60]),
    st.sampled_from([3, 20, 60]),
    st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 4)),
    st.sampled_from([0.1, 0.5, 1.0]),
)
def test_buckets_hold_out_what_all_at_once_do(
    seed: int, pairs: int, images: int, captions: int, buckets: tuple[int, int, int], share: float
) -> None:
    rng = np.random.default_rng(seed)
    image, caption = (
        keys(rng.integers(0, most, pairs).tolist(), width) for most, width in ((images, 32), (captions, 16))
    )
    groups = pa.table([pa.array(range(pairs), pa.int64()), image, caption], schema=heldout_split.GROUPS)
    whole = set(np.flatnonzero(heldout(image, caption, share, seed)).tolist())
    assert in_buckets(groups, buckets, share, seed) == whole


def test_a_chain_of_images_and_captions_goes_as_one() -> None:
    """Image k has the captions k and k + 1; with a share of everything, ten pairs may go, eleven may not."""
    for pairs, goes in ((10, True), (12, False)):
        image = keys([n // 2 for n in range(pairs)], 32)
        caption = keys([(n + 1) // 2 for n in range(pairs)], 16)
        groups = pa.table([pa.array(range(pairs), pa.int64()), image, caption], schema=heldout_split.GROUPS)
        assert in_buckets(groups, (3, 3, 3), 1.0, 7) == (set(range(pairs)) if goes else set())

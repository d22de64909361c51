"""Near-duplicate images."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataset.schema import IMAGES
from filters.duplicates.near import (
    CLUSTERS,
    EDGES,
    KEYS,
    NODES,
    NearDupConfig,
    chunk_keys,
    clusters,
    edges,
    members,
    nodes,
)
from filters.images.perceptual import hamming, words
from tests.filters.graphs import connected
from tests.filters.pictures import fixed, flip, make_nodes

CONFIG = NearDupConfig()


def random_hashes(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 32), dtype=np.uint8)


def run(table: pa.Table, config: NearDupConfig = CONFIG, buckets: int = 1) -> dict[int, tuple[int, int, str | None]]:
    """The whole stage: locator → (representative, distance, identical), of images that have any neighbour."""
    keys = chunk_keys(table, config)
    bucket = keys.column("key").to_numpy() % np.uint64(buckets)
    found = [edges(keys.filter(pa.array(bucket == number)), config) for number in range(buckets)]
    rows = clusters(members(table, connected(pa.concat_tables(found), buckets)), config).to_pylist()
    return {row["locator"]: (row["representative"], row["hamming"], row["identical"]) for row in rows}


def dropped(table: pa.Table, config: NearDupConfig = CONFIG, buckets: int = 1) -> dict[int, int]:
    """locator → representative, of the images that go."""
    return {one: to for one, (to, _, _) in run(table, config, buckets).items() if one != to}


def reference(table: pa.Table, config: NearDupConfig) -> dict[int, int]:
    """The greedy rule over all pairs, in plain Python."""
    rows = table.to_pylist()
    hashes = words(table.column("hash"))

    def alike(i: int, j: int) -> bool:
        a, b = rows[i], rows[j]
        if a["sha256"] == b["sha256"] or (a["pixel_hash"], a["hash"]) == (b["pixel_hash"], b["hash"]):
            return True
        colour = max(abs(x - y) for x, y in zip(a["mean_rgb"], b["mean_rgb"], strict=True))
        good = min(a["quality"], b["quality"]) >= config.min_quality
        return good and colour <= config.max_colour_distance and hamming(hashes[i], hashes[j]) <= config.max_hamming

    stay: list[int] = []
    gone = {}

    def place(i: int) -> tuple[Any, ...]:
        row = rows[i]
        return (9 if row["dataset"] is None else row["dataset"], -row["pixels"], row["sha256"], row["locator"])

    for i in sorted(range(len(rows)), key=place):
        # Among those of its own cluster; what is alike is in one cluster by definition.
        match = next((j for j in stay if alike(i, j)), None)
        if match is None or rows[i]["dataset"] is not None:
            stay.append(i)
        else:
            gone[rows[i]["locator"]] = rows[match]["locator"]
    return gone


@st.composite
def crowds(draw: Any) -> pa.Table:
    """Images around few centres, at distances about the threshold, some with equal bytes, grey, or of bad quality."""
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    count, reach = draw(st.integers(1, 60)), draw(st.sampled_from([5, 12, 25]))
    centre = random_hashes(2)[rng.integers(0, 2, count)]
    pdq = np.concatenate([flip(centre[i : i + 1], int(rng.integers(0, reach + 1)), rng) for i in range(count)])
    sha256 = random_hashes(count, 5)
    quality, colour = rng.choice([100, 49], count, p=[0.8, 0.2]), rng.choice([100, 105, 112], count, p=[0.7, 0.2, 0.1])
    copy = rng.integers(0, count, count // 3)
    place = rng.integers(0, count, count // 3)
    for made in (pdq, sha256, quality, colour):  # equal bytes measure equally
        made[place] = made[copy].copy()
    pixel_hash = sha256[:, 16:].copy()
    place, copy = rng.integers(0, count, (2, count // 6))
    pixel_hash[place], pdq[place] = pixel_hash[copy].copy(), pdq[copy].copy()
    dataset = rng.choice([-1, 0, 1], count, p=[0.8, 0.1, 0.1])
    pixels = sha256[:, 31] % 3
    return make_nodes(
        pdq, sha256=sha256, quality=quality, colour=colour, pixels=pixels, pixel_hash=pixel_hash, dataset=dataset
    )


@settings(max_examples=20)
@given(
    table=crowds(), limit=st.sampled_from([0, 8, 15, 16, 24, 31]), buckets=st.sampled_from([1, 5]), order=st.randoms()
)
def test_it_drops_what_the_greedy_rule_over_all_pairs_drops(
    table: pa.Table, limit: int, buckets: int, order: Any
) -> None:
    config = NearDupConfig(max_hamming=limit)
    want = reference(table, config)
    shuffled = list(range(table.num_rows))
    order.shuffle(shuffled)
    assert dropped(table, config, buckets) == want
    assert dropped(table.take(pa.array(shuffled)), config, buckets) == want


@pytest.mark.parametrize(
    ("limit", "bits"), [(15, 0), (15, 1), (15, 14), (15, 15), (15, 16), (31, 16), (31, 31), (31, 32)]
)
def test_every_pair_within_the_limit_is_found_and_none_beyond(limit: int, bits: int) -> None:
    rng = np.random.default_rng(bits)
    ground = random_hashes(5_000)
    table = make_nodes(np.concatenate([ground, flip(ground[:500], bits, rng)]), pixels=np.arange(5_500)[::-1])
    found = dropped(table, NearDupConfig(max_hamming=limit), buckets=3)
    assert found == ({5_000 + i: i for i in range(500)} if bits <= limit else {})


@pytest.mark.parametrize(("limit", "bits"), [(3, 3), (3, 4), (7, 4), (7, 7), (7, 8)])
def test_a_hash_of_64_bits_has_its_own_pigeonholes(limit: int, bits: int) -> None:
    rng = np.random.default_rng(bits)
    ground = np.zeros((3_000, 32), np.uint8)
    ground[:, :8] = random_hashes(3_000)[:, :8]
    order = rng.permuted(np.tile(np.arange(64), (300, 1)), axis=1)
    copies = ground[:300].copy()
    copies[:, :8] ^= np.packbits(order < bits, axis=1)
    table = make_nodes(np.concatenate([ground, copies]), pixels=np.arange(3_300)[::-1])
    found = dropped(table, NearDupConfig(hash="phash", max_hamming=limit), buckets=2)
    assert (found == {3_000 + i: i for i in range(300)}) if bits <= limit else not found


def test_two_colours_of_one_drawing_are_two_images() -> None:
    same = np.repeat(random_hashes(1), 3, axis=0)
    table = make_nodes(same, colour=np.array([60, 70, 200]))
    assert len(dropped(table)) == 1
    assert len(dropped(table, NearDupConfig(max_colour_distance=255))) == 2
    assert len(dropped(table, NearDupConfig(max_colour_distance=9))) == 0


def test_flat_images_are_compared_by_their_bytes_alone() -> None:
    blank = np.zeros((4, 32), np.uint8)
    sha256 = random_hashes(4)
    sha256[3] = sha256[1]
    got = run(make_nodes(blank, sha256=sha256, quality=20))
    assert got == {1: (1, 0, "bytes"), 3: (1, 0, "bytes")}
    assert len(dropped(make_nodes(blank, sha256=sha256, quality=20), NearDupConfig(min_quality=20))) == 3


def test_the_largest_image_stays_then_the_least_bytes_then_the_first() -> None:
    same = np.repeat(random_hashes(1), 4, axis=0)
    sha256 = np.full((4, 32), 9, np.uint8)
    sha256[0] = 8
    sha256[3] = 7
    got = run(make_nodes(same, sha256=sha256, pixels=np.array([10, 20, 20, 10])))
    assert got == {0: (1, 0, None), 1: (1, 0, "bytes"), 2: (1, 0, "bytes"), 3: (1, 0, None)}


def test_a_chain_does_not_drop_what_looks_unlike_its_representative() -> None:
    start = random_hashes(1)
    chain = [np.unpackbits(start, axis=1)]
    for step in range(3):
        bits = chain[-1].copy()
        bits[0, step * 12 : step * 12 + 12] ^= 1
        chain.append(bits)
    table = make_nodes(np.packbits(np.concatenate(chain), axis=1), pixels=np.array([4, 3, 2, 1]))
    assert run(table) == {0: (0, 0, "bytes"), 1: (0, 12, None), 2: (2, 0, "bytes"), 3: (2, 12, None)}
    rows = clusters(members(table, connected(edges(chunk_keys(table, CONFIG), CONFIG))), CONFIG)
    assert set(rows.column("cluster").to_pylist()) == {min(table.column("sha256").to_pylist())}


def test_many_copies_are_neither_many_comparisons_nor_many_edges() -> None:
    ground = random_hashes(1)
    copies = make_nodes(np.repeat(ground, 20_000, axis=0))
    assert edges(chunk_keys(copies, CONFIG), CONFIG).num_rows == 19_999
    variants = make_nodes(flip(np.repeat(ground, 1_500, axis=0), 6, np.random.default_rng(0)))
    assert edges(chunk_keys(variants, CONFIG), CONFIG).num_rows == 1_499
    assert len(dropped(variants)) == 1_499
    assert edges(chunk_keys(variants, NearDupConfig(max_hamming=20)), NearDupConfig(max_hamming=20)).num_rows == 1_499


def test_nodes_are_the_images_that_were_had() -> None:
    row = dict.fromkeys(IMAGES.names) | {"row": 1, "url_id": b"u" * 8, "outcome": "timeout"}
    had = row | {
        "row": 4,
        "outcome": "ok",
        "sha256": b"s" * 32,
        "pixel_hash": b"x" * 16,
        "pdq": b"p" * 32,
        "pdq_quality": 77,
        "mean_rgb": b"rgb",
        "original_width": 100_000,
        "original_height": 50_000,
    }
    got = nodes(pa.Table.from_pylist([row, had], schema=IMAGES), partition=3)
    assert got.to_pylist() == [
        {
            "locator": (3 << 32) + 4,
            "url_id": b"u" * 8,
            "sha256": b"s" * 32,
            "pixel_hash": b"x" * 16,
            "hash": b"p" * 32,
            "quality": 77,
            "mean_rgb": b"rgb",
            "pixels": 5_000_000_000,
            "dataset": None,
        }
    ]


def test_the_same_pixels_in_other_bytes_are_one_image_even_if_flat() -> None:
    blank, pixels = np.zeros((3, 32), np.uint8), random_hashes(3)[:, :16]
    pixels[1] = pixels[0]
    assert run(make_nodes(blank, quality=0, pixel_hash=pixels, pixels=np.array([2, 1, 1]))) == {
        0: (0, 0, "bytes"),
        1: (0, 0, "pixels"),
    }
    blank[1] = 255  # the pixels' hash is no cryptographic one: without the same look it proves nothing
    assert not dropped(make_nodes(blank, quality=0, pixel_hash=pixels))


def test_images_of_a_dataset_that_exists_stay_and_stand_for_all_others() -> None:
    same = np.repeat(random_hashes(1), 4, axis=0)
    table = make_nodes(same, pixels=np.array([9, 1, 2, 3]), dataset=np.array([-1, 0, 1, -1]))
    rows = clusters(members(table, connected(edges(chunk_keys(table, CONFIG), CONFIG))), CONFIG).to_pylist()
    assert [(row["locator"], row["representative"], row["representative_dataset"]) for row in rows] == [
        (0, 1, 0),
        (3, 1, 0),
    ]


def test_nothing_in_nothing_out() -> None:
    empty = NODES.empty_table()
    keys = chunk_keys(empty, CONFIG)
    assert keys.schema.equals(KEYS)
    found = edges(keys, CONFIG)
    assert found.schema.equals(EDGES)
    assert clusters(members(empty, connected(found)), CONFIG).equals(CLUSTERS.empty_table())


def test_an_edge_to_an_unknown_image_is_an_error() -> None:
    table = make_nodes(np.repeat(random_hashes(1), 3, axis=0))
    with pytest.raises(ValueError, match="not among the nodes"):
        members(table.slice(1), connected(edges(chunk_keys(table, CONFIG), CONFIG)))


def test_impossible_values_are_named() -> None:
    with pytest.raises(ValueError, match=r"max_hamming must be 0\.\.31 for pdq, not 32"):
        NearDupConfig(max_hamming=32)
    with pytest.raises(ValueError, match=r"max_hamming must be 0\.\.7 for dhash, not 15"):
        NearDupConfig(hash="dhash")
    with pytest.raises(ValueError, match="hash must be pdq, phash, dhash, not 'md5'"):
        NearDupConfig(hash="md5")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"min_quality must be 0\.\.100, not -1"):
        NearDupConfig(min_quality=-1)
    with pytest.raises(ValueError, match=r"max_colour_distance must be 0\.\.255, not 256"):
        NearDupConfig(max_colour_distance=256)


def test_hashes_of_a_real_shape_survive_slices_and_chunks() -> None:
    table = make_nodes(np.concatenate([random_hashes(3), random_hashes(3)]))
    pieces = pa.concat_tables([table.slice(0, 2), table.slice(2)])
    assert dropped(pieces) == dropped(table)
    assert fixed(random_hashes(2)).slice(1).to_pylist() == [random_hashes(2)[1].tobytes()]

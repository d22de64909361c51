"""PDQ and the search by Hamming distance."""

from __future__ import annotations

import csv
from pathlib import Path

import imagehash
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from filters.images.perceptual import HashIndex, chunks, colours, hamming, pad_hashes, pdq, short_hash, within, words
from tests.filters.pictures import fixed, flip

PICTURE = "dfacdd20240ce32df9e72aaaf9d237e52126bb52fe182db6b6e82085e784280b"


def picture(height: int = 256, width: int = 256) -> np.ndarray:
    """Grey patches, the same on every machine."""
    y, x = np.mgrid[:height, :width] // 16
    grey = (40 + (x * 7919 + y * 104_729 + x * y * 31) % 151).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def random_hashes(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 32), dtype=np.uint8)


def test_a_hash_has_the_digits_that_lists_exchange() -> None:
    # The order of bits was compared with the reference's own test image, bridge-1-original.jpg (f8f8f0ce…9b22).
    value, quality = pdq(picture())
    known = words(fixed(np.frombuffer(bytes.fromhex(PICTURE), np.uint8)[None]))
    assert hamming(words(fixed(np.frombuffer(value, np.uint8)[None])), known)[0] <= 4
    assert quality == 100


def test_it_is_the_reference_s_hash() -> None:
    # Recorded with PyPI's pdqhash 0.2.8, Meta's own code, which no longer comes as a wheel.
    with (Path(__file__).parent / "pdq_reference.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 60
    for row in rows:
        height, width, cells, seed, quality = (int(row[key]) for key in ("height", "width", "cells", "seed", "quality"))
        coarse = np.random.default_rng(seed).integers(0, 256, (cells, cells, 3), dtype=np.uint8)
        ours, our_quality = pdq(np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)))
        # Sums of floats in another order differ in the last digit, so a coefficient beside the median may change sides.
        differing = int.from_bytes(ours, "big") ^ int(row["hash"], 16)
        assert differing.bit_count() <= 2, row
        assert abs(our_quality - quality) <= 1, row


def test_flat_and_tiny_images_have_no_quality() -> None:
    for image in (np.zeros((64, 64, 3), np.uint8), np.full((64, 64, 3), 255, np.uint8), picture(4, 300), picture(1, 1)):
        value, quality = pdq(image)
        assert (len(value), quality) == (32, 0)


def test_it_sees_no_colour_and_forgives_brightness() -> None:
    image = picture()
    tint = np.array([50, -50 * 0.299 / 0.587, 0])  # changes red and green, and no luminance (ITU-R BT.601)
    reddish = (image.astype(float) * 0.7 + 30 + tint).astype(np.uint8)
    brighter = (image * 0.7 + 50).astype(np.uint8)
    hashes = words(fixed(np.stack([np.frombuffer(pdq(value)[0], np.uint8) for value in (image, reddish, brighter)])))
    assert hamming(hashes, hashes[:1]).max() <= 15


@settings(max_examples=30)
@given(bits=st.integers(0, 256), seed=st.integers(0, 1000))
def test_hamming_counts_the_bits_that_differ(bits: int, seed: int) -> None:
    one = random_hashes(5, seed)
    other = flip(one, bits, np.random.default_rng(seed))
    assert hamming(words(fixed(one)), words(fixed(other))).tolist() == [bits] * 5


def test_chunks_are_the_digits_four_by_four() -> None:
    raw = random_hashes(3)
    assert [[f"{chunk:04x}" for chunk in row] for row in chunks(words(fixed(raw)))] == [
        [row.tobytes().hex()[at : at + 4] for at in range(0, 64, 4)] for row in raw
    ]


def test_within_compares_the_rows_named() -> None:
    one = random_hashes(4)
    other = np.concatenate([flip(one[:1], 9, np.random.default_rng(0)), one[1:2]])
    near, distance = within(words(fixed(one)), np.array([0, 1, 2, 0]), words(fixed(other)), np.array([0, 1, 1, 1]), 10)
    assert (near.tolist(), distance.tolist()) == ([0, 1], [9, 0])


@pytest.mark.parametrize("limit", [0, 7, 15, 16, 31])
def test_the_index_finds_all_that_brute_force_finds(limit: int) -> None:
    rng = np.random.default_rng(limit)
    entries = random_hashes(300)
    queries = np.concatenate([flip(entries[:200], bits, rng) for bits in range(0, 40, 3)])
    left, right = words(fixed(queries)), words(fixed(entries))
    distance = hamming(left[:, None], right[None])
    query, entry, found = HashIndex(right).search(left, limit)
    want = np.argwhere(distance <= limit)
    assert np.array_equal(np.stack([query, entry], axis=1), want)
    assert np.array_equal(found, distance[tuple(want.T)])


def test_heavy_chunks_are_searched_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("filters.images.perceptual.BLOCK_PAIRS", 7)
    same = words(fixed(np.repeat(random_hashes(1), 12, axis=0)))
    query, entry, distance = HashIndex(same).search(same[:5], 15)
    assert (len(query), set(distance.tolist())) == (60, {0})
    assert np.array_equal(query * 12 + entry, np.arange(60))


def test_an_empty_index_finds_nothing() -> None:
    empty = words(fixed(random_hashes(0)))
    assert len(HashIndex(empty).search(words(fixed(random_hashes(3))), 31)[0]) == 0
    assert len(HashIndex(words(fixed(random_hashes(3)))).search(empty, 31)[0]) == 0


def test_beyond_31_bits_the_search_would_not_be_complete() -> None:
    with pytest.raises(ValueError, match=r"max_hamming must be 0\.\.31, not 32"):
        HashIndex(words(fixed(random_hashes(1)))).search(words(fixed(random_hashes(1))), 32)


def test_colours_of_a_slice() -> None:
    column = fixed(np.array([[1, 2, 3], [4, 5, 6], [7, 8, 255]], np.uint8))
    assert colours(column.slice(1)).tolist() == [[4, 5, 6], [7, 8, 255]]


@pytest.mark.parametrize("kind", ["phash", "dhash"])
def test_a_short_hash_is_the_librarys_and_fills_up_with_zeros(kind: str) -> None:
    image = Image.fromarray(picture())
    hash_ = short_hash(picture(), kind)
    assert hash_.hex() == str(getattr(imagehash, kind)(image))
    assert pad_hashes(fixed(np.frombuffer(hash_, np.uint8)[None])).to_pylist() == [hash_ + bytes(24)]

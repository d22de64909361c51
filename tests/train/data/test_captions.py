"""Which caption an epoch shows is drawn by weight among those that the sample has."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataset.webdataset.shards import DamagedSampleError
from train.data.captions import choose

PARTS = {
    "txt": b"alt",
    "syn.txt": b"synthetic",
    "json": json.dumps({"caption": "field", "made": {"by": ["one", "two"]}, "blank": " ", "number": 3}).encode(),
}


def test_each_place_gets_its_weight() -> None:
    captions = {"txt": 1.0, "syn.txt": 2.0, "json.caption": 3.0, "json.made.by": 4.0}
    found = Counter(choose(PARTS, captions, 0, epoch, 5) for epoch in range(4000))
    shares = {text: count / 4000 for text, count in found.items()}
    expected = {"alt": 0.1, "synthetic": 0.2, "field": 0.3, "one": 0.2, "two": 0.2}
    assert shares == pytest.approx(expected, abs=0.03)


def test_what_a_sample_lacks_leaves_its_weight_to_the_others() -> None:
    captions = {"png.txt": 1.0, "json.blank": 1.0, "json.number": 1.0, "json.none.at.all": 1.0, "json.caption": 0.1}
    assert {choose(PARTS, captions, 0, epoch, 5) for epoch in range(50)} == {"field"}


@given(st.binary(max_size=40), st.integers(0, 9), st.integers(0, 9))
def test_hostile_json_is_a_sample_without_captions(data: bytes, epoch: int, row: int) -> None:
    with pytest.raises(DamagedSampleError, match=r"^it has no json\.a\.b or txt$"):
        choose({"json": data}, {"json.a.b": 1.0, "txt": 1.0}, 0, epoch, row)


def test_the_choice_is_of_seed_epoch_and_sample() -> None:
    captions = {"txt": 1.0, "json.caption": 1.0}
    of_rows = [choose(PARTS, captions, 0, 0, row) for row in range(40)]
    assert of_rows == [choose(PARTS, captions, 0, 0, row) for row in range(40)]
    assert of_rows != [choose(PARTS, captions, 0, 1, row) for row in range(40)]
    assert of_rows != [choose(PARTS, captions, 1, 0, row) for row in range(40)]

"""A mixture is exact: any stretch of it has its share of each dataset, and no dataset repeats a sample too early."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataset.store.storage import Storage
from dataset.webdataset.shards import read_index
from tests.train import tiny
from train.data.mixture import Corpus, CorpusPart, place_in_mixture, samples_before
from train.data.order import BlockShuffle, FullShuffle

UNITS = st.lists(st.integers(1, 50), min_size=1, max_size=5)


@pytest.fixture(scope="module")
def urls(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Three datasets of 64, 20 and 7 samples."""
    return [tiny.write_dataset(tmp_path_factory.mktemp("part"), tiny.CAPTIONS[:count]) for count in (64, 20, 7)]


def corpus(urls: list[str], weights: list[float], seed: int = 3, blocks: bool = False) -> Corpus:
    sources = [
        CorpusPart(Storage(url), read_index(Storage(url), "train"), w) for url, w in zip(urls, weights, strict=True)
    ]
    if blocks:
        return Corpus(sources, seed, lambda index, own: BlockShuffle(index.shard, own, 2))
    return Corpus(sources, seed, lambda index, own: FullShuffle(len(index), own))


@settings(max_examples=80)
@given(UNITS, st.integers(0, 2**40), st.integers(0, 10**12), st.integers(1, 300))
def test_every_stretch_has_each_datasets_share(units: list[int], seed: int, first: int, length: int) -> None:
    source, ordinal = place_in_mixture(np.arange(first, first + length), units, seed)
    for number, unit in enumerate(units):
        count = int((source == number).sum())
        assert abs(count - length * unit / sum(units)) <= len(units)
        before = samples_before(first, units, seed)[number]
        assert ordinal[source == number].tolist() == list(range(before, before + count))
    assert sum(samples_before(first, units, seed)) == first


def test_a_position_is_the_same_whoever_asks_for_which_others(urls: list[str]) -> None:
    mixture = corpus(urls, [1, 0.5, 2])
    whole = mixture.choose(np.arange(200))
    for places in (np.array([117]), np.arange(50, 60), np.array([199, 3, 40])):
        part = mixture.choose(places)
        assert all(np.array_equal(ours, theirs[places]) for ours, theirs in zip(part, whole, strict=True))


@pytest.mark.parametrize("blocks", [False, True])
def test_each_dataset_runs_through_its_own_epochs(urls: list[str], blocks: bool) -> None:
    choice = corpus(urls, [1, 1, 2], blocks=blocks).choose(np.arange(400))
    for number, count in enumerate((64, 20, 7)):
        mine = choice.source == number
        for epoch in range(int(choice.epoch[mine].max())):  # the last one is not complete
            assert sorted(choice.row[mine & (choice.epoch == epoch)].tolist()) == list(range(count))


def test_weights_and_members_are_part_of_the_fingerprint(urls: list[str]) -> None:
    alone = corpus(urls[:1], [1.0])
    assert alone.fingerprint == read_index(Storage(urls[0]), "train").fingerprint
    others = [corpus(urls, [1, 1, 1]), corpus(urls, [1, 1, 2]), corpus(urls[:2], [1, 1]), corpus(urls[1::-1], [1, 1])]
    assert len({alone.fingerprint, *(other.fingerprint for other in others)}) == 5
    assert corpus(urls, [2, 2, 4]).fingerprint == others[1].fingerprint


def test_a_sample_is_named_with_its_dataset_and_pair_id(urls: list[str]) -> None:
    mixture = corpus(urls, [1, 1, 1])
    index = read_index(Storage(urls[1]), "train")
    assert mixture.name(1, 4) == f"{urls[1]}: {index.name(4)}"
    assert mixture.pair_id[64 + 4].tolist() == index.pair_id[4].tolist()
    assert corpus(urls[1:2], [1]).name(0, 4) == index.name(4)


def test_heldout_and_empty_datasets_are_refused(urls: list[str], tmp_path: Path) -> None:
    storage = Storage(urls[0])
    for split, message in (("heldout", "the split heldout is for evaluation"), ("none", "has no training samples")):
        with pytest.raises(ValueError, match=message):
            Corpus(
                [CorpusPart(storage, read_index(storage, split))], 0, lambda index, seed: FullShuffle(len(index), seed)
            )

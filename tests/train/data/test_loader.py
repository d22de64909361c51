"""What a step sees is a function of (seed, epoch, sample), whoever reads it and however often it stopped."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from dataset.store.storage import Storage
from dataset.webdataset.shards import DamagedSampleError, Index, read_index, read_raw_samples
from tests.train import tiny
from train.__main__ import main
from train.config import from_keys, load, with_changes
from train.data import loader as data
from train.data.loader import Batch, Samples, batches, join, open_corpus, read_parts, samples_of, share
from train.data.shard_reader import ShardReader
from train.loop import train
from train.to_device import on_device

STEPS = 6  # of 16: an epoch and a half


def samples(url: str, rank: int = 0, processes: int = 1, **changes: Any) -> Samples:
    config = from_keys(url, **{"batch_size": 16, "seed": 3, "crop_min": 0.5, "workers": 0, **changes})
    corpus = open_corpus(url, config.data, config.seed, f"{url}/runs/clip")
    return samples_of(config.data, config.training.batch_size, corpus, tokenizer(), 32, rank, processes)


@cache
def tokenizer() -> Callable[[list[str]], torch.Tensor]:
    """The tiny model's."""
    tokenize: Callable[[list[str]], torch.Tensor] = open_clip.get_tokenizer(tiny.MODEL)
    return tokenize


def same(left: Batch, right: Batch) -> bool:
    return (
        torch.equal(left.images, right.images)
        and torch.equal(left.texts, right.texts)
        and torch.equal(left.rows, right.rows)
        and left.damaged == right.damaged
    )


def spoil(url: str, rows: Sequence[int], damage: str) -> Index:
    """Damage training samples of a dataset of `tiny.write_dataset`: their image, header or claimed size."""
    storage = Storage(url)
    index = read_index(storage, "train")
    data = bytearray(storage.read("shards/train-00000.tar"))
    for row in rows:
        start = int(index.offset[row])
        place, junk = {
            "bit": (start + 1100, bytes([data[start + 1100] ^ 1])),  # which every decoder passes over
            "image": (start + 512, bytes(388)),
            "header": (start, b"\xff" * 512),
            "size": (start + 124, b"77777777777\0"),
        }[damage]
        data[place : place + len(junk)] = junk
    storage.write("shards/train-00000.tar", bytes(data))
    return index


@pytest.fixture(scope="session")
def many_shards(tmp_path_factory: pytest.TempPathFactory) -> str:
    """64 training pairs in five uneven shards."""
    return tiny.write_dataset(tmp_path_factory.mktemp("uneven"), shard_sizes=[1, 30, 3, 20, 10])


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize("changes", [{}, {"shuffle": "blocks", "shuffle_shards": 2}, {"crop": "resized", "flip": 0.5}])
def test_workers_change_neither_order_nor_crops(many_shards: str, changes: dict[str, Any]) -> None:
    source = samples(many_shards, **changes)
    alone = list(batches(source, 0, STEPS, 0, False))
    together = list(batches(source, 0, STEPS, 7, False))  # more readers than shards, and than steps
    assert len(alone) == len(together) == STEPS
    assert all(map(same, alone, together))
    resumed = list(batches(samples(many_shards, **changes), 4, STEPS, 0, False))
    assert all(map(same, alone[4:], resumed))


@pytest.mark.parametrize("size", [1, 5, 15])
def test_large_batches_are_read_in_parts(many_shards: str, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    whole = list(batches(samples(many_shards), 0, STEPS, 0, False))
    monkeypatch.setattr(data, "PART", size)
    source = samples(many_shards)
    parts = list(read_parts(source, 0, STEPS, 2, False))
    assert {max(len(part.rows) for part in batch) for batch in parts} == {size}
    moved = on_device(parts, torch.device("cpu"))
    assert all(map(same, moved, whole)) and same(source[3], whole[3])
    assert all(
        batch.images.is_contiguous(memory_format=torch.channels_last) for batch in on_device(parts, torch.device("cpu"))
    )


@pytest.mark.parametrize("free", [100_000, 140_000])
def test_batches_are_the_same_in_parts_that_fit_into_shared_memory(many_shards: str, free: int) -> None:
    whole = list(batches(samples(many_shards), 0, STEPS, 0, False))
    source = samples(many_shards)
    reading = source.fit(1, free)
    assert reading.part < len(source.share) and reading.note
    parts = list(read_parts(source, 0, STEPS, 1, False, reading=reading))
    assert all(len(batch) == -(-len(source.share) // reading.part) for batch in parts)
    assert not any(part.images.is_shared() for batch in parts for part in batch)  # copied out of it
    assert all(map(same, map(join, parts), whole))


@pytest.mark.parametrize("processes", [2, 3, 64])
def test_processes_share_a_step_between_them(many_shards: str, processes: int) -> None:
    source = samples(many_shards)
    whole, parts = source[5], []
    for rank in range(processes):
        source.share = share(16, rank, processes)
        parts.append(source[5])
    sizes = {len(part.rows) for part in parts}
    assert max(sizes) - min(sizes) <= 1
    assert torch.equal(torch.cat([part.rows for part in parts]), whole.rows)
    assert torch.equal(torch.cat([part.images for part in parts]), whole.images)
    assert torch.equal(torch.cat([part.texts for part in parts]), whole.texts)


@given(st.integers(1, 500), st.integers(1, 70))
def test_shares_are_the_whole_batch_and_as_even_as_can_be(batch_size: int, processes: int) -> None:
    shares = [share(batch_size, rank, processes) for rank in range(processes)]
    assert [place for own in shares for place in own] == list(range(batch_size))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@settings(max_examples=25, deadline=None)
@given(
    batch_size=st.integers(1, 40),
    processes=st.integers(1, 5),
    shuffle=st.sampled_from(["full", "blocks"]),
    block=st.integers(1, 9),
    seed=st.integers(0, 2**30),
)
def test_each_epoch_has_each_sample_once_for_any_batch_size_and_ranks(
    many_shards: str, batch_size: int, processes: int, shuffle: str, block: int, seed: int
) -> None:
    changes: dict[str, Any] = {"shuffle": shuffle, "shuffle_shards": block, "seed": seed}
    corpus = open_corpus(many_shards, from_keys(many_shards, workers=0, **changes).data, 0, many_shards)
    places = [
        np.arange(own.start, own.stop) + step * batch_size
        for step in range(-(-128 // batch_size))
        for own in (share(batch_size, rank, processes) for rank in range(processes))
    ]
    rows = corpus.choose(np.concatenate(places)).row.tolist()
    assert sorted(rows[:64]) == sorted(rows[64:128]) == list(range(64))


def test_more_processes_than_samples_in_a_batch_are_refused(tiny_dataset: str) -> None:
    with pytest.raises(ValueError, match=r"^batch_size must be at least the number of processes, 17, not 16$"):
        samples(tiny_dataset, 0, 17)


def test_another_batch_size_sees_the_same_samples_in_the_same_order(many_shards: str) -> None:
    small, large = samples(many_shards), samples(many_shards, batch_size=32)
    assert torch.equal(torch.cat([small[2].images, small[3].images]), large[1].images)


def test_crops_differ_between_epochs_and_seeds(tiny_dataset: str) -> None:
    source = samples(tiny_dataset)
    epochs = [[source[4 * epoch + step] for step in range(4)] for epoch in (0, 1)]
    seen = []
    for epoch in epochs:
        rows = torch.cat([batch.rows for batch in epoch])
        assert sorted(rows.tolist()) == list(range(64))
        seen.append(torch.cat([batch.images for batch in epoch])[rows.argsort()])
    assert (seen[0] != seen[1]).flatten(1).any(1).sum() > 32  # pictures of one colour look alike in any crop
    assert not same(source[0], samples(tiny_dataset, seed=4)[0])


def test_a_sample_keeps_its_caption(tiny_dataset: str) -> None:
    batch = samples(tiny_dataset)[0]
    captions = [tiny.CAPTIONS[row] for row in batch.rows.tolist()]
    assert torch.equal(batch.texts, tokenizer()(captions))
    assert batch.images.dtype == torch.uint8
    assert batch.images.shape == (16, 3, 32, 32)
    assert batch.images.is_contiguous(memory_format=torch.channels_last)
    assert batch.damaged == []


def test_captions_come_from_where_the_config_says(tiny_dataset: str) -> None:
    batch = samples(tiny_dataset, captions={"json.pair_id": 1.0})[0]
    index = read_index(Storage(tiny_dataset), "train")
    captions = [index.key(row) for row in batch.rows.tolist()]
    assert torch.equal(batch.texts, tokenizer()(captions))


def test_a_mixture_draws_from_each_by_weight(tiny_dataset: str, many_shards: str, tmp_path: Path) -> None:
    small = tiny.write_dataset(tmp_path, ["red blue", "blue red", "pink gray"])
    source = samples(tiny_dataset, mixture={many_shards: 2.0, small: 1.0})
    batch = source[1]
    owners = np.searchsorted(source.corpus.first, batch.rows.numpy(), side="right") - 1
    assert np.bincount(owners).tolist() == [4, 8, 4]
    ids = source.corpus.pair_id[batch.rows.numpy()[owners == 2]]
    assert {tuple(own) for own in ids.tolist()} <= set(map(tuple, read_index(Storage(small), "train").pair_id.tolist()))
    assert all(map(same, batches(source, 0, STEPS, 2, False), batches(source, 0, STEPS, 0, False)))


def test_heldout_shards_are_never_opened(tmp_path: Path) -> None:
    url = tiny.write_dataset(tmp_path)
    (tmp_path / "shards" / "heldout-00000.tar").unlink()
    assert len(list(batches(samples(url), 0, STEPS, 0, False))) == STEPS


@pytest.mark.parametrize("damage", ["bit", "image", "header", "size"])
def test_a_damaged_sample_is_named_counted_and_replaced_by_the_same_one(tmp_path: Path, damage: str) -> None:
    url = tiny.write_dataset(tmp_path)
    intact = [samples(url)[step] for step in range(4)]
    row = 17
    index = spoil(url, [row], damage)

    replaced = list(batches(samples(url), 0, 4, 0, False))
    assert all(map(same, replaced, batches(samples(url), 0, 4, 2, False)))
    (name,) = [name for batch in replaced for name in batch.damaged]
    assert name.startswith(f"train-00000.tar/{index.key(row)}: ")
    assert f"bytes {index.offset[row]:,} to {index.offset[row] + index.size[row]:,} of shards/train-00000.tar" in name
    changed = 0
    for before, after in zip(intact, replaced, strict=True):
        other = before.rows != after.rows
        changed += int(other.sum())
        assert before.rows[other].tolist() in ([], [row])
        assert torch.equal(before.images[~other], after.images[~other])
        assert row not in after.rows
    assert changed == 1


@pytest.mark.parametrize("how", ["missing", "cut", "zeros"])
@pytest.mark.parametrize("cached", [False, True])
def test_a_shard_that_is_gone_is_replaced_sample_by_sample_or_stops(tmp_path: Path, how: str, cached: bool) -> None:
    url = tiny.write_dataset(tmp_path / "data", shard_sizes=[34, 30])
    tar = tmp_path / "data" / "shards" / "train-00001.tar"
    if how == "missing":
        tar.unlink()
    else:
        tar.write_bytes(bytes(tar.stat().st_size) if how == "zeros" else tar.read_bytes()[:512])
    changes = {"cache": str(tmp_path / "cache"), "cache_bytes": 10**8} if cached else {}
    source = samples(url, **changes)
    found = list(batches(source, 0, 4, 0, False))
    assert all(map(same, found, batches(samples(url, **changes), 0, 4, 2, False)))
    rows = torch.cat([batch.rows for batch in found]).tolist()
    assert set(rows) == set(range(34))  # each whole sample once, and some again
    named = {name.partition(": ")[0] for batch in found for name in batch.damaged}
    assert named == {source.corpus.name(0, row) for row in range(34, 64)}
    if how == "missing":
        assert all(name.endswith("its shard is missing, or cut off before it") for name in found[0].damaged)
    for workers in (0, 2):
        stopping = samples(url, damaged="stop", **changes)
        with pytest.raises(DamagedSampleError, match=r"^damaged sample: train-00001\.tar/[0-9a-f]+: [^\n]*$"):
            list(batches(stopping, 0, 4, workers, False))


def test_in_a_block_shuffle_the_replacement_is_of_the_same_block(tmp_path: Path) -> None:
    url = tiny.write_dataset(tmp_path, shard_sizes=[16, 16, 16, 16])
    changes: dict[str, Any] = {"shuffle": "blocks", "shuffle_shards": 1}
    row = int(samples(url, **changes)[0].rows[5])
    shard = read_index(Storage(url), "train").shard
    tar = tmp_path / "shards" / f"train-{shard[row]:05d}.tar"
    data = bytearray(tar.read_bytes())
    start = int(read_index(Storage(url), "train").offset[row])
    data[start : start + 512] = b"\xff" * 512
    tar.write_bytes(data)
    batch = samples(url, **changes)[0]
    assert len(batch.damaged) == 1
    assert set(shard[batch.rows.numpy()]) == {shard[row]}
    tar.unlink()  # the whole block
    found = samples(url, **changes)[0]
    assert shard[row] not in shard[found.rows.numpy()]


def test_shards_of_nothing_but_damage_stop_the_run(tmp_path: Path) -> None:
    url = tiny.write_dataset(tmp_path)
    tar = tmp_path / "shards" / "train-00000.tar"
    tar.write_bytes(bytes(len(tar.read_bytes())))
    with pytest.raises(DamagedSampleError, match="too many damaged samples"):
        samples(url)[0]


def test_a_shard_that_cannot_be_read_is_an_error_that_names_it(tmp_path: Path) -> None:
    url = tiny.write_dataset(tmp_path)
    tar = tmp_path / "shards" / "train-00000.tar"
    tar.unlink()
    tar.mkdir()
    for workers in (0, 1):
        with pytest.raises(OSError, match=r"train-00000\.tar cannot be read: ") as caught:
            list(batches(samples(url), 0, 2, workers, False))
        assert "\n" not in str(caught.value)


def test_a_stream_for_a_device_has_the_same_batches(tiny_dataset: str) -> None:
    source = samples(tiny_dataset)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    whole = batches(source, 0, STEPS, 0, False)
    count = 0
    for batch, expected in zip(on_device(read_parts(source, 0, STEPS, 0, False), device), whole, strict=True):
        assert batch.images.device.type == device.type
        assert same(replace(batch, images=batch.images.cpu(), texts=batch.texts.cpu()), expected)
        count += 1
    assert count == STEPS


def test_blocks_through_a_cache_smaller_than_the_dataset(many_shards: str, tmp_path: Path) -> None:
    changes: dict[str, Any] = {"shuffle": "blocks", "shuffle_shards": 1}
    sizes = [path.stat().st_size for path in Path(many_shards).glob("shards/train-*.tar")]
    limit = sum(sorted(sizes)[-2:]) + 200
    cached = samples(many_shards, cache=str(tmp_path), cache_bytes=limit, **changes)
    assert limit < sum(sizes)
    plain = samples(many_shards, **changes)
    for step, batch in enumerate(batches(cached, 0, 8, 0, False)):
        assert same(batch, plain[step])
        assert cached.cache is not None and cached.cache._prefetching is not None
        cached.cache._prefetching.join()
        assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= limit
        assert len(cached.readers[0]._open) <= 4  # of the blocks that the batch touched


@pytest.mark.parametrize(("shuffle", "hint"), [("full", ", or data.shuffle must be blocks"), ("blocks", "")])
def test_a_cache_that_would_only_churn_is_refused(tiny_dataset: str, tmp_path: Path, shuffle: str, hint: str) -> None:
    with pytest.raises(ValueError, match=rf"^data\.cache_bytes must be at least \d+, .* read together, not 999{hint}$"):
        samples(tiny_dataset, cache=str(tmp_path), cache_bytes=999, shuffle=shuffle)


def test_a_run_goes_on_with_the_same_mixture_only(tiny_dataset: str, many_shards: str, tmp_path: Path) -> None:
    values: dict[str, Any] = {"model": tiny.MODEL, "batch_size": 16, "workers": 0, "device": "cpu", "shuffle": "blocks"}
    config = from_keys(tiny_dataset, mixture={many_shards: 0.5}, epochs=0.25, **values)
    assert train(config, str(tmp_path), lambda record: None).steps == 2  # of 128 samples
    assert train(with_changes(config, damaged="stop"), str(tmp_path), lambda record: None).steps == 2
    for mixture in ({many_shards: 0.6}, {}):
        with pytest.raises(ValueError, match=r"another version|was begun with mixture"):
            train(with_changes(config, mixture=mixture), str(tmp_path), lambda record: None)


def test_damage_ends_a_run_that_is_told_to_stop(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url = tiny.write_dataset(tmp_path)
    spoil(url, [3], "image")
    (tmp_path / "train.yaml").write_text(f"dataset: {url}\nmodel: {tiny.MODEL}\nepochs: 1\ndamaged: stop\n")
    assert main([str(tmp_path / "train.yaml"), "--set", "batch_size=16", "workers=1", "device=cpu"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: damaged sample: train-00000.tar/")
    assert said.count("\n") == 1


def test_every_config_that_the_guide_shows_is_one() -> None:
    guide = (Path(__file__).resolve().parents[3] / "docs" / "training.md").read_text(encoding="utf-8")
    blocks = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", guide, flags=re.DOTALL)]
    assert len(blocks) >= 4
    for block in blocks:
        load({"dataset": "out", **block})


def test_memory_is_not_taken_for_what_an_index_only_claims(tiny_dataset: str) -> None:
    index = read_index(Storage(tiny_dataset), "train")
    claimed = replace(index, size=np.full_like(index.size, 2**60))
    (found,) = ShardReader(Storage(tiny_dataset), claimed).read(np.array([0]))
    assert found.startswith(read_raw_samples(Storage(tiny_dataset), index, [0])[0])

"""What a step sees is a function of (seed, epoch, sample), whoever reads it and however often it stopped."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dataset.shards import DamagedSampleError, Index, read_index
from dataset.storage import Storage
from tests.train import tiny
from train.data import Batch, Samples, batches, decode, epoch_order, random_crop, shuffled

STEPS = 6  # of 16: an epoch and a half


def samples(url: str, *, split: str = "train", rank: int = 0, processes: int = 1, seed: int = 3) -> Samples:
    storage = Storage(url)
    return Samples(
        storage,
        read_index(storage, split),
        open_clip.get_tokenizer(tiny.MODEL),
        image_size=32,
        batch_size=16,
        seed=seed,
        crop_min=0.5,
        rank=rank,
        processes=processes,
    )


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
            "image": (start + 512, bytes(388)),
            "header": (start, b"\xff" * 512),
            "size": (start + 124, b"77777777777\0"),
        }[damage]
        data[place : place + len(junk)] = junk
    storage.write("shards/train-00000.tar", bytes(data))
    return index


@settings(max_examples=60)
@given(st.integers(1, 400), st.integers(0, 2**63))
def test_the_shuffle_is_a_permutation(count: int, seed: int) -> None:
    assert sorted(shuffled(np.arange(count), count, seed)) == list(range(count))


def test_each_epoch_has_its_own_order_and_each_seed_too() -> None:
    orders = [epoch_order(np.arange(50), 50, seed, epoch).tolist() for seed, epoch in ((0, 0), (0, 1), (1, 0))]
    assert len({tuple(order) for order in orders}) == 3


def test_workers_change_neither_order_nor_crops(tiny_dataset: str) -> None:
    source = samples(tiny_dataset)
    alone = list(batches(source, 0, STEPS, 0, False))
    together = list(batches(source, 0, STEPS, 2, False))
    assert len(alone) == len(together) == STEPS
    assert all(map(same, alone, together))
    resumed = list(batches(samples(tiny_dataset), 4, STEPS, 0, False))
    assert all(map(same, alone[4:], resumed))


def test_processes_share_a_step_between_them(tiny_dataset: str) -> None:
    whole = samples(tiny_dataset)[5]
    halves = [samples(tiny_dataset, rank=rank, processes=2)[5] for rank in (0, 1)]
    assert torch.equal(torch.cat([half.rows for half in halves]), whole.rows)
    assert torch.equal(torch.cat([half.images for half in halves]), whole.images)


def test_an_epoch_sees_each_sample_once_and_crops_differ_between_epochs(tiny_dataset: str) -> None:
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
    assert torch.equal(batch.texts, open_clip.get_tokenizer(tiny.MODEL)(captions))
    assert batch.images.dtype == torch.uint8
    assert batch.images.shape == (16, 3, 32, 32)
    assert batch.damaged == []


def test_heldout_is_refused_and_its_shard_is_never_opened(tmp_path: Path) -> None:
    url = tiny.write_dataset(tmp_path)
    with pytest.raises(ValueError, match="heldout"):
        samples(url, split="heldout")
    (tmp_path / "shards" / "heldout-00000.tar").unlink()
    assert len(list(batches(samples(url), 0, STEPS, 0, False))) == STEPS


@pytest.mark.parametrize("damage", ["image", "header", "size"])
def test_a_damaged_sample_is_named_counted_and_replaced_by_the_same_one(tmp_path: Path, damage: str) -> None:
    url = tiny.write_dataset(tmp_path)
    intact = [samples(url)[step] for step in range(4)]
    row = 17
    index = spoil(url, [row], damage)

    replaced = list(batches(samples(url), 0, 4, 0, False))
    assert all(map(same, replaced, batches(samples(url), 0, 4, 2, False)))
    (name,) = [name for batch in replaced for name in batch.damaged]
    assert name.startswith(f"train-00000.tar/{index.key(row)}: ")
    changed = 0
    for before, after in zip(intact, replaced, strict=True):
        other = before.rows != after.rows
        changed += int(other.sum())
        assert before.rows[other].tolist() in ([], [row])
        assert torch.equal(before.images[~other], after.images[~other])
        assert row not in after.rows
    assert changed == 1


def test_shards_of_nothing_but_damage_stop_the_run(tmp_path: Path) -> None:
    url = tiny.write_dataset(tmp_path)
    tar = tmp_path / "shards" / "train-00000.tar"
    tar.write_bytes(bytes(len(tar.read_bytes())))
    with pytest.raises(DamagedSampleError, match="too many damaged samples"):
        samples(url)[0]


@settings(max_examples=60)
@given(
    st.integers(1, 60),
    st.integers(1, 60),
    st.floats(0.05, 1),
    st.lists(st.floats(0, 1, exclude_max=True), min_size=3, max_size=3),
)
def test_any_crop_lies_within_its_image(width: int, height: int, crop_min: float, draws: list[float]) -> None:
    pixels = random_crop(Image.new("RGB", (width, height), (9, 99, 199)), 8, crop_min, np.array(draws))
    assert pixels.shape == (3, 8, 8)
    assert pixels.reshape(3, -1).T.tolist() == [[9, 99, 199]] * 64


@settings(max_examples=60)
@given(st.binary(max_size=300), st.integers(0, 900))
def test_hostile_bytes_are_damage_and_nothing_worse(data: bytes, cut: int) -> None:
    whole = tiny.picture("red blue")
    for hostile in (data, whole[: min(cut, len(whole) // 2)], whole[:20] + data):
        with pytest.raises(DamagedSampleError):
            decode(hostile)


def test_an_image_of_too_many_pixels_is_damage() -> None:
    file = io.BytesIO()
    Image.new("1", (9000, 9000)).save(file, "png")
    with pytest.raises(DamagedSampleError, match="9000x9000 pixels"):
        decode(file.getvalue())


def test_every_mode_becomes_rgb() -> None:
    for mode in ("1", "L", "P", "RGBA", "LA"):
        file = io.BytesIO()
        Image.new(mode, (5, 4)).save(file, "png")
        assert decode(file.getvalue()).mode == "RGB"

"""Pixels are open_clip's, whichever decoder read them; damage is one kind of error."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any, get_args, get_type_hints

import numpy as np
import open_clip
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.datasets import load_sample_images
from torchvision.transforms import RandomResizedCrop

from dataset.images import jpeg as jpeg_decoder
from dataset.webdataset.shards import DamagedSampleError
from tests.train import tiny
from train.checkpoints.load import Encoder
from train.data.config import DataConfig
from train.data.transforms import DRAWS, Augment, crop_box, decode, decode_pixels, draw
from train.models.clip import create

PHOTOGRAPHS = [Image.fromarray(np.asarray(image)) for image in load_sample_images().images]


def jpeg(image: Image.Image, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, "jpeg", **{"quality": 92, **options})
    return file.getvalue()


def seen(data: bytes, augment: Augment, draws: Sequence[float]) -> np.ndarray:
    """What a model sees of an image: uint8 of shape (3, size, size)."""
    out = torch.empty((1, augment.size, augment.size, 3), dtype=torch.uint8).permute(0, 3, 1, 2)
    augment.write(data, draws, out)
    return out[0].numpy()


def some_draws(seed: int = 0) -> list[float]:
    return list(np.random.default_rng(seed).random(DRAWS))


@pytest.mark.parametrize("size", [(256, 341), (341, 256), (300, 300), (224, 224), (640, 427)])
def test_the_centre_crop_is_open_clips_evaluation_transform(size: tuple[int, int]) -> None:
    for photograph in PHOTOGRAPHS:
        data = jpeg(photograph.resize(size))
        transform = open_clip.image_transform(224, is_train=False, mean=(0, 0, 0), std=(1, 1, 1))
        theirs = transform(Image.open(io.BytesIO(data))).numpy() * 255
        assert np.abs(seen(data, Augment(224, "center"), some_draws()) - theirs).mean() < 0.3


@pytest.mark.parametrize("size", [(1100, 800), (2300, 1700)])
def test_a_large_jpeg_is_decoded_at_a_fraction_of_its_scale_and_looks_alike(size: tuple[int, int]) -> None:
    augment = Augment(224, crop_min=1.0)
    for photograph in PHOTOGRAPHS:
        data = jpeg(photograph.resize(size, Image.Resampling.BICUBIC))
        assert decode_pixels(data, augment.least_side).shape[0] < size[1] / 1.9
        box = crop_box(*size, augment, some_draws()[1:])
        whole = Image.open(io.BytesIO(data)).crop((box.left, box.top, box.left + box.width, box.top + box.height))
        theirs = np.asarray(whole.resize((224, 224), Image.Resampling.BICUBIC)).transpose(2, 0, 1)
        assert np.abs(seen(data, augment, some_draws()) - theirs.astype(float)).mean() < 2


@pytest.mark.parametrize(("size", "scale"), [((1100, 800), 1), ((1300, 900), 2), ((2600, 1800), 4)])
def test_an_examined_model_sees_no_difference_at_a_fraction_of_the_scale(size: tuple[int, int], scale: int) -> None:
    clip = create(tiny.MODEL, image_size=224)
    enough = Encoder(clip, "cpu", 8).enough
    transform = open_clip.image_transform(224, is_train=False, mean=(0, 0, 0), std=(1, 1, 1))
    for photograph in PHOTOGRAPHS:
        data = jpeg(photograph.resize(size, Image.Resampling.BICUBIC))
        reduced = decode(data, enough)
        assert reduced.size == (-(-size[0] // scale), -(-size[1] // scale))
        difference = (transform(reduced) - transform(decode(data))).abs() * 255
        assert difference.mean() < 1.2 and difference.quantile(0.99) < 10


@pytest.mark.parametrize("crop", get_args(get_type_hints(DataConfig)["crop"]))
def test_without_simplejpeg_the_pixels_are_the_same(crop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = [jpeg(photograph, subsampling=sampling) for photograph in PHOTOGRAPHS for sampling in (0, 2)]
    augment = Augment(96, crop, flip=0.5)
    with_it = [seen(image, augment, some_draws(place)) for place, image in enumerate(data)]
    monkeypatch.setattr(jpeg_decoder, "simplejpeg", None)
    without = [seen(image, augment, some_draws(place)) for place, image in enumerate(data)]
    assert all(map(np.array_equal, with_it, without))


@settings(max_examples=150)
@given(
    st.integers(1, 400),
    st.integers(1, 400),
    st.sampled_from(["square", "resized"]),
    st.floats(0.05, 1),
    st.lists(st.floats(0, 1, exclude_max=True), min_size=DRAWS, max_size=DRAWS),
)
def test_any_crop_lies_within_its_image(
    width: int, height: int, crop: str, crop_min: float, draws: list[float]
) -> None:
    box = crop_box(width, height, Augment(8, crop, crop_min), draws)
    assert box.left >= 0 <= box.top
    assert box.width >= 1 <= box.height
    assert box.left + box.width <= width
    assert box.top + box.height <= height
    if crop == "square":
        assert box.width == box.height >= crop_min * min(width, height) - 0.5


def test_crops_are_spread_as_torchvisions_are() -> None:
    draws = draw(0, np.zeros(2000, np.int64), np.arange(2000))
    ours = np.array([crop_box(400, 330, Augment(224, "resized", 0.8), own[1:]) for own in draws])
    image = torch.empty(3, 330, 400)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        boxes = [RandomResizedCrop.get_params(image, [0.8, 1.0], [3 / 4, 4 / 3]) for _ in range(2000)]
    theirs = np.array(boxes)[:, [1, 0, 3, 2]]  # left, top, width, height
    quantiles = [np.percentile(boxes, [5, 25, 50, 75, 95], axis=0) for boxes in (ours, theirs)]
    assert np.abs(quantiles[0] - quantiles[1]).max() < 6
    squares = np.array([crop_box(400, 300, Augment(224, "square", 0.5), own[1:]) for own in draws])
    assert squares[:, 2].min() == 150
    assert squares[:, 2].mean() == pytest.approx(225, abs=3)
    assert (squares[:, 0] / (400 - squares[:, 2])).mean() == pytest.approx(0.5, abs=0.03)


def test_a_flip_exchanges_left_and_right_as_often_as_told() -> None:
    data = tiny.picture("red blue")
    draws = draw(0, np.zeros(400, np.int64), np.arange(400))
    red_right = [seen(data, Augment(8, flip=0.25), own)[0, 4, 7] > 150 for own in draws]
    assert np.mean(red_right) == pytest.approx(0.25, abs=0.06)


def test_draws_are_of_seed_epoch_and_sample() -> None:
    epochs, rows = np.array([0, 0, 1, 1]), np.array([5, 6, 5, 6])
    draws = draw(3, epochs, rows)
    assert len(np.unique(draws)) == draws.size
    assert draws.min() >= 0 and draws.max() < 1
    assert np.array_equal(draw(3, epochs[2:3], rows[2:3])[0], draws[2])
    assert not np.array_equal(draw(4, epochs, rows), draws)


@settings(max_examples=60)
@given(st.binary(max_size=300), st.integers(0, 900))
def test_hostile_bytes_are_damage_and_nothing_worse(data: bytes, cut: int) -> None:
    whole = tiny.picture("red blue")
    for hostile in (data, whole[: min(cut, len(whole) // 2)], whole[:20] + data):
        with pytest.raises(DamagedSampleError):
            decode(hostile)
        with pytest.raises(DamagedSampleError):
            decode_pixels(hostile, 32)


@settings(max_examples=100)
@given(st.data())
def test_a_spoiled_jpeg_is_pixels_or_damage(data: st.DataObject) -> None:
    raw = bytearray(tiny.picture("red blue"))
    for _ in range(data.draw(st.integers(1, 8))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        assert seen(bytes(raw), Augment(8), some_draws()).shape == (3, 8, 8)
    except DamagedSampleError as error:
        assert str(error)


@pytest.mark.parametrize("kind", ["png", "jpeg"])
def test_an_image_of_too_many_pixels_is_damage(kind: str) -> None:
    file = io.BytesIO()
    Image.new("L", (9000, 9000)).save(file, kind)
    with pytest.raises(DamagedSampleError, match="image_too_many_pixels: 9000 x 9000"):
        decode_pixels(file.getvalue(), 224)


def test_every_mode_becomes_rgb() -> None:
    for mode, kind in [
        ("1", "png"),
        ("L", "png"),
        ("P", "png"),
        ("RGBA", "png"),
        ("LA", "png"),
        ("L", "jpeg"),
        ("CMYK", "jpeg"),
    ]:
        file = io.BytesIO()
        Image.new(mode, (5, 4)).save(file, kind)
        assert decode(file.getvalue()).mode == "RGB"
        assert seen(file.getvalue(), Augment(8), some_draws()).shape == (3, 8, 8)

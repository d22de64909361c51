"""The stored image, by img2dataset's resize modes: as img2dataset itself makes it."""

from __future__ import annotations

import io
import itertools
import os

import numpy as np
import pytest
from PIL import Image

from crawl.images.ingest import ImageConfig, ingest
from crawl.images.observations import Ingested
from crawl.images.resize import MODES, ResizeMode
from tests.crawl.hostile_images import picture

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # img2dataset's dependency would ask the network for its newest version
SIZES = ((300, 200), (131, 500), (64, 64), (40, 20), (100, 64), (64, 100), (400, 30))


def stored(body: bytes, **config: object) -> tuple[Ingested, np.ndarray]:
    seen: list[tuple[int, ...]] = []

    def fingerprint(pixels: np.ndarray) -> tuple[bytes, int]:
        seen.append(pixels.shape)
        return bytes(32), 100

    result = ingest(body, ImageConfig(**config), fingerprint, lambda body, pdq: None)  # type: ignore[arg-type]
    assert isinstance(result, Ingested), result
    assert abs(seen[0][1] / seen[0][0] / (result.original_width / result.original_height) - 1) < 0.35  # of all of it
    return result, np.asarray(Image.open(io.BytesIO(result.body)))


@pytest.mark.parametrize("mode", MODES)
def test_sizes_and_pixels_are_img2dataset_s(mode: ResizeMode) -> None:
    from img2dataset.resizer import Resizer

    for (width, height), only_if_bigger in itertools.product(SIZES, (True, False)):
        body = picture(size=(width, height), kind="PNG")
        resizer = Resizer(64, mode, only_if_bigger, encode_format="png", encode_quality=1)
        data, *size, _ = resizer(io.BytesIO(body))
        theirs = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(float)
        image, ours = stored(body, store_size=64, resize_mode=mode, resize_only_if_bigger=only_if_bigger, quality=100)
        assert [image.width, image.height, image.original_width, image.original_height] == size, (width, height)
        assert ours.shape == theirs.shape
        if min(width, height) > 30:
            assert np.abs(ours - theirs).mean() < 12, (width, height, only_if_bigger)


def test_modes_speak_of_the_upright_image() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    body = picture(size=(300, 200), exif=exif)
    assert stored(body, store_size=50, resize_mode="keep_ratio_largest")[1].shape == (50, 33, 3)
    squared = stored(body, store_size=50, resize_mode="border")[1]
    assert squared.shape == (50, 50, 3)
    assert squared[:, :5].mean() > 250 and squared[:5, 20:30].mean() < 250


def test_an_image_that_would_grow_over_a_limit_is_refused() -> None:
    config = ImageConfig(store_size=2000, resize_only_if_bigger=False, max_pixels=1_000_000)
    result = ingest(picture(size=(100, 100)), config, lambda pixels: (bytes(32), 100), lambda body, pdq: None)
    assert result.outcome == "image_too_many_pixels"  # type: ignore[union-attr]


def test_an_unknown_mode_is_named() -> None:
    with pytest.raises(ValueError, match=r"resize_mode must be one of no, keep_ratio, .* not 'squash'"):
        ImageConfig(resize_mode="squash")  # type: ignore[arg-type]

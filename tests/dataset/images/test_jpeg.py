"""A JPEG of any colours, process and damage has the pixels that are there."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dataset.images import read
from dataset.webdataset.shards import DamagedSampleError
from tests.dataset.images.files import (
    MOST,
    encode,
    quarters,
    refusal,
    rng,
    shown,
)
from train.data.transforms import decode_pixels


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}, {"restart_marker_rows": 1}])
def test_jpeg_of_every_colour(mode: str, options: dict[str, Any]) -> None:
    image = Image.fromarray(quarters()).convert(mode)
    body = encode(image, "JPEG", quality=95, **options)
    assert np.abs(shown(body).astype(int) - np.asarray(image.convert("RGB"))).mean() < 3
    assert np.array_equal(decode_pixels(body, 48), shown(body))


def test_jpeg_in_rgb() -> None:
    body = encode(quarters(), "JPEG", quality=95, keep_rgb=True)
    assert np.abs(shown(body).astype(int) - quarters()).mean() < 2


def scan_starts(body: bytes) -> Iterator[int]:
    at = body.find(b"\xff\xda")
    while at >= 0:
        yield at
        at = body.find(b"\xff\xda", at + 2)


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_without_its_end_is_whole_and_one_without_pixels_is_not(mode: str, progressive: bool) -> None:
    noise = Image.fromarray(rng.integers(0, 256, (120, 160, 3), np.uint8)).convert(mode)
    body = encode(noise, "JPEG", quality=90, progressive=progressive)
    assert np.array_equal(shown(body[:-2]), shown(body))
    assert np.array_equal(shown(body[:-1]), shown(body))
    assert np.array_equal(shown(body[:-2] + b"\xff"), shown(body))
    start = next(scan_starts(body))
    half = body[: start + (len(body) - start) // 2]
    said = str(refusal(half))
    if progressive:
        for at in list(scan_starts(body))[1:]:
            assert "before the last of its scans" in str(refusal(body[:at]))
        assert "end" in said
    else:
        rows = int(said.removeprefix("its pixels end too early: ").partition(" of 120 rows")[0])
        assert 40 <= rows <= 72
    assert refusal(body[:start]).reason == "image_truncated"
    with pytest.raises(DamagedSampleError, match="image_truncated: "):
        decode_pixels(half, 64)


def test_what_lies_beside_a_jpegs_pixels_changes_none(monkeypatch: pytest.MonkeyPatch) -> None:
    body = encode(quarters(), "JPEG", quality=95, progressive=True)
    expected = shown(body)
    exif = b"\xff\xe1\x00\x0aExif\0\0xx"
    for extra in (
        exif * 30_000,
        b"\xff\xfe\xff\xff" + bytes(65_533),
        b"\xff\xe2\x00\x12ICC_PROFILE\0\1\2ab",
        b"\xff" * 99,
    ):
        assert np.array_equal(shown(body[:2] + extra + body[2:]), expected)
    with monkeypatch.context() as patch:
        patch.setattr("dataset.images.jpeg._MAX_SEGMENTS", 20_000)
        assert refusal(body[:2] + exif * 20_001 + body[2:]).reason == "image_truncated"
    assert np.array_equal(shown(body + body[:50]), expected)
    between = list(scan_starts(body))[3]
    hidden = body[:between] + b"\xff\xfe\x00\x08secret" + body[between:]
    assert np.array_equal(shown(hidden), expected)
    assert b"secret" not in read(hidden, MOST).body


def test_scans_are_counted_before_a_pixel_is_decoded() -> None:
    for progressive in (False, True):
        body = encode(quarters(), "JPEG", progressive=progressive)
        last = list(scan_starts(body))[-1]
        many = body[:-2] + body[last:-2] * 100 + b"\xff\xd9"
        assert refusal(many).reason == "image_too_many_pixels"
        assert refusal(many[:-2]).reason == "image_too_many_pixels"
        assert "3,072" not in str(refusal(many)) and "64 x 48 pixels in 101 scans" in str(refusal(many))
        few = body[:-2] + body[last:-2] * 17 + b"\xff\xd9"
        assert read(few, 64 * 48 * 2).kind == "JPEG"
        assert refusal(few, 64 * 48).reason == "image_too_many_pixels"
    preview = encode(quarters(8, 8), "JPEG")  # scans of a preview are none of the image
    segment = b"\xff\xe1" + struct.pack(">H", 2 + len(preview)) + preview
    body = encode(quarters(), "JPEG")
    assert shown(body[:2] + segment * 150 + body[2:]).shape == (48, 64, 3)

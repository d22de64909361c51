"""Whatever depth, palette, transparency or damage a PNG has, its pixels are those that the standard says."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest

from tests.dataset.images.files import (
    CHANNELS,
    chunk,
    eight,
    encode,
    on_white,
    png,
    quarters,
    raw,
    refusal,
    rng,
    shown,
)
from train.data.transforms import decode_pixels

KINDS = [(0, 1), (0, 2), (0, 4), (0, 8), (0, 16), (2, 8), (2, 16), (4, 8), (4, 16), (6, 8), (6, 16)]


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize(("colour", "depth"), KINDS)
def test_png_of_every_colour_type_and_depth(colour: int, depth: int, interlaced: bool) -> None:
    samples = rng.integers(0, 2**depth, (11, 13, CHANNELS[colour]), np.uint16)
    expected = eight(samples, depth)
    rgb = expected[..., [0, 0, 0]] if colour in (0, 4) else expected[..., :3]
    if colour >= 4:
        rgb = on_white(rgb, expected[..., -1])
    body = png(samples, depth, colour, interlaced=interlaced)
    assert np.abs(shown(body) - rgb.astype(float)).max() <= 1
    assert np.array_equal(decode_pixels(body, 11), shown(body))


@pytest.mark.parametrize(("colour", "depth"), [kind for kind in KINDS if kind[0] in (0, 2)])
def test_png_with_one_transparent_colour(colour: int, depth: int) -> None:
    samples = rng.integers(0, 2**depth, (11, 13, CHANNELS[colour]), np.uint16)
    samples[2:5, 3:7] = key = samples[0, 0]
    samples[6, 6] = key ^ 1  # of 16 bits, one that differs in the lowest alone is another colour
    expected = eight(samples, depth)
    rgb = np.broadcast_to(expected, (11, 13, 3)).copy()
    is_clear = (samples == key).all(2)
    assert not is_clear[6, 6]
    rgb[is_clear] = 255
    assert np.array_equal(shown(png(samples, depth, colour, chunk(b"tRNS", key.astype(">u2").tobytes()))), rgb)
    damaged = chunk(b"tRNS", key.astype(">u2").tobytes(), right=False)
    assert np.array_equal(shown(png(samples, depth, colour, damaged)), np.broadcast_to(expected, (11, 13, 3)))


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
@pytest.mark.parametrize("alpha", ["none", "one", "some"])
def test_png_with_a_palette(depth: int, alpha: str) -> None:
    palette = rng.integers(0, 256, (2**depth, 3), np.uint8)
    clear = np.full(2**depth, 255, np.uint8)
    if alpha != "none":
        clear[: 1 if alpha == "one" else -(-(2**depth) // 2)] = 0 if alpha == "one" else 77
    samples = rng.integers(0, 2**depth, (11, 13, 1), np.uint16)
    more = [chunk(b"PLTE", palette.tobytes()), *([chunk(b"tRNS", clear.tobytes())] if alpha != "none" else [])]
    expected = on_white(palette[samples[..., 0]], clear[samples[..., 0]])
    assert np.abs(shown(png(samples, depth, 3, *more)) - expected).max() <= 1


NOISE = bytes(range(256)) * 5_000  # 1.28 MB, which compresses to 5 kB


@pytest.mark.parametrize(
    "extra",
    [
        chunk(b"tEXt", b"Comment\0hello", right=False),
        chunk(b"pHYs", struct.pack(">IIB", 2835, 2835, 1), right=False),
        chunk(b"zTXt", b"prompt\0\0" + zlib.compress(NOISE)),
        chunk(b"iTXt", b"prompt\0\1\0\0\0" + zlib.compress(NOISE)),
        chunk(b"iCCP", b"profile\0\0" + zlib.compress(NOISE * 4)),
        chunk(b"iCCP", b"profile\0\0" + b"junk"),
        chunk(b"eXIf", b"junk", right=False),
        chunk(b"acTL", struct.pack(">II", 9, 0), right=False),
        chunk(b"tEXt", b"a\0" + NOISE),
        chunk(b"tEXt", b"a\0b") * 30_000,
        chunk(b"gAMA", b""),
        chunk(b"pHYs", b"short"),
        chunk(b"sRGB", b"\x09"),
        chunk(b"cHRM", b"\0" * 7),
        chunk(b"prIv", b"\0" * 70_000),
    ],
)
def test_what_lies_beside_a_pngs_pixels_changes_none(extra: bytes) -> None:
    body = encode(quarters(), "PNG")
    assert np.array_equal(shown(body[:33] + extra + body[33:]), quarters())


def test_a_png_has_the_rows_that_are_there() -> None:
    samples = rng.integers(0, 256, (50, 20, 3), np.uint16)
    data = zlib.compress(raw(samples, 8, False))
    for whole in (
        png(samples, 8, 2)[:-12],  # no end
        png(samples, 8, 2)[:-16],  # nor the pixels' checksum
        png(samples, 8, 2)[:-20],  # nor that of the compressed stream
        png(samples, 8, 2) + b"junk",
        png(samples, 8, 2, data=data[:-4] + b"\0\0\0\0"),
        png(samples, 8, 2, data=zlib.compress(raw(samples, 8, False) + b"more than there is")),
        png(samples, 8, 2, data=data[:99]).replace(chunk(b"IEND", b""), chunk(b"IDAT", data[99:], right=False)),
    ):
        assert np.array_equal(shown(whole), samples)
    stored = png(samples, 8, 2, data=zlib.compress(raw(samples, 8, False), 0))
    missing = refusal(stored[: stored.index(b"IDAT") + 4 + 7 + 30 * 61 + 5])
    assert (missing.reason, str(missing)) == ("image_truncated", "its pixels end too early: 20 of 50 rows are missing")
    tangled = png(samples, 8, 2, interlaced=True, data=zlib.compress(raw(samples, 8, True), 0))
    assert "bytes are missing" in str(refusal(tangled[:2_000]))
    head = bytearray(png(samples, 8, 2))
    head[17] ^= 1
    assert str(refusal(bytes(head))) == "its chunk IHDR at byte 8 is damaged"

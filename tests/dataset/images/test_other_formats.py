"""WebP, AVIF, GIF, BMP and HEIC: the pixels that the standards say."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from PIL import Image

from dataset.images import sniff
from tests.dataset.images.files import (
    HEIC,
    encode,
    on_white,
    quarters,
    refusal,
    rng,
    shown,
)


def test_webp_without_loss_and_avif() -> None:
    rgba = np.dstack([quarters(), rng.integers(0, 256, (48, 64), np.uint8)])
    assert np.array_equal(shown(encode(quarters(), "WEBP", lossless=True)), quarters())
    expected = on_white(rgba[..., :3], rgba[..., 3])
    assert np.abs(shown(encode(rgba, "WEBP", lossless=True, exact=True)) - expected).max() <= 1
    assert np.abs(shown(encode(rgba, "WEBP", quality=95, alpha_quality=100)) - expected).mean() < 4
    assert np.abs(shown(encode(quarters(), "AVIF", quality=95)).astype(int) - quarters()).mean() < 4
    assert np.abs(shown(encode(rgba, "AVIF", quality=100)) - expected).mean() < 4
    grey = quarters().mean(2).astype(np.uint8)
    assert np.abs(shown(encode(grey, "AVIF", quality=95)).astype(int) - grey[..., None]).mean() < 2


@pytest.mark.parametrize("colours", [2, 4, 16, 256])
@pytest.mark.parametrize("interlace", [0, 1])
@pytest.mark.parametrize("clear", [None, 1])
def test_gif(colours: int, interlace: int, clear: int | None) -> None:
    indices = rng.integers(0, colours, (11, 13), np.uint8)
    palette = rng.integers(0, 256, (colours, 3), np.uint8)
    image = Image.fromarray(indices, "P")
    image.putpalette(palette.tobytes())
    expected = palette[indices].copy()
    if clear is not None:
        expected[indices == clear] = 255
    options = {} if clear is None else {"transparency": clear}
    body = encode(image, "GIF", interlace=interlace, optimize=False, comment=b"a comment", **options)
    assert np.array_equal(shown(body), expected)
    assert np.array_equal(shown(body[:-1]), expected)  # without its end
    wide = bytearray(body)
    wide[6:8] = struct.pack("<H", 20)  # a canvas that the frame leaves open
    frame = wide.index(b",", 13 + 3 * 2 ** ((wide[10] & 7) + 1) + 8 * (clear is not None))
    canvas = np.full((11, 20, 3), 255, np.uint8)
    canvas[:, 4:17] = expected
    if wide[frame + 5 : frame + 9] == struct.pack("<HH", 13, 11):
        wide[frame + 1 : frame + 3] = struct.pack("<H", 4)
        assert np.array_equal(shown(bytes(wide)), canvas)


def bmp(rows: bytes, width: int, height: int, bits: int, palette: bytes = b"") -> bytes:
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, 0, 0, 2835, 2835, len(palette) // 4, 0)
    return b"BM" + struct.pack("<IHHI", 54 + len(palette) + len(rows), 0, 0, 54 + len(palette)) + head + palette + rows


@pytest.mark.parametrize("upside", [1, -1])
@pytest.mark.parametrize("bits", [1, 4, 8, 16, 24, 32])
def test_bmp(bits: int, upside: int) -> None:
    height, width = 5, 7
    palette = b""
    if bits <= 8:
        table = rng.integers(0, 256, (2**bits, 3), np.uint8)
        palette = b"".join(bytes([*colour[::-1], 0]) for colour in table)
        indices = rng.integers(0, 2**bits, (height, width), np.uint8)
        expected = table[indices].astype(int)
        digits = (indices[..., None] >> np.arange(bits - 1, -1, -1)) & 1
        rows = [np.packbits(row.reshape(-1)).tobytes() for row in digits]
    elif bits == 16:
        fives = rng.integers(0, 32, (height, width, 3))
        expected = fives * 255 // 31
        rows = [(row @ [1024, 32, 1]).astype("<u2").tobytes() for row in fives]
    else:
        expected = rng.integers(0, 256, (height, width, 3))
        extra = np.zeros((height, width, bits // 8 - 3), int)  # of 32 bits, eight that say nothing
        rows = [row.astype(np.uint8).tobytes() for row in np.concatenate([expected[..., ::-1], extra], 2)]
    whole = b"".join(row + bytes(-len(row) % 4) for row in rows[::-upside])
    body = bmp(whole, width, upside * height, bits, palette)
    assert np.abs(shown(body) - expected).max() <= 1
    filling = -len(rows[0]) % 4
    assert np.abs(shown(body[: len(body) - filling]) - expected).max() <= 1  # what fills up the last row is no pixel
    cut = refusal(body[: len(body) - len(whole) // height - filling - 1])
    assert (cut.reason, str(cut)) == ("image_truncated", "its pixels end too early: 2 of 5 rows are missing")


def test_heic() -> None:
    """A file by libheif's encoder: quarters()."""
    pytest.importorskip("pi_heif")
    assert sniff(HEIC) == "HEIF"
    assert np.abs(shown(HEIC).astype(int) - quarters()).mean() < 8
    assert refusal(HEIC[:-30]).args[0] == "it ends too early: 30 of 217 bytes are missing"
    width = HEIC.index(b"clap") + 7  # the last byte of what its clean aperture says of it
    other = HEIC[:width] + b"\x50" + HEIC[width + 1 :]
    assert refusal(other).args[0] == "it has 64 x 48 pixels, but says 80 x 48"


def test_a_webp_and_an_avif_that_are_cut_off_say_how_much_is_missing() -> None:
    for kind in ("WEBP", "AVIF"):
        body = encode(quarters(), kind, quality=95)
        cut = refusal(body[:-20])
        assert cut.reason == "image_truncated"
        assert str(cut).startswith("it ends too early: ") and str(cut).endswith(" bytes are missing")
    body = encode(quarters(), "WEBP", quality=95, exif=b"Exif\0\0II*\0" + bytes(100))
    assert np.array_equal(shown(body[:-50]), shown(body))  # it is not of the pixels

"""Whatever format, depth, palette, transparency, colour profile or orientation a file has, its pixels are those that
the standards say: held against files that are written here, sample by sample."""

from __future__ import annotations

import base64
import io
import itertools
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from dataset.images import FORMATS, ImageError, decode, in_srgb, read, sniff, upright
from dataset.shards import DamagedSampleError
from train.data.transforms import decode_pixels

MOST = 10**6
rng = np.random.default_rng(0)


def shown(body: bytes, most: int = MOST) -> np.ndarray:
    """RGB as a browser shows it."""
    image = read(body, most)
    return upright(in_srgb(decode(image), image.profile), image.orientation)


def refusal(body: bytes, most: int = MOST) -> ImageError:
    with pytest.raises(ImageError) as caught:
        shown(body, most)
    assert str(caught.value) and "0x" not in str(caught.value)
    return caught.value


def encode(image: Image.Image | np.ndarray, kind: str, **options: Any) -> bytes:
    sink = io.BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(sink, kind, **options)
    return sink.getvalue()


def quarters(height: int = 48, width: int = 64) -> np.ndarray:
    """Red, green, blue and white, row by row."""
    pixels = np.full((height, width, 3), 250, np.uint8)
    pixels[: height // 2, : width // 2] = (220, 30, 30)
    pixels[: height // 2, width // 2 :] = (30, 180, 30)
    pixels[height // 2 :, : width // 2] = (30, 30, 220)
    return pixels


# PNG, by hand


def chunk(kind: bytes, data: bytes, *, right: bool = True) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data) ^ (not right))


def packed(samples: np.ndarray, depth: int) -> bytes:
    """Rows of samples, uint16 of shape (height, width, channels), as PNG stores them before compression."""
    flat = samples.reshape(len(samples), -1)
    if depth == 16:
        rows = [row.astype(">u2").tobytes() for row in flat]
    else:
        bits = (flat[..., None] >> np.arange(depth - 1, -1, -1)) & 1
        rows = [np.packbits(row.reshape(-1).astype(np.uint8)).tobytes() for row in bits]
    return b"".join(b"\0" + row for row in rows)


PASSES = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))


def raw(samples: np.ndarray, depth: int, interlaced: bool) -> bytes:
    if not interlaced:
        return packed(samples, depth)
    parts = [samples[top::down, left::right] for top, left, down, right in PASSES]
    return b"".join(packed(part, depth) for part in parts if part.size)


def png(
    samples: np.ndarray, depth: int, colour: int, *more: bytes, interlaced: bool = False, data: bytes = b""
) -> bytes:
    """A file of samples, uint16 of shape (height, width, channels); `more` are chunks before its pixels."""
    head = struct.pack(">IIBBBBB", samples.shape[1], samples.shape[0], depth, colour, 0, 0, interlaced)
    data = data or zlib.compress(raw(samples, depth, interlaced))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + b"".join(more) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def eight(samples: np.ndarray, depth: int) -> np.ndarray:
    """Samples as bytes."""
    return (samples >> 8 if depth == 16 else samples * 255 // (2**depth - 1)).astype(np.uint8)


def on_white(colour: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """RGB, with an alpha of 0 to 255 of shape (height, width)."""
    share = alpha[..., None] / 255
    return colour * share + 255 * (1 - share)


CHANNELS = {0: 1, 2: 3, 4: 2, 6: 4}
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


# Orientation

TURNS = {
    1: lambda image: image,
    2: lambda image: image[:, ::-1],
    3: lambda image: image[::-1, ::-1],
    4: lambda image: image[::-1],
    5: lambda image: image.transpose(1, 0, 2),
    6: lambda image: image.transpose(1, 0, 2)[:, ::-1],
    7: lambda image: image[::-1, ::-1].transpose(1, 0, 2),
    8: lambda image: image.transpose(1, 0, 2)[::-1],
}
"""What a viewer does, by EXIF's number (EXIF 2.3, section 4.6.4, as its figures show it)."""


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF"])
@pytest.mark.parametrize("value", range(11))
def test_an_orientation_of_exif_is_applied_and_one_that_is_none_is_not(kind: str, value: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = value
    if kind == "AVIF" and value not in TURNS:
        return  # nobody can write it: the container has turns of its own
    body = encode(quarters(), kind, exif=exif, quality=95)
    expected = TURNS.get(value, TURNS[1])(quarters())
    assert shown(body).shape == expected.shape
    assert np.abs(shown(body).astype(int) - expected).mean() < 6


@pytest.mark.parametrize("order", ["<", ">"])
def test_exif_is_read_as_browsers_read_it(order: str) -> None:
    def tiff(*entries: tuple[int, int, int, int], first: int = 8) -> bytes:
        packed_ = b"".join(struct.pack(f"{order}HHIHH", *entry, 0) for entry in entries)
        mark = b"II*\0" if order == "<" else b"MM\0*"
        return (
            mark + struct.pack(f"{order}I", first) + bytes(first - 8) + struct.pack(f"{order}H", len(entries)) + packed_
        )

    def turned(data: bytes) -> bool:
        body = encode(quarters(), "JPEG", quality=95)
        segments = b"".join(b"\xff\xe1" + struct.pack(">H", 2 + 6 + len(part)) + b"Exif\0\0" + part for part in [data])
        return shown(body[:2] + segments + body[2:]).shape[0] == 64

    assert turned(tiff((0x0112, 3, 1, 6)))
    assert turned(tiff((0x010F, 2, 4, 0), (0x0112, 3, 1, 8), first=30))
    assert not turned(tiff((0x0112, 4, 1, 6)))  # a long number
    assert not turned(tiff((0x0112, 3, 2, 6)))  # two of them
    assert not turned(tiff((0x0112, 3, 1, 9)))
    assert not turned(tiff((0x0112, 3, 1, 6))[:-6])
    assert not turned(tiff((0x0112, 3, 1, 6), first=8)[:6])
    assert not turned(b"II*\0\xff\xff\xff\xff" + b"x" * 20)


def test_xmp_and_text_turn_nothing() -> None:
    xmp = (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        b'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>'
    )
    exif = Image.Exif()
    exif[0x0112] = 6
    text = PngImagePlugin.PngInfo()
    text.add_itxt("XML:com.adobe.xmp", xmp.decode())
    text.add_text("Raw profile type exif", f"\nexif\n{len(exif.tobytes()):8d}\n{exif.tobytes().hex()}\n", zip=True)
    for body in (
        encode(quarters(), "JPEG", xmp=xmp),
        encode(quarters(), "PNG", pnginfo=text),
        encode(quarters(), "WEBP", xmp=xmp),
    ):
        assert shown(body).shape == (48, 64, 3)


# Colour profiles


def profile(space: bytes, gamma: int = 256) -> bytes:
    """An ICC profile (version 2) with sRGB's primaries and a plain power as its curve; 256 is 1."""

    def xyz(*values: float) -> bytes:
        return b"XYZ \0\0\0\0" + b"".join(struct.pack(">i", round(value * 65536)) for value in values)

    curve = b"curv\0\0\0\0\0\0\0\1" + struct.pack(">H", gamma)
    tags = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", 2) + b"p\0" + bytes(78),
        b"cprt": b"text\0\0\0\0none\0",
        b"wtpt": xyz(0.9642, 1, 0.8249),
    }
    if space == b"GRAY":
        tags[b"kTRC"] = curve
    else:
        primaries = ((0.4361, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7141))
        tags |= {name: xyz(*values) for name, values in zip((b"rXYZ", b"gXYZ", b"bXYZ"), primaries, strict=True)}
        tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    at, table, data = 128 + 4 + 12 * len(tags), b"", b""
    for name, content in tags.items():
        table += name + struct.pack(">II", at + len(data), len(content))
        data += content + bytes(-len(content) % 4)
    head = bytes(4) + bytes(4) + b"\2\x10\0\0" + b"mntr" + space + b"XYZ " + bytes(12) + b"acsp" + bytes(28)
    head += struct.pack(">iii", 63190, 65536, 54061)
    whole = head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + data
    return struct.pack(">I", len(whole)) + whole[4:]


def from_linear(values: np.ndarray) -> np.ndarray:
    """sRGB's curve (IEC 61966-2-1)."""
    share = values / 255
    return 255 * np.where(share <= 0.0031308, 12.92 * share, 1.055 * share ** (1 / 2.4) - 0.055)


def test_colour_profiles_are_applied_and_those_that_do_not_fit_are_not() -> None:
    linear, grey = profile(b"RGB "), quarters().mean(2).astype(np.uint8)
    for kind in ("JPEG", "PNG", "WEBP", "AVIF"):
        body = encode(quarters(), kind, quality=100, icc_profile=linear)
        assert np.abs(shown(body) - from_linear(quarters())).mean() < 5, kind
        for bad in (profile(b"GRAY"), linear[:200], b"junk" * 50):
            body = encode(quarters(), kind, quality=100, icc_profile=bad)
            assert np.abs(shown(body).astype(int) - quarters()).mean() < 5, kind
    for kind in ("JPEG", "PNG"):
        body = encode(grey, kind, icc_profile=profile(b"GRAY"), quality=100)
        assert np.abs(shown(body) - from_linear(grey)[..., None]).mean() < 2, kind
    veiled = np.dstack([grey, np.full_like(grey, 255)])
    body = encode(Image.fromarray(veiled, "LA"), "PNG", icc_profile=profile(b"GRAY"))
    assert np.abs(shown(body) - from_linear(grey)[..., None]).mean() < 2
    grey16 = chunk(b"iCCP", b"p\0\0" + zlib.compress(profile(b"GRAY")))
    body = png(grey.astype(np.uint16)[..., None] * 257, 16, 0, grey16)
    assert np.abs(shown(body) - from_linear(grey)[..., None]).mean() < 2


# The other formats


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


HEIC = base64.b64decode(
    """
AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAX1tZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAAAAAA
ACJpbG9jAAAAAERAAAEAAQAAAAABoQABAAAAAAAAANEAAAAjaWluZgAAAAAAAQAAABVpbmZlAgAAAAABAABodmMxAAAAAA5waXRt
AAAAAAABAAAA/WlwcnAAAADdaXBjbwAAAHZodmNDAQNwAAAAkAAAAAAAHvAA/P34+AAADwNgAAEAGEABDAH//wNwAAADAJAAAAMA
AAMAHroCQGEAAQAqQgEBA3AAAAMAkAAAAwAAAwAeoCCBBZbq5Ka5uAhoMCAAAAMDIAAAAwAhYgABAAZEAcFzwIkAAAATY29scm5j
bHgAAQANAAaAAAAAFGlzcGUAAAAAAAAAQAAAAEAAAAAoY2xhcAAAAEAAAAABAAAAMAAAAAEAAAAAAAAAAv////AAAAACAAAAEHBp
eGkAAAAAAwgICAAAABhpcG1hAAAAAAAAAAEAAQWBAgMFhAAAANltZGF0AAAAzSgBrwngITip//It3/8THZe5lyeVp79Y//0Qb70N
b/4im3R+jwmjDvl7/Lo/+VVetkZKaj/+cll41onNQ9gZYDnfjdCmiTsxDOSmSMgpshisjmABDbq0i2IWk2ESRwqGFOuq6OsTS5ma
DDl34LTqDSkj2dDtyIfJMYwOu36BwB5D9/2XrTv0G5s3in7UXZSW1hijrGWGaoJNnKUttQzM4CJiTBwkLk3T37epOJ4nCpIjlaeq
9f0uDN30HK2gsJ/Voqu8xWW2RXNGj3wK0f0=
    """
)


def test_heic() -> None:
    """A file by libheif's encoder: quarters()."""
    pytest.importorskip("pi_heif")
    assert sniff(HEIC) == "HEIF"
    assert np.abs(shown(HEIC).astype(int) - quarters()).mean() < 8
    assert refusal(HEIC[:-30]).args[0] == "it ends too early: 30 of 217 bytes are missing"


# Damage, and what lies beside the pixels


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


def test_what_a_file_is_cut_into_is_bounded() -> None:
    png_, gif_, webp_ = BODIES["PNG"], BODIES["GIF"], BODIES["WEBP"]
    assert "more than 200,000 chunks" in str(refusal(png_[:33] + chunk(b"eXIf", b"") * 200_001 + png_[33:]))
    assert "more than 500,000 blocks" in str(refusal(gif_[:-1] + b"!\xfe" + b"\1a" * 500_001 + b"\0;"))
    assert "more than 10,000 chunks" in str(refusal(webp_[:12] + b"ABCD\0\0\0\0" * 10_001 + webp_[12:]))
    jpeg = BODIES["JPEG"]
    assert "more than 20,000 segments" in str(refusal(jpeg[:-2] + b"\xff\xe1\0\2" * 20_001 + jpeg[-2:]))
    for filled in (jpeg[:2] + b"\xff" * 10**6 + jpeg[2:], jpeg[:-2] + b"\xff\xd0" * 10**6 + jpeg[-2:]):
        assert np.array_equal(shown(filled), shown(jpeg))


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


def test_what_lies_beside_a_jpegs_pixels_changes_none() -> None:
    body = encode(quarters(), "JPEG", quality=95, progressive=True)
    expected = shown(body)
    exif = b"\xff\xe1\x00\x0aExif\0\0xx"
    for extra in (
        exif * 19_000,
        b"\xff\xfe\xff\xff" + bytes(65_533),
        b"\xff\xe2\x00\x12ICC_PROFILE\0\1\2ab",
        b"\xff" * 99,
    ):
        assert np.array_equal(shown(body[:2] + extra + body[2:]), expected)
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


def test_a_webp_and_an_avif_that_are_cut_off_say_how_much_is_missing() -> None:
    for kind in ("WEBP", "AVIF"):
        body = encode(quarters(), kind, quality=95)
        cut = refusal(body[:-20])
        assert cut.reason == "image_truncated"
        assert str(cut).startswith("it ends too early: ") and str(cut).endswith(" bytes are missing")
    body = encode(quarters(), "WEBP", quality=95, exif=b"Exif\0\0II*\0" + bytes(100))
    assert np.array_equal(shown(body[:-50]), shown(body))  # it is not of the pixels


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP"])
def test_too_many_pixels_are_refused_before_they_are_decoded(kind: str) -> None:
    body = encode(quarters(), kind)
    assert shown(body, 48 * 64).shape == (48, 64, 3)
    assert str(refusal(body, 48 * 64 - 1)) == "64 x 48"


@settings(max_examples=120, deadline=None)
@given(st.sampled_from(sorted(FORMATS)), st.data())
def test_no_damage_raises_anything_else(kind: str, data: st.DataObject) -> None:
    bodies = {"HEIF": HEIC, "AVIF": AVIF} | {name: BODIES[name] for name in BODIES}
    body = bytearray(bodies[kind])
    for _ in range(data.draw(st.integers(0, 6))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    for damaged in (bytes(body), bytes(body[: data.draw(st.integers(0, len(body)))])):
        try:
            pixels = shown(damaged)
        except ImageError as error:
            assert str(error)
        else:
            assert pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3


BODIES = {kind: encode(quarters(), kind) for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP")}
AVIF = encode(quarters(), "AVIF")


def test_animations_are_known_and_their_first_frame_is_decoded() -> None:
    frames = [Image.new("RGB", (40, 30), colour) for colour in ("red", "blue")]
    for kind, options in itertools.product(("GIF", "PNG", "WEBP", "AVIF"), ({}, {"duration": 100})):
        body = encode(frames[0], kind, save_all=True, append_images=frames[1:], **options)
        assert read(body, MOST).is_animated
        assert np.abs(shown(body).astype(int) - (255, 0, 0)).mean() < 4
        assert not read(encode(frames[0], kind, save_all=True), MOST).is_animated
    own = chunk(b"acTL", struct.pack(">II", 1, 0))
    for more, is_animated in (
        (own + chunk(b"fcTL", bytes(26)), False),  # the image is its only frame
        (own, True),  # the only frame is another image
        (own + own, False),
        (chunk(b"acTL", struct.pack(">II", 0, 0)), False),
        (chunk(b"acTL", struct.pack(">II", 2**32 - 1, 0)), False),
    ):
        body = encode(quarters(), "PNG")
        assert read(body[:33] + more + body[33:], MOST).is_animated == is_animated

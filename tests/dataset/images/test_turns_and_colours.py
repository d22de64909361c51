"""Orientation and colour profiles are applied as browsers apply them."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from tests.dataset.images.files import (
    chunk,
    encode,
    png,
    quarters,
    shown,
)

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

"""Files of any format that are damaged, cut into pieces, too large or animated."""

from __future__ import annotations

import itertools
import struct
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dataset.images import FORMATS, ImageError, read
from dataset.images.heif_items import check_items
from tests.dataset.images.boxes import boxed, frames, overlay
from tests.dataset.images.files import (
    AVIF,
    BODIES,
    HEIC,
    MOST,
    chunk,
    encode,
    quarters,
    refusal,
    shown,
)


def test_what_a_file_is_cut_into_is_bounded() -> None:
    png_, gif_, webp_ = BODIES["PNG"], BODIES["GIF"], BODIES["WEBP"]
    parts = png_[:33] + chunk(b"IDAT", b"") * 200_001 + png_[33:]
    assert "more than 200,000 parts of its pixels" in str(refusal(parts))
    assert "more than 500,000 blocks" in str(refusal(gif_[:-1] + b"!\xfe" + b"\1a" * 500_001 + b"\0;"))
    at = 13 + (gif_[10] >> 7) * 3 * 2 ** ((gif_[10] & 7) + 1)  # behind the colours
    empty = gif_[:at] + b"!\xfe\0" * 500_001 + gif_[at:]
    assert "more than 500,000 blocks" in str(refusal(empty))
    for body in (AVIF, HEIC):
        start = int.from_bytes(body[:4], "big")
        many = body[:start] + b"\0\0\0\x08free" * 10_001 + body[start:]
        assert "more than 10,000 boxes" in str(refusal(many))
    texts = png_[:33] + (chunk(b"tEXt", b"a\0b") + chunk(b"eXIf", b"")) * 150_000 + png_[33:]
    assert np.array_equal(shown(texts), quarters())
    unknown = b"".join(number.to_bytes(4, "big") + bytes(4) for number in range(2**28, 2**28 + 50_000))
    assert np.array_equal(shown(webp_[:12] + unknown + webp_[12:]), shown(webp_))
    colours = 54 + 4 * 256
    heads = struct.pack("<IHHIIiiHHIIiiII", 0, 0, 0, colours, 40, 99, 99, 1, 8, 1, 0, 0, 0, 0, 0)
    runs = (b"BM" + heads).ljust(colours, b"\0") + b"\1\0" * 2**22
    assert "more than 8,388,608 bytes of runs" in str(refusal(runs))
    jpeg = BODIES["JPEG"]
    assert "more than 500,000 segments, the most that are read" in str(
        refusal(jpeg[:-2] + b"\xff\xe1\0\2" * 500_001 + jpeg[-2:])
    )
    for filled in (jpeg[:2] + b"\xff" * 10**6 + jpeg[2:], jpeg[:-2] + b"\xff\xd0" * 10**6 + jpeg[-2:]):
        assert np.array_equal(shown(filled), shown(jpeg))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP"])
def test_too_many_pixels_are_refused_before_they_are_decoded(kind: str) -> None:
    body = encode(quarters(), kind)
    assert shown(body, 48 * 64).shape == (48, 64, 3)
    assert str(refusal(body, 48 * 64 - 1)) == "64 x 48"


def places(items: int, pieces: int, length: int, version: int = 1) -> bytes:
    """An `iloc` box: of each item as many pieces of the file's beginning."""
    wide = 4 if version == 2 else 2
    item = bytes(wide + 2 + 2) + pieces.to_bytes(2, "big") + struct.pack(">II", 0, length) * pieces
    content = bytes((version, 0, 0, 0, 0x44, 0)) + items.to_bytes(wide, "big") + item * items
    return boxed(b"iloc", content)


@pytest.mark.parametrize("body", [HEIC, AVIF], ids=["HEIC", "AVIF"])
@pytest.mark.parametrize("kind", [b"trak", b"moov", b"meta"])
@pytest.mark.parametrize(
    ("named", "words"),
    [
        (places(60_000, 1, 100), "items"),  # each of which is looked for among all others
        (places(3_000, 1, 100, version=2), "items"),
        (places(1, 4_000, 100), "pieces of items"),
        (places(30, 30, 2**20), "bytes of items"),  # each is copied
        (places(60, 1, 0), None),  # all of a small file
        (places(64, 1, 100_000), None),  # the equal tiles of a grid, which encoders store once
        (places(900, 1, 1_000), None),
        (boxed(b"iinf", bytes(2**17 + 1)), "bytes of iinf"),  # by which items are made, too
        (boxed(b"iref", bytes(20_000)) * 2, "bytes of iref"),
        (boxed(b"iprp", boxed(b"ipma", bytes(40_000))), "bytes of ipma"),
        (boxed(b"iprp", boxed(b"ipco", bytes(2**20))), None),
    ],
)
def test_an_image_of_thousands_of_items_is_not_given_to_a_decoder(
    body: bytes, kind: bytes, named: bytes, words: str | None
) -> None:
    meta = boxed(b"meta", bytes(4) + named)
    box = {b"meta": meta, b"moov": boxed(b"moov", meta), b"trak": boxed(b"moov", boxed(b"trak", meta))}[kind]
    if words is None:
        check_items(body + box, MOST)
    else:
        assert words in str(refusal(body + box))


def test_frames_that_are_not_shown_are_counted_before_one_is_decoded() -> None:
    """A hundred frames of 62 million pixels are 80 KB, and take 15 s of CPU."""
    assert shown(frames(4), 64 * 64).shape == (64, 64, 3)
    words = "to show one of its parts costs as much as 69,632 pixels of AV1, more than 16 times 4,096"
    assert str(refusal(frames(17), 64 * 64)) == words
    assert "more than 10,000 units of AV1" in str(refusal(frames(6_000)))
    assert str(refusal(frames(1, 512, 64), 64 * 64)) == "512 x 512"  # whatever its container says


@pytest.mark.parametrize(("count", "deep", "is_too_much"), [(2, 1, False), (3, 1, True), (1, 2, False), (1, 3, True)])
def test_an_image_made_of_one_time_and_again_counts_each_time(count: int, deep: int, is_too_much: bool) -> None:
    """Twenty times the same 62 million pixels are 39 KB, and take 22 s of CPU."""
    body, pixels = overlay(count, deep), 64 * 64  # of which its container shows 64 x 48
    if is_too_much:
        with pytest.raises(ImageError, match="to show one of its parts costs as much"):
            check_items(body, pixels)
    else:
        check_items(body, pixels)


def test_whatever_a_box_says_of_items_is_no_error_of_ours() -> None:
    for body in (overlay(4, 2), frames(2)):
        for at in range(body.index(b"meta"), body.rindex(b"mdat")):
            for value in (0, 1, 127, 255):
                with suppress(ImageError):
                    check_items(body[:at] + bytes((value,)) + body[at + 1 :], MOST)


@pytest.mark.parametrize("body", [HEIC, AVIF], ids=["HEIC", "AVIF"])
@pytest.mark.parametrize("kinds", [(b"moov", b"trak"), (b"moov", b"moov"), (b"meta", b"meta")])
def test_boxes_in_boxes_in_boxes_are_looked_at_as_deep_as_a_decoder_looks(
    body: bytes, kinds: tuple[bytes, bytes]
) -> None:
    deep = 5_000
    nested = b"".join(struct.pack(">I4s", 8 * (deep - level), kinds[level % 2]) for level in range(deep))
    check_items(body + nested, MOST)
    with suppress(ImageError):  # what a decoder says of them
        assert shown(body + nested, 48 * 64).shape == (48, 64, 3)


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

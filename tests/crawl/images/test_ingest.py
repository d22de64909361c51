import hashlib
import io
import struct
from typing import Any

import numpy as np
import pytest
import simplejpeg
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from crawl.images.ingest import ImageConfig, ingest
from crawl.images.observations import Ingested, RefusedBody
from dataset.images import sniff
from tests.crawl.hostile_images import animation, picture, png_bomb

PDQ = bytes(range(32))
seen: list[tuple[int, ...]] = []


def fingerprint(pixels: np.ndarray) -> tuple[bytes, int]:
    assert pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3
    seen.append(pixels.shape)
    return PDQ, 77


def take(body: bytes, listed: Any = lambda body, pdq: None, **options: Any) -> Ingested | RefusedBody:
    return ingest(body, ImageConfig(**options), fingerprint, listed)


def accept(body: bytes, **options: Any) -> Ingested:
    result = take(body, **options)
    assert isinstance(result, Ingested), result
    return result


def refuse(body: bytes, **options: Any) -> str:
    result = take(body, **options)
    assert isinstance(result, RefusedBody), result
    assert result.detail
    return result.outcome


def decode(body: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(body))
    image.load()
    return image


def encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def test_a_large_image_is_reduced_to_its_shorter_side() -> None:
    body = picture(size=(900, 600))
    image = accept(body)
    assert (image.original_width, image.original_height, image.width, image.height) == (900, 600, 384, 256)
    assert decode(image.body).size == (384, 256)
    assert image.sha256 == hashlib.sha256(body).digest()
    assert (image.media_type, image.pdq, image.pdq_quality) == ("image/jpeg", PDQ, 77)
    assert max(abs(a - b) for a, b in zip(image.mean_rgb, np.asarray(decode(body)).mean((0, 1)), strict=True)) <= 2


def test_a_size_of_which_a_jpeg_decoder_knows_the_half_is_reduced_too() -> None:
    image = accept(picture(size=(512, 512)))
    assert decode(image.body).size == (image.width, image.height) == (256, 256)


def test_a_small_image_keeps_its_size_and_a_plain_jpeg_its_bytes() -> None:
    body = picture()
    assert accept(body).body == body
    assert accept(picture(kind="PNG")).body[:3] == b"\xff\xd8\xff"


def test_store_size_zero_keeps_every_size() -> None:
    body = picture(size=(900, 600))
    assert accept(body, store_size=0).body == body
    assert accept(body, store_size=0).width == 900
    assert accept(body, store_size=64).height == 64


def test_fingerprints_are_taken_of_at_most_512_pixels() -> None:
    seen.clear()
    accept(picture(size=(900, 600)), store_size=0)
    accept(picture(size=(2000, 300)))
    assert all(max(shape) <= 512 for shape in seen)


def test_webp_may_be_stored() -> None:
    body = picture(kind="WEBP")
    assert accept(body, store_format="webp").body == body
    assert sniff(accept(picture(), store_format="webp").body) == "WEBP"
    assert accept(picture(kind="WEBP", exif=b"Exif\0\0II*\0"), store_format="webp").body == body
    assert accept(picture(kind="WEBP", exif=b"Exif\0\0II*\0") + b"more", store_format="webp").body == body


def test_quality_is_the_encoder_s() -> None:
    body = picture(kind="PNG")
    assert len(accept(body, quality=30).body) < len(accept(body, quality=95).body)


def test_the_same_body_gives_the_same_bytes() -> None:
    for kind in ("JPEG", "PNG", "WEBP", "GIF"):
        body = picture(3, (700, 500), kind)
        assert take(body) == take(body)


def test_what_a_camera_wrote_is_not_stored() -> None:
    exif = Image.Exif()
    exif[0x010F] = "a camera"
    exif.get_ifd(0x8825)[2] = (52.0, 31.0, 12.0)  # GPS
    plain = decode(picture(quality=95))
    body = encode(plain, "JPEG", exif=exif, comment=b"a secret note", quality=95)
    assert b"a camera" in body and b"a secret note" in body
    stored = accept(body).body
    assert b"a camera" not in stored and b"a secret" not in stored and b"Exif" not in stored
    assert np.array_equal(np.asarray(decode(stored)), np.asarray(decode(body)))  # nothing was encoded anew
    for other in (encode(plain, "PNG", exif=exif), encode(plain, "WEBP", exif=exif)):
        assert b"a camera" not in accept(other).body


def test_what_hides_behind_or_within_a_jpeg_is_not_stored() -> None:
    body = picture()
    assert accept(body + b"PK\x03\x04 an archive").body == body
    hidden = body[:-2] + b"\xff\xfe\x00\x08secret" + b"\xff\xd9"
    assert b"secret" not in accept(hidden).body


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_is_applied(orientation: int) -> None:
    upright = np.full((40, 60, 3), 255, dtype=np.uint8)
    upright[:20, :30] = (255, 0, 0)  # the upper left quarter is red
    # The inverse of each of EXIF's transformations.
    back = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: upright.transpose(1, 0, 2)[::-1],
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: upright.transpose(1, 0, 2)[:, ::-1],
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = accept(encode(Image.fromarray(np.ascontiguousarray(back)), "JPEG", exif=exif, quality=95))
    assert (image.original_width, image.original_height, image.width, image.height) == (60, 40, 60, 40)
    pixels = np.asarray(decode(image.body)).astype(int)
    assert pixels[5, 5, 1] < 60 and pixels[35, 5, 1] > 200 and pixels[5, 55, 1] > 200


def test_transparency_is_seen_on_white() -> None:
    clear = Image.new("RGBA", (400, 400), (0, 0, 0, 0))
    palette = Image.new("P", (400, 400), 0)
    palette.putpalette([0, 0, 0, 255, 0, 0])
    bodies = [
        encode(clear, "PNG"),
        encode(clear, "WEBP"),
        encode(palette, "GIF", transparency=0),
        encode(palette, "PNG", transparency=0),
        encode(Image.new("LA", (400, 400), (0, 0)), "PNG"),
        encode(Image.new("L", (40, 40), 0), "PNG", transparency=0),
    ]
    for body in bodies:
        assert accept(body).mean_rgb == b"\xff\xff\xff"


def test_every_mode_becomes_rgb() -> None:
    grey16 = Image.fromarray(np.full((30, 40), 0x8000, dtype=np.uint16))
    assert accept(encode(grey16, "PNG")).mean_rgb == b"\x80\x80\x80"
    for mode in ("1", "L", "P", "RGB", "CMYK", "YCbCr"):
        image = Image.new("RGB", (300, 300), "white").convert(mode)
        body = encode(image, "JPEG" if mode in ("CMYK", "YCbCr", "L") else "PNG")
        result = accept(body)
        assert min(result.mean_rgb) >= 253, mode
        assert decode(result.body).mode in ("RGB", "L")


def test_a_colour_profile_is_applied_and_not_stored() -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    body = picture(icc_profile=srgb)
    image = accept(body)
    assert b"ICC_PROFILE" in body and b"ICC_PROFILE" not in image.body
    assert np.allclose(list(image.mean_rgb), list(accept(picture()).mean_rgb), atol=1)
    assert accept(picture(icc_profile=b"no profile at all")).mean_rgb == accept(picture()).mean_rgb


def test_what_is_no_image() -> None:
    for body in (
        b"",
        b"<html>",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"%PDF-1.7",
        b"BM but not really",
        b"II*\0",
    ):
        assert refuse(body) == "not_an_image"


def test_damaged_images() -> None:
    for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP"):
        body = picture(size=(300, 200), kind=kind)
        assert refuse(body[: len(body) // 2]) == "image_truncated", kind
        assert refuse(body[:13]) in ("image_truncated", "not_an_image"), kind
    assert refuse(b"\xff\xd8\xff and nothing more") == "image_truncated"


def test_too_many_pixels_are_not_decoded() -> None:
    assert refuse(png_bomb()) == "image_too_many_pixels"
    assert refuse(png_bomb(9_000)) == "image_too_many_pixels"
    assert refuse(picture(), max_pixels=5_399) == "image_too_many_pixels"
    assert isinstance(take(picture(), max_pixels=5_400), Ingested)
    assert refuse(picture(size=(20_000, 2), kind="PNG")) == "image_too_many_pixels"
    webp = bytearray(picture(kind="WEBP", exif=b"Exif\0\0II*\0"))
    webp[24:30] = struct.pack("<I", 16_000)[:3] + struct.pack("<I", 16_000)[:3]
    assert refuse(bytes(webp)) in ("image_too_many_pixels", "image_truncated")


def test_a_progressive_jpeg_of_too_many_scans_is_not_decoded() -> None:
    body = picture(progressive=True)
    assert isinstance(take(body), Ingested)
    first = body.rindex(b"\xff\xda")
    scan = body[first:-2]
    assert refuse(body[:-2] + scan * 100 + b"\xff\xd9") == "image_too_many_pixels"


def test_a_jpeg_that_the_strict_decoder_refuses_is_given_to_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    body = picture(size=(1900, 1600))
    strict = accept(body)

    def refusing(*arguments: Any, **options: Any) -> None:
        raise ValueError("Corrupt JPEG data: 3 extraneous bytes before marker 0xd9")

    monkeypatch.setattr(simplejpeg, "decode_jpeg", refusing)
    lenient = accept(body)
    assert (lenient.width, lenient.height, lenient.mean_rgb) == (strict.width, strict.height, strict.mean_rgb)
    assert refuse(body[: len(body) // 2]) == "image_truncated"


def test_a_grey_jpeg_stays_grey() -> None:
    assert accept(encode(Image.new("L", (600, 600), 90), "JPEG")).mean_rgb == bytes([90] * 3)


def test_what_is_stored_is_near_the_image_that_was_fetched() -> None:
    for kind in ("JPEG", "PNG", "WEBP"):
        for size in ((300, 500), (700, 600), (2_000, 1_500), (257, 3_000)):
            body = picture(5, size, kind, quality=95)
            image = accept(body)
            whole = decode(body).convert("RGB").resize((image.width, image.height), Image.Resampling.LANCZOS)
            assert np.abs(np.asarray(decode(image.body)).astype(int) - np.asarray(whole)).mean() < 3


def test_animations() -> None:
    assert refuse(animation()) == "image_animated"
    frames = [Image.new("RGB", (40, 30), colour) for colour in ("red", "blue")]
    assert refuse(encode(frames[0], "PNG", save_all=True, append_images=frames[1:])) == "image_animated"
    assert refuse(encode(frames[0], "WEBP", save_all=True, append_images=frames[1:])) == "image_animated"
    assert isinstance(take(encode(frames[0], "GIF")), Ingested)
    assert isinstance(take(encode(frames[0], "MPO", save_all=True, append_images=frames[1:])), Ingested)  # a preview


def test_hash_lists_are_asked_before_and_after_decoding() -> None:
    asked: list[bytes | None] = []

    def listed(body: bytes, pdq: bytes | None) -> str | None:
        asked.append(pdq)
        return "pdq" if pdq == PDQ else None

    assert take(picture(), listed) == RefusedBody("hash_list_match", "pdq")
    assert asked == [None, PDQ]
    asked.clear()
    assert refuse(b"not even an image", listed=lambda body, pdq: "md5") == "hash_list_match"


@settings(max_examples=60)
@given(st.sampled_from(["JPEG", "PNG", "WEBP", "GIF", "BMP"]), st.data())
def test_no_damage_raises(kind: str, data: st.DataObject) -> None:
    body = bytearray(picture(kind=kind))
    for _ in range(data.draw(st.integers(1, 8))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(body)))
    for damaged in (bytes(body), bytes(body[:cut])):
        result = take(damaged)
        if isinstance(result, Ingested):
            assert decode(result.body).size == (result.width, result.height)


@pytest.mark.parametrize(
    ("key", "value"), [("max_pixels", 0), ("store_size", -1), ("store_format", "gif"), ("quality", 0), ("quality", 101)]
)
def test_impossible_settings_are_named(key: str, value: Any) -> None:
    with pytest.raises(ValueError, match=key):
        ImageConfig(**{key: value})

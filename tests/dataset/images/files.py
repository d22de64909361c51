"""Image files that are written by hand, and what a browser would show of one."""

from __future__ import annotations

import base64
import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dataset.images import ImageError, decode, in_srgb, read, upright

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


BODIES = {kind: encode(quarters(), kind) for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP")}
AVIF = encode(quarters(), "AVIF")


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

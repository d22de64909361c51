"""HEICs and AVIFs made of boxes that no encoder writes."""

from __future__ import annotations

import struct

from PIL import Image

from tests.dataset.images.files import HEIC, encode


def boxed(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), kind) + content


def frames(count: int, side: int = 64, said: int = 64, **options: object) -> bytes:
    """An AVIF whose item is the same coded image so many times, and says that it is of another size."""
    whole = encode(Image.new("RGB", (side, side)), "AVIF", speed=10, **options)
    at = whole.rindex(b"mdat") + 4
    coded, size = whole[at:], whole.index(b"ispe") + 8
    head = whole[:size] + struct.pack(">II", said, said) + whole[size + 8 : at - 8]
    head = head.replace(struct.pack(">I", len(coded)), struct.pack(">I", len(coded) * count), 1)
    return head + boxed(b"mdat", coded * count)


def overlay(count: int, deep: int) -> bytes:
    """A HEIC that shows its only coded image so many times, below so many layers that each name the next twice."""
    start = int.from_bytes(HEIC[:4], "big")
    place = HEIC.rindex(b"mdat") + 4
    ends = {kind: HEIC.index(kind) - 4 for kind in (b"hvcC", b"ispe")}
    kept = b"".join(HEIC[at : at + int.from_bytes(HEIC[at : at + 4], "big")] for at in ends.values())
    layers, last = range(1, deep + 1), deep + count

    def full(kind: bytes, content: bytes, version: int = 0) -> bytes:
        return boxed(kind, bytes((version, 0, 0, 0)) + content)

    def names(whole: int, parts: list[int]) -> bytes:
        return boxed(b"dimg", struct.pack(f">HH{len(parts)}H", whole, len(parts), *parts))

    parts = [names(layer, [layer + 1] * 2) for layer in layers[:-1]] + [names(deep, [*range(deep + 1, last + 1)])]
    kinds = [b"iovl"] * deep + [b"hvc1"] * count
    described = [full(b"infe", struct.pack(">HH4sB", item, 0, kind, 0), 2) for item, kind in enumerate(kinds, 1)]
    coded = struct.pack(">HHHII", 0, 0, 1, place, len(HEIC) - place)
    placed = [struct.pack(">H", item) + coded for item in range(deep + 1, last + 1)]
    owned = [struct.pack(">HBBB", item, 2, 0x81, 2) for item in range(deep + 1, last + 1)]
    meta = [
        full(b"pitm", b"\0\1"),
        full(b"iinf", struct.pack(">H", last) + b"".join(described)),
        full(b"iref", b"".join(parts)),
        full(b"iloc", struct.pack(">HH", 0x4400, count) + b"".join(one[:4] + one[6:] for one in placed)),
        boxed(b"iprp", boxed(b"ipco", kept) + full(b"ipma", struct.pack(">I", count) + b"".join(owned))),
    ]
    return HEIC[:start] + full(b"meta", b"".join(meta)) + HEIC[place - 8 :]

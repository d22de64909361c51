"""More attacks for `bench.hostile`: texts, pages, heads and images that cost a reader much by their number alone."""

from __future__ import annotations

import io
import json
import struct
import zlib
from collections.abc import Callable
from itertools import repeat

from PIL import Image

from tests.dataset.images.boxes import frames

Page = Callable[[str], list[bytes]]
Make = Callable[..., list[bytes]]


def chunk(kind: bytes, data: bytes) -> bytes:
    """Return a chunk of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(side: int, *more: bytes, rows: int | None = None) -> bytes:
    """Return a grey PNG, black, with other chunks, and so many of its rows."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
    pixels = zlib.compress(bytes((side + 1) * (side if rows is None else rows)))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(more) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def _save(kind: str, mode: str = "RGB") -> bytes:
    file = io.BytesIO()
    Image.new(mode, (64, 64)).save(file, kind)
    return file.getvalue()


def _segment(marker: int, data: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data


def _gif(frames: int, extensions: int) -> bytes:
    whole = _save("GIF", "P")
    position = whole.index(b",", 13)
    return whole[:position] + b"!\xfe\x01a\x00" * extensions + whole[position:-1] + whole[position:-1] * frames + b";"


def _webp(chunks: int) -> bytes:
    canvas = b"VP8X" + struct.pack("<I", 10) + bytes(4) + (63).to_bytes(3, "little") * 2
    body = b"WEBP" + canvas + _save("WEBP")[12:] + (b"abcd" + bytes(4)) * chunks
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _avif(boxes: int, depth: int) -> bytes:
    whole, nested = _save("AVIF"), b""
    for _ in repeat(None, depth):
        nested = struct.pack(">I4s", 8 + len(nested), b"moov") + nested
    position = struct.unpack_from(">I", whole)[0]
    return whole[:position] + struct.pack(">I4s", 8, b"free") * boxes + nested + whole[position:]


def _items(count: int) -> bytes:
    """An AVIF whose references name many items."""
    whole = _save("AVIF")
    start, place = whole.index(b"meta") - 4, whole.index(b"mdat") + 4
    end = start + struct.unpack_from(">I", whole, start)[0]
    references = b"".join(struct.pack(">I4sHHH", 14, b"dimg", item, 1, item + 1) for item in range(1, count))
    more = struct.pack(">I4sI", 12 + len(references), b"iref", 0) + references
    meta = whole[start + 4 : end].replace(struct.pack(">I", place), struct.pack(">I", place + len(more)), 1)
    return whole[:start] + struct.pack(">I", end - start + len(more)) + meta + more + whole[end:]


def _each_of(count: int, make: Callable[[int], bytes], image: Make, kind: str) -> list[bytes]:
    """Records of some images, each of another length, by which they are named."""
    return [record for number in range(count) for record in image(make(number), kind)]


_OBJECT = "itemscope itemtype='https://schema.org/ImageObject'"


def _wide_tags(count: int) -> str:
    """Captions of an image below tags of thousands of attributes."""
    wide = "<div" + "".join(f" a{number}" for number in range(4_000)) + ">"
    return f"<div {_OBJECT}>" + wide * 15 + "<i itemprop=caption>x</i>" * count


def _iptc(picture: bytes) -> bytes:
    """A JPEG whose data sets of IPTC's are empty."""
    resources = b"Photoshop 3.0\0" + b"8BIM\4\4\0\0" + struct.pack(">I", 50_000) + b"\x1c\2\x50\0\0" * 10_000
    return picture[:2] + _segment(0xED, resources) + picture[2:]


def _bmp(runs: int) -> bytes:
    """A BMP of runs of a single pixel."""
    colours = 54 + 4 * 256
    head = struct.pack("<IHHIIiiHHIIiiII", 0, 0, 0, colours, 40, 7_900, 7_900, 1, 8, 1, 0, 0, 0, 0, 0)
    return (b"BM" + head).ljust(colours, b"\0") + b"\1\0" * runs


def _linked_data(count: int) -> str:
    one = {"@type": "ImageObject", "contentUrl": "a.jpg", "caption": "an attack on the reader of linked data"}
    return f"<script type='application/ld+json'>{json.dumps([one] * count)}</script>"


def attacks(picture: bytes, page: Page, image: Make, raw: Make) -> dict[str, Callable[[], list[bytes]]]:
    """Return records by the name of their attack; page, image, raw: what makes records of a body, an image, a
    response.
    """
    shown = "<img src=a.jpg alt='an attack on the reader of pages'>"
    ok = b"HTTP/1.1 200 OK\r\n"
    html = b"Content-Type: text/html\r\n"
    typed = b"Content-Type: text/html; charset=%b\r\n\r\n"
    return {
        "alt of 5 MB": lambda: page(f"<img src=a.jpg alt='{'word ' * 10**6}'>"),
        "entities": lambda: page(f"<img src=a.jpg alt='{'&amp;&#x1F600;&none' * 200_000}'>"),
        "linked data nested": lambda: page(f"<script type='application/ld+json'>{'[' * 200_000}</script>{shown}"),
        "linked data": lambda: page(_linked_data(20_000)),
        "templates": lambda: page("<template>" * 50_000 + shown),
        "foster parents": lambda: page(f"<table>x{shown}<td>" * 8_000),
        "svg nested": lambda: page("<svg><foreignObject>" * 30_000 + shown),
        "microdata nested": lambda: page("<div itemscope itemtype='https://schema.org/ImageObject'>" * 10_000 + shown),
        "base of dots": lambda: page(f"<base href='{'../' * 300_000}'>" + shown * 3_000),
        "zeros": lambda: page("<p>" + "\0" * 5_000_000 + shown),
        "address of 3 MB": lambda: page(f"<img src='/{'a%2' * 10**6}' alt=x>{shown}"),
        "noscripts": lambda: page(f"<noscript>{shown}</noscript>" * 20_000),
        "selects": lambda: page("<select><option><button>" * 20_000 + shown),
        "no end of an attribute": lambda: page("<img src=a.jpg alt=x " + "<a b='" * 400_000),
        "marks of a letter": lambda: page(f"<img src=a.jpg alt='a{chr(0x301) * 10**6}'>"),
        "errors of GBK": lambda: raw(ok + typed % b"gbk" + shown.encode() + b"\xff" * 5_000_000),
        "errors of Shift_JIS": lambda: raw(ok + typed % b"shift_jis" + shown.encode() + b"\xa0\xfe" * 2_500_000),
        "frames of 20 avifs": lambda: _each_of(20, lambda number: frames(100 + number, 4_000), image, "image/avif"),
        "items of an avif": lambda: image(_items(60_000), "image/avif"),
        "head of lines": lambda: raw(ok + b"X: y\r\n" * 400_000 + html + b"\r\n" + shown.encode()),
        "line of a head": lambda: raw(ok + b"X: " + b"y" * 5_000_000 + b"\r\n" + html + b"\r\n" + shown.encode()),
        "chunks of a byte": lambda: raw(
            ok + html + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 800_000 + b"0\r\n\r\n"
        ),
        "captions in captions": lambda: page(f"<div {_OBJECT} itemprop=caption>" * 19_000),
        "wide tags": lambda: page(_wide_tags(20_000)),
        "attributes of a page": lambda: page("".join(f"<html a{number}>" for number in range(300_000))),
        "data sets of a jpeg": lambda: image(_iptc(picture)),
        "runs of a bmp": lambda: image(_bmp(10_000_000), "image/bmp"),
        "comments of a jpeg": lambda: image(picture[:2] + _segment(0xFE, b"") * 600_000 + picture[2:]),
        "fill of a jpeg": lambda: image(picture[:2] + b"\xff" * 5_000_000 + picture[2:]),
        "restarts of a jpeg": lambda: image(picture[:-2] + b"\xff\xd0" * 10**6 + picture[-2:]),
        "frames of a gif": lambda: image(_gif(100_000, 0), "image/gif"),
        "extensions of a gif": lambda: image(_gif(0, 800_000), "image/gif"),
        "profile of a png": lambda: image(png(64, chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(2**28)))), "image/png"),
        "texts of a png": lambda: image(
            png(64, *[chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(2**24)))] * 100), "image/png"
        ),
        "canvas of a png": lambda: image(png(30_000, rows=300), "image/png"),
        "chunks of a webp": lambda: image(_webp(600_000), "image/webp"),
        "boxes of an avif": lambda: image(_avif(500_000, 20_000), "image/avif"),
    }

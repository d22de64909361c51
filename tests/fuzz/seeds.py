"""Small valid inputs of each kind, and what turns them into others. Equal numbers give equal inputs."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import random
import re
import tarfile
import zipfile
import zlib
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image
from torch.distributed.checkpoint.filesystem import _StorageInfo
from torch.distributed.checkpoint.metadata import (
    ChunkStorageMetadata,
    Metadata,
    MetadataIndex,
    TensorProperties,
    TensorStorageMetadata,
)

from dataset.ledger.commits import Commit, FileRef
from dataset.schema import SHARD_INDEX
from dataset.tables import to_parquet
from tests.crawl.hostile_wishes import license_of
from tests.dataset.images.boxes import frames, overlay
from tests.dataset.images.files import HEIC
from train.evaluate.results.row import Figure, Row

PAGE = b"""<!doctype html><html lang=en><head><meta charset=utf-8><base href=/b/><title>t</title>
<meta property=og:image content=o.jpg><meta property=og:title content=T><meta name=robots content=all>
<script type="application/ld+json">{"@type":"ImageObject","contentUrl":"j.jpg","caption":"c &amp; d"}</script></head>
<body><p>text<img src=a.jpg alt="a &eacute; b" srcset="b.jpg 1x, c.jpg 2x"><br><figure><picture>
<source type=image/webp srcset="d.webp 100w, e.webp 200w">
<img src="data:image/gif;base64,R0" data-src=f.jpg alt=f></picture>
<figcaption>a <b id=x>caption</b></figcaption></figure><svg><image href=g.png><title>s</title></image></svg>
<table><tr><td><a href=h.jpg>link</a></table><template><img src=i alt=i></template><!-- c -->
<video poster=v.jpg title=v>
<div itemscope itemtype="https://schema.org/ImageObject">
<img src=k.jpg><span itemprop=caption>k</span></div></body></html>"""
HTTP = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: %d\r\nX-Robots-Tag: all\r\n\r\n"
    % len(PAGE)
)
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Encoding: gzip\r\n\r\n"


_XMP = b"""<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description xmlns:plus="http://ns.useplus.org/ldf/xmp/1.0/" xmlns:dc="http://purl.org/dc/elements/1.1/">
<plus:DataMining>DMI-ALLOWED</plus:DataMining><dc:creator><rdf:Seq><rdf:li>a</rdf:li></rdf:Seq></dc:creator>
</rdf:Description></rdf:RDF></x:xmpmeta>"""


def _record(type_: str, block: bytes, more: str = "") -> bytes:
    head = (
        f"WARC/1.0\r\nWARC-Type: {type_}\r\nWARC-Target-URI: http://h.example/{type_}\r\n"
        f"WARC-Date: 2018-05-06T07:08:09Z\r\nWARC-Record-ID: <urn:x:{type_}>\r\n{more}"
        f"Content-Length: {len(block)}\r\n\r\n"
    )
    return head.encode() + block + b"\r\n\r\n"


def _wat() -> bytes:
    links = [
        {"path": "IMG@/src", "url": "a.jpg?x&amp;y", "alt": "a kettle"},
        {"path": "IMG@/src", "url": "", "alt": "é", "srcset": "b.jpg 2x", "data-src": "c.jpg"},
        {"path": "A@/href", "url": "d.jpg", "text": "link"},
    ]
    metadata = {"Head": {"Title": "t", "Metas": [{"name": "robots", "content": "all"}]}, "Links": links}
    response = {"Response-Message": {"Status": "200"}, "Headers": {}, "HTML-Metadata": metadata}
    envelope = {
        "WARC-Header-Metadata": {"WARC-Target-URI": "http://h.example/"},
        "Payload-Metadata": {"HTTP-Response-Metadata": response},
    }
    return json.dumps({"Container": {}, "Envelope": envelope}, separators=(",", ":")).encode()


def _image(kind: str, mode: str = "RGB") -> bytes:
    pixels = Image.fromarray((np.arange(48 * 40 * 3) % 251).astype(np.uint8).reshape(40, 48, 3)).convert(mode)
    file = io.BytesIO()
    notes = {"exif": Image.Exif(), "xmp": _XMP} if kind in ("JPEG", "WEBP", "AVIF") else {}
    pixels.save(file, kind, **notes)
    return file.getvalue()


def _parquet() -> bytes:
    file = pa.BufferOutputStream()
    pq.write_table(pa.table({"url": ["http://h.example/a.jpg"] * 9, "text": [["a", "b"]] * 9}), file, row_group_size=4)
    return file.getvalue().to_pybytes()


def _tar() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, body in (("a.jpg", b"j" * 700), ("a.txt", b"text"), ("b" * 120 + ".jpg", b"k"), ("é.json", b"{}")):
            member = tarfile.TarInfo(name)
            member.size = len(body)
            tar.addfile(member, io.BytesIO(body))
    return file.getvalue()


def _wacz(warc: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as packed:
        packed.writestr("datapackage.json", "{}")
        packed.writestr("archive/a.warc.gz", gzip.compress(warc, mtime=0))
    return file.getvalue()


def _warc() -> bytes:
    body = gzip.compress(PAGE, mtime=0)
    chunked = CHUNKED + b"%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n"
    image = b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n\r\n" + _image("PNG")
    return b"".join(
        [
            _record("warcinfo", b"software: x\r\n"),
            _record("response", HTTP + PAGE, "WARC-Payload-Digest: sha1:ABC\r\n"),
            _record("request", b"GET / HTTP/1.1\r\n\r\n"),
            _record("response", chunked),
            _record("response", image),
            _record("revisit", HTTP, "WARC-Refers-To: <urn:x:response>\r\n"),
            _record("metadata", _wat()),
        ]
    )


_ARC = (
    (
        b"filedesc://a.arc 0.0.0.0 20050101000000 text/plain 76\n1 0 X\n"
        b"URL IP-address Archive-date Content-type Archive-length\n\n\n"
        b"http://h.example/ 1.2.3.4 20050101000000 text/html %d\n" % len(HTTP + PAGE)
    )
    + HTTP
    + PAGE
    + b"\n"
)
_CONFIG = b"""\
sources: [a.warc.gz, "s3://b/c"]  # remark
decontaminate: {folders: [x], max_hamming: 31}
text: &t
  languages: [en]
  blocklist: |
    a
    b
filters: [{name: own, drop_when: "NOT looked"}, *t]
"""
_ROWS = 'a "b", c'
_COMMIT = Commit("text.measure", 3, "ab" * 16, {"rows": FileRef("text/a.parquet", 9, "cd" * 16, 2)})
_ABOUT = {
    "step": 7,
    "score": 0.5,
    "config": {"ema": 0},
    "index_fingerprint": "a",
    "name": "test",
    "model_config": {"embed_dim": 4, "vision_cfg": {"layers": 1, "width": 32}, "text_cfg": {"layers": 1, "width": 32}},
    "preprocess": {"size": 32, "mean": [0.5, 0.5, 0.5]},
    "sums": {"a": "b"},
}
_METADATA = Metadata(
    {
        "state.a": TensorStorageMetadata(
            TensorProperties(torch.float32),
            torch.Size([4]),
            [ChunkStorageMetadata(torch.Size([0]), torch.Size([4]))],
        )
    },
    storage_data={MetadataIndex("state.a", torch.Size([0])): _StorageInfo("__0_0.distcp", 0, 99)},
)
_ROW = Row(
    "cifar", "zero_shot", {"acc1": Figure(0.5, 9, 0.1, 0.4, 0.6)}, "acc1", notes=["n"], asked="a", right="101"
).to_dict()


def _index() -> bytes:
    rows = [
        {
            "shard": "a.tar", "split": "train", "pair_id": bytes([number] * 16),
            "key": f"{number:011d}", "offset": 99 * number, "size": 99, "checksum": number,
        }
        for number in range(3)
    ]  # fmt: skip
    return to_parquet(pa.Table.from_pylist(rows, SHARD_INDEX)).to_pybytes()


_ROBOTS = b"User-agent: *\nDisallow: /a*b$\nAllow: /a\nCrawl-delay: 3\n\nUser-agent: openwit\nDisallow: /%7Ex\nSitemap: http://h/s\n"


def seeds() -> dict[str, list[bytes]]:
    """Valid inputs by the name of their reader."""
    warc = _warc()
    lines = [f"http://h.example/{number}.jpg\t{_ROWS}" for number in range(9)]
    csv = "url,text\n" + "".join(f'http://h.example/{number}.jpg,"a, ""b"""\n' for number in range(9))
    rows = "".join(json.dumps({"url": f"http://h.example/{number}.jpg", "text": _ROWS}) + "\n" for number in range(9))
    members = b"".join(gzip.compress(part, mtime=0) for part in re.split(rb"(?=WARC/1\.0\r\n)", warc)[1:])
    return {
        "archive": [warc, members, gzip.compress(warc, mtime=0), _ARC, _record("metadata", _wat())],
        "wacz": [_wacz(warc)],
        "table": [
            csv.encode(),
            ("url\ttext\n" + "\n".join(lines)).encode(),
            rows.encode(),
            _parquet(),
            csv.encode("utf-16"),
        ],
        "tar": [_tar()],
        "image": [
            *(_image(kind) for kind in ("JPEG", "PNG", "WEBP", "GIF", "AVIF")),
            *(_image("PNG", mode) for mode in ("P", "LA", "RGBA", "1")),
        ],
        "boxes": [HEIC, _image("AVIF"), _image("AVIF", "RGBA"), frames(3), overlay(2, 2)],
        "page": [PAGE, PAGE.decode().encode("utf-16"), PAGE.replace(b"utf-8", b"shift_jis")],
        "srcset": [b"a.jpg 1x, b.jpg 2.5x, c(1,2).jpg 100w 50h, data:,x 1e3x", b"a,b ,c, ( d), e"],
        "robots": [_ROBOTS],
        "response": [
            HTTP + PAGE[:200],
            CHUNKED + b"5;x=y\r\nhello\r\n0\r\nA: b\r\n\r\n",
            b"HTTP/1.0 301 M\nLocation: /x\n\n",
        ],
        "coded": [gzip.compress(PAGE, mtime=0), zlib.compress(PAGE), zlib.compress(PAGE)[2:-4], PAGE],
        "record": [_COMMIT.to_json().encode()],
        "wish": [
            b"search=yes, ai-train=no;x=y, ai-input=?1",
            b"CCBot: noai, noindex\nunavailable_after: 2 Jan",
            b'[{"location": "/a*b$", "tdm-reservation": 1, "tdm-policy": "http://h.example/p"}]',
            b'<http://h.example/l>; rel="license"; type="application/rsl+xml", <b>; rel=next',
        ],
        "license": [
            license_of(
                ("/a", '<permits type="usage">all</permits>'), ("", "<payment><amount>1</amount></payment>")
            ).encode(),
            license_of(("http://*.example/", '<prohibits type="usage">ai-train</prohibits><reporting/>')).encode(),
        ],
        "config": [_CONFIG],
        "manifest": [
            json.dumps(
                {
                    "format": 1,
                    "complete": True,
                    "name": "a",
                    "phases": [{"phase": "text.measure", "records": "text/measure/commits.parquet", "checksum": "ab"}],
                    "funnel": {"text": {"input": 3, "kept": 2, "dropped": 1}},
                }
            ).encode()
        ],
        "index": [_index()],
        "checkpoint": [json.dumps(_ABOUT).encode(), pickle.dumps(_METADATA)],
        "examined": [json.dumps([_ROW]).encode()],
        "hashes": [
            b"md5,category\n" + b"a" * 32 + b",1\n",
            b"pdq\n" + b"ab" * 32 + b"\n",
            b'{"value": [{"mediaFingerprint": "ab"}]}',
            b'<queryResult xmlns="https://hashsharing.ncmec.org/hashsharing/v2"><images><image><member id="4"/>'
            b"<id>1</id><timestamp>2024-01-01T00:00:00Z</timestamp><fingerprints><md5>%s</md5></fingerprints></image></images>"
            b"</queryResult>" % (b"a" * 32),
        ],
    }


WORDS = [
    *(
        b"\x00",
        b"\xff" * 4,
        b"\r\n\r\n",
        b"\n",
        b'"',
        b"'",
        b"<",
        b">",
        b"&amp;",
        b"%",
        b"{",
        b"[",
        b",",
        b"\t",
        b"\xc3",
    ),
    *(
        b"-1",
        b"0",
        b"99999999999999999999",
        b"1e999",
        b"NaN",
        b"null",
        b"\\ud800",
        b"\\u0000",
        b"../../x",
        b"/",
        b"*",
        b"$",
    ),
    *(
        b"WARC/1.0\r\n",
        b"Content-Length: 9\r\n",
        b"Content-Encoding: br\r\n",
        b"\x1f\x8b\x08\x00",
        b"PK\x03\x04",
        b"PAR1",
    ),
    *(b"<b id=1>", b"<p>", b"<svg>", b"<!--", b"<table>", b"</table>", b"<template>", b"<a href=x.jpg>", b"<figure>"),
    *(
        b"<img alt=x src=",
        b"srcset=",
        b"data-src=",
        b"<script>",
        b"</script>",
        b"\x00" * 512,
        b"User-agent: *\n",
        b"ai-train=no,",
        b"<license>",
        b"DMI-PROHIBITED",
        b" 2x,",
    ),
]
_NUMBER = re.compile(rb"[0-9]+")
_Edit = Callable[[random.Random, bytearray, list[bytes]], None]


def _flip(rng: random.Random, data: bytearray, others: list[bytes]) -> None:
    for _ in range(rng.choice((1, 1, 4, 16))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _overwrite(rng: random.Random, data: bytearray, others: list[bytes]) -> None:
    at = rng.randrange(len(data))
    data[at : at + rng.choice((1, 2, 4, 8))] = rng.choice((b"\x00", b"\xff", b"\x7f", b"\x80")) * rng.choice(
        (1, 2, 4, 8)
    )


def _cut(rng: random.Random, data: bytearray, others: list[bytes]) -> None:
    at = rng.randrange(len(data))
    del data[at : at + rng.choice((1, 8, 64, len(data)))]


def _repeat(rng: random.Random, data: bytearray, others: list[bytes]) -> None:
    at, size = rng.randrange(len(data)), rng.choice((1, 4, 32, 256))
    data[at:at] = data[at : at + size] * rng.choice((1, 3, 50, 2_000 // size + 1))


def _insert(rng: random.Random, data: bytearray, others: list[bytes]) -> None:
    at = rng.randrange(len(data) + 1)
    data[at:at] = rng.choice(WORDS) * rng.choice((1, 1, 2, 40, 2_000))


def _renumber(rng: random.Random, data: bytearray, others: list[bytes]) -> None:
    numbers = list(_NUMBER.finditer(bytes(data)))
    if numbers:
        number = rng.choice(numbers)
        data[number.start() : number.end()] = rng.choice(
            (b"0", b"-1", b"1", b"65536", b"4294967296", b"9" * 18, b"9" * 400)
        )


def _splice(rng: random.Random, data: bytearray, others: list[bytes]) -> None:
    other = rng.choice(others)
    data[rng.randrange(len(data)) :] = other[rng.randrange(len(other)) :]


_EDITS: tuple[_Edit, ...] = (_flip, _overwrite, _cut, _repeat, _insert, _renumber, _splice)
_MAX_BYTES = 2**20


def made(reader: str, number: int, of: list[bytes]) -> bytes:
    """The input of a number: a seed with some edits, which may lie beneath its compression."""
    rng = random.Random(f"{reader} {number}")
    data = bytearray(rng.choice(of))
    for _ in range(rng.choice((1, 1, 2, 3, 8))):
        if data and len(data) < _MAX_BYTES:
            rng.choice(_EDITS)(rng, data, of)
    packed = bytes(data)
    return gzip.compress(packed, 1, mtime=0) if reader in ("archive", "table") and rng.random() < 0.2 else packed

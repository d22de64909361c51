"""Attacks beside twenty good pairs, each through `wit run` as anybody would call it: what comes out, and what it costs.

An attack is held off if all good pairs come out, in less than twice the CPU time without it and 30 seconds, and no
process takes more than 2 GB. What is said of it is printed: the record's verdict, or what `sources` counts.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import os
import struct
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import dataset
from bench.inputs.hostile_numbers import attacks as more_attacks
from bench.inputs.hostile_numbers import chunk, png
from bench.record import print_record
from dataset.hosts import hostname

GOOD = 20
MAX_BYTES, SECONDS = 2 * 2**30, 30
HOST = "http://attacker.example"


def record(type_: str, url: str, block: bytes, content_type: str = "application/http; msgtype=response") -> bytes:
    """Return a record of a WARC, as a gzip member of its own."""
    head = (
        f"WARC/1.0\r\nWARC-Type: {type_}\r\nWARC-Target-URI: {url}\r\nWARC-Date: 2024-05-06T07:08:09Z\r\n"
        f"Content-Type: {content_type}\r\nContent-Length: {len(block)}\r\n\r\n"
    )
    return gzip.compress(head.encode() + block + b"\r\n\r\n", 6, mtime=0)


def answer(body: bytes, type_: str, more: str = "") -> bytes:
    """Return an HTTP response."""
    return f"HTTP/1.1 200 OK\r\nContent-Type: {type_}\r\n{more}\r\n".encode() + body


def page(body: str) -> list[bytes]:
    """Return a record with a page."""
    return [record("response", f"{HOST}/page.html", answer(body.encode(), "text/html; charset=utf-8"))]


def image(body: bytes, type_: str = "image/jpeg", more: str = "") -> list[bytes]:
    """Return a record with an image, and one with a page that shows it."""
    name = f"image{len(body)}.jpg"
    shows = page(f'<img src=/{name} alt="an attack on the reader of images, {type_}, {len(body)} bytes">')
    return [record("response", f"{HOST}/{name}", answer(body, type_, more)), *shows]


def raw(response: bytes) -> list[bytes]:
    """Return a record with a response."""
    return [record("response", f"{HOST}/page.html", response)]


def each(part: str, n: int) -> str:
    return "".join(part.replace("#", str(number)) for number in range(n))


def photograph(number: int) -> bytes:
    """Return a picture that is like no other: soft colours from a coarse random grid."""
    grid = np.random.default_rng(number).integers(0, 256, (6, 8, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(grid).resize((160, 120), Image.Resampling.BICUBIC).save(file, "JPEG", quality=90)
    return file.getvalue()


def _scans(picture: bytes, count: int) -> bytes:
    """A baseline JPEG that draws its scan again and again."""
    start = picture.index(b"\xff\xda")
    return picture[:start] + picture[start:-2] * count + b"\xff\xd9"


def _exif(picture: bytes, count: int) -> bytes:
    body = b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\x00\x00\x00\x00\x00"
    return picture[:2] + (b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body) * count + picture[2:]


def _wat(depth: int) -> list[bytes]:
    links = [{"path": "IMG@/src", "url": "/a.jpg", "alt": "x", "data-src": "\ud800", "nested": 0}]
    response = {"Headers": {}, "HTML-Metadata": {"Head": {}, "Links": links}}
    envelope = {
        "WARC-Header-Metadata": {"WARC-Target-URI": f"{HOST}/"},
        "Payload-Metadata": {"HTTP-Response-Metadata": response},
    }
    nested = json.dumps({"Envelope": envelope}).replace('"nested": 0', '"nested": ' + "[" * depth + "]" * depth)
    return [record("metadata", f"{HOST}/", nested.encode(), "application/json")]


def _bomb(path: Path) -> None:
    """A WACZ of some bytes, whose directory claims 2^50 of them."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as packed:
        packed.writestr("archive/a.warc", b"WARC/1.0\r\n")
    data = bytearray(file.getvalue())
    position = data.index(b"PK\x01\x02")
    extra = struct.pack("<HHQQ", 1, 16, 2**50, 2**50)
    data[position + 20 : position + 28] = b"\xff" * 8
    data[position + 30 : position + 32] = struct.pack("<H", len(extra))
    name_end = position + 46 + len("archive/a.warc")
    data[name_end:name_end] = extra
    end = data.index(b"PK\x05\x06")
    size = struct.unpack_from("<I", data, end + 12)[0] + len(extra)
    struct.pack_into("<I", data, end + 12, size)
    path.write_bytes(data)


WORDS = (
    *("river", "kettle", "bridge", "castle", "garden", "lamp", "mountain", "harbour", "market", "window", "train"),
    *("forest", "winter", "horse", "boat", "tower", "apple", "street", "flower", "church"),
)
CARDS = " ".join(["4111 1111 1111 1111"] * 500)


def attacks(picture: bytes) -> dict[str, Callable[[], list[bytes]]]:
    """Return records by the name of their attack; made when asked for, for some are large."""
    member = gzip.compress(b"x", mtime=0)
    return {
        "srcset of commas": lambda: page(f"<img alt=commas srcset='{',' * 100_000}'>"),
        "comments in formatting": lambda: page("<b>" * 8_300 + "<!--" * 44_000),
        "picture of sources": lambda: page("<picture>" + "<source srcset=a>" * 1_000 + "<img alt=x>" * 1_000),
        "caption of images": lambda: page("<figure><figcaption>" + "<img src=a alt=x> word " * 10_000),
        "attributes": lambda: page("<p" + each(" a#", 200_000) + ">"),
        "stray ends": lambda: page("<div></x>" * 100_000),
        "blank names": lambda: page(f"<img alt=x data-src=b.jpg src='{'-blank' * 50_000}.gif'>"),
        "formatting made anew": lambda: page(each("<b id=#>", 10_000) + "<p>x" * 20_000),
        "deep": lambda: page("<div>" * 500_000),
        "cards": lambda: page(f"<img src=/a.jpg alt='{CARDS}'>"),
        "scans of a jpeg": lambda: image(_scans(picture, 300)),
        "exif segments": lambda: image(_exif(picture, 50_000)),
        "chunks of a png": lambda: image(png(64, *[chunk(b"tEXt", b"a\x00b")] * 200_000), "image/png"),
        "gzip members": lambda: image(member * 400_000, more="Content-Encoding: gzip\r\n"),
        "layers of deflate": lambda: image(b"x", more="Content-Encoding: " + "deflate, " * 32_000 + "deflate\r\n"),
        "gzip bomb": lambda: image(gzip.compress(bytes(2**30), 9, mtime=0), more="Content-Encoding: gzip\r\n"),
        "nesting in a wat": lambda: _wat(100_000),
        "declared sizes": list,  # a WACZ beside the archive
        **more_attacks(picture, page, image, raw),
    }


@dataclass(frozen=True)
class Outcome:
    """What came of a run."""

    good: int
    cpu_s: float
    peak_bytes: int  # of its largest process
    said: str


def run(sources: list[Path], out: Path, most: int = 2) -> Outcome:
    """Run `wit run` on some archives, with what configs/archive.yaml says but for the languages that it allows."""
    named = json.dumps([str(source) for source in sources])
    command = [sys.executable, "-m", "pipeline", "run", "configs/archive.yaml", "--set", f"sources={named}"]
    command += ["--set", "text.languages=[]", "--out", str(out)]
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        _, status, used = os.wait4(process.pid, 0)
        output.seek(0)
        lines = output.read().strip().splitlines()
    cpu, peak = used.ru_utime + used.ru_stime, used.ru_maxrss * 1024
    if status:
        return Outcome(0, cpu, peak, f"wit ends with {os.waitstatus_to_exitcode(status)}: {lines[-1][:200]}")
    built = dataset.open(str(out))
    good = built.sql("SELECT count(*) FROM pairs WHERE url LIKE 'http://good.example/%'").fetchall()[0][0]
    dropped = built.sql(
        f"SELECT DISTINCT stage || ': ' || reason || coalesce(' ' || right(CAST(evidence AS VARCHAR), 120), '') "
        f"FROM dropped WHERE url LIKE '%{hostname(HOST)}%' OR url LIKE '%/a%' ORDER BY ALL LIMIT {most}"
    ).fetchall()
    counted = built.sql(
        "SELECT simplified_page, error FROM sources WHERE simplified_pages > 0 OR error IS NOT NULL"
    ).fetchall()
    said = [*(row[0] for row in dropped), *(f"simplified {row[0]}" for row in counted if row[0])]
    return Outcome(good, cpu, peak, "; ".join([*said, *(row[1] for row in counted if row[1])])[: 100 * most])


def _good_records(number: int, picture: bytes) -> list[bytes]:
    address = f"http://good.example/{number}"
    shows = f'<img src={number}.jpg alt="an old {WORDS[number]} by the sea">'.encode()
    return [
        record("response", f"{address}.jpg", answer(picture, "image/jpeg")),
        record("response", f"{address}.html", answer(shows, "text/html")),
    ]


def _sources(folder: Path, names: Sequence[str], good: list[bytes], known: Mapping[str, Any]) -> list[Path]:
    """Files with some attacks in the middle of the good pairs."""
    archive, half = folder / "attack.warc.gz", len(good) // 2
    evil = [part for name in names for part in known[name]()]
    archive.write_bytes(b"".join([*good[:half], *evil, *good[half:]]))
    if "declared sizes" not in names:
        return [archive]
    _bomb(folder / "bomb.wacz")
    return [archive, folder / "bomb.wacz"]


def main() -> None:
    """Print a line an attack, and as the last line one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("attacks", nargs="*", help="their names, joined by + for one run; each by default")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pictures = [photograph(number) for number in range(GOOD)]
        known = attacks(pictures[0])
        good = [part for number, picture in enumerate(pictures) for part in _good_records(number, picture)]
        alone = folder / "good.warc.gz"
        alone.write_bytes(b"".join(good))
        without = run([alone], folder / "without")
        print(f"without: {without.good} good pairs, {without.cpu_s:.0f} s of CPU, {without.peak_bytes / 2**20:.0f} MB")
        missed = []
        for number, attack in enumerate(options.attacks or known):
            names = attack.split("+")
            outcome = run(_sources(folder, names, good, known), folder / f"out{number}", 2 * len(names))
            is_held = (
                outcome.good == without.good
                and outcome.cpu_s < 2 * without.cpu_s + SECONDS
                and outcome.peak_bytes <= MAX_BYTES
            )
            missed += [] if is_held else [attack]
            print(
                f"{'held' if is_held else 'MISSED':<7} {attack:<24} {outcome.good:>2} good, {outcome.cpu_s:>4.0f} s, "
                f"{outcome.peak_bytes / 2**20:>5.0f} MB  {outcome.said}",
                flush=True,
            )
    count = len(options.attacks or known)
    print_record({"bench": "hostile", "ours": count - len(missed), "peer": count, "unit": "attacks held",
                      "ratio": round(1 - len(missed) / count, 2), "equal": not missed})  # fmt: skip
    sys.exit(bool(missed))


if __name__ == "__main__":
    main()

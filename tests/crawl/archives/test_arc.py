from __future__ import annotations

import gzip
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from warcio.archiveiterator import ArchiveIterator

from crawl.archives.open_source import kind_of
from crawl.archives.records import Piece, describe
from crawl.candidates.config import ExtractConfig
from crawl.candidates.extract import Extraction, extract
from tests.crawl.archives.bodies import read_bodies
from tests.crawl.warc_bytes import http, whole

IMAGE = b"\x89PNG\r\n\x1a\n"


def arc(uri: str, block: bytes, media_type: str = "text/html", date: str = "20080430204826") -> bytes:
    return f"{uri} 10.0.0.1 {date} {media_type} {len(block)}\n".encode() + block + b"\n"


def page(number: int) -> bytes:
    return arc(f"http://site.example/{number}", http(f"<img src=/{number}.png alt='image {number}'>".encode()))


VERSION = b"1 0 Heritrix\nURL IP-address Archive-date Content-type Archive-length\n\n"
RECORDS = [
    arc("filedesc://a.arc", VERSION, "text/plain"),
    *(page(number) for number in range(3)),
    arc("http://site.example/1.png", http(IMAGE, "image/png"), "image/png"),
    arc("dns:site.example", b"20080430204825\nsite.example. 10 IN A 10.0.0.1\n", "text/dns"),
    page(3),
]
LAYOUTS = {
    "plain": b"".join(RECORDS),
    "gzip per record": b"".join(map(gzip.compress, RECORDS)),
    "one gzip": gzip.compress(b"".join(RECORDS)),
}


def read(folder: Path, data: bytes) -> Extraction:
    return extract([whole(folder, data, "a.arc")], ExtractConfig())


def texts(found: Extraction) -> list[str]:
    return found.candidates["text"].to_pylist()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_pages_and_images_of_an_arc(layout: str, tmp_path: Path) -> None:
    data = LAYOUTS[layout]
    found = read(tmp_path, data)
    assert texts(found) == [f"image {number}" for number in range(4)]
    first = found.candidates.to_pylist()[0]
    assert (first["page_url"], first["page_date"], first["page_status"]) == (
        "http://site.example/0",
        "2008-04-30T20:48:26Z",
        200,
    )
    source = found.sources.to_pylist()[0]
    assert (source["type"], source["records"], source["damaged_records"], source["error"]) == ("arc", 7, 0, None)
    (image,) = found.archive_images.to_pylist()
    location = str(tmp_path / "a.arc")
    assert image["url"] == "http://site.example/1.png"
    assert list(read_bodies(location, [image["offset"], 20])) == [(image["offset"], IMAGE, "2008-04-30T20:48:26Z")]
    assert describe(location) == "arc"
    if layout != "one gzip":  # another reader agrees on what this is
        assert len(list(ArchiveIterator(io.BytesIO(data)))) == len(RECORDS)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_later_piece_has_nothing_more(layout: str, tmp_path: Path) -> None:
    piece = whole(tmp_path, LAYOUTS[layout], "a.arc")
    pieces = [Piece("a.arc", piece.location, 0, 100), Piece("a.arc", piece.location, 100, -1)]
    assert texts(extract(pieces, ExtractConfig())) == [f"image {number}" for number in range(4)]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("tail", [b"", b"\n\n", bytes(1000)])
def test_padding_is_no_damage(layout: str, tail: bytes, tmp_path: Path) -> None:
    assert read(tmp_path, LAYOUTS[layout] + tail).sources["error"].to_pylist() == [None]


@pytest.mark.parametrize("layout", ["plain", "gzip per record"])
def test_damage_costs_the_record_alone(layout: str, tmp_path: Path) -> None:
    items = [gzip.compress(item) if layout != "plain" else item for item in RECORDS]
    items[2] = b"\xff" * (len(items[2]) - 1) + b"\n"
    found = read(tmp_path, b"".join(items))
    assert texts(found) == ["image 0", "image 2", "image 3"]
    source = found.sources.to_pylist()[0]
    assert source["damaged_records"] == 1
    assert abs(source["lost_bytes"] - len(items[2])) <= 1
    assert "damaged or cut off at byte" in source["error"]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_cut_off_archive_is_read_as_far_as_it_goes(layout: str, tmp_path: Path) -> None:
    found = read(tmp_path, LAYOUTS[layout][:-15])
    assert texts(found)[:3] == ["image 0", "image 1", "image 2"]
    assert "cut off" in found.sources["error"].to_pylist()[0]


@pytest.mark.parametrize(
    "items",
    [
        RECORDS[1:],  # without a record about the file
        [b"\n", *RECORDS],
        [item[:-1] for item in RECORDS],  # no line break after a block
        [item + b"\r\n\n" for item in RECORDS],
        [b"filedesc:// - - - %d\n%s\n" % (len(VERSION), VERSION), *RECORDS[1:]],
    ],
    ids=["headless", "begun with a line break", "unseparated", "widely separated", "dashes"],
)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_old_crawlers_wrote_is_read_whole(layout: str, items: list[bytes], tmp_path: Path) -> None:
    if layout == "gzip per record":
        items = [gzip.compress(item) for item in items if item.strip()]
    data = b"".join(items)
    found = read(tmp_path, gzip.compress(data) if layout == "one gzip" else data)
    assert texts(found) == [f"image {number}" for number in range(4)]
    assert [row[:7] for row in found.candidates["page_url"].to_pylist()] == ["http://"] * 4
    assert found.sources["error"].to_pylist() == [None]
    assert kind_of(str(tmp_path / "a.arc")) == "archive"


@pytest.mark.parametrize(
    ("line", "url", "date"),
    [
        (
            b"http://a.example/?t=Live Web&x 1.2.3.4 19970417175710 html",
            "http://a.example/?t=Live%20Web&x",
            "1997-04-17",
        ),
        (b"HTTP://A.example/ 1.2.3.4 null text/html", "http://a.example/", None),
        (b"http://a.example/a,b 1.2.3.4 201404010000000000 text/html", "http://a.example/a,b", "2014-04-01"),
        (b"http://a.example/ 0 20080430204825 text/html 200 - - 99 a.arc.gz", "http://a.example/", "2008-04-30"),  # v2
    ],
)
def test_lines_of_records(line: bytes, url: str, date: str | None, tmp_path: Path) -> None:
    block = http(b"<img src=/a.png alt=a>")
    (row,) = read(tmp_path, line + b" %d\n" % len(block) + block + b"\n").candidates.to_pylist()
    assert (row["page_url"], row["page_date"] and row["page_date"][:10]) == (url, date)
    assert kind_of(str(tmp_path / "a.arc")) == "archive"


@pytest.mark.parametrize("length", [9, 10**11])
def test_a_wrong_length_costs_no_other_record(length: int, tmp_path: Path) -> None:
    first, _, rest = RECORDS[2].partition(b"\n")
    wrong = b"%s %d\n%s" % (first.rpartition(b" ")[0], length, rest)
    found = read(tmp_path, b"".join([*RECORDS[:2], wrong, *RECORDS[3:]]))
    assert {"image 0", "image 2", "image 3"} <= set(texts(found))
    assert found.sources["damaged_records"].to_pylist() == [1]


@given(st.sampled_from(sorted(LAYOUTS)), st.binary(max_size=8), st.integers(0, 10_000))
def test_any_bytes_in_it_are_survived(
    tmp_path_factory: pytest.TempPathFactory, layout: str, noise: bytes, at: int
) -> None:
    data = LAYOUTS[layout]
    found = read(tmp_path_factory.mktemp("x"), data[:30] + data[30:][:at] + noise + data[30:][at:])
    row = found.sources.to_pylist()[0]
    assert row["images_seen"] == row["candidates"] + row["no_text"] + row["no_url"] + row["data_uri"]

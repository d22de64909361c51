from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawl.archives.records import Reading, Record, read_records
from crawl.candidates.config import ExtractConfig
from crawl.candidates.extract import extract
from tests.crawl.archives.bodies import read_bodies
from tests.crawl.warc_bytes import http, members, page, record, whole

PAGES = [page(f"<img src=/{i}.png alt='image {i}'>", f"http://site.example/{i}") for i in range(3)]


def in_capitals(item: bytes) -> bytes:
    return item.replace(b"WARC-Type: response", b"WARC-TYPE: RESPONSE").replace(b"Content-Length", b"CONTENT-LENGTH")


def folded(item: bytes) -> bytes:
    head, _, block = item.partition(b"\r\n\r\n")
    return head.replace(b": ", b":\r\n\t") + b"\r\n\r\n" + block


def bare_line_feeds(item: bytes) -> bytes:
    head, _, block = item.partition(b"\r\n\r\n")
    return head.replace(b"\r\n", b"\n") + b"\n\n" + block[:-4] + b"\n\n"


def mixed(item: bytes) -> bytes:
    return item.replace(b"\r\nWARC-Target-URI", b"\nWARC-Target-URI")


def doubled_returns(item: bytes) -> bytes:
    head, _, block = item.partition(b"\r\n\r\n")
    return head.replace(b"\r\n", b"\r\r\n") + b"\r\r\n\r\r\n" + block


def old(item: bytes) -> bytes:
    return item.replace(b"WARC/1.0", b"WARC/0.17").replace(b"http://site.example/", b"<http://site.example/")


def in_small_letters(item: bytes) -> bytes:
    head, _, block = item.partition(b"\r\n\r\n")
    return b"\r\n".join(
        [
            head[:8],
            *(
                b"%s:%s" % (line.partition(b":")[0].lower(), line.partition(b":")[2])
                for line in head.split(b"\r\n")[1:]
            ),
            b"",
            block,
        ]
    )


ODDITIES = {
    made.__name__: made
    for made in (in_capitals, in_small_letters, folded, bare_line_feeds, mixed, doubled_returns, old)
}
LAYOUTS = {
    "plain": b"".join,
    "members": lambda items: members(*items),
    "one gzip": lambda items: gzip.compress(b"".join(items)),
}


def read(folder: Path, data: bytes) -> tuple[list[Record], Reading]:
    reading = Reading()
    return list(read_records(whole(folder, data), reading)), reading


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("oddity", ODDITIES)
def test_headers_not_by_the_standard(oddity: str, layout: str, tmp_path: Path) -> None:
    if (oddity, layout) == ("doubled_returns", "members"):
        return  # what comes of copying a text file wrongly, which this is none
    info = record(b"software: x\r\n", type_="warcinfo", content_type="application/warc-fields")
    items = [ODDITIES[oddity](item) for item in [info, *PAGES]]
    piece = whole(tmp_path, LAYOUTS[layout](items))
    found, reading = read(tmp_path, LAYOUTS[layout](items))
    assert (reading.records, reading.damaged_records, reading.error) == (4, 0, None)
    assert [(item.type, item.uri, item.date) for item in found] == [
        ("response", f"http://site.example/{i}", "2024-05-06T07:08:09Z") for i in range(3)
    ]
    bodies = [body for _, body, _ in read_bodies(piece.location, [item.offset for item in found])]
    assert bodies == [f"<img src=/{i}.png alt='image {i}'>".encode() for i in range(3)]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_odd_records_stand_among_others(layout: str, tmp_path: Path) -> None:
    strange = record(b"x", type_="of-our-own")
    items = [PAGES[0], strange, bare_line_feeds(PAGES[1]), PAGES[2], strange, in_capitals(PAGES[0])]
    found, reading = read(tmp_path, LAYOUTS[layout](items))
    assert [item.uri[-1] for item in found] == ["0", "1", "2", "0"]
    assert (reading.records, reading.error) == (6, None)


def test_several_odd_records_in_one_member(tmp_path: Path) -> None:
    data = members(PAGES[0]) + members(PAGES[1] + folded(PAGES[2])) + members(PAGES[0])
    found, reading = read(tmp_path, data)
    assert [item.uri[-1] for item in found] == ["0", "1", "2", "0"]
    assert [item.is_addressable for item in found] == [True, True, False, True]
    assert reading.error is None


@pytest.mark.parametrize(
    "head", [b"WARC-Type: response\r\nContent-Length: x", b"WARC-Type: response", b"nonsense", b""]
)
def test_a_record_without_a_length_costs_itself_alone(head: bytes, tmp_path: Path) -> None:
    wrong = b"WARC/1.0\r\n" + head + b"\r\n\r\n" + http(b"<p>") + b"\r\n\r\n"
    for layout in ("plain", "members"):
        found, reading = read(tmp_path, LAYOUTS[layout]([PAGES[0], wrong, *PAGES[1:]]))
        assert [item.uri[-1] for item in found if item.uri] == ["0", "1", "2"]
        assert reading.damaged_records == 1


@pytest.mark.parametrize("oddity", ["bare_line_feeds", "folded"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_cut_off_odd_record_is_given_as_far_as_it_goes(layout: str, oddity: str, tmp_path: Path) -> None:
    items = [ODDITIES[oddity](item) for item in PAGES]
    items[-1] = items[-1][:-15]
    found, reading = read(tmp_path, LAYOUTS[layout](items))
    assert [item.uri[-1] for item in found] == ["0", "1", "2"]
    assert (reading.damaged_records, "cut off" in (reading.error or "")) == (1, True)


@given(
    st.lists(
        st.sampled_from([b"\n", b"\r\n", b" ", b":", b"x", b"WARC/1.0", b"WARC-Type: response", b"Content-Length: 9"])
    )
)
def test_any_header_is_survived(tmp_path_factory: pytest.TempPathFactory, parts: list[bytes]) -> None:
    data = PAGES[0] + b"".join(parts) + PAGES[1]
    found = extract([whole(tmp_path_factory.mktemp("x"), data)], ExtractConfig())
    assert "image 0" in found.candidates["text"].to_pylist()

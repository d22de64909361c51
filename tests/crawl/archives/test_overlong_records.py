"""Records that declare more bytes than they have."""

from __future__ import annotations

import gzip
import random
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from crawl.archives.lenient_records import parse_header
from crawl.archives.overlong_records import header_inside, http_end
from crawl.archives.records import Reading, read_records
from crawl.candidates.config import ExtractConfig
from crawl.candidates.extract import extract
from tests.crawl.archives.bodies import read_bodies
from tests.crawl.archives.test_records import INFO
from tests.crawl.warc_bytes import http, members, record, whole

LAYOUTS: dict[str, Callable[..., bytes]] = {
    "uncompressed": lambda *items: b"".join(items),
    "one gzip": lambda *items: gzip.compress(b"".join(items)),
    "one zstd": lambda *items: zstandard.compress(b"".join(items)),
    "gzip per record": members,
}


def body(number: int) -> bytes:
    return f'<img src="{number}.jpg" alt="picture number {number}">'.encode()


def response(number: int, form: str) -> bytes:
    if form == "chunked":
        coded = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body(number)), body(number))
        return http(coded, headers=("Transfer-Encoding: chunked",))
    return http(body(number), headers=(f"Content-Length: {len(body(number))}",) if form == "length" else ())


def overlong(more: int, form: str, **kinds: str) -> bytes:
    block = response(1, form)
    return record(block, "http://host1.example/", length=len(block) + more, **kinds)


def following(form: str) -> list[bytes]:
    return [record(response(number, form), f"http://host{number}.example/") for number in (2, 3)]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("form", ["length", "chunked", "unknown"])
@pytest.mark.parametrize("more", [2, 4, 5, 10, 13, 14, 60, 250, 300, 500, 999_999, 10**15])
def test_each_page_comes_out_under_its_own_host(layout: str, form: str, more: int, tmp_path: Path) -> None:
    data = LAYOUTS[layout](INFO, overlong(more, form), *following(form))
    found = extract([whole(tmp_path, data)], ExtractConfig())
    pairs = [(row["text"], row["url"]) for row in found.candidates.to_pylist()]
    assert pairs == [(f"picture number {n}", f"http://host{n}.example/{n}.jpg") for n in (1, 2, 3)]
    (source,) = found.sources.to_pylist()
    assert source["damaged_records"] == (
        0 if more in (2, 4) and "gzip per" not in layout else source["damaged_records"]
    )
    assert source["damaged_records"] <= 1
    assert source["records"] == 4


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_record_that_swallows_the_next_one_exactly(layout: str, tmp_path: Path) -> None:
    second, third = following("length")
    data = LAYOUTS[layout](overlong(len(second) + 4, "length"), second, third)
    reading = Reading()
    found = list(read_records(whole(tmp_path, data), reading))
    assert [item.uri for item in found] == [f"http://host{n}.example/" for n in (1, 2, 3)]
    assert (reading.damaged_records, reading.lost_bytes) == (1, 0)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", ["request", "warcinfo", "resource", "metadata", "conversion"])
def test_records_of_every_type(layout: str, kind: str, tmp_path: Path) -> None:
    block = b"GET / HTTP/1.1\r\nHost: host1.example\r\n\r\n" if kind == "request" else b"some: text\r\n"
    first = record(block, "http://host1.example/", type_=kind, content_type="text/plain", length=len(block) + 250)
    reading = Reading()
    found = list(read_records(whole(tmp_path, LAYOUTS[layout](INFO, first, *following("length"))), reading))
    assert [item.uri for item in found][-2:] == ["http://host2.example/", "http://host3.example/"]
    assert reading.records == 4


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("form", ["length", "unknown"])
def test_an_archive_within_an_archive_stays_a_body(layout: str, form: str, tmp_path: Path) -> None:
    inner = b"".join(following("length")) + record(random.Random(1).randbytes(300_000)) + b"".join(following("unknown"))
    headers = (f"Content-Length: {len(inner)}",) if form == "length" else ()
    outer = record(http(inner, "application/warc", headers=headers), "http://host1.example/a.warc")
    for last in (b"", b"cut off"):  # by its own word the body goes on
        data = LAYOUTS[layout](INFO, outer, record(response(4, "length") + last, "http://host4.example/"))
        reading = Reading()
        found = list(read_records(whole(tmp_path, data), reading))
        assert [item.uri for item in found] == ["http://host1.example/a.warc", "http://host4.example/"]
        assert found[0].block.endswith(inner)
        assert reading.damaged_records == 0


@pytest.mark.parametrize("layout", LAYOUTS)
def test_bodies_behind_an_overlong_record_are_found(layout: str, tmp_path: Path) -> None:
    piece = whole(tmp_path, LAYOUTS[layout](INFO, overlong(700, "length"), *following("length")))
    offsets = [item.offset for item in read_records(piece, Reading())]
    assert [found for _, found, _ in read_bodies(piece.location, offsets)] == [body(1), body(2), body(3)]


def test_where_a_message_ends() -> None:
    assert http_end(b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nabc") == 37
    assert http_end(b"HTTP/1.1 200\r\nContent-Length: 2, 2\r\n\r\nabc") == 40
    assert http_end(b"HTTP/1.1 200\r\nContent-Length: 9\r\n\r\nabc") == 44  # behind what is there
    assert http_end(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nabc") == 27
    for said in (b"Content-Length: 1, 2", b"Content-Length: -1", b"A: b"):
        assert http_end(b"HTTP/1.1 200\r\n" + said + b"\r\n\r\nabc") is None
    chunked = b"HTTP/1.1 200\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n"
    assert http_end(chunked + b"2\r\nab\r\n0\r\n\r\nx") == len(chunked) + 10
    assert http_end(chunked + b"ff\r\nab\r\n") > len(chunked) + 8
    assert http_end(chunked + b"2\r\nab\r\nno size\r\n") is None
    assert http_end(b"") is None
    assert header_inside(b"WARC/1.0\r\n") == (0, False)
    assert header_inside(b"see WARC/1.0\r\n") is None


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [b"WARC/1.0\r\n", b"\r\n", b"WARC-Type: response\r\n", b"Content-Length: 40\r\n", b"HTTP/1.1 200\r\n"]
        ),
        max_size=30,
    ),
    st.sampled_from(sorted(LAYOUTS)),
)
def test_any_headers_within_each_other_are_survived(
    tmp_path_factory: pytest.TempPathFactory, parts: list[bytes], layout: str
) -> None:
    data = LAYOUTS[layout](INFO, b"".join(parts), *following("length"))
    reading = Reading()
    found = list(read_records(whole(tmp_path_factory.mktemp("x"), data), reading))
    assert found[-1].uri == "http://host3.example/"
    assert reading.lost_bytes <= len(data) + 20_000


@pytest.mark.parametrize("compress", [bytes, gzip.compress])
@pytest.mark.parametrize("form", ["length", "chunked", "unknown"])
@pytest.mark.parametrize("more", [1, 5, 60, 250, 999_999, 10**11])
def test_records_of_an_arc(compress: Callable[[bytes], bytes], form: str, more: int, tmp_path: Path) -> None:
    items = []
    for n in (1, 2, 3):
        block = response(n, form)
        length = len(block) + (more if n == 1 else 0)
        items.append(f"http://host{n}.example/ 10.0.0.1 20080430204826 text/html {length}\n".encode() + block + b"\n")
    found = extract([whole(tmp_path, compress(b"".join(items)), "a.arc")], ExtractConfig())
    pairs = [(row["text"], row["url"]) for row in found.candidates.to_pylist()]
    assert pairs == [(f"picture number {n}", f"http://host{n}.example/{n}.jpg") for n in (1, 2, 3)]
    (source,) = found.sources.to_pylist()
    assert (source["records"], source["damaged_records"]) == (3, int(more > 1))


def test_an_archive_within_an_arc_stays_a_body(tmp_path: Path) -> None:
    inner = b"\nhttp://other.example/ 10.0.0.1 20080430204826 text/html 5\nhello\n" * 9000
    for headers in ((), (f"Content-Length: {len(inner)}",)):
        block = http(inner, "text/plain", headers=headers)
        line = f"http://host.example/ 10.0.0.1 20080430204826 text/plain {len(block)}\n".encode()
        piece = whole(tmp_path, (line + block + b"\n") * 2, "a.arc")
        reading = Reading()
        assert [item.block for item in read_records(piece, reading)] == [block] * 2
        assert reading.damaged_records == 0


@pytest.mark.parametrize("line", [b"\nWARC/1.0\r", b"\nWARC/1.0\r\nA: b", b"\nWARC/1.0\r\nWARC-Type: response"])
def test_no_byte_is_parsed_twice_however_many_headers_seem_to_begin(
    line: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed: list[int] = []

    def counted(head: bytes) -> tuple[int, dict[bytes, bytes]] | None:
        parsed.append(len(head))
        return parse_header(head)

    monkeypatch.setattr("crawl.archives.overlong_records.parse_header", counted)
    response = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n"
    for end in (b"", b"\n\n"):
        block = response + (line * 10_000 + end) * 2 + b"text" * 100_000
        header_inside(block)
        assert sum(parsed) <= len(block)
        parsed.clear()


def test_of_two_first_lines_the_one_that_has_the_header_begins_the_record() -> None:
    cut, header = b"\nWARC/1.0\r\nWARC-Ty", b"\nWARC/1.0\r\nWARC-Type: response\r\nContent-Length: 3\r\n\r\n"
    block = b"HTTP/1.1 200 OK\r\n\r\ntext" + cut + header
    assert header_inside(block) == (block.rindex(b"WARC/1.0"), False)

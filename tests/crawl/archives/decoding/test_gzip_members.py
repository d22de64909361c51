from __future__ import annotations

import gzip
import io
import random
import zlib

import pyarrow as pa
import pytest
from fastwarc.warc import ArchiveIterator
from hypothesis import given
from hypothesis import strategies as st

from crawl.archives.decoding import gzip_members
from crawl.archives.decoding.gzip_members import MAX_INFLATED_BYTES, read_members
from crawl.archives.decoding.inflate import GZIP_SIGNATURE
from crawl.archives.decoding.streams import SourceFile
from tests.crawl.warc_bytes import http, members, record

PAGES = [record(http(b"<p>" * size), f"http://site.example/{size}") for size in (0, 1, 1000)]
Told = tuple[int, str, bytes | None, bytes]


def source(data: bytes) -> SourceFile:
    return SourceFile(pa.PythonFile(io.BytesIO(data), mode="r"))


def read(data: bytes, offset: int = 0) -> tuple[list[Told], int]:
    """What is told of the records, and where they end."""
    found: list[Told] = []
    reading = read_members(source(data), offset)
    while True:
        try:
            item = next(reading)
        except StopIteration as stop:
            return found, stop.value
        found.append((item.stream_pos, item.record_type, item.get_bytes(b"warc-target-uri"), bytes(item.read(2**30))))


def by_fastwarc(data: bytes) -> list[Told]:
    return [
        (item.stream_pos, str(item.record_type), item.headers.get_bytes(b"WARC-Target-URI"), item.reader.read())
        for item in ArchiveIterator(io.BytesIO(data), parse_http=False)
    ]


def test_padding_is_left_to_others_with_what_it_follows() -> None:
    assert read(members(*PAGES) + b"\x00" * 20) == (by_fastwarc(members(*PAGES[:2])), len(members(*PAGES[:2])))


@given(
    st.lists(st.binary(max_size=40) | st.sampled_from([GZIP_SIGNATURE, b"\r\n\r\n", b"WARC/1.0\r\n"]), max_size=6),
    st.data(),
)
def test_what_another_reader_reads(blocks: list[bytes], data: st.DataObject) -> None:
    """Whatever the records hold, even members themselves, stored as they are."""
    level = data.draw(st.sampled_from([0, 1, 9]))
    items = [
        record(block + members(*PAGES[:1]) * data.draw(st.integers(0, 2)), f"http://a.example/{number}")
        for number, block in enumerate(blocks)
    ]
    archive = b"".join(gzip.compress(item, level, mtime=0) for item in items)
    assert read(archive) == (by_fastwarc(archive), len(archive))


def test_records_larger_than_what_is_read_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gzip_members, "_FIRST_READ_BYTES", 7)
    monkeypatch.setattr(gzip_members, "_READ_BYTES", 50)
    noise = random.Random(0).randbytes(3000)
    archive = members(*PAGES, record(noise), *PAGES)
    assert read(archive) == (by_fastwarc(archive), len(archive))


def test_from_any_record_on() -> None:
    archive = members(*PAGES)
    offsets = [offset for offset, *_ in read(archive)[0]]
    for number, offset in enumerate(offsets):
        assert [told[0] for told in read(archive, offset)[0]] == offsets[number:]


def test_a_file_that_has_become_shorter() -> None:
    archive = members(*PAGES)
    shrinking = source(archive)
    shrinking.size += 10
    found = [item.stream_pos for item in read_members(shrinking, 0)]
    assert found == [offset for offset, *_ in by_fastwarc(archive)[:-1]]  # where the last one ends nobody knows


def lying_about_its_size(size: int) -> bytes:
    return members(PAGES[1])[:-4] + size.to_bytes(4, "little")


def with_a_file_name() -> bytes:
    inner = zlib.compressobj(wbits=-15)
    body = inner.compress(PAGES[1]) + inner.flush()
    trailer = zlib.crc32(PAGES[1]).to_bytes(4, "little") + len(PAGES[1]).to_bytes(4, "little")
    return b"\x1f\x8b\x08\x08\x00\x00\x00\x00\x00\xffname\x00" + body + trailer


def test_a_member_with_a_file_name() -> None:
    archive = members(PAGES[0]) + with_a_file_name() + members(PAGES[2])
    assert read(archive) == (by_fastwarc(archive), len(archive))


@pytest.mark.parametrize(
    "odd",
    [
        members(PAGES[0] + PAGES[1]),
        members(PAGES[0][:-2]),
        members(PAGES[1].replace(b"WARC-Type: response", b"WARC-Type: Response")),
        members(PAGES[1].replace(b"Content-Length: ", b"Content-Length: 1")),
        members(PAGES[1].replace(b"\r\n", b"\n")),
        members(PAGES[1].replace(b"WARC-Date: ", b"WARC-Date:\r\n ")),
        members(b"no record"),
        lying_about_its_size(0),
        lying_about_its_size(len(PAGES[1]) + 1),
        lying_about_its_size(2**32 - 1),
        members(PAGES[1])[:-9] + b"\x00" * 9,
        members(PAGES[1])[:40],
        members(record(b" " * MAX_INFLATED_BYTES)),
    ],
    ids=lambda odd: f"{len(odd)} bytes",
)
@pytest.mark.parametrize("tail", [b"", members(PAGES[2])], ids=["last", "amid"])
def test_what_is_odd_is_left_to_others(odd: bytes, tail: bytes) -> None:
    before = members(PAGES[0])
    assert read(before + odd + tail) == (by_fastwarc(before), len(before))


def test_a_hostile_size_takes_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(gzip_members, "gzip_decompress", lambda data, size: asked.append(size) or bytearray())
    read(lying_about_its_size(MAX_INFLATED_BYTES))
    assert asked == []

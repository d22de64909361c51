from __future__ import annotations

import gzip
import random
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from crawl.archives.records import MAX_PIECES, Piece, Reading, Record, describe, read_records, split
from dataset.store.seekable import Seekable
from tests.crawl.archives.bodies import read_bodies
from tests.crawl.warc_bytes import http, members, page, record, wat, wat_record, whole

INFO = record(b"software: test\r\n", type_="warcinfo", content_type="application/warc-fields")
PAGES = [page(f"<img src={i}.png alt=x>" + "y" * (37 * i), f"http://site.example/{i}") for i in range(8)]


def read(piece: Piece) -> tuple[list[Record], Reading]:
    reading = Reading()
    return list(read_records(piece, reading)), reading


def read_all(pieces: Iterable[Piece]) -> list[Record]:
    return [item for piece in pieces for item in read(piece)[0]]


def zstd(*records: bytes) -> bytes:
    return b"".join(pa.compress(item, "zstd", asbytes=True) for item in records)


def zstd_with_dictionary(*records: bytes, compressed: bool) -> bytes:
    """Compress as ArchiveTeam does: the dictionary in a skippable frame, then a frame for each record."""
    dictionary = zstandard.train_dictionary(4096, list(records) * 20)
    compressor = zstandard.ZstdCompressor(dict_data=dictionary)
    data = dictionary.as_bytes()
    if compressed:
        data = zstandard.compress(data)
    return b"\x5d\x2a\x4d\x18" + len(data).to_bytes(4, "little") + data + b"".join(map(compressor.compress, records))


def lz4(*records: bytes) -> bytes:
    return b"".join(pa.compress(item, "lz4", asbytes=True) for item in records)


LAYOUTS = {
    "gzip per record": members(INFO, *PAGES),
    "one gzip": gzip.compress(b"".join([INFO, *PAGES])),
    "uncompressed": b"".join([INFO, *PAGES]),
    "several in a member": members(INFO, PAGES[0] + PAGES[1], *PAGES[2:]),
    "zstd per record": zstd(INFO, *PAGES),
    "one zstd": zstd(b"".join([INFO, *PAGES])),
    "zstd with a dictionary": zstd_with_dictionary(INFO, *PAGES, compressed=False),
    "zstd with a compressed dictionary": zstd_with_dictionary(INFO, *PAGES, compressed=True),
    "lz4": lz4(INFO, *PAGES),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_and_any_split_give_the_same_records(layout: str, tmp_path: Path) -> None:
    data = LAYOUTS[layout]
    piece = whole(tmp_path, data, "odd name.bin")
    found, reading = read(piece)
    assert [item.uri for item in found] == [f"http://site.example/{i}" for i in range(8)]
    assert [item.block for item in found] == [item.split(b"\r\n\r\n", 1)[1][:-4] for item in PAGES]
    assert {(item.type, item.date) for item in found} == {("response", "2024-05-06T07:08:09Z")}
    assert (reading.type, reading.records, reading.end) == ("warc", 9, len(data))
    assert (reading.damaged_records, reading.lost_bytes, reading.error) == (0, 0, None)
    for piece_bytes in range(1, len(data) + 2, 41):
        pieces = split(piece.archive, piece.location, len(data), piece_bytes)
        assert read_all(pieces) == found
    assert [describe(piece.location)] == ["warc"]


@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name != "several in a member"])
def test_bodies_by_offset(layout: str, tmp_path: Path) -> None:
    piece = whole(tmp_path, LAYOUTS[layout])
    offsets = [item.offset for item in read(piece)[0]]
    assert len(set(offsets)) == len(PAGES)
    bodies = list(read_bodies(piece.location, [offsets[5], offsets[1], offsets[1], 3, 10**9]))
    assert [offset for offset, _, _ in bodies] == [offsets[1], offsets[5]]
    assert [body[:22] for _, body, _ in bodies] == [b"<img src=1.png alt=x>y", b"<img src=5.png alt=x>y"]
    assert {date for _, _, date in bodies} == {"2024-05-06T07:08:09Z"}


def test_bodies_are_decoded(tmp_path: Path) -> None:
    resource = record(b"\x89PNG", type_="resource", content_type="image/png")
    encoded = record(http(b"3\r\nabc\r\n0\r\n\r\n", "image/gif; x", headers=("Transfer-Encoding: chunked",)))
    piece = whole(tmp_path, members(INFO, resource, encoded))
    offsets = [item.offset for item in read(piece)[0]]
    assert list(read_bodies(piece.location, [0, *offsets])) == [
        (offsets[0], b"\x89PNG", "2024-05-06T07:08:09Z"),
        (offsets[1], b"abc", "2024-05-06T07:08:09Z"),
    ]
    assert list(read_bodies(piece.location, [])) == []


def test_only_the_first_record_of_a_member_is_addressable(tmp_path: Path) -> None:
    found, _ = read(whole(tmp_path, LAYOUTS["several in a member"]))
    assert [item.is_addressable for item in found] == [True, False] + [True] * 6


def test_pieces_cover_a_file() -> None:
    pieces = split("a", "/a", 1000, 300)
    assert [(piece.start, piece.end) for piece in pieces] == [(0, 250), (250, 500), (500, 750), (750, -1)]
    assert [(piece.start, piece.end) for piece in split("a", "/a", 0, 300)] == [(0, -1)]
    assert len(split("a", "/a", 10**15, 300)) == MAX_PIECES  # as somebody says


SNIPPETS = [
    b"WARC/1.0\r\nWARC-Type: response\r\nContent-Length: 5\r\n\r\nhello\r\n\r\n",
    members(page("an archive in an archive"), page("of two records")),
    b"\x1f\x8b\x08",
    random.Random(1).randbytes(70_000),
    b"\r\n\r\n",
]


@settings(max_examples=40)
@given(
    bodies=st.lists(st.lists(st.sampled_from(SNIPPETS), max_size=4).map(b"".join), min_size=1, max_size=6),
    compression=st.sampled_from(["members", "stored", "one", "none"]),
    cuts=st.integers(1, 12),
)
def test_split_exactly_even_where_archives_hold_archives(
    bodies: list[bytes], compression: str, cuts: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    items = [record(http(body), f"http://h.example/{i}") for i, body in enumerate(bodies)]
    data = {
        "members": lambda: members(*items),
        "stored": lambda: b"".join(gzip.compress(item, 0) for item in items),
        "one": lambda: gzip.compress(b"".join(items)),
        "none": lambda: b"".join(items),
    }[compression]()
    piece = whole(tmp_path_factory.mktemp("split"), data)
    found, reading = read(piece)
    assert [item.uri for item in found] == [f"http://h.example/{i}" for i in range(len(bodies))]
    assert (reading.damaged_records, reading.error) == (0, None)
    assert read_all(split(piece.archive, piece.location, len(data), -(-len(data) // cuts))) == found


@settings(max_examples=60)
@given(
    data=st.data(),
    layout=st.sampled_from(["gzip per record", "one gzip", "uncompressed", "several in a member", "one zstd"]),
)
def test_damage_never_raises_and_splits_agree_on_it(
    data: st.DataObject, layout: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    content = bytearray(LAYOUTS[layout])
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(content) - 1))
        kind = data.draw(st.sampled_from(["overwrite", "cut out", "insert", "truncate"]))
        if kind == "overwrite":
            content[at : at + 20] = b"\xff" * len(content[at : at + 20])
        elif kind == "cut out":
            del content[at : at + 30]
        elif kind == "insert":
            content[at:at] = b"junk " * 6
        else:
            del content[at:]
        if not content:
            return
    piece = whole(tmp_path_factory.mktemp("damage"), bytes(content))
    found, reading = read(piece)
    assert reading.lost_bytes <= max(len(content), 20_000)
    assert (reading.error is None) == (reading.damaged_records == 0 and reading.type != "unknown")
    pieces = split(piece.archive, piece.location, len(content), 200)
    assert read_all(pieces) == found
    if reading.type != "unknown":
        parts = [read(part)[1] for part in pieces]
        assert sum(part.damaged_records for part in parts) == reading.damaged_records
        assert sum(part.lost_bytes for part in parts) == reading.lost_bytes


@pytest.mark.parametrize("layout", ["gzip per record", "uncompressed"])
def test_damage_costs_only_the_damaged_records(layout: str, tmp_path: Path) -> None:
    data = bytearray(LAYOUTS[layout])
    piece = whole(tmp_path, bytes(data))
    offsets = [item.offset for item in read(piece)[0]]
    for bad in (2, 5):
        data[offsets[bad] : offsets[bad] + 120] = b"\xff" * 120
    found, reading = read(whole(tmp_path, bytes(data)))
    assert [item.offset for item in found] == [offset for i, offset in enumerate(offsets) if i not in (2, 5)]
    assert reading.damaged_records == 2
    assert reading.lost_bytes == offsets[3] - offsets[2] + offsets[6] - offsets[5]
    assert reading.error is not None
    assert f"a.warc.gz is damaged or cut off at byte {offsets[2]:,}" in reading.error


def test_a_damaged_stream_gives_what_stands_before(tmp_path: Path) -> None:
    noise = random.Random(0).randbytes(300_000)
    data = bytearray(gzip.compress(b"".join([INFO, PAGES[0], PAGES[1], record(noise), PAGES[2]])))
    data[200_000:200_100] = b"\xff" * 100
    found, reading = read(whole(tmp_path, bytes(data)))
    assert [item.uri for item in found][:2] == ["http://site.example/0", "http://site.example/1"]
    assert reading.damaged_records > 0
    assert reading.error is not None


@pytest.mark.parametrize("length", [0, 10_000, "abc", -5, 10**30])
def test_a_wrong_content_length_does_not_cost_the_next_record(length: object, tmp_path: Path) -> None:
    wrong = record(http(b"<p>"), "http://h.example/wrong", length=length)  # type: ignore[arg-type]
    for data in (members(INFO, wrong, PAGES[0], PAGES[1]), b"".join([INFO, wrong, PAGES[0], PAGES[1]])):
        found, reading = read(whole(tmp_path, data))
        assert [item.uri for item in found][-2:] == ["http://site.example/0", "http://site.example/1"]
        assert reading.damaged_records == 1


@pytest.mark.parametrize("tail", [b"\x00" * 1000, b"\r\n\r\n"])
@pytest.mark.parametrize("layout", ["gzip per record", "uncompressed", "one gzip"])
def test_padding_is_no_damage(layout: str, tail: bytes, tmp_path: Path) -> None:
    found, reading = read(whole(tmp_path, LAYOUTS[layout] + tail))
    assert len(found) == len(PAGES)
    assert reading.error is None


def test_a_cut_off_record_is_given_as_far_as_it_goes(tmp_path: Path) -> None:
    found, reading = read(whole(tmp_path, b"".join(PAGES[:2])[:-20]))
    assert len(found) == 2
    assert found[1].block.endswith(b"y")
    assert reading.damaged_records == 1


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "is empty"),
        (b"<html><p>a page</html>", "is neither WARC, WAT nor ARC"),
        (gzip.compress(b"<html>" * 1000), "is neither WARC, WAT nor ARC"),
        (b"\x1f\x8b\x08" + b"\xff" * 100, "is neither WARC, WAT nor ARC"),
        (bytes(3_000_000), "is neither WARC, WAT nor ARC"),
        (b"PK\x03\x04" + b"\x00" * 50, "is a zip, but no WACZ that can be read"),
    ],
    ids=["empty", "html", "gzipped html", "gzip's first bytes", "zeros", "zip"],
)
def test_what_is_no_archive_says_so_once(data: bytes, says: str, tmp_path: Path) -> None:
    piece = whole(tmp_path, data)
    found, reading = read(piece)
    assert (found, reading.type, reading.lost_bytes) == ([], "unknown", len(data))
    assert reading.error is not None
    assert reading.error.startswith(f"a.warc.gz {says}")
    pieces = split(piece.archive, piece.location, len(data), max(1, len(data) // 3))
    assert [read(part)[1].error for part in pieces][1:] == [None] * (len(pieces) - 1)
    assert describe(piece.location) == "unknown"
    assert list(read_bodies(piece.location, [0])) == []


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    for location in (tmp_path / "gone.warc.gz", tmp_path):
        found, reading = read(Piece("my.warc.gz", str(location), 0, -1))
        assert found == []
        assert reading.error is not None
        assert reading.error.startswith("my.warc.gz cannot be opened")


def test_a_failing_storage_is_an_error_not_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing(pa.PythonFile):  # type: ignore[misc]
        pass

    class Flaky(Seekable):
        def __init__(self, data: bytes):
            self._data, self._size, self._left = data, len(data), 3

        def read(self, count: int = -1) -> bytes:
            self._left -= 1
            if self._left < 0:
                raise OSError("connection reset")
            part = self._data[self._at : self._at + count]
            self._at += len(part)
            return part

    for layout in ("gzip per record", "one gzip", "uncompressed"):
        file = Failing(Flaky(LAYOUTS[layout]), mode="r")
        monkeypatch.setattr("crawl.archives.records.open_source", lambda _, file=file: file)
        with pytest.raises(OSError, match="connection reset"):
            read(Piece("a", "a", 0, -1))


def test_types_from_content_not_name(tmp_path: Path) -> None:
    assert describe(whole(tmp_path, members(INFO, wat_record(wat({}))), "a.warc.gz").location) == "wat"
    assert describe(whole(tmp_path, wat_record(wat({})), "b").location) == "wat"
    assert describe(whole(tmp_path, members(INFO), "c.wat.gz").location) == "warc"


def test_real_archives_split_exactly(shared_data: Path) -> None:
    for path in [shared_data / "gimp-help.warc.gz", *sorted((shared_data / "archives").iterdir())]:
        size = path.stat().st_size
        found = read_all(split(path.name, str(path), size, size + 1))
        assert read_all(split(path.name, str(path), size, size // 9 + 1)) == found

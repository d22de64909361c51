"""Compressed archives that are made to be slow: what is looked at for nothing is bounded, whatever the bytes are."""

from __future__ import annotations

import gzip
import io
import struct
import zlib
from pathlib import Path

import pyarrow as pa
import pytest

from crawl.archives import arc, containers, records
from crawl.archives.containers import Members
from crawl.archives.decoding.inflate import GZIP_SIGNATURE, next_member
from crawl.archives.decoding.streams import SourceFile
from crawl.archives.records import Piece, Reading, read_records

HEAD = b"\x1f\x8b\x08\0\0\0\0\0\0\3"
RECORDS = {
    "warc": b"WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: http://a/\r\nContent-Length: 3\r\n\r\nabc\r\n\r\n",
    "arc": b"http://a.example/ 1.2.3.4 20000101000000 text/html 3\nabc\n",
}
MOST = 2**23


def nested(record: bytes, count: int) -> bytes:
    """Members that each hold the next, stored as it is; all go on with the same megabyte, behind which is damage."""
    body = b""
    for _ in range(count):
        body = HEAD + b"\0" + struct.pack("<HH", len(record + body), len(record + body) ^ 0xFFFF) + record + body
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    return (
        gzip.compress(record) + body + deflate.compress(bytes(2**20)) + deflate.flush(zlib.Z_FULL_FLUSH) + b"\x06\xff"
    )


@pytest.mark.parametrize("kind", ["warc", "arc"])
def test_members_within_each_other_are_not_all_inflated_to_the_same_end(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module, name in (
        (containers, "MAX_READ_AGAIN_BYTES"),
        (records, "MAX_READ_AGAIN_BYTES"),
        (arc, "_MAX_READ_AGAIN_BYTES"),
    ):
        monkeypatch.setattr(module, name, MOST)
    counts = []
    for count in (50, 100, 400):
        path = tmp_path / f"{count}.{kind}.gz"
        path.write_bytes(nested(RECORDS[kind], count))
        reading = Reading()
        found = list(read_records(Piece(path.name, str(path), 0, -1), reading))
        assert found[0].block == b"abc"
        assert reading.error is not None and reading.lost_bytes > 0
        counts.append(len(found))
    assert counts[0] == counts[1] == counts[2] < 2 * MOST // 2**20


def test_a_piece_begins_among_members_within_each_other_after_bounded_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(containers, "MAX_READ_AGAIN_BYTES", MOST)
    data = nested(RECORDS["warc"], 400)
    container = Members(SourceFile(pa.PythonFile(io.BytesIO(data), mode="r")))
    begun = container.inflated_bytes
    starts = [container.boundary(offset) for offset in (0, 100, 200, 300)]
    assert starts == sorted(starts) and starts[-1] < len(data)
    assert container.inflated_bytes - begun < 3 * (MOST + 2**21)


@pytest.mark.parametrize("gap", [0, 7, 100])
def test_of_many_signatures_few_are_looked_behind(gap: int) -> None:
    one = GZIP_SIGNATURE + b"x" * gap
    data = one * (2**22 // len(one))
    asked: list[int] = []
    assert next_member(lambda offset, count: data[offset : offset + count], 0, asked.append) is None
    assert 2 <= len(asked) <= 512 * 5


@pytest.mark.parametrize("gap", [0, 2**20])
def test_a_member_behind_a_storm_of_signatures_is_found(gap: int) -> None:
    storm = GZIP_SIGNATURE * 2**20
    data = storm + bytes(gap) + gzip.compress(b"the one") + gzip.compress(b"another")

    found = next_member(lambda at, count: data[at : at + count], 0, lambda at: at >= len(storm))
    assert found == len(storm) + gap


def test_records_behind_members_of_nothing_are_read(tmp_path: Path) -> None:
    record = gzip.compress(RECORDS["warc"], mtime=0)
    path = tmp_path / "a.warc.gz"
    path.write_bytes(record + gzip.compress(b"", mtime=0) * 60_000 + record)
    assert len(list(read_records(Piece(path.name, str(path), 0, -1), Reading()))) == 2


def test_a_storm_of_damages_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of them is looked behind, which costs as much as reading some thousands of bytes."""
    monkeypatch.setattr(records, "MAX_READ_AGAIN_BYTES", 2**20)
    path = tmp_path / "a.warc"
    path.write_bytes(b"WARC/1.0\r\r\n" * 2_000)
    reading = Reading()
    assert not list(read_records(Piece(path.name, str(path), 0, -1), reading))
    assert reading.damaged_records < 2**20 // 2**12 + 2
    assert reading.lost_bytes == path.stat().st_size and reading.error is not None

from __future__ import annotations

import copy
import gzip
import io
import struct
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from crawl.archives.commoncrawl import CommonCrawlConfig, files, parse
from crawl.archives.open_source import MEMBER, kind_of, open_source, warc_members
from crawl.archives.records import Piece
from crawl.candidates.config import ExtractConfig
from crawl.candidates.extract import extract
from tests.crawl.archives.bodies import read_bodies
from tests.crawl.warc_bytes import http, members, page, record

ARCHIVE = members(
    page("<img src=/a.png alt=a>"), record(http(b"\x89PNG\r\n\x1a\n", "image/png"), "http://site.example/a.png")
)


def wacz(path: Path, compression: int = zipfile.ZIP_STORED, data: bytes = ARCHIVE) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("datapackage.json", "{}")
        file.writestr("archive/data.warc.gz", data, compression)
        file.writestr("archive/more.warc", page("<img src=/b.png alt=b>"), compression)
        file.writestr("indexes/index.cdx.gz", b"x")
    return path


def parquet() -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table({"url": ["a"]}), sink)
    return sink.getvalue()


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (ARCHIVE, "archive"),
        (page("x, y"), "archive"),
        (b"filedesc://a.arc 0.0.0.0 20080101000000 text/plain, 7\n", "archive"),
        (b"", "archive"),
        (b"<html>,", "archive"),
        (b"\x1f\x8b\x08" + b"\xff" * 99, "archive"),
        (b"\xff\xfe,", "archive"),
        (parquet(), "parquet"),
        (b"PK\x03\x04", "wacz"),
        (b"\xef\xbb\xbfURL,TEXT\nhttp://a/,b\n", "csv"),
        (b"sep=|\nurl|text\n", "csv"),
        (gzip.compress(b"text\turl\nx\thttp://a/\n", mtime=0), "csv"),
        (b"# pages\n\nhttp://a.example/\r\nHTTPS://b.example/?a=1,2\n", "urls"),
        (b"http://a.example/\n" * 10_000, "urls"),
        ("http://a.example/é\n".encode() * 4000, "urls"),
        (b"http://a.example/ a caption\n", "archive"),
    ],
)
def test_a_kind_is_told_by_content(data: bytes, kind: str, tmp_path: Path) -> None:
    (tmp_path / "misnamed.jpg").write_bytes(data)
    assert kind_of(str(tmp_path / "misnamed.jpg")) == kind


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_wacz_reads_as_the_archives_in_it(compression: int, tmp_path: Path) -> None:
    path = wacz(tmp_path / "a.wacz", compression)
    found = warc_members(str(path))
    assert [name for name, _ in found] == ["archive/data.warc.gz", "archive/more.warc"]
    location = f"{path}!/{found[0][0]}"
    with open_source(location) as file:
        assert (file.size(), file.read()) == (found[0][1], ARCHIVE)
        file.seek(-3, 2)
        assert file.read() == ARCHIVE[-3:]
    pieces = [Piece(name, f"{path}!/{name}", 0, -1) for name, _ in found]
    result = extract(pieces, ExtractConfig())
    assert result.candidates["text"].to_pylist() == ["a", "b"]
    (offset,) = result.archive_images["offset"].to_pylist()
    assert [body for _, body, _ in read_bodies(location, [offset])] == [b"\x89PNG\r\n\x1a\n"]


def test_a_zip_of_several_wacz(tmp_path: Path) -> None:
    one, two = wacz(tmp_path / "1.wacz"), wacz(tmp_path / "2.wacz", zipfile.ZIP_DEFLATED)
    with zipfile.ZipFile(tmp_path / "all.wacz", "w") as file:
        file.writestr("datapackage.json", '{"profile": "multi-wacz-package"}')
        file.write(one, "one.wacz")
        file.write(two, "crawls/two.wacz", zipfile.ZIP_DEFLATED)
    names = [name for name, _ in warc_members(f"{tmp_path}/all.wacz")]
    assert names == [
        f"{of}.wacz!/archive/{name}" for of in ("crawls/two", "one") for name in ("data.warc.gz", "more.warc")
    ]
    pieces = [Piece(name, f"{tmp_path}/all.wacz!/{name}", 0, -1) for name in names]
    result = extract(pieces, ExtractConfig())
    assert result.candidates["text"].to_pylist() == ["a", "b"] * 2
    image = result.archive_images.to_pylist()[1]
    location = f"{tmp_path}/all.wacz!/{image['archive']}"
    assert [body for _, body, _ in read_bodies(location, [image["offset"]])] == [b"\x89PNG\r\n\x1a\n"]


def test_zips_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "broken").write_bytes(wacz(tmp_path / "a.wacz").read_bytes()[:-30])
    with pytest.raises(ValueError, match="is a damaged zip"):
        warc_members(str(tmp_path / "broken"))
    with zipfile.ZipFile(tmp_path / "other", "w") as file:
        file.writestr("a.txt", "x")
    with pytest.raises(ValueError, match="no WACZ"):
        warc_members(str(tmp_path / "other"))
    for name in ("archive/none", ""):
        source = extract([Piece("x", f"{tmp_path}/other!/{name}", 0, -1)], ExtractConfig()).sources.to_pylist()[0]
        assert source["error"].startswith("x cannot be opened")
    bzip2 = wacz(tmp_path / "bzip2", zipfile.ZIP_BZIP2)
    with pytest.raises(FileNotFoundError, match="unpack it"):
        open_source(f"{bzip2}!/archive/data.warc.gz")


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_sizes_that_are_only_declared_are_bounded(compression: int, tmp_path: Path) -> None:
    path = tmp_path / "a.wacz"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("archive/data.warc.gz", ARCHIVE, compression)
    data = bytearray(path.read_bytes())
    at = data.find(b"PK\x01\x02")  # the directory (PKZIP APPNOTE, 4.3.12), with sizes of 8 bytes behind the name
    name = len("archive/data.warc.gz")
    entry = bytearray(data[at : at + 46 + name])
    entry[20:28] = b"\xff" * 8
    entry[30:32] = (20).to_bytes(2, "little")
    entry += struct.pack("<HHQQ", 1, 16, 2**50, 2**50)
    end = bytearray(data[data.find(b"PK\x05\x06") :])
    end[12:16] = len(entry).to_bytes(4, "little")
    path.write_bytes(data[:at] + entry + end)
    ((_, size),) = warc_members(str(path))
    assert size <= 1032 * path.stat().st_size
    piece = Piece("x", f"{path}!/archive/data.warc.gz", 0, -1)
    assert extract([piece], ExtractConfig()).candidates["text"].to_pylist() == ["a"]


def test_a_directory_is_read_once_for_all_that_it_lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = wacz(tmp_path / "1.wacz").read_bytes()
    with zipfile.ZipFile(tmp_path / "all.wacz", "w") as file:
        for number in range(50):
            file.writestr(f"{number}.wacz", one)
    read = 0
    infolist = zipfile.ZipFile.infolist

    def counted(self: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
        nonlocal read
        items = infolist(self)
        read += len(items) == 50
        return items

    monkeypatch.setattr(zipfile.ZipFile, "infolist", counted)
    for name, _ in warc_members(f"{tmp_path}/all.wacz"):
        open_source(f"{tmp_path}/all.wacz!/{name}").close()
    assert read == 1


def test_a_damaged_member_is_read_to_the_damage(tmp_path: Path) -> None:
    pages = members(*(page(f"<img src={n} alt='{n} {'x' * 9999}'>") for n in range(300)))
    path = wacz(tmp_path / "a.wacz", zipfile.ZIP_DEFLATED, pages)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    source = extract([Piece("x", f"{path}!/archive/data.warc.gz", 0, -1)], ExtractConfig()).sources.to_pylist()[0]
    assert source["error"] is None or "damaged or cut off" in source["error"]
    assert source["candidates"] > 0


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("cc:CC-MAIN-2026-40", ("CC-MAIN-2026-40", None, None)),
        ("cc:CC-MAIN-2026-40[0:100]", ("CC-MAIN-2026-40", 0, 100)),
        ("cc:CC-NEWS[5:]", ("CC-NEWS", 5, None)),
    ],
)
def test_names_of_crawls(source: str, expected: tuple[str, int | None, int | None]) -> None:
    assert parse(source) == expected


@pytest.mark.parametrize("source", ["cc:", "cc:../../etc", "cc:A[0]", "cc:A[1:2:3]", "cc:A [0:1]", "cc:A[-1:]"])
def test_what_names_no_crawl(source: str) -> None:
    with pytest.raises(ValueError, match="not a crawl's name"):
        parse(source)


def test_files_of_a_crawl(tmp_path: Path) -> None:
    folder = tmp_path / "crawl-data" / "CC-1"
    folder.mkdir(parents=True)
    for kind in ("wat", "warc"):
        lines = "".join(f"crawl-data/CC-1/{kind}/{n}.gz\n" for n in range(5))
        (folder / f"{kind}.paths.gz").write_bytes(gzip.compress(lines.encode()))
    config = CommonCrawlConfig(base=f"{tmp_path}/")
    assert files("cc:CC-1", config) == [f"{tmp_path}/crawl-data/CC-1/wat/{n}.gz" for n in range(5)]
    config = CommonCrawlConfig(base=str(tmp_path), files="warc")
    assert files("cc:CC-1[1:3]", config) == [f"{tmp_path}/crawl-data/CC-1/warc/{n}.gz" for n in (1, 2)]
    with pytest.raises(ValueError, match="names no file"):
        files("cc:CC-1[9:]", config)
    (folder / "warc.paths.gz").write_bytes(b"<html>")
    with pytest.raises(ValueError, match="is not a gzip file"):
        files("cc:CC-1", config)
    with pytest.raises(FileNotFoundError):
        files("cc:CC-2", config)
    with pytest.raises(ValueError, match="files must be wat or warc"):
        CommonCrawlConfig(files="wet")  # type: ignore[arg-type]


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_members_that_share_their_bytes_are_read_once(compression: int, tmp_path: Path) -> None:
    """Else a zip of some megabytes holds terabytes of records."""
    path = tmp_path / "a.wacz"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("archive/0.warc.gz", ARCHIVE, compression)
        (item,) = file.infolist()
        for number in range(1, 20):
            same = copy.copy(item)
            same.filename = f"archive/{number}.warc.gz"
            file.filelist.append(same)
        file._didModify = True  # type: ignore[attr-defined]
    sizes = [size for _, size in warc_members(str(path))]
    assert len(sizes) == 20 and sum(size > 0 for size in sizes) == 1
    lengths = [open_source(f"{path}{MEMBER}{name}").size() for name, _ in warc_members(str(path))]
    assert sum(lengths) <= len(ARCHIVE)

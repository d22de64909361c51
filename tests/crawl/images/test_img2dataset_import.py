import hashlib
import tarfile
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from crawl.images.img2dataset_import import ADOPTED, check, index, ingest_download, read
from crawl.images.ingest import ImageConfig, ingest
from crawl.images.observations import Ingested, RefusedBody
from tests.crawl.downloads import download
from tests.crawl.hostile_images import picture
from tests.crawl.hostile_server import HostileServer
from tests.crawl.web.fetching import one_server

__all__ = ["one_server"]

HOST = "http://localhost"


@pytest.fixture(scope="module")
def shard(server: HostileServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    urls = [f"{HOST}:{server.port}/{path}" for path in ("ok1", "status/404", "ok2", "html.jpg", "ok3#part")]
    return download(tmp_path_factory.mktemp("downloads"), urls)


def accept(body: bytes) -> Ingested | RefusedBody:
    def fingerprint(pixels: np.ndarray) -> tuple[bytes, int]:
        return bytes(32), 50

    return ingest(body, ImageConfig(), fingerprint, lambda body, pdq: None)


def test_what_was_downloaded_is_found_under_its_canonical_address(server: HostileServer, shard: Path) -> None:
    check(str(shard))
    rows = index(str(shard))
    assert rows.schema == ADOPTED
    found = dict(zip(rows["url"].to_pylist(), rows.to_pylist(), strict=True))
    assert sorted(url.rpartition("/")[2] for url in found) == ["ok1", "ok2", "ok3"]
    assert set(rows["host"].to_pylist()) == {"localhost"}
    for row, body in read(rows, 10**6):
        result = ingest_download(row, body, accept)
        assert isinstance(result, Ingested)
        assert (result.width, result.height, result.original_width, result.original_height) == (90, 60, 90, 60)
        assert (result.md5, result.media_type) == (None, None)
        assert body is not None and result.sha256 != hashlib.sha256(body).digest()  # of the original, which is gone


def test_the_original_s_checksum_is_kept(server: HostileServer, shard: Path) -> None:
    expected = hashlib.sha256(picture(zlib.crc32(b"/ok1"))).digest()
    rows = index(str(shard)).to_pylist()
    assert [row["sha256"] for row in rows if row["url"].endswith("/ok1")] == [expected]


def test_too_many_bytes_are_not_read(shard: Path) -> None:
    for row, body in read(index(str(shard)), 10):
        assert body is None
        refusal = ingest_download(row, body, accept)
        assert isinstance(refusal, RefusedBody) and refusal.outcome == "body_too_large"


def test_what_cannot_be_adopted_is_named(server: HostileServer, shard: Path, tmp_path: Path) -> None:
    lone = tmp_path / "lone.parquet"
    lone.write_bytes(shard.read_bytes())
    with pytest.raises(ValueError, match=r"lone.parquet has no .*lone.tar beside it; only output_format=webdataset"):
        check(str(lone))
    no_hash = tmp_path / "nohash.parquet"
    pq.write_table(pq.read_table(shard).drop_columns(["sha256"]), no_hash)
    with pytest.raises(ValueError, match=r"nohash.parquet has no column sha256; .*compute_hash=sha256"):
        check(str(no_hash))
    text = tmp_path / "text.parquet"
    text.write_text("no Parquet")
    with pytest.raises(ValueError, match=r"text.parquet cannot be read as Parquet"):
        check(str(text))
    (tmp_path / "lone.tar").write_text("no tar" * 1000)
    with pytest.raises(ValueError, match=r"lone.tar cannot be read as a tar"):
        index(str(lone))


def test_rows_that_say_nothing_useful_are_passed_over(tmp_path: Path) -> None:
    rows = [
        {"url": "http://a.example/a", "key": "0", "status": "success", "sha256": "ab" * 32},
        {"url": None, "key": "1", "status": "success", "sha256": "ab" * 32},
        {"url": "http://a.example/b", "key": "2", "status": "success", "sha256": None},
        {"url": "http://a.example/c", "key": "3", "status": None, "sha256": "ab" * 32},
        {"url": "http://a.example/d", "key": "not in the tar", "status": "success", "sha256": "ab" * 32},
        {"url": "ftp://a.example/e", "key": "5", "status": "success", "sha256": "ab" * 32},
    ]
    table = pa.Table.from_pylist([{**row, "original_width": 1, "original_height": 1} for row in rows])
    pq.write_table(table, tmp_path / "0.parquet")
    with tarfile.open(tmp_path / "0.tar", "w") as tar:
        for row in rows[:4]:
            (tmp_path / "image").write_bytes(picture())
            tar.add(tmp_path / "image", f"{row['key']}.jpg")
    assert index(str(tmp_path / "0.parquet"))["url"].to_pylist() == ["http://a.example/a"]


def test_texts_of_other_bytes_and_columns_of_other_types(tmp_path: Path) -> None:
    rows = [{"url": f"http://a.example/{name}", "key": name} for name in ("caf#", "kettle")]
    beside = {"status": "success", "sha256": "ab" * 32, "original_width": 1, "original_height": 1}
    table, parquet = pa.Table.from_pylist([{**row, **beside} for row in rows]), tmp_path / "0.parquet"
    with tarfile.open(tmp_path / "0.tar", "w") as tar:
        (tmp_path / "image").write_bytes(picture())
        tar.add(tmp_path / "image", "kettle.jpg")
    pq.write_table(table, parquet)
    parquet.write_bytes(parquet.read_bytes().replace(b"caf#", b"caf\xe9"))
    assert index(str(parquet))["url"].to_pylist() == ["http://a.example/kettle"]
    pq.write_table(table.set_column(2, "status", table["status"].dictionary_encode()), parquet)
    assert index(str(parquet))["url"].to_pylist() == ["http://a.example/kettle"]
    pq.write_table(table.set_column(4, "original_width", pa.array([[1], [1]])), parquet)
    with pytest.raises(ValueError, match=r"0.parquet holds list<.*> in its column original_width, .* take the"):
        index(str(parquet))

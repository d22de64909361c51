"""What img2dataset has downloaded is not downloaded again."""

from __future__ import annotations

import hashlib
import re
import shutil
import zlib
from pathlib import Path
from typing import Any

import pytest

import dataset
from filters.images.hashlists import HashLists, HashListsConfig
from pipeline.build import build
from pipeline.config import Config, ConfigError, to_builtins
from pipeline.config import build as make_config
from pipeline.stages.fetch import adopt
from tests.crawl.downloads import download
from tests.crawl.hostile_images import picture
from tests.crawl.hostile_server import HostileServer
from tests.crawl.web.fetching import one_server
from tests.pipeline import pages

__all__ = ["one_server"]

NAMES = ("ok1", "ok2", "status/404", "ok3")
DOWNLOADED = NAMES[:3]
NO_LISTS = HashLists.load(HashListsConfig())


@pytest.fixture(scope="module")
def downloads(server: HostileServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("downloads")
    for shard, names in enumerate((DOWNLOADED, ("ok1",))):
        download(folder, [f"http://localhost:{server.port}/{name}" for name in names], shard)
    return folder


def config(server: HostileServer, folder: Path, downloads: Path, lists: tuple[str, ...] = (), **changes: Any) -> Config:
    tags = "".join(
        f'<img src="http://localhost:{server.port}/{name}" alt="the kettle at {n}">' for n, name in enumerate(NAMES)
    )
    folder.mkdir(exist_ok=True)
    archive = pages.write(folder / "page.warc.gz", [("http://page.test/", f'<html lang="en">{tags}')])
    (folder / "queries.txt").write_text("kettle\n")
    fetch = to_builtins(server.config(resolve={"localhost": f"127.0.0.1:{server.port}"}).__dict__)
    return make_config(
        {
            "sources": [str(archive)],
            "out": str(folder / "out"),
            "match": {"queries": str(folder / "queries.txt")},
            "fetch": {**fetch, "origins": ["http"], "adopt": [str(downloads / "*.parquet")], **changes},
            "hashlists": {"files": list(lists)},
            "image": {"nsfw_model": ""},
            "run": {"workers": 0},
        }
    )


def images(config: Config) -> dict[str, tuple[str, str, str | None]]:
    """The last part of each image's path: origin, outcome, SHA-256."""
    build(config, to="fetch", quiet=True)
    rows = dataset.open(config.out).sql("SELECT url, origin, outcome, sha256 FROM images").fetchall()
    return {url.split("/", 3)[3]: (origin, outcome, sha256) for url, origin, outcome, sha256 in rows}


def original(name: str) -> str:
    return hashlib.sha256(picture(zlib.crc32(f"/{name}".encode()))).hexdigest()


def test_only_what_was_not_downloaded_is_asked_for(server: HostileServer, downloads: Path, tmp_path: Path) -> None:
    before = dict(server.hits)
    found = images(config(server, tmp_path, downloads))
    assert found == {
        "ok1": ("adopted", "ok", original("ok1")),
        "ok2": ("adopted", "ok", original("ok2")),
        "ok3": ("http", "ok", original("ok3")),
        "status/404": ("http", "http_client_error", None),
    }
    asked = {hit.split("/", 1)[1] for hit, count in server.hits.items() if count > before.get(hit, 0)}
    assert asked == {"robots.txt", ".well-known/tdmrep.json", "ok3", "status/404"}
    packed = build(config(server, tmp_path, downloads), quiet=True)
    assert packed.funnel["fetch"] == {"input": 4, "kept": 3, "dropped": 1}


def test_every_file_that_is_to_be_adopted_is_looked_at_first(
    server: HostileServer, downloads: Path, tmp_path: Path
) -> None:
    shutil.copytree(downloads, tmp_path / "downloads")
    made = config(server, tmp_path / "run", tmp_path / "downloads")
    adopt.check(made, NO_LISTS)
    (tmp_path / "downloads" / "00001.tar").unlink()
    with pytest.raises(ConfigError, match=r"fetch.adopt: .*00001.parquet has no .*00001.tar beside it"):
        adopt.check(made, NO_LISTS)


def test_the_addresses_to_download_can_be_asked_for(server: HostileServer, downloads: Path, tmp_path: Path) -> None:
    made = config(server, tmp_path, downloads)
    build(made, to="prebalance", quiet=True)
    (query,) = re.findall(r"wit sql out/mine '(.*)' --format csv", Path("docs/fetch.md").read_text(encoding="utf-8"))
    urls = {url.split("/", 3)[3] for (url,) in dataset.open(made.out).sql(query).fetchall()}
    assert urls == set(NAMES)


def test_the_original_s_checksum_meets_the_hash_lists(server: HostileServer, downloads: Path, tmp_path: Path) -> None:
    listed = tmp_path / "listed.sha256"
    listed.write_text(original("ok2") + "\n")
    assert images(config(server, tmp_path, downloads, (str(listed),)))["ok2"] == ("adopted", "hash_list_match", None)


def test_what_adoption_cannot_keep_is_refused(server: HostileServer, downloads: Path, tmp_path: Path) -> None:
    listed = tmp_path / "listed.md5"
    listed.write_text("00" * 16 + "\n")
    with pytest.raises(ConfigError, match=r"fetch\.adopt cannot be held against MD5 lists"):
        build(config(server, tmp_path, downloads, (str(listed),)), quiet=True)
    with pytest.raises(ConfigError, match=r"fetch\.adopt: .* matches nothing"):
        build(config(server, tmp_path, tmp_path / "nowhere"), quiet=True)
    (tmp_path / "bad.parquet").write_text("no Parquet")
    with pytest.raises(ConfigError, match=r"fetch\.adopt: .*bad\.parquet cannot be read as Parquet"):
        build(config(server, tmp_path, tmp_path), quiet=True)
    assert not (tmp_path / "out").exists()

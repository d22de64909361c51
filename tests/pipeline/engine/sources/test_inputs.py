from __future__ import annotations

import gzip
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

import dataset
from crawl.web.crawl_pages import HarvestReport
from dataset.store.storage import Storage
from pipeline.asking.explain import explain
from pipeline.build import build
from pipeline.cli import main
from pipeline.config import Config, ConfigError, to_builtins
from pipeline.config import build as make_config
from pipeline.engine.sources.inputs import expand
from pipeline.engine.unchanged import inputs_digest
from tests.crawl import hostile_server
from tests.crawl.archives.test_open_source import ARCHIVE, wacz
from tests.crawl.tables.test_read import ROWS, write_parquet
from tests.crawl.warc_bytes import members, page, wat, wat_record
from tests.range_server import RangeServer, running


def config(out: Path, *sources: str, **more: Any) -> Config:
    return make_config({"sources": list(sources), "out": str(out), "run": {"workers": 0}, **more})


def texts(out: Path) -> list[str]:
    rows = dataset.open(str(out)).sql('SELECT text FROM candidates ORDER BY archive, "offset", ordinal').fetchall()
    return [text for (text,) in rows]


def extracted(made: Config) -> dict[str, int]:
    """Run the first stage; how many tasks it did."""
    return build(made, to="extract", quiet=True).did


def write_crawl(folder: Path, name: str = "CC-MAIN-2026-40", files: int = 3) -> None:
    """A crawl as Common Crawl lays it out: WAT files of one image each, WARC files of another."""
    for kind in ("wat", "warc"):
        paths = [f"crawl-data/{name}/segments/1/{kind}/{n}.{kind}.gz" for n in range(files)]
        for number, path in enumerate(paths):
            link = {"path": "IMG@/src", "url": f"/{number}.png", "alt": f"{kind} {number}"}
            block = page(f"<img src=/{number}.png alt='{kind} {number}'>")
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(members(wat_record(wat({"Links": [link]})) if kind == "wat" else block))
        listing = "".join(f"{path}\n" for path in paths)
        (folder / f"crawl-data/{name}/{kind}.paths.gz").write_bytes(gzip.compress(listing.encode()))


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    folder = tmp_path / "mirror"
    write_crawl(folder)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    with running(folder) as server:
        yield server


def test_a_crawl_by_name(mirror: RangeServer, tmp_path: Path) -> None:
    made = config(tmp_path / "out", "cc:CC-MAIN-2026-40[0:2]", commoncrawl={"base": mirror.url})
    mirror.busy = [(503, {"Retry-After": "1"}), (403, {}), (429, {})]
    assert extracted(made) == {"extract.candidates": 1}
    assert texts(tmp_path / "out") == ["wat 0", "wat 1"]
    archives = dataset.open(str(tmp_path / "out")).sql("SELECT DISTINCT file FROM sources ORDER BY 1").fetchall()
    folder = f"{mirror.url}/crawl-data/CC-MAIN-2026-40/segments/1/wat"
    assert archives == [(f"{folder}/0.wat.gz",), (f"{folder}/1.wat.gz",)]

    asked = {name: count for name, count in mirror.hits.items() if "/segments/" in name and name.startswith("HEAD ")}
    assert extracted(made) == {}  # nothing to do, and a crawl's files are not asked for again
    assert {name: mirror.hits[name] for name in asked} == asked

    more = config(tmp_path / "out", "cc:CC-MAIN-2026-40", commoncrawl={"base": mirror.url})
    extracted(more)
    assert texts(tmp_path / "out") == ["wat 0", "wat 1", "wat 2"]


def test_a_crawls_pages_and_a_mirror_on_disk(tmp_path: Path) -> None:
    write_crawl(tmp_path)
    made = config(tmp_path / "out", "cc:CC-MAIN-2026-40[1:]", commoncrawl={"base": str(tmp_path), "files": "warc"})
    extracted(made)
    assert texts(tmp_path / "out") == ["warc 1", "warc 2"]


def test_archives_at_any_url_in_pieces(mirror: RangeServer, tmp_path: Path) -> None:
    pages = members(*(page(f"<img src={n} alt='{n} {hash(n * 7.1)}'><!-- {'x' * 50} -->") for n in range(4000)))
    (mirror.folder / "large").write_bytes(pages)
    (mirror.folder / "small").write_bytes(pages)
    local = config(tmp_path / "local", str(mirror.folder / "large"), run={"workers": 0, "piece_bytes": 2**17})
    remote = config(tmp_path / "out", f"{mirror.url}/large?x=1", run={"workers": 0, "piece_bytes": 2**17})
    assert extracted(local) == extracted(remote)
    assert texts(tmp_path / "local") == texts(tmp_path / "out")
    with pytest.raises(ConfigError, match=r"sources: .*/none does not exist"):
        build(config(tmp_path / "none", f"{mirror.url}/none"), quiet=True)


def test_a_wacz_and_a_table_over_http(mirror: RangeServer, tmp_path: Path) -> None:
    wacz(mirror.folder / "some.wacz")
    write_parquet(mirror.folder / "pairs.parquet", ROWS)
    extracted(config(tmp_path / "out", f"{mirror.url}/some.wacz", f"{mirror.url}/pairs.parquet"))
    assert {"a", "b", "A kettle"} < set(texts(tmp_path / "out"))


def test_a_broken_list_of_pages_is_one_sentence(tmp_path: Path) -> None:
    noise = "".join(f"http://site.test/{hash(n * 7.1)}\n" for n in range(20_000))
    data = bytearray(gzip.compress(noise.encode()))
    data[-5000:-4000] = b"\xff" * 1000
    (tmp_path / "pages").write_bytes(data)
    with pytest.raises(ConfigError, match=r"^sources: "):
        build(config(tmp_path / "out", str(tmp_path / "pages")), quiet=True)


def test_all_kinds_in_one_dataset(tmp_path: Path) -> None:
    wacz(tmp_path / "some.wacz")
    write_parquet(tmp_path / "pairs.parquet", ROWS)
    made = config(tmp_path / "out", str(tmp_path / "*.wacz"), str(tmp_path / "pairs.parquet"))
    extracted(made)
    assert sorted(texts(tmp_path / "out")) == sorted(
        ["A kettle", "a", "a file, of another scheme", "b", 'quoted "text" of two lines']
    )
    files = dataset.open(str(tmp_path / "out")).sql("SELECT file, type FROM sources ORDER BY 1").fetchall()
    assert [(file.removeprefix(f"{tmp_path}/"), type_) for file, type_ in files] == [
        ("pairs.parquet", "table"),
        ("some.wacz!/archive/data.warc.gz", "warc"),
        ("some.wacz!/archive/more.warc", "warc"),
    ]
    (story,) = explain(str(tmp_path / "out"), "http://h.example/1.jpg")
    assert "pairs.parquet, row 0" in story.as_text()
    assert extracted(made) == {}
    wacz(tmp_path / "some.wacz", data=members(page("<img src=/c.png alt=c>")))
    assert extracted(made) == {"extract.candidates": 1}
    assert "c" in texts(tmp_path / "out")


def test_a_list_of_pages_is_fetched_once(tmp_path: Path) -> None:
    (tmp_path / "pages.txt").write_text(
        "# some pages\nhttp://site.test/a\n\nhttp://site.test/gone\nhttp://site.test/a\nhttp://a.opted-out.test/\n"
    )
    (tmp_path / "listed.txt").write_text("opted-out.test\n")
    with hostile_server.running() as server:
        fetch = to_builtins(server.config(opted_out_domains=str(tmp_path / "listed.txt")).__dict__)
        made = config(tmp_path / "out", str(tmp_path / "pages.txt"), fetch=fetch)
        extracted(made)
        asked = dict(server.hits)
        assert asked["site.test/a"] == 1
        assert "site.test/deep/c" not in asked  # links are not followed
        again = config(tmp_path / "out", str(tmp_path / "pages.txt"), fetch={**fetch, "attempts": 5})
        extracted(again)
        assert dict(server.hits) == asked
    harvested = sorted((tmp_path / "out" / "harvest").iterdir())
    assert [path.suffix for path in harvested] == [".gz", ".json"]
    assert [refused[:2] for refused in json.loads(harvested[1].read_text())["refused"]] == [
        ["http://a.opted-out.test/", "domain_opted_out"],
        ["http://site.test/gone", "http_client_error"],
    ]
    sources = dataset.open(str(tmp_path / "out")).sql("SELECT file, type, pages FROM sources").fetchall()
    assert sources == [(str(tmp_path / "pages.txt"), "warc", 1)]


def test_a_list_of_pages_may_have_several_gzip_members(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.engine.sources import inputs

    asked: list[str] = []

    def harvest(seeds: list[str], to: str, *rest: object, **more: object) -> HarvestReport:
        asked.extend(seeds)
        Path(to).parent.mkdir(parents=True, exist_ok=True)
        Path(to).write_bytes(members(page("<p>")))
        return HarvestReport(1, 3, ())

    monkeypatch.setattr(inputs, "harvest", harvest)
    parts = [gzip.compress(f"http://site.test/{name}\n".encode()) for name in "ab"]
    (tmp_path / "pages.txt.gz").write_bytes(b"".join(parts))
    made = config(tmp_path / "out", str(tmp_path / "pages.txt.gz"))
    (found,) = expand(made, Storage(made.out))
    assert found.archive == str(tmp_path / "pages.txt.gz")
    assert asked == ["http://site.test/a", "http://site.test/b"]
    (tmp_path / "pages.txt.gz").write_bytes(b"".join(parts)[:-9])
    with pytest.raises(ConfigError, match=r"pages\.txt\.gz is a damaged gzip file"):
        expand(made, Storage(made.out))
    monkeypatch.setattr(inputs, "_MAX_LIST_BYTES", 10)
    with pytest.raises(ConfigError, match=r"pages\.txt\.gz is a list of pages of more than .*; split it"):
        expand(made, Storage(made.out))


@pytest.mark.parametrize("share", ["20%", "0.2"])
def test_a_sample_on_the_command_line(share: str, tmp_path: Path) -> None:
    urls = [f"http://site.example/{n}" for n in range(100)]
    (tmp_path / "a.warc.gz").write_bytes(members(*(page("<img src=a alt=kettle>", url) for url in urls)))
    (tmp_path / "config.yaml").write_text(f"sources: [{tmp_path}/a.warc.gz]\nrun: {{workers: 0}}\n")
    arguments = ["run", str(tmp_path / "config.yaml"), "--out", str(tmp_path / "out"), "--to", "extract"]
    assert main([*arguments, "--sample", share]) == 0
    assert 10 <= len(texts(tmp_path / "out")) <= 30
    assert main([*arguments, "--sample", "some"]) == 2


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("cc:x y", "is not a crawl's name"),
        ("none.warc.gz", "does not exist"),
        ("no*ne", "matches nothing"),
        ("nosuchscheme://a/b", "sources: nosuchscheme://a/b"),
        ("tests", r"sources: tests is a folder; name the files in it, such as tests/\*.warc.gz"),
        ("/dev/null", "sources: /dev/null is no file but a device, a pipe or a socket"),
    ],
)
def test_what_names_no_source(source: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=says):
        build(config(tmp_path / "out", source), quiet=True)


def test_a_crawl_that_cannot_be_listed_is_one_sentence(tmp_path: Path) -> None:
    made = config(tmp_path / "out", "cc:CC-MAIN-1", commoncrawl={"base": str(tmp_path)})
    with pytest.raises(ConfigError, match=r"^sources: "):
        expand(made, Storage(made.out))


def test_a_damaged_wacz_does_not_stop_the_others(tmp_path: Path) -> None:
    (tmp_path / "a.wacz").write_bytes(b"PK\x03\x04")
    wacz(tmp_path / "b.wacz")
    extracted(config(tmp_path / "out", str(tmp_path / "*.wacz")))
    assert texts(tmp_path / "out") == ["a", "b"]
    errors = dataset.open(str(tmp_path / "out")).sql("SELECT error FROM sources ORDER BY file").fetchall()
    assert "a.wacz is a zip, but no WACZ that can be read" in errors[0][0]
    assert errors[1:] == [(None,), (None,)]


def test_a_pipe_is_no_source(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.warc.gz")
    with pytest.raises(ConfigError, match=r"a\.warc\.gz is no file but a device, a pipe or a socket"):
        build(config(tmp_path / "out", str(tmp_path / "a.warc.gz")), quiet=True)


def test_a_length_that_is_only_said_is_looked_at(tmp_path: Path) -> None:
    (tmp_path / "a.warc.gz").write_bytes(ARCHIVE)
    with running(tmp_path) as server:
        server.busy = [(200, {"Content-Length": str(10**15)})]
        made = config(tmp_path / "out", f"{server.url}/a.warc.gz")
        with pytest.raises(ConfigError, match=r"has 1,000,000,000,000,000 bytes, and does not give the last"):
            expand(made, Storage(made.out))


@pytest.mark.parametrize("folder", ["c[1]", "a*b", "a?b", "[!x]"])
def test_a_pattern_in_a_folder_that_looks_like_one_finds_the_folders_own_files(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (folder, "c1", "axb"):  # neighbours that the folder's name would match
        (tmp_path / name / "deep").mkdir(parents=True)
        for file in ("x.warc", "deep/y.warc"):
            (tmp_path / name / file).write_bytes(page("<img src=/a.png alt=a>"))
    here = tmp_path / folder
    monkeypatch.chdir(here)
    for pattern, found in (
        (f"{here}/*.warc", [f"{here}/deep/y.warc", f"{here}/x.warc"]),
        ("*/?.warc", ["deep/y.warc"]),
        ("./x.w*", ["./x.warc"]),
        ("x.warc", ["x.warc"]),
    ):
        made = config(tmp_path / "out", pattern)
        sources = expand(made, Storage(str(tmp_path / "out")))
        assert [source.archive for source in sources] == found
        assert all(source.location.startswith(f"{here}/") for source in sources)
    assert inputs_digest({"sources": ["*.warc"]}, "out") != inputs_digest({"sources": [f"{tmp_path}/c1/*.warc"]}, "out")
    before = inputs_digest({"sources": ["*.warc"]}, "out")
    (here / "new.warc").write_bytes(b"")
    assert inputs_digest({"sources": ["*.warc"]}, "out") != before

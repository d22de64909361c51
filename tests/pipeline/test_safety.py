"""What may not be kept is nowhere: in no file of the dataset, no log, no report, no explanation, no temporary file."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import logging
import re
import shutil
import tempfile
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import dataset
from dataset.ids import pair_id
from dataset.layout import REPORT, SHEET
from filters.images.perceptual import HashIndex, pdq, words
from pipeline.asking.explain import explain
from pipeline.build import build
from pipeline.config import ConfigError, to_builtins
from pipeline.config import build as make_config
from pipeline.reports import report
from tests.crawl.downloads import download
from tests.crawl.hostile_server import running
from tests.filters.pictures import flip
from tests.pipeline import pages

SECRETS = ("secret.person@example.org", "+49 30 901820", "DE89 3704 0044 0532 0130 00")
HOST = "http://images.example"


def contents(*folders: Path) -> Iterator[tuple[str, bytes]]:
    """Every file below the folders as bytes that can be searched: unpacked, Parquet as its cells."""
    for folder in folders:
        for path in sorted(item for item in folder.rglob("*") if item.is_file()):
            data = path.read_bytes()
            yield str(path), gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
            if path.suffix == ".parquet":
                yield str(path), repr(pq.read_table(path).to_pydict()).encode()


def secrets(folder: Path, **sections: Any) -> Path:
    """A dataset of a page and of two tables that hold personal data, one of them without a header line."""
    texts = [f"a kettle of {secret} on a shelf" for secret in SECRETS]
    tags = "".join(f'<img src="{HOST}/{n}.jpg" alt="{escape(text)}">' for n, text in enumerate(texts))
    images = {f"{HOST}/{n}.jpg": ("image/jpeg", pages.encoded(pages.texture(n))) for n in range(3)}
    archive = pages.write(folder / "page.warc.gz", [("http://page.example/", f'<html lang="de">{tags}')], images)
    pq.write_table(pa.table({"URL": [f"{HOST}/t.jpg"], "TEXT": [texts[0]]}), folder / "table.parquet")
    (folder / "headless.csv").write_text(f"{HOST}/c.jpg,{texts[0]}\n{HOST}/d.jpg,{texts[1]}\n")
    (folder / "queries.txt").write_text("kettle\nshelf\n")
    (folder / "crash.py").write_text(
        "def look(rows):\n"
        "    if rows.num_rows:\n"
        "        raise SystemError(rows['text'].to_pylist())\n"
        "    return {'looked': []}\n"
    )
    raw = {
        "sources": [str(archive), str(folder / "table.parquet"), str(folder / "headless.csv")],
        "out": str(folder / "out"),
        "text": {"languages": []},
        "match": {"queries": str(folder / "queries.txt")},
        "fetch": {"origins": ["archive"]},
        "filters": [{"name": "own", "stage": "text", "measure": f"{folder}/crash.py:look", "drop_when": "looked"}],
        "image": {"nsfw_model": ""},
        "run": {"workers": 0},
        "allow_programs": True,
        **sections,
    }
    build(make_config(raw), quiet=True)
    report.write(raw["out"])
    return folder / "out"


@pytest.mark.parametrize("drop", [False, True])
def test_masked_personal_data_survives_nowhere(drop: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Neither where rows are kept, nor where they are dropped, nor where they crash a filter and are quarantined."""
    caplog.set_level(logging.DEBUG)
    sections: dict[str, Any] = {"text": {"languages": [], "drop_personal_data": True}, "filters": []} if drop else {}
    out = secrets(tmp_path, **sections)
    made = dataset.open(str(out))
    masks = made.sql("SELECT DISTINCT text, personal_data FROM candidates ORDER BY text").fetchall()
    assert masks == [
        (f"a kettle of [{kind}] on a shelf", [kind]) for kind in ("email_address", "iban_code", "phone_number")
    ]
    pairs = made.sql("SELECT pair_id, url, text FROM candidates").fetchall()
    assert all(digits == pair_id(url, text).hex() for digits, url, text in pairs)  # of the masked text
    reasons = {reason for (reason,) in made.sql("SELECT DISTINCT reason FROM dropped").fetchall()}
    assert reasons == ({"personal_data"} if drop else {"quarantined"})
    stories = "".join(story.as_text() + json.dumps(story.as_dict()) for story in explain(str(out), f"{HOST}/0.jpg"))
    assert "personal data: email_address" in stories
    assert [error for (error,) in made.sql("SELECT error FROM sources WHERE error IS NOT NULL").fetchall()]
    for secret in SECRETS:
        assert secret not in caplog.text + stories
        for name, data in contents(out):
            assert secret.encode() not in data, name


def test_another_choice_of_categories_and_words_reruns_only_the_decision(tmp_path: Path) -> None:
    """And a category that no list has is one sentence."""
    for category in ("adult", "games"):
        (tmp_path / "lists" / category).mkdir(parents=True)
        (tmp_path / "lists" / category / "domains").write_text(f"{category}.example\n")
    names = ("adult", "games", "other")
    tags = "".join(f'<img src="http://{name}.example/a.jpg" alt="a kettle for {name} people">' for name in names)
    archive = pages.write(tmp_path / "page.warc.gz", [("http://page.example/", f'<html lang="en">{tags}')])

    def dropped(**text: Any) -> tuple[dict[str, str], set[str]]:
        raw = {
            "sources": [str(archive)],
            "out": str(tmp_path / "out"),
            "text": {"blocked_domains": str(tmp_path / "lists"), "blocked_patterns": ["other"], **text},
            "run": {"workers": 0},
        }
        did = set(build(make_config(raw), to="text", quiet=True).did)
        rows = dataset.open(raw["out"]).sql("SELECT url, evidence FROM dropped").fetchall()
        return {url.split("/")[2]: evidence for url, evidence in rows}, did

    everything, _ = dropped()
    evidence = json.loads(everything["adult.example"])
    assert evidence == {"blocked_domain": "adult.example", "list": str(tmp_path / "lists"), "category": "adult"}
    assert set(everything) == {"adult.example", "games.example", "other.example"}
    assert dropped(blocked_categories=["games"], allowed_terms=["other"]) == (
        {"games.example": everything["games.example"]},
        {"text.decide"},
    )
    with pytest.raises(ConfigError, match=r"names drugs, which text\.blocked_domains lacks; it has adult, games"):
        dropped(blocked_categories=["drugs"])
    story = "".join(story.as_text() for story in explain(str(tmp_path / "out"), "http://games.example/a.jpg"))
    assert "domain_blocked" in story
    assert "category: games" in story


LISTED, KEPT, ALIKE = (pages.encoded(pages.texture(seed)) for seed in (1, 2, 3))
NEAR = pages.encoded(pages.texture(3), quality=60)  # other bytes than ALIKE's, the same look


def shows(body: bytes, *folders: Path) -> list[str]:
    """The files that hold an image: its bytes, as they are or in base64, or any JPEG that looks like it."""
    window = body[len(body) // 2 :][:48]
    encoded = base64.b64encode(body)[len(body) // 3 :][:48]
    sought = HashIndex(words(pa.array([look(body)], pa.binary(32))))
    files = []
    for name, data in contents(*folders):
        inlined = [base64.b64decode(item) for item in re.findall(rb"base64,([A-Za-z0-9+/=]{40,})", data)]
        jpegs = [part[match.start() :] for part in (data, *inlined) for match in re.finditer(rb"\xff\xd8\xff", part)]
        hashes = [found for jpeg in jpegs if (found := look(jpeg)) is not None]
        near = sought.search(words(pa.array(hashes, pa.binary(32))), 31)[0] if hashes else []
        if window in data or encoded in data or len(near):
            files.append(name)
    return files


def look(jpeg: bytes) -> bytes | None:
    try:
        return pdq(np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB")))[0]
    except (OSError, SyntaxError):
        return None


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where everything that is temporary goes."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.mark.parametrize("way", ["archive", "http", "img2dataset", "adopted", "list of pages"])
def test_an_image_on_a_hash_list_is_written_nowhere(way: str, tmp_path: Path, temporary: Path) -> None:
    """Whichever way it comes, by its bytes or by its look; one that is on none is found by the same search."""
    digits = {"sha256": hashlib.sha256(LISTED).hexdigest(), "pdq": (look(NEAR) or b"").hex()}
    for kind, entry in digits.items():
        (tmp_path / f"list.{kind}").write_text(entry)
    (tmp_path / "queries.txt").write_text("kettle\n")
    with running() as server:
        home = f"http://localhost:{server.port}" if way == "adopted" else "http://images.test"
        bodies = {"listed": LISTED, "alike": ALIKE, "kept": KEPT}
        server.more = {f"/{name}.jpg": ("image/jpeg", body) for name, body in bodies.items()}
        tags = "".join(f'<img src="{home}/{name}.jpg" alt="a kettle that is {name}">' for name in bodies)
        tags += f'<img src="data:image/jpeg;base64,{base64.b64encode(LISTED).decode()}" alt="a kettle inside">'
        page = f'<html lang="en">{tags}'
        server.more |= {"/page.html": ("text/html", page.encode()), "/liar.html": ("text/html", LISTED)}
        fetch = to_builtins(
            server.config(resolve={**server.config().resolve, "localhost": f"127.0.0.1:{server.port}"}).__dict__
        )
        held = {f"{home}/{name}.jpg": server.more[f"/{name}.jpg"] for name in bodies}
        source = pages.write(tmp_path / "page.warc.gz", [("http://page.test/", page)], held if way == "archive" else {})
        if way == "list of pages":
            source = tmp_path / "pages.txt"
            source.write_text(f"{home}/page.html\n{home}/liar.html\n{home}/listed.jpg\n")
        if way == "img2dataset":
            unkept = {"respect_robots": False, "respect_tdm": False, "min_bytes_per_s": 0, "concurrency": 4}
            fetch |= {"engine": "img2dataset", **unkept}
        if way == "adopted":
            download(tmp_path / "downloads", list(held), 0)
            fetch["adopt"] = [str(tmp_path / "downloads" / "*.parquet")]
        raw = {
            "sources": [str(source)],
            "out": str(tmp_path / "out"),
            "match": {"queries": str(tmp_path / "queries.txt")},
            "fetch": {**fetch, "origins": ["archive"] if way == "archive" else ["http"]},
            "hashlists": {"files": [str(tmp_path / f"list.{kind}") for kind in digits]},
            "image": {"nsfw_model": ""},
            "run": {"workers": 0},
        }
        build(make_config(raw), quiet=True)
    report.write(raw["out"])
    made = dataset.open(raw["out"])
    gone = [f"{home}/{name}.jpg" for name in ("alike", "listed")]
    reasons = made.sql("SELECT url, reason FROM dropped ORDER BY url").fetchall()
    assert reasons == [(url, "hash_list_match") for url in gone]
    for url in gone:
        assert "hash_list_match" in "".join(story.as_text() for story in explain(raw["out"], url))
    places = (tmp_path / "out", temporary)
    assert any("/shards/" in name for name in shows(KEPT, *places))
    assert any(name.endswith("report.html") for name in shows(KEPT, *places))
    assert shows(LISTED, *places) == shows(ALIKE, *places) == []
    for name, data in contents(*places):
        assert not any(entry.encode() in data for entry in digits.values()), name  # nor is the entry
    if way == "list of pages":
        assert any("/harvest/" in name and b"a kettle inside" in data for name, data in contents(tmp_path / "out"))


def test_each_key_of_hashlists_changes_what_matches(tmp_path: Path) -> None:
    seen = np.frombuffer(look(LISTED) or b"", np.uint8)
    digits = flip(seen[None], 20, np.random.default_rng(0)).tobytes().hex()
    (tmp_path / "list.json").write_text(json.dumps([{"PDQ": digits, "quality": 60, "Category": 2}]))
    image = {f"{HOST}/a.jpg": ("image/jpeg", LISTED)}
    page = f'<html lang="en"><img src="{HOST}/a.jpg" alt="a kettle">'
    archive = pages.write(tmp_path / "page.warc.gz", [("http://page.test/", page)], image)
    (tmp_path / "queries.txt").write_text("kettle\n")
    raw: dict[str, Any] = {
        "sources": [str(archive)],
        "match": {"queries": str(tmp_path / "queries.txt")},
        "fetch": {"origins": ["archive"]},
        "image": {"nsfw_model": ""},
        "run": {"workers": 0},
    }
    build(make_config({**raw, "out": str(tmp_path / "before")}), to="prebalance", quiet=True)
    outcomes = []
    for number, keys in enumerate(({}, {"max_pdq_hamming": 19}, {"min_pdq_quality": 61}, {"categories": [1]})):
        out = str(shutil.copytree(tmp_path / "before", tmp_path / str(number)))
        hashlists = {"files": [str(tmp_path / "list.json")], **keys}
        build(make_config({**raw, "out": out, "hashlists": hashlists}), to="fetch", quiet=True)
        outcomes += dataset.open(out).sql("SELECT outcome FROM images").fetchall()
    assert outcomes == [("hash_list_match",), ("ok",), ("ok",), ("ok",)]


def test_an_image_that_a_list_names_later_is_erased(tmp_path: Path, temporary: Path) -> None:
    """From the store, the shards and the report; and it does not come back as zeros when the list is taken away."""
    urls = {name: f"{HOST}/{name}.jpg" for name in ("listed", "kept")}
    images = {urls["listed"]: ("image/jpeg", LISTED), urls["kept"]: ("image/jpeg", KEPT)}
    tags = "".join(f'<img src="{url}" alt="a kettle that is {name}">' for name, url in urls.items())
    archive = pages.write(tmp_path / "page.warc.gz", [("http://page.test/", f'<html lang="en">{tags}')], images)
    (tmp_path / "list.md5").write_text(hashlib.md5(LISTED).hexdigest())
    (tmp_path / "queries.txt").write_text("kettle\n")
    raw = {
        "sources": [str(archive)],
        "out": str(tmp_path / "out"),
        "match": {"queries": str(tmp_path / "queries.txt")},
        "fetch": {"origins": ["archive"]},
        "image": {"nsfw_model": ""},
        "run": {"workers": 0},
    }

    def pairs(files: list[str]) -> list[str]:
        build(make_config({**raw, "hashlists": {"files": files}}), quiet=True)
        return [url for (url,) in dataset.open(raw["out"]).sql("SELECT url FROM pairs ORDER BY url").fetchall()]

    assert pairs([]) == sorted(urls.values())
    report.write(raw["out"])
    shutil.copy(tmp_path / "out" / REPORT, tmp_path / "out" / SHEET)
    assert len(shows(LISTED, tmp_path / "out")) >= 4  # a blob, a shard, the report, the sheet
    for files in ([str(tmp_path / "list.md5")], []):
        assert pairs(files) == [urls["kept"]]
        assert shows(LISTED, tmp_path / "out", temporary) == []
    assert shows(KEPT, tmp_path / "out")

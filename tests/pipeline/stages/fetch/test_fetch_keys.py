"""Each key of `fetch` that speaks of servers changes what comes of an address, or what a server sees."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

import crawl.web.response
import dataset
from pipeline.build import build
from pipeline.config import build as make_config
from pipeline.config import to_builtins
from tests.crawl.hostile_server import HostileServer, running
from tests.pipeline import pages


@cache
def unfetched(urls: tuple[str, ...]) -> tuple[dict[str, Any], TemporaryDirectory[str]]:
    """The config of a page with images at the URLs, and a folder with the dataset `out` of it that knows no image."""
    folder = TemporaryDirectory()
    at = Path(folder.name)
    tags = "".join(f'<img src="{url}" alt="the kettle at number {n}">' for n, url in enumerate(urls))
    archive = pages.write(at / "page.warc.gz", [("http://page.test/", f'<html lang="en">{tags}')])
    (at / "queries.txt").write_text("kettle\n")
    raw = {"sources": [str(archive)], "match": {"queries": str(at / "queries.txt")}, "run": {"workers": 0}}
    build(make_config({**raw, "out": str(at / "out")}), to="prebalance", quiet=True)
    return raw, folder


def over_http(server: HostileServer, folder: Path, urls: list[str], **changes: Any) -> dict[str, tuple[str, str]]:
    """Build from a page with images at the URLs: url -> (outcome, final URL)."""
    raw, before = unfetched(tuple(urls))
    if not (folder / "out").exists():
        shutil.copytree(Path(before.name) / "out", folder / "out")
    fetch = {**to_builtins(server.config(timeout_s=60.0).__dict__), "origins": ["http"], **changes}
    build(make_config({**raw, "out": str(folder / "out"), "fetch": fetch}), to="fetch", quiet=True)
    rows = dataset.open(str(folder / "out")).sql("SELECT url, outcome, final_url FROM images").fetchall()
    return {url: (outcome, final) for url, outcome, final in rows}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[HostileServer]:
    monkeypatch.setattr(crawl.web.response, "BACKOFF_S", 0.05)
    with running() as server:
        yield server


OUTCOMES: dict[str, tuple[str, Any, Any]] = {
    # key: (an address, a value, another value) that give different outcomes
    "fetch.respect_robots": ("http://disallow.test/private/a.jpg", True, False),
    "fetch.respect_noai": ("http://images.test/noai", True, False),
    "fetch.respect_tdm": ("http://images.test/reserved", True, False),
    "fetch.opted_out_domains": ("http://below.opted-out.test/ok.jpg", "opted_out.txt", ""),
    "fetch.min_bytes_per_s": ("http://images.test/slow.jpg", 100_000, 0),
    "fetch.max_body_bytes": ("http://images.test/ok.jpg", 10, 1_000_000),
    "fetch.max_redirects": ("http://images.test/to/image", 0, 5),
    "fetch.timeout_s": ("http://images.test/trickle", 0.5, 30.0),
    "fetch.attempts": ("http://images.test/broken-once", 1, 2),
}
SLOW = ("fetch.min_bytes_per_s", "fetch.timeout_s")
AT_ONCE = [url for key, (url, _, _) in OUTCOMES.items() if key not in SLOW]
"""Addresses that are asked together, so that one dataset serves their tests."""


@pytest.mark.parametrize("key", OUTCOMES)
def test_a_key_changes_the_outcome(
    key: str, server: HostileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if key == "fetch.min_bytes_per_s":  # else a busy machine would be taken for a slow server
        monkeypatch.setattr(crawl.web.response, "GRACE_S", 0.1)
    url, one, other = OUTCOMES[key]
    name = key.partition(".")[2]
    found = []
    for number, value in enumerate((one, other)):
        folder = tmp_path / str(number)
        folder.mkdir()
        if name == "opted_out_domains" and value:
            (folder / value).write_text("opted-out.test\n")
            value = str(folder / value)
        if name == "timeout_s" and number:
            url = "http://images.test/ok.jpg"  # a patient run is known by what it gets, not by how long it waits
        urls = [url] if key in SLOW else AT_ONCE
        found.append(over_http(server, folder, urls, **{name: value})[url][0])
        server.hits.clear()
    assert found[0] != "ok"
    assert found[1] == "ok"


def test_retry_asks_again_only_for_what_may_pass(server: HostileServer, tmp_path: Path) -> None:
    urls = ["http://images.test/broken-once", "http://images.test/status/404", "http://images.test/ok.jpg"]
    first = over_http(server, tmp_path, urls)
    assert [first[url][0] for url in urls] == ["http_server_error", "http_client_error", "ok"]
    asked = dict(server.hits)
    assert over_http(server, tmp_path, urls)[urls[0]][0] == "http_server_error"
    assert dict(server.hits) == asked  # nothing is fetched twice
    assert over_http(server, tmp_path, urls, retry="transient")[urls[0]][0] == "ok"
    assert server.hits["images.test/status/404"] == asked["images.test/status/404"]
    assert server.hits["images.test/ok.jpg"] == asked["images.test/ok.jpg"]


def test_what_an_owner_refuses_later_is_erased(server: HostileServer, tmp_path: Path) -> None:
    urls = ["http://images.test/noai-from-now-on", "http://images.test/ok.jpg"]
    over_http(server, tmp_path, urls)
    asked = "SELECT blob, blob_offset, blob_length FROM images ORDER BY url"
    places = dataset.open(str(tmp_path / "out")).sql(asked).fetchall()

    def held() -> list[bool]:
        return [any((tmp_path / "out" / blob).read_bytes()[start : start + length]) for blob, start, length in places]

    assert held() == [True, True]
    found = over_http(server, tmp_path, urls, refresh_before="2999-01-01")
    assert [found[url][0] for url in urls] == ["robots_noai", "ok"]
    assert held() == [False, True]


def test_refresh_asks_again_for_what_has_changed_since(server: HostileServer, tmp_path: Path) -> None:
    urls = ["http://images.test/tagged", "http://images.test/noai-from-now-on"]

    def stored() -> dict[str, Any]:
        rows = dataset.open(str(tmp_path / "out")).sql("SELECT url, outcome, sha256 FROM images").fetchall()
        return {url: (outcome, sha256) for url, outcome, sha256 in rows}

    over_http(server, tmp_path, urls)
    first = stored()
    over_http(server, tmp_path, urls, refresh_before="2000-01-01")
    assert server.unchanged == 0
    assert {outcome for outcome, _ in first.values()} == {"ok"}
    over_http(server, tmp_path, urls, refresh_before="2999-01-01")
    assert server.unchanged == 1
    assert stored()[urls[0]] == first[urls[0]]
    assert stored()[urls[1]] == ("robots_noai", None)  # what an owner says later counts
    server.version = 2
    over_http(server, tmp_path, urls, refresh_before="2999-01-02")
    assert stored()[urls[0]] != first[urls[0]]


def test_a_list_of_domains_counts_for_what_was_fetched_before_it(server: HostileServer, tmp_path: Path) -> None:
    urls = ["http://images.test/to/opted-out", "http://below.opted-out.test/ok.jpg", "http://images.test/ok.jpg"]
    listed = tmp_path / "listed.txt"
    listed.write_text("opted-out.test\n")

    def outcomes(**changes: Any) -> list[str]:
        found = over_http(server, tmp_path, urls, **changes)
        return [found[url][0] for url in urls]

    assert outcomes() == ["ok", "ok", "ok"]
    asked = dict(server.hits)
    assert outcomes(opted_out_domains=str(listed)) == ["domain_opted_out", "domain_opted_out", "ok"]
    assert outcomes() == ["ok", "ok", "ok"]
    assert dict(server.hits) == asked


def test_user_agent_resolve_concurrency_and_delay_reach_the_server(server: HostileServer, tmp_path: Path) -> None:
    urls = [f"http://images.test/many/{n}" for n in range(12)]
    for number, changes in enumerate(
        ({"user_agent": "keys/1 (+https://keys.example)", "per_host_concurrency": 1}, {"concurrency": 1})
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        server.busiest.clear()
        found = over_http(server, folder, urls, **changes)
        assert {outcome for outcome, _ in found.values()} == {"ok"}
        assert server.busiest["images.test"] == 1
    assert "keys/1 (+https://keys.example)" in server.agents
    (tmp_path / "unresolved").mkdir()
    outcome, _ = over_http(server, tmp_path / "unresolved", ["http://images.test/ok.jpg"], resolve={})[
        "http://images.test/ok.jpg"
    ]
    assert outcome == "dns_failed"
    (tmp_path / "slow").mkdir()
    server.starts.clear()
    over_http(server, tmp_path / "slow", urls[:3], per_host_delay_s=0.3)
    starts = sorted(server.starts["images.test"])
    assert all(later - earlier > 0.25 for earlier, later in zip(starts[-3:], starts[-2:], strict=False))


def test_the_engine_is_known_by_the_name_that_it_gives(server: HostileServer, tmp_path: Path) -> None:
    url = "http://images.test/ok.jpg"
    unkept = {"respect_robots": False, "respect_tdm": False, "min_bytes_per_s": 0, "concurrency": 4}
    found = over_http(server, tmp_path, [url], engine="img2dataset", **unkept)
    assert found[url][0] == "ok"
    assert any("img2dataset" in agent for agent in server.agents)

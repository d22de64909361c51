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


OUTCOMES: dict[str, tuple[str, Any, str, Any]] = {
    # key: (an address, a value by which it has an outcome, that outcome, a value by which it is fetched)
    "fetch.respect_robots": ("http://disallow.test/private/a.jpg", True, "robots_disallowed", False),
    "fetch.respect_noai": ("http://images.test/noai", True, "robots_noai", False),
    "fetch.respect_tdm": ("http://images.test/reserved", True, "tdm_reserved", False),
    "fetch.opted_out_domains": ("http://below.opted-out.test/ok.jpg", "opted_out.txt", "domain_opted_out", ""),
    "fetch.max_redirects": ("http://images.test/to/image", 0, "too_many_redirects", 5),
    "fetch.attempts": ("http://images.test/broken-once", 1, "http_server_error", 2),
    "fetch.max_body_bytes": ("http://images.test/ok.jpg", 10, "body_too_large", 1_000_000),
    "fetch.min_bytes_per_s": ("http://images.test/slow.jpg", 100_000, "timeout", 0),
    "fetch.timeout_s": ("http://images.test/trickle", 0.5, "timeout", 30.0),
}
ALONE = ("fetch.max_body_bytes", "fetch.min_bytes_per_s", "fetch.timeout_s")
"""Keys whose first value changes the outcome of other keys' addresses too."""
ENDLESS = "http://images.test/trickle"
"""A patient run is known by what it gets, not by how long it waits: this address is not among those that it asks."""


def key_values(folder: Path, place: int, *but: str) -> dict[str, Any]:
    """The name of each key -> its value at a place of OUTCOMES, but for some keys; a file that one names is written."""
    values = {key.partition(".")[2]: row[place] for key, row in OUTCOMES.items() if key not in but}
    if name := values.get("opted_out_domains"):
        (folder / name).write_text("opted-out.test\n")
        values["opted_out_domains"] = str(folder / name)
    return values


def test_each_key_changes_the_outcome_of_its_address(server: HostileServer, tmp_path: Path) -> None:
    urls = [url for url, *_ in OUTCOMES.values() if url != ENDLESS]
    refused = over_http(server, tmp_path, urls, **key_values(tmp_path, 1, *ALONE))
    server.hits.clear()
    for key, (url, _, outcome, _) in OUTCOMES.items():
        if key not in ALONE:
            assert refused[url][0] == outcome, key
    url, least, outcome, _ = OUTCOMES["fetch.max_body_bytes"]
    assert over_http(server, tmp_path / "small", urls, max_body_bytes=least)[url][0] == outcome
    server.hits.clear()
    fetched = over_http(server, tmp_path / "patient", urls, **key_values(tmp_path, 3))
    assert {url: outcome for url, (outcome, _) in fetched.items()} == dict.fromkeys(urls, "ok")


def test_a_slow_server_is_left_by_the_rate_or_by_the_time(
    server: HostileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crawl.web.response, "GRACE_S", 0.1)  # else a busy machine would be taken for a slow server
    keys = ("fetch.min_bytes_per_s", "fetch.timeout_s")
    for key in keys:
        url, value, outcome, _ = OUTCOMES[key]
        changes = {"min_bytes_per_s": 0, key.partition(".")[2]: value}
        found = over_http(server, tmp_path / key, [OUTCOMES[each][0] for each in keys], **changes)
        assert found[url][0] == outcome, key


LATER = [
    "http://images.test/broken-once",
    "http://images.test/noai-from-now-on",
    "http://images.test/ok.jpg",
    "http://images.test/status/404",
    "http://images.test/tagged",
    "http://images.test/to/opted-out",
    "http://below.opted-out.test/ok.jpg",
]
"""Addresses of the runs that come back to a dataset, so that one serves their tests."""
MANY = [f"http://images.test/many/{n}" for n in range(6)]


def test_retry_asks_again_only_for_what_may_pass(server: HostileServer, tmp_path: Path) -> None:
    urls = ["http://images.test/broken-once", "http://images.test/status/404", "http://images.test/ok.jpg"]
    first = over_http(server, tmp_path, LATER)
    assert [first[url][0] for url in urls] == ["http_server_error", "http_client_error", "ok"]
    asked = dict(server.hits)
    assert over_http(server, tmp_path, LATER)[urls[0]][0] == "http_server_error"
    assert dict(server.hits) == asked  # nothing is fetched twice
    assert over_http(server, tmp_path, LATER, retry="transient")[urls[0]][0] == "ok"
    assert server.hits["images.test/status/404"] == asked["images.test/status/404"]
    assert server.hits["images.test/ok.jpg"] == asked["images.test/ok.jpg"]


def test_refresh_asks_again_for_what_has_changed_since(server: HostileServer, tmp_path: Path) -> None:
    """And what an owner refuses by now is erased."""
    urls = ["http://images.test/tagged", "http://images.test/noai-from-now-on"]

    def stored() -> dict[str, Any]:
        rows = dataset.open(str(tmp_path / "out")).sql("SELECT url, outcome, sha256 FROM images").fetchall()
        return {url: (outcome, sha256) for url, outcome, sha256 in rows}

    over_http(server, tmp_path, LATER)
    first = stored()
    asked = "SELECT url, blob, blob_offset, blob_length FROM images WHERE outcome = 'ok'"
    places = {url: place for url, *place in dataset.open(str(tmp_path / "out")).sql(asked).fetchall()}

    def is_held(url: str) -> bool:
        blob, start, length = places[url]
        return any((tmp_path / "out" / blob).read_bytes()[start : start + length])

    assert {first[url][0] for url in urls} == {"ok"}
    assert [is_held(url) for url in urls] == [True, True]
    over_http(server, tmp_path, LATER, refresh_before="2000-01-01")
    assert server.unchanged == 0
    over_http(server, tmp_path, LATER, refresh_before="2999-01-01")
    assert server.unchanged == 1
    assert stored()[urls[0]] == first[urls[0]]
    assert stored()[urls[1]] == ("robots_noai", None)  # what an owner says later counts
    assert [is_held(url) for url in urls] == [True, False]
    server.version = 2
    over_http(server, tmp_path, LATER, refresh_before="2999-01-02")
    assert stored()[urls[0]] != first[urls[0]]


def test_a_list_of_domains_counts_for_what_was_fetched_before_it(server: HostileServer, tmp_path: Path) -> None:
    urls = ["http://images.test/to/opted-out", "http://below.opted-out.test/ok.jpg", "http://images.test/ok.jpg"]
    listed = tmp_path / "listed.txt"
    listed.write_text("opted-out.test\n")

    def outcomes(**changes: Any) -> list[str]:
        found = over_http(server, tmp_path, LATER, **changes)
        return [found[url][0] for url in urls]

    assert outcomes() == ["ok", "ok", "ok"]
    asked = dict(server.hits)
    assert outcomes(opted_out_domains=str(listed)) == ["domain_opted_out", "domain_opted_out", "ok"]
    assert outcomes() == ["ok", "ok", "ok"]
    assert dict(server.hits) == asked


def test_user_agent_resolve_concurrency_and_delay_reach_the_server(server: HostileServer, tmp_path: Path) -> None:
    for number, changes in enumerate(
        ({"user_agent": "keys/1 (+https://keys.example)", "per_host_concurrency": 1}, {"concurrency": 1})
    ):
        server.busiest.clear()
        found = over_http(server, tmp_path / str(number), MANY, **changes)
        assert {outcome for outcome, _ in found.values()} == {"ok"}
        assert server.busiest["images.test"] == 1
    assert "keys/1 (+https://keys.example)" in server.agents
    found = over_http(server, tmp_path / "unresolved", MANY, resolve={})
    assert {outcome for outcome, _ in found.values()} == {"dns_failed"}
    server.starts.clear()
    over_http(server, tmp_path / "slow", MANY, per_host_delay_s=0.3)
    first, *_, last = sorted(server.starts["images.test"])[-len(MANY) :]
    assert last - first > 0.3 * (len(MANY) - 2)  # one pause less: on a busy machine the first may come late


def test_the_engine_is_known_by_the_name_that_it_gives(server: HostileServer, tmp_path: Path) -> None:
    unkept = {"respect_robots": False, "respect_tdm": False, "min_bytes_per_s": 0, "concurrency": 4}
    found = over_http(server, tmp_path, MANY, engine="img2dataset", **unkept)
    assert {outcome for outcome, _ in found.values()} == {"ok"}
    assert any("img2dataset" in agent for agent in server.agents)

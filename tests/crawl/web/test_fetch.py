"""What comes of an address: whatever a server answers has its outcome, and the call as a whole ends."""

from __future__ import annotations

import resource
import socket
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import crawl.web.politeness
import crawl.web.response
from crawl.images import store
from crawl.images.ingest import ImageConfig, ingest
from crawl.images.observations import RefusedBody
from crawl.urls import canonical_url
from crawl.web.config import FetchConfig
from crawl.web.fetch import fetch
from dataset.store.storage import Storage
from tests.crawl.hostile_images import picture
from tests.crawl.hostile_server import HostileServer
from tests.crawl.web.fetching import accept, get, hostile_server

__all__ = ["hostile_server"]


# ---- what servers answer


@pytest.mark.parametrize(
    ("path", "outcome", "status"),
    [
        ("/ok.jpg", "ok", 200),
        ("/octets", "ok", 200),
        ("/gzip", "ok", 200),
        ("/status/404", "http_client_error", 404),
        ("/status/410", "http_client_error", 410),
        ("/status/500", "http_server_error", 500),
        ("/status/503", "http_server_error", 503),
        ("/status/304", "too_many_redirects", 304),
        ("/busy-for-long", "http_server_error", 503),
        ("/page.html", "not_an_image", 200),
        ("/html.jpg", "not_an_image", 200),
        ("/vector.svg", "not_an_image", 200),
        ("/empty", "not_an_image", 200),
        ("/animated.gif", "image_animated", 200),
        ("/bomb.png", "image_too_many_pixels", 200),
        ("/half.jpg", "image_truncated", 200),
        ("/noai", "robots_noai", 200),
        ("/noindex-for-us", "robots_noai", 200),
        ("/noai-for-other", "ok", 200),
        ("/noai-for-ccbot", "robots_noai", 200),
        ("/signal", "content_signal_refused", 200),
        ("/usage", "content_usage_refused", 200),
        ("/odd-usage", "ok", 200),
        ("http://wishes.test/ok/signal/a.jpg", "content_signal_refused", None),
        ("http://wishes.test/ok/usage/a.jpg", "content_usage_refused", None),
        ("http://wishes.test/ok/usage/open/a.jpg", "ok", 200),
        ("http://wishes.test/ok/others/a.jpg", "robots_disallowed_others", None),
        ("http://wishes.test/ok/odd/a.jpg", "ok", 200),
        ("http://wishes.test/ok/a.jpg", "ok", 200),
        ("/reserved", "tdm_reserved", 200),
        ("/not-reserved", "ok", 200),
        ("http://reserved.test/ok.jpg", "tdm_reserved", None),
        ("http://reserved.test/octets.png", "tdm_reserved", None),
        ("http://reserved.test/free/ok.png", "ok", 200),
        ("/gzip-bomb", "body_too_large", 200),
        ("/declared-large", "body_too_large", 200),
        ("/endless", "body_too_large", 200),
        ("/gzip-cut", "image_truncated", 200),
        ("/gzip-lie", "ok", 200),
        ("/brotli", "not_an_image", 200),
        ("/cut", "connection_failed", 200),
        ("/reset", "connection_failed", None),
        ("/garbage", "connection_failed", None),
        ("/many-headers", "connection_failed", None),
        ("/long-header", "connection_failed", None),
        ("http://dead.test/", "connection_failed", None),
        ("http://disallow.test/ok.jpg", "ok", 200),
        ("http://disallow.test/private/a.jpg", "robots_disallowed", None),
        ("http://robots-moved.test/private/a.jpg", "robots_disallowed", None),
        ("http://robots-huge.test/private/a.jpg", "robots_disallowed", None),
        ("http://robots-500.test/ok.jpg", "robots_disallowed", 503),
        ("ftp://images.test/a.jpg", "connection_failed", None),
        ("http:///a.jpg", "connection_failed", None),
    ],
)
def test_every_answer_has_its_outcome(server: HostileServer, path: str, outcome: str, status: int | None) -> None:
    observation = get(server, path)
    assert (observation.outcome, observation.status) == (outcome, status), observation.detail
    assert observation.attempts == 1


@pytest.mark.parametrize("path", ["/trickle", "http://silent.test/a.jpg"])
def test_a_server_that_is_slow_is_left(server: HostileServer, path: str) -> None:
    start = time.monotonic()
    assert get(server, path, timeout_s=0.4).outcome == "timeout"
    assert time.monotonic() - start < 3


def test_a_body_must_come_at_a_rate(server: HostileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crawl.web.response, "GRACE_S", 0.1)
    assert get(server, "/slow.jpg", min_bytes_per_s=100_000).outcome == "timeout"
    assert get(server, "/slow.jpg", min_bytes_per_s=100).outcome == "ok"
    start = time.monotonic()
    observation = get(server, "/trickle", timeout_s=60.0, min_bytes_per_s=1_000)
    assert (observation.outcome, observation.detail) == ("timeout", "fewer than 1000 bytes a second")
    assert time.monotonic() - start < 10


def test_no_call_waits_for_ever_for_its_last_addresses(server: HostileServer) -> None:
    urls = [f"http://images.test/many/{n}.jpg" for n in range(20)] + ["http://silent.test/last.jpg"]
    start = time.monotonic()
    rows = fetch(urls, server.config(timeout_s=0.5, attempts=2), accept)
    assert time.monotonic() - start < 10
    assert [row.outcome for row in rows] == ["ok"] * 20 + ["timeout"]


def test_a_body_may_have_as_many_bytes_as_the_config_says(server: HostileServer) -> None:
    size = get(server, "/ok.jpg").fetched_bytes
    assert size is not None and size > 100
    assert get(server, "/ok.jpg", max_body_bytes=size).outcome == "ok"
    assert get(server, "/ok.jpg", max_body_bytes=size - 1).outcome == "body_too_large"
    assert get(server, "/gzip", max_body_bytes=200).outcome == "body_too_large"


# ---- where they lead


@pytest.mark.parametrize(
    "path",
    ["metadata", "loopback", "loopback6", "private", "decimal", "short", "mapped"],
)
def test_no_redirect_leads_inside(server: HostileServer, path: str) -> None:
    observation = get(server, f"/to/{path}")
    assert (observation.outcome, observation.status) == ("address_private", 302)
    assert server.secrets == 0


@pytest.mark.parametrize("path", ["file", "data"])
def test_a_redirect_leads_to_the_web_or_nowhere(server: HostileServer, path: str) -> None:
    assert get(server, f"/to/{path}").outcome == "too_many_redirects"


def test_redirects_are_followed_up_to_a_limit(server: HostileServer) -> None:
    assert get(server, "/to/image").final_url == "http://other.test/ok.jpg"
    assert get(server, "/to/relative").final_url == "http://images.test/ok.jpg?moved"
    assert get(server, "/to/utf-8").final_url == "http://images.test/ok.jpg?%C3%BC"
    assert get(server, "/to/image", max_redirects=0).outcome == "too_many_redirects"
    server.hits.clear()
    for path in ("/to/self", "/to/ping", "/moved-without-place"):
        assert get(server, path, max_redirects=3).outcome == "too_many_redirects"
    assert server.hits["images.test/to/self"] == 4


def test_robots_txt_holds_for_every_hop(server: HostileServer) -> None:
    observation = get(server, "/to/disallowed")
    assert (observation.outcome, observation.final_url) == ("robots_disallowed", "http://disallow.test/private/a.jpg")
    assert server.hits["disallow.test/private/a.jpg"] == 0


def test_private_addresses_are_never_connected_to(server: HostileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    def inside(host: str, port: int, **options: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", inside)  # a name of the public web that points inside
    port = server.secret_port
    for url in (f"http://rebind.example:{port}/", f"http://127.0.0.1:{port}/", f"http://[::ffff:127.0.0.1]:{port}/"):
        for respect_robots in (True, False):
            assert get(server, url, respect_robots=respect_robots).outcome == "address_private"
    for host in ("127.1", "2130706433", "0x7f.1", "0177.0.0.1"):  # not canonical, so they must only not get through
        assert get(server, f"http://{host}:{port}/").outcome != "ok"
    assert server.secrets == 0


def test_names_that_do_not_resolve(server: HostileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(host: str, port: int, **options: Any) -> list[Any]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    for url in ("http://nowhere.example/a.jpg", "http://a..b/", f"http://{'a' * 70}.example/"):
        assert get(server, url).outcome == "dns_failed"
        assert get(server, url, respect_robots=False, attempts=3).attempts == 1


# ---- manners


def test_who_asks_says_so(server: HostileServer) -> None:
    get(server, "/ok.jpg", user_agent="examplebot/2 (+https://example.org)")
    assert server.agents == {"examplebot/2 (+https://example.org)"}


def test_robots_txt_is_asked_for_once_and_only_if_it_is_respected(server: HostileServer) -> None:
    urls = [f"http://images.test/many/{n}.jpg" for n in range(20)]
    assert {row.outcome for row in fetch(urls, server.config(), accept)} == {"ok"}
    assert server.hits["images.test/robots.txt"] == 1
    assert get(server, "http://disallow.test/private/a.jpg", respect_robots=False).outcome == "ok"
    assert server.hits["disallow.test/robots.txt"] == 0


def test_a_reservation_is_respected_unless_the_config_says_otherwise(server: HostileServer) -> None:
    for url in ("/reserved", "http://reserved.test/ok.jpg"):
        assert get(server, url, respect_tdm=False).outcome == "ok"
    assert server.hits["reserved.test/.well-known/tdmrep.json"] == 0
    assert get(server, "http://reserved.test/ok.jpg", respect_robots=False).outcome == "tdm_reserved"


def test_nothing_is_asked_of_a_domain_that_opted_out(server: HostileServer) -> None:
    urls = ["http://below.opted-out.test/ok.jpg", "http://images.test/to/opted-out", "http://images.test/ok.jpg"]
    rows = fetch(urls, server.config(), accept, opted_out=frozenset({"opted-out.test", "nother.test", "test."}))
    assert [row.outcome for row in rows] == ["domain_opted_out", "domain_opted_out", "ok"]
    assert not [hit for hit in server.hits if hit.startswith("below.opted-out.test")]


def test_a_host_that_opted_out_is_known_in_every_spelling(server: HostileServer) -> None:
    hosts = ["opted-out.test.", "below.opted-out.test.", "OPTED-OUT.test", "opted-out.test:81", "opted－out。test"]
    urls = [str(canonical_url(f"http://{host}/ok.jpg")) for host in hosts]
    rows = fetch(urls, server.config(), accept, opted_out=frozenset({"opted-out.test"}))
    assert {row.outcome for row in rows} == {"domain_opted_out"}
    assert not [hit for hit in server.hits if "opted-out" in hit]


def test_a_host_with_its_final_dot_has_one_turn_and_one_robots_txt(server: HostileServer) -> None:
    urls = [f"http://images.test{dot}/many/{n}.jpg" for n in range(8) for dot in ("", ".")]
    assert {row.outcome for row in fetch(urls, server.config(per_host_concurrency=1), accept)} == {"ok"}
    assert server.hits["images.test/robots.txt"] == 1
    assert get(server, "http://disallow.test./private/a.jpg").outcome == "robots_disallowed"


@pytest.mark.parametrize("path", ["/tagged", "/dated"])
def test_what_has_not_changed_is_not_sent_again(server: HostileServer, tmp_path: Path, path: str) -> None:
    storage, url = Storage(str(tmp_path)), f"http://images.test{path}"
    store.write_chunk(storage, "first", fetch([url], server.config(), accept))
    (first,) = store.read_chunk(storage, "first").to_pylist()
    for number in (2, 3):  # the second 304 too is known by what the first response said
        store.write_chunk(storage, str(number), fetch([url], server.config(), accept, earlier={url: first}))
        (again,) = store.read_chunk(storage, str(number)).to_pylist()
        assert again == {**first, "fetched_at": again["fetched_at"], "detail": "304: not changed"}
        first = again
    assert server.unchanged == 2
    assert store.read_images(storage, store.read_chunk(storage, "3")) == [picture(1)]
    server.version = 2
    (changed,) = fetch([url], server.config(), accept, earlier={url: first})
    assert changed.image is not None and changed.image.body == picture(2)


def test_noai_is_respected_unless_the_config_says_otherwise(server: HostileServer) -> None:
    assert get(server, "/noai", respect_noai=False).outcome == "ok"


# ---- the call as a whole


def test_one_observation_for_each_url_in_the_order_given(server: HostileServer) -> None:
    urls = [f"http://{host}.test/many/{n}.jpg" for n in range(10) for host in ("other", "images")]
    urls = [*urls, "nonsense", urls[0], ""]
    rows = fetch(urls, server.config(), accept)
    assert [row.url for row in rows] == urls
    assert rows[0] == rows[-2]
    assert server.hits["other.test/many/0.jpg"] == 1
    assert fetch([], server.config(), accept) == []


def test_the_same_answers_give_the_same_images(server: HostileServer) -> None:
    urls = [f"http://{host}.test/many/{n}.jpg" for n in range(10) for host in ("other", "images")]
    first, second = (fetch(order, server.config(), accept) for order in (urls, urls[::-1]))
    assert [row.image for row in first] == [row.image for row in second[::-1]]


def test_a_fault_of_ours_is_not_a_server_s(server: HostileServer) -> None:
    def broken(body: bytes) -> RefusedBody:
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        fetch(["http://images.test/ok.jpg", "http://silent.test/"], server.config(), broken)


def test_memory_is_bounded(server: HostileServer) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    urls = [f"http://images.test/{kind}?{n}" for n in range(10) for kind in ("endless", "gzip-bomb", "many-headers")]
    fetch(urls, server.config(max_body_bytes=2**20), accept)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 * 1024  # KiB; the bombs are 50 MB each


def test_large_bodies_wait_for_a_place(server: HostileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crawl.web.response, "LARGE_BYTES", 100)
    monkeypatch.setattr(crawl.web.response, "LARGE_BODIES", 2)
    held: list[int] = []
    room = crawl.web.response.LargeBodySlots
    monkeypatch.setattr(room, "take", _counting(room.take, held, 1))
    monkeypatch.setattr(room, "leave", _counting(room.leave, held, -1))
    urls = [f"http://{host}.test/many/{n}.jpg" for n in range(20) for host in ("images", "other")]
    urls += [f"http://images.test/{path}" for path in ("endless", "cut", "gzip", "html.jpg")]
    rows = fetch(urls, server.config(per_host_concurrency=8, timeout_s=20.0), accept)
    assert [row.outcome for row in rows] == ["ok"] * 40 + ["body_too_large", "connection_failed", "ok", "not_an_image"]
    assert sum(held) == 0 and len(held) >= 80  # every place was let go, of bodies that broke off too


def _counting(function: Any, held: list[int], step: int) -> Any:
    def call(self: Any) -> Any:
        held.append(step)
        return function(self)

    return call


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("origins", ()),
        ("origins", ("http", "http")),
        ("origins", ("ftp",)),
        ("user_agent", ""),
        ("user_agent", "a/1\r\nX-Evil: 1"),
        ("resolve", {"a.example": "b.example"}),
        ("max_body_bytes", 0),
        ("max_redirects", -1),
        ("timeout_s", 0),
        ("timeout_s", float("nan")),
        ("max_wait_s", 0),
        ("attempts", 0),
        ("concurrency", 0),
        ("per_host_concurrency", 0),
        ("per_host_delay_s", -1),
        ("retry", "always"),
        ("refresh_before", "last year"),
        ("min_bytes_per_s", -1),
    ],
)
def test_impossible_settings_are_named(key: str, value: Any) -> None:
    with pytest.raises(ValueError, match=key):
        FetchConfig(**{key: value})


def test_partial_functions_and_pictures_are_what_the_pipeline_passes(server: HostileServer) -> None:
    taking = partial(
        ingest,
        config=ImageConfig(store_size=32),
        fingerprint=lambda pixels: (bytes(32), 0),
        listed=lambda body, pdq: "md5" if body == picture(kind="PNG") else None,
    )
    rows = fetch(["http://images.test/ok.jpg", "http://images.test/octets"], server.config(), taking)
    assert rows[0].image is not None and (rows[0].image.width, rows[0].image.height) == (48, 32)
    assert (rows[1].outcome, rows[1].detail, rows[1].image) == ("hash_list_match", "md5", None)

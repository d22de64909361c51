"""What owners ask by header and robots.txt is heeded if the config says so, and kept with where it stood."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import crawl.web.response
from crawl.images.ingest import ImageConfig, ingest
from crawl.images.observations import Ingested, Observation, RefusedBody
from crawl.web.config import FetchConfig
from crawl.web.fetch import fetch, heed_licenses
from crawl.web.response import Refused
from crawl.web.rules.headers import check
from filters.images.perceptual import pdq
from tests.crawl.hostile_server import HostileServer
from tests.crawl.web.fetching import one_server

__all__ = ["one_server"]

LICENSES = "http://licenses.test"


def accept(body: bytes) -> Ingested | RefusedBody:
    return ingest(body, ImageConfig(), pdq, lambda body, pdq: None)


def get(server: HostileServer, url: str, **changes: Any) -> Observation:
    (observation,) = fetch([url], server.config(**changes), accept)
    return observation


@pytest.mark.parametrize(
    ("url", "wish"),
    [
        ("http://images.test/signal", ("Content-Signal", "ai-train=no", "header")),
        ("http://images.test/usage", ("Content-Usage", "train-ai=n", "header")),
        ("http://images.test/noai-for-ccbot", ("X-Robots-Tag", "noai", "header")),
        ("http://images.test/reserved", ("tdm-reservation", "1", "header")),
        ("http://reserved.test/ok.jpg", ("tdm-reservation", "1", "/.well-known/tdmrep.json")),
        ("http://disallow.test/private/a.jpg", ("robots.txt", "Disallow", "robots.txt")),
        ("http://wishes.test/ok/signal/a.jpg", ("Content-Signal", "ai-train=no", "robots.txt")),
        ("http://wishes.test/ok/usage/a.jpg", ("Content-Usage", "train-ai=n", "robots.txt")),
        ("http://wishes.test/ok/others/a.jpg", ("robots.txt", "Disallow", "robots.txt of ccbot")),
        ("http://wishes.test/ok/odd/a.jpg", ("Content-Usage", "unreadable: train-ai=perhaps", "robots.txt")),
        ("http://images.test/odd-usage", ("Content-Usage", "unreadable: train-ai=perhaps", "header")),
        ("http://wishes.test/ok/untrained/a.jpg", ("ai.txt", "Disallow", "/ai.txt")),
        ("http://wishes.test/ok/a.gif", ("ai.txt", "Disallow", "/ai.txt")),
        ("http://wishes.test/ok/a.jpg", None),
        ("http://licensed.test/ok/no/a.jpg", ("RSL", "prohibited: ai-train", f"robots.txt: {LICENSES}/rsl.xml")),
        ("http://licensed.test/ok/paid/a.jpg", ("RSL", "payment: crawl", f"robots.txt: {LICENSES}/rsl.xml")),
        ("http://licensed.test/ok/a.jpg", None),
        ("http://other.test/licensed/no.xml", ("RSL", "prohibited: all", f"header: {LICENSES}/no.xml")),
        ("http://other.test/licensed/moved.xml", ("RSL", "prohibited: all", f"header: {LICENSES}/moved.xml")),
        ("http://other.test/licensed/rsl.xml", ("RSL", "prohibited: ai-all", f"header: {LICENSES}/rsl.xml")),
        ("http://other.test/licensed/gone.xml", ("RSL", "unreadable: HTTP 404", f"header: {LICENSES}/gone.xml")),
    ],
)
def test_what_an_owner_asks_is_kept_with_where_it_stood(
    server: HostileServer, url: str, wish: tuple[str, ...] | None
) -> None:
    assert get(server, url).wish == wish


@pytest.mark.parametrize(
    ("url", "changes"),
    [
        ("http://images.test/signal", {"respect_content_signal": False}),
        ("http://images.test/usage", {"respect_content_usage": False}),
        ("http://images.test/noai-for-ccbot", {"also_heed": ()}),
        ("http://wishes.test/ok/signal/a.jpg", {"respect_content_signal": False}),
        ("http://wishes.test/ok/usage/a.jpg", {"respect_content_usage": False}),
        ("http://wishes.test/ok/others/a.jpg", {"also_heed": ("GPTBot",)}),
        ("http://wishes.test/ok/signal/a.jpg", {"respect_robots": False, "respect_tdm": False}),
        ("http://wishes.test/ok/untrained/a.jpg", {"ai_txt": "never"}),
        ("http://licensed.test/ok/no/a.jpg", {"respect_rsl": False}),
        ("http://images.test/licensed/no.xml", {"respect_rsl": False}),
    ],
)
def test_each_signal_is_heeded_only_if_the_config_says_so(
    server: HostileServer, url: str, changes: dict[str, Any]
) -> None:
    assert get(server, url).outcome != "ok"
    assert get(server, url, **changes).outcome == "ok"


@pytest.mark.parametrize("url", ["http://images.test/odd-usage", "http://wishes.test/ok/odd/a.jpg"])
def test_what_cannot_be_read_is_refused_if_the_config_says_so(server: HostileServer, url: str) -> None:
    assert get(server, url).outcome == "ok"
    assert get(server, url, unreadable_policy="refuse").outcome == "wish_unreadable"
    assert get(server, url, unreadable_policy="refuse", respect_content_usage=False).outcome == "ok"


@pytest.mark.parametrize(
    ("name", "outcome"),
    [
        ("no", "rsl_prohibited"),
        ("paid", "rsl_payment_required"),
        ("yes", "ok"),
        *((name, "rsl_unreadable") for name in ("bomb", "page", "gone")),  # and others in pipeline/test_every_wish
    ],
)
def test_what_a_license_says_is_an_outcome_and_what_is_none_is_unreadable(
    server: HostileServer, name: str, outcome: str
) -> None:
    url = f"http://images.test/licensed/{name}.xml"
    assert get(server, url, timeout_s=2.0).outcome == outcome
    admitted = get(server, url, timeout_s=2.0, unreadable_license="allow")
    assert admitted.outcome == ("ok" if outcome == "rsl_unreadable" else outcome)
    assert (admitted.wish is None) == (name == "yes")


def test_a_license_that_fails_for_a_while_is_asked_for_again(
    server: HostileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crawl.web.response, "BACKOFF_S", 0.01)
    server.hits.clear()
    assert get(server, "http://images.test/licensed/once.xml", attempts=2).outcome == "rsl_prohibited"
    assert server.hits["licenses.test/once.xml"] == 2


def test_a_license_is_asked_for_once_and_only_where_a_signal_names_one(server: HostileServer) -> None:
    server.hits.clear()
    urls = [*(f"http://licensed.test/ok/{n}.jpg" for n in range(4)), *(f"http://other.test/ok/{n}" for n in range(4))]
    found = fetch([*urls, "http://other.test/licensed/rsl.xml"], server.config(per_host_concurrency=2), accept)
    assert [item.outcome for item in found] == ["ok"] * 8 + ["rsl_prohibited"]
    asked = {url: hits for url, hits in server.hits.items() if url.startswith(("licenses.test", "licensed.test/r"))}
    assert asked == {"licenses.test/rsl.xml": 1, "licensed.test/robots.txt": 1}
    assert server.hits["other.test/robots.txt"] == server.hits["other.test/.well-known/tdmrep.json"] == 1


def test_a_license_that_is_known_refuses_before_the_body_is_read(server: HostileServer) -> None:
    server.hits.clear()
    urls = [f"http://images.test/licensed/no.xml?{n}" for n in range(3)]
    assert {item.outcome for item in fetch(urls, server.config(), accept)} == {"rsl_prohibited"}
    assert server.hits["licenses.test/no.xml"] == 1


def test_nobody_is_asked_for_a_license_who_is_not_asked_for_images(server: HostileServer) -> None:
    """Private addresses, and hosts of the web if nobody says who asks."""
    secret = f"http://127.0.0.1:{server.secret_port}/"
    for where, outcome in ((secret, "address_private"), ("http://l.test/", "connection_failed")):
        server.more_robots = f"License: {where}"
        anonymous = {"user_agent": "openwit/1"}
        found = get(server, "http://other.test/ok.jpg", **anonymous)
        assert (found.outcome, found.wish and found.wish.value) == ("rsl_unreadable", f"unreadable: {outcome}")
    server.more_robots = ""
    assert server.secrets == 0


def test_licenses_that_others_name_are_asked_for_once_each(server: HostileServer) -> None:
    server.hits.clear()
    page, no, gone, yes = "http://page.test/a/", *(f"{LICENSES}/{name}.xml" for name in ("no", "gone", "yes"))
    named = [
        (license_, f"page {page}", url) for url in (page, "http://page.test/b.jpg") for license_ in (no, gone, yes)
    ]
    config = server.config(unreadable_license="allow")
    prohibited, odd, permitted = heed_licenses(named, config)[:3]
    assert isinstance(prohibited, Refused) and prohibited.outcome == "rsl_prohibited"
    assert prohibited.wish == ("RSL", "prohibited: all", f"page {page}: {no}")
    assert odd == ("RSL", "unreadable: HTTP 404", f"page {page}: {gone}") and permitted is None
    assert [server.hits[f"licenses.test/{name}.xml"] for name in ("no", "gone", "yes")] == [1, 1, 1]
    (refused,) = heed_licenses(named[1:2], server.config())
    assert isinstance(refused, Refused) and refused.outcome == "rsl_unreadable"
    (unasked,) = heed_licenses(named[:1], server.config(origins=("archive",), unreadable_license="allow"))
    assert unasked == ("RSL", "unreadable: not asked for: fetch.origins lacks http", f"page {page}: {no}")
    assert server.hits["licenses.test/no.xml"] == 1


def test_ai_txt_is_asked_for_where_robots_txt_names_it_or_always(server: HostileServer) -> None:
    server.hits.clear()
    urls = [f"http://{host}.test/ok/untrained/{n}.jpg" for host in ("other", "wishes") for n in range(3)]
    found = fetch(urls, server.config(), accept)
    assert [item.outcome for item in found] == ["ok"] * 3 + ["ai_txt_disallowed"] * 3
    assert (server.hits["other.test/ai.txt"], server.hits["wishes.test/ai.txt"]) == (0, 1)
    found = fetch(urls[:3], server.config(ai_txt="always", respect_robots=False, respect_tdm=False), accept)
    assert {item.outcome for item in found} == {"ai_txt_disallowed"}
    assert server.hits["other.test/ai.txt"] == 1


def test_robots_txt_is_asked_for_once_whatever_stands_in_it(server: HostileServer) -> None:
    before = server.hits["wishes.test/robots.txt"]
    fetch([f"http://wishes.test/ok/{n}.jpg" for n in range(5)], server.config(), accept)
    assert server.hits["wishes.test/robots.txt"] == before + 1


FIELDS = st.sampled_from(
    [
        ("X-Robots-Tag", "otherbot: noai"),
        ("X-Robots-Tag", "all"),
        ("TDM-Reservation", "0"),
        ("TDM-Reservation", "maybe"),
        ("Content-Signal", "ai-train=yes"),
        ("Content-Signal", "###"),
        ("Content-Usage", "train-ai=y, search=n"),
        ("Content-Usage", "train-ai=perhaps"),
    ]
)
REFUSING = st.sampled_from(
    [
        ("X-Robots-Tag", "noai"),
        ("X-Robots-Tag", "CCBot: noindex"),
        ("TDM-Reservation", "1"),
        ("Content-Signal", "ai-train=no"),
        ("Content-Usage", "train-ai=n"),
    ]
)


@settings(max_examples=50, deadline=None)
@given(st.lists(FIELDS, max_size=6), REFUSING, st.integers(0, 6))
def test_a_header_that_refuses_wins_over_all_others(
    fields: list[tuple[str, str]], refusing: tuple[str, str], at: int
) -> None:
    more = [*fields[:at], refusing, *fields[at:]]
    with pytest.raises(Refused):
        check(FetchConfig(), lambda name: [value for key, value in more if key.lower() == name.lower()])


@pytest.mark.parametrize(("status", "outcome"), [(404, "ok"), (401, "ok"), (403, "ok"), (500, "robots_disallowed")])
def test_robots_txt_that_is_refused_is_none_and_that_fails_refuses_all(
    server: HostileServer, status: int, outcome: str
) -> None:
    """RFC 9309, section 2.3.1."""
    server.rules_status = status
    try:
        found = get(server, "http://other.test/ok.jpg")
    finally:
        server.rules_status = 404
    assert (found.outcome, found.wish) == (outcome, None)

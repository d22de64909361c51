import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawl import robots

AGENT = "openwit/0.1 (+https://example.org)"


def test_the_group_that_names_us_is_ours_alone() -> None:
    rules = robots.parse(
        b"User-agent: *\nDisallow: /\n\nUser-agent: OpenWIT\nDisallow: /private\nAllow: /private/open", AGENT
    )
    assert rules.allow("http://a.example/x.jpg")
    assert not rules.allow("http://a.example/private/x.jpg")
    assert rules.allow("http://a.example/private/open/x.jpg")


def test_groups_of_others_are_not_ours() -> None:
    rules = robots.parse(
        b"User-agent: otherbot\nUser-agent: thirdbot\nDisallow: /\n\nUser-agent: *\nDisallow: /no", AGENT
    )
    assert rules.allow("http://a.example/x.jpg")
    assert not rules.allow("http://a.example/no/x.jpg")
    assert robots.parse(b"User-agent: otherbot\nDisallow: /", AGENT).allow("http://a.example/")


def test_a_group_of_several_agents_counts_if_one_is_us() -> None:
    rules = robots.parse(b"User-agent: otherbot\nUser-agent: openwit # us\nDisallow: /no", AGENT)
    assert not rules.allow("http://a.example/no")


def test_wildcards_and_query() -> None:
    rules = robots.parse(b"User-agent: *\nDisallow: /*.gif$\nDisallow: /*?size=", AGENT)
    assert not rules.allow("http://a.example/a/b.gif")
    assert rules.allow("http://a.example/a/b.gif?x")
    assert not rules.allow("http://a.example/a.jpg?size=big")


def test_crawl_delay_up_to_a_cap() -> None:
    assert robots.parse(b"User-agent: *\nCrawl-delay: 1.5", AGENT).crawl_delay_s == 1.5
    assert robots.parse(b"User-agent: *\nCrawl-delay: 86400", AGENT).crawl_delay_s == robots.MAX_CRAWL_DELAY_S
    assert robots.parse(b"User-agent: *\nCrawl-delay: soon", AGENT).crawl_delay_s == 0


def test_what_is_no_robots_txt_allows_everything() -> None:
    for body in (b"", b"\xff\xfe\x00", b"<html>404</html>", b"\xef\xbb\xbf", b"Disallow: /"):
        assert robots.parse(body, AGENT).allow("http://a.example/x")
    assert not robots.parse(b"\xef\xbb\xbfUser-agent: *\nDisallow: /", AGENT).allow("http://a.example/x")


def test_rules_of_thousands_of_agents_cost_no_more_than_ours() -> None:
    body = b"".join(b"User-agent: b%d\n" % n for n in range(15_000)) + b"Disallow: /a\n" * 20_000
    start = time.perf_counter()
    assert robots.parse(body, AGENT).allow("http://a.example/a")
    assert time.perf_counter() - start < 5


@given(st.binary(max_size=300))
def test_any_bytes_are_rules(body: bytes) -> None:
    assert robots.parse(b"user-agent: *\n" + body, AGENT).allow("http://a.example/x?y#z") in (True, False)


@pytest.mark.parametrize(
    ("headers", "directive"),
    [
        ([], None),
        (["all"], None),
        (["noai"], "noai"),
        (["nofollow, NoImageAI"], "noimageai"),
        (["nofollow", "noindex"], "noindex"),
        (["none"], "none"),
        (["otherbot: noai"], None),
        (["otherbot: noindex, noai"], None),
        (["otherbot: noindex, openwit: noai"], "noai"),
        (["otherbot: nofollow, *: noai"], "noai"),
        (["OpenWIT: noindex"], "noindex"),
        (["unavailable_after: 25 Jun 2010 15:00:00 PST, noai"], "noai"),
        (["max-image-preview: none"], None),
        (["otherbot: max-snippet: 5, noai"], None),
        ([":,,::, ,"], None),
    ],
)
def test_x_robots_tag(headers: list[str], directive: str | None) -> None:
    assert robots.refusal(headers, AGENT) == directive

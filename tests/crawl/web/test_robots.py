import re
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crawl.web import robots
from crawl.web.path_patterns import Patterns

MANY_BYTES = 64 * 1024
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


@pytest.mark.parametrize("name", ["openwit", "OpenWIT/0.1", "openwit bot", "openwit*", "other, openwit", "openwit(x)"])
def test_what_names_us(name: str) -> None:
    assert not robots.parse(f"User-agent: {name}\nDisallow: /".encode(), AGENT).allow("http://a.example/x")


@pytest.mark.parametrize("name", ["open", "wit", "openwitness", "my-openwit", "bot openwit", "o*", ""])
def test_what_does_not_name_us(name: str) -> None:
    assert robots.parse(f"User-agent: {name}\nDisallow: /".encode(), AGENT).allow("http://a.example/x")


@pytest.mark.parametrize("line", ["Sitemap: http://a.example/s", "Foo: bar", "foo"])
def test_a_line_that_is_no_rule_ends_no_group(line: str) -> None:
    between = f"User-agent: openwit\n{line}\nUser-agent: otherbot\n{line}\nDisallow: /no\n{line}\nDisallow: /never"
    rules = robots.parse(between.encode(), AGENT)
    assert not rules.allow("http://a.example/no") and not rules.allow("http://a.example/never")


@pytest.mark.parametrize("line", ["Crawl-delay: 1", "Allow: /", "Disallow:", "Crawl-delay: much"])
def test_a_rule_ends_the_list_of_agents(line: str) -> None:
    rules = robots.parse(f"User-agent: openwit\n{line}\nUser-agent: otherbot\nDisallow: /".encode(), AGENT)
    assert rules.allow("http://a.example/x")


def test_a_group_of_ours_counts_even_if_it_says_nothing() -> None:
    rules = robots.parse(b"User-agent: *\nDisallow: /\n\nUser-agent: openwit\n", AGENT)
    assert rules.allow("http://a.example/x")


@pytest.mark.parametrize(
    ("pattern", "url"),
    [
        ("/bar/ツ", "/bar/%E3%83%84"),
        ("/bar/%e3%83%84", "/bar/%E3%83%84"),
        ("/bar/%62%61%7A", "/bar/baz"),
        ("/foo/bar?baz=http://foo.bar", "/foo/bar?baz=http://foo.bar"),
        ("/a b", "/a%20b"),
        ("/x$y", "/x$yz"),
        ("*.jpg$", "/a/b.jpg"),
        ("/*?", "/a?"),
        ("/***a", "/bca"),
    ],
)
def test_paths_are_compared_by_what_they_mean(pattern: str, url: str) -> None:
    assert not robots.parse(f"User-agent: *\nDisallow: {pattern}".encode(), AGENT).allow(f"http://a.example{url}")


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.text("ab/*$", max_size=6), st.booleans()), max_size=12),
    st.lists(st.text("ab/$", max_size=7), min_size=1, max_size=6),
)
def test_the_longest_pattern_counts_and_the_kinder_of_equals(rules: list[tuple[str, bool]], paths: list[str]) -> None:
    patterns = Patterns((pattern.encode(), allows) for pattern, allows in rules if pattern)
    for path in paths:
        matching = [
            (len(pattern), allows)
            for pattern, allows in rules
            if pattern
            and re.match(
                "".join(".*" if char == "*" else re.escape(char) for char in pattern.removesuffix("$"))
                + ("$" if pattern.endswith("$") else ""),
                path,
            )
        ]
        assert patterns.allow(path.encode()) is max(matching, default=(0, True))[1]


@pytest.mark.parametrize(
    "line",
    [
        b"Disallow: /*%da*a*a*a\n",
        b"Disallow: /%d\n",
        b"Allow: *%d*x*y*z$\n",
        b"User-agent: b%d\n",
        b"Disallow: /" + b"*a" * 900 + b"%d\n",
    ],
)
def test_rules_take_about_as_much_memory_as_their_file(line: bytes) -> None:
    body = b"User-agent: *\n" + b"".join(line % number for number in range(MANY_BYTES // len(line)))
    tracemalloc.start()
    rules = robots.parse(body, AGENT)
    kept = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert kept < 3 * MANY_BYTES + 10_000
    assert rules.patterns.size < 3 * MANY_BYTES + 10_000
    assert rules.allow("http://a.example/" + "a" * 2_000) in (True, False)


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

import re
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crawl import rsl
from crawl.path_patterns import Patterns
from crawl.web.rules import robots

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


@settings(max_examples=60, deadline=None)
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


# ---- groups of other crawlers, and what is said of training

OTHERS = ("CCBot", "GPTBot", "anthropic-ai")


def rules_of(text: str) -> robots.RobotsRules:
    return robots.parse(text.encode(), AGENT, OTHERS)


def outcome(text: str, path: str = "/x") -> str | None:
    refusal = rules_of(text).refusal(f"http://a.example{path}")
    return refusal.outcome if refusal else None


def test_a_refusal_of_a_crawler_that_is_heeded_is_one_of_us() -> None:
    text = (
        "User-agent: ccbot/2.0\nUser-agent: GPTBot\nDisallow: /no\nAllow: /no/but\n\nUser-agent: otherbot\nDisallow: /"
    )
    assert outcome(text) is outcome(text, "/no/but") is None
    assert outcome(text, "/no/x") == "robots_disallowed_others"
    assert rules_of(text).refusal("http://a.example/no/x").wish.place == "robots.txt of ccbot"  # type: ignore[union-attr]


def test_our_own_group_comes_first_and_does_not_overrule_theirs() -> None:
    text = "User-agent: openwit\nDisallow: /mine\n\nUser-agent: anthropic-ai\nDisallow: /"
    assert outcome(text, "/mine/x") == "robots_disallowed"
    assert outcome(text, "/other") == "robots_disallowed_others"


def test_groups_of_one_crawler_count_together_and_those_for_all_are_not_theirs() -> None:
    text = "User-agent: CCBot\nDisallow: /a\n\nUser-agent: CCBot\nAllow: /a/open\n\nUser-agent: openwit\nAllow: /\n\n"
    assert outcome(text, "/a/x") == "robots_disallowed_others"
    assert outcome(text, "/a/open") is None
    assert outcome("User-agent: openwit\nAllow: /\n\nUser-agent: *\nDisallow: /") is None


def test_the_delay_of_another_crawler_is_not_ours() -> None:
    assert rules_of("User-agent: CCBot\nCrawl-delay: 5").crawl_delay_s == 0


@pytest.mark.parametrize(
    "text",
    [
        "User-agent: *\nContent-Signal: search=yes, ai-train=no\nAllow: /",
        "User-agent: openwit\nContent-Signal: ai-train=no",
        "User-agent: CCBot\nContent-signal:ai-train=no",
        "Content-Signal: ai-train=no\n\nUser-agent: *\nAllow: /",
        "User-agent: *\nContent-Signal: ai-train=yes\nContent-Signal: ai-train=no",
    ],
)
def test_a_content_signal_refuses_the_whole_site(text: str) -> None:
    assert outcome(text) == "content_signal_refused"


def test_the_longest_path_of_content_usage_counts_and_of_equals_the_one_that_refuses() -> None:
    text = (
        "User-agent: *\nContent-Usage: train-ai=n\nContent-Usage: /open train-ai=y\n"
        "Content-Usage: /open/not train-ai=n\nContent-Usage: /open/not train-ai=y\nContent-Usage: /open search=n"
    )
    assert outcome(text) == outcome(text, "/open/not") == "content_usage_refused"
    assert outcome(text, "/open/a") is None
    assert outcome("User-agent: *\nContent-Usage: /a*b$ train-ai=n", "/axb") == "content_usage_refused"


def test_what_is_said_to_others_of_training_is_not_said_to_us() -> None:
    for group in ("User-agent: otherbot", "User-agent: openwit\nAllow: /\n\nUser-agent: *"):
        assert outcome(f"{group}\nContent-Usage: train-ai=n\nContent-Signal: ai-train=no") is None


def test_what_cannot_be_read_refuses_nothing_and_is_known() -> None:
    rules = rules_of("User-agent: *\nContent-Usage: /a train-ai=perhaps\nContent-Usage: /b train-ai=y")
    assert rules.allow("http://a.example/a")
    assert rules.unread("http://a.example/b") is None
    unread = rules.unread("http://a.example/a")
    assert unread is not None and unread.wish == ("Content-Usage", "unreadable: train-ai=perhaps", "robots.txt")


LINES = st.sampled_from(
    [
        "Allow: /",
        "Disallow: /a",
        "Allow: /a/b",
        "Content-Signal: ai-train=yes",
        "Content-Usage: /a train-ai=y",
        "Content-Usage: train-ai=n",
        "Content-Usage: ###",
        "nonsense",
        "Crawl-delay: 1",
    ]
)
GROUPS = st.lists(
    st.tuples(st.sampled_from(["*", "openwit", "CCBot", "otherbot"]), st.lists(LINES, max_size=4)), max_size=4
)
REFUSALS = st.sampled_from(["Disallow: /", "Disallow: /a", "Content-Signal: ai-train=no", "Content-Usage: train-ai=n"])


@settings(max_examples=60, deadline=None)
@given(GROUPS, st.sampled_from(["CCBot", "GPTBot"]), REFUSALS, st.data())
def test_adding_a_refusal_never_admits_more(
    groups: list[tuple[str, list[str]]], name: str, refusal: str, data: st.DataObject
) -> None:
    """A group of another crawler's anywhere, or a line at the end of any group."""

    def text(listed: list[tuple[str, list[str]]]) -> str:
        return "\n\n".join("\n".join([f"User-agent: {agent}", *lines]) for agent, lines in listed)

    at = data.draw(st.integers(0, len(groups)))
    more = [*groups[:at], (name, [refusal]), *groups[at:]]
    if groups and data.draw(st.booleans()):
        chosen = data.draw(st.integers(0, len(groups) - 1))
        agent, lines = groups[chosen]
        more = [*groups[:chosen], (agent, [*lines, refusal]), *groups[chosen + 1 :]]
    for path in ("/", "/a", "/a/b", "/c"):
        assert outcome(text(more), path) or outcome(text(groups), path) is None


def test_many_groups_of_others_take_bounded_memory() -> None:
    names = [f"bot{n}" for n in range(20)]
    shared = "".join(f"User-agent: {name}\n" for name in names) + "".join(f"Disallow: /{n}\n" for n in range(20_000))
    rules = robots.parse(shared.encode(), AGENT, names)
    assert rules.size < 2 * len(shared)
    assert rules.refusal("http://a.example/7").outcome == "robots_disallowed_others"  # type: ignore[union-attr]


def test_licenses_are_those_of_our_group_else_those_for_all_and_those_of_crawlers_that_are_heeded() -> None:
    def named(text: str, *heeded: str) -> list[tuple[str, ...]]:
        return [tuple(item) for item in robots.parse(text.encode(), AGENT, heeded).licenses]

    everyone = ("/all.xml", "robots.txt")
    assert named("License: /all.xml\nUser-agent: *\nAllow: /") == [everyone]
    assert named("User-agent: *\nAllow: /\nLICENSE :/all.xml\nUser-agent: otherbot\nLicense: /other.xml") == [everyone]
    assert named("License: /a.xml\nUser-agent: openwit\nAllow: /\nLicense: /own.xml") == [("/own.xml", "robots.txt")]
    assert named("User-agent: otherbot\nDisallow: /\n\nLicense: /all.xml\nSitemap: /s") == [everyone]
    assert named("User-agent: otherbot\nDisallow: /\nLicense: /all.xml") == []
    others = "License: /all.xml\nUser-agent: CCBot\nLicense: /cc.xml"
    assert named(others, "CCBot") == [everyone, ("/cc.xml", "robots.txt of ccbot")]
    assert named("License: MIT\nLicense:\nLicence: /x.xml") == []
    assert len(named("".join(f"License: /{n}.xml\n" for n in range(99)))) == rsl.MAX_LICENSES + 1


def test_rules_of_many_groups_at_once_are_bounded_and_ours_are_kept() -> None:
    heeded = [f"bot{n}" for n in range(15)]
    agents = "".join(f"User-agent: {name}\n" for name in (*heeded, "openwit"))
    shared = "".join(f"Disallow: /*a*{n}\n" for n in range(20_000))
    own = "".join(f"User-agent: {name}\nDisallow: /{name}\n" for name in heeded)
    rules = robots.parse(f"{agents}{shared}{own}".encode(), AGENT, heeded)
    assert rules.special <= robots.MAX_RULES_OF_OTHERS + 20_000
    assert not rules.allow("http://a.example/xa19999") and rules.allow("http://a.example/x")


def test_a_license_ends_no_group() -> None:
    rules = robots.parse(b"User-agent: openwit\nLicense: /l.xml\nUser-agent: otherbot\nDisallow: /no", AGENT)
    assert not rules.allow("http://a.example/no") and len(rules.licenses) == 1

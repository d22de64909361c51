"""What licenses by RSL 1.0 say of training, and that whatever else is in them is unreadable."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crawl import rsl
from crawl.wishes import UNREADABLE
from tests.crawl.hostile_wishes import license_of

URL = "https://site.example/articles/a.jpg"


def usage(kind: str, words: str, of: str = "usage") -> str:
    return f'<{kind} type="{of}">{words}</{kind}>'


@pytest.mark.parametrize(
    ("terms", "said"),
    [
        (usage("prohibits", "ai-train"), "prohibited: ai-train"),
        (usage("prohibits", "search ai-all"), "prohibited: ai-all"),
        (usage("prohibits", "All"), "prohibited: all"),
        (usage("prohibits", "train-ai,search"), "prohibited: train-ai"),  # as the draft before 1.0 had it
        (usage("permits", "ai-train ai-input") + usage("prohibits", "all"), "prohibited: all"),
        (usage("permits", "search ai-input"), "prohibited: permits ai-input search alone"),
        (usage("permits", "ai-train"), "permitted: ai-train"),
        (usage("permits", "all") + '<payment type="free"/>', "permitted: all"),
        ("", "permitted: all"),
        (usage("prohibits", "ai-input"), None),
        (
            usage("permits", "all") + usage("permits", "non-commercial", "user"),
            "prohibited: permits user non-commercial",
        ),
        (usage("permits", "all") + usage("prohibits", "cn eu", "geo"), "prohibited: not for geo cn eu"),
        (usage("permits", "ai-all") + '<payment type="crawl"/>', "payment: crawl"),
        (usage("permits", "ai-all") + '<payment type="contribution"/>', "payment: contribution"),
        ("<payment><standard>https://c.example/l</standard></payment>", "payment: by https://c.example/l"),
        ('<payment type="attribution"><standard>https://cc.example/by</standard></payment>', "permitted: all"),
        ('<payment type="attribution"><amount currency="USD">0.01</amount></payment>', "payment: amount 0.01"),
        ('<payment><amount currency="USD">0.00</amount></payment>', "permitted: all"),
        ('<payment type="free"><custom>/ask</custom></payment>', "payment: custom /ask"),
        ('<reporting type="audit" profile="https://p.example"/>', "payment: reports on the use"),
    ],
)
def test_what_the_terms_of_a_license_say_of_training(terms: str, said: str | None) -> None:
    assert rsl.parse(license_of(("/", terms))).terms_for(URL) == said


def test_the_narrowest_path_that_speaks_of_training_counts() -> None:
    permits, prohibits, other = usage("permits", "all"), usage("prohibits", "ai-train"), usage("prohibits", "ai-input")
    license_ = rsl.parse(license_of(("/articles/", prohibits), ("/", permits), ("/articles/open/", permits)))
    assert license_.terms_for(URL) == "prohibited: ai-train"
    assert license_.terms_for("https://site.example/b.jpg") == license_.terms_for(
        "https://site.example/articles/open/b.jpg"
    )
    assert rsl.parse(license_of(("/", prohibits), ("/articles/", other))).terms_for(URL) == "prohibited: ai-train"
    assert rsl.parse(license_of(("/*.png$", prohibits))).terms_for(URL) is None
    assert rsl.parse(license_of(("/a*.jpg$", prohibits))).terms_for(URL) == "prohibited: ai-train"


def test_an_absolute_address_speaks_of_its_host_alone() -> None:
    license_ = rsl.parse(license_of(("https://*.site.example:443/a*", usage("prohibits", "all"))))
    assert license_.terms_for("http://www.site.example/a.jpg") == "prohibited: all"
    assert (
        license_.terms_for("http://www.site.example/b.jpg") is license_.terms_for("http://other.example/a.jpg") is None
    )
    assert license_.of_all() == "prohibited: all"


def test_alternates_of_a_content_have_its_terms() -> None:
    """RSL 1.0, section 3.14."""
    alternates = '<alternate type="image/jpeg">/articles/a.jpg</alternate><alternate>https://cdn.example/a</alternate>'
    text = license_of(("/text/a", usage("prohibits", "ai-train")), ("/", usage("permits", "all")))
    license_ = rsl.parse(text.replace("</license>", f"</license>{alternates}", 1))
    assert license_.terms_for(URL) == license_.terms_for("https://cdn.example/a") == "prohibited: ai-train"
    assert license_.terms_for(f"{URL}.png") == license_.terms_for("https://site.example/") == "permitted: all"


def test_elements_of_other_namespaces_say_nothing() -> None:
    """RSL 1.0, section 3, and its erratum of 7 August 2026."""
    terms = usage("permits", "all") + '<x:toll xmlns:x="https://x.example/">5</x:toll>'
    assert rsl.parse(license_of(("/", terms))).terms_for(URL) == "permitted: all"


def test_of_several_licenses_one_that_permits_is_enough_unless_another_prohibits() -> None:
    def said(*licenses: str) -> str | None:
        parts = "".join(f"<license>{terms}</license>" for terms in licenses)
        return rsl.parse(
            f'<rsl xmlns="https://rslstandard.org/rsl"><content url="/">{parts}</content></rsl>'
        ).terms_for(URL)

    free, paid = usage("permits", "ai-train"), usage("permits", "all") + '<payment type="purchase"/>'
    assert said(paid, free) == "permitted: ai-train"
    assert said(paid, usage("permits", "search")) == "payment: purchase"
    assert said(free, usage("prohibits", "ai-train")) == "prohibited: ai-train"


def test_a_content_with_a_license_server_asks_for_its_token() -> None:
    text = license_of(("/", "")).replace('url="/"', 'url="/" server="https://api.example"')
    assert rsl.parse(text).terms_for(URL) == "payment: a token of its license server"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<rsl",
        "<html/>",
        '<rsl xmlns="https://other.example/rsl"/>',
        '<rsl xmlns="https://rslstandard.org/rsl"/>',
        '<rsl xmlns="https://rslstandard.org/rsl"><content url="/"/></rsl>',
        license_of(("/", "<permit>all</permit>")),
        license_of(("/", usage("permits", "all"))).replace("</content>", "<prohibit>all</prohibit></content>"),
        license_of(("/", usage("permits", "all"))).replace("</rsl>", "<contents/></rsl>"),
        license_of(("/", '<payment type="free"><amont>5</amont></payment>')),
        '<!DOCTYPE rsl SYSTEM "file:///etc/passwd"><rsl/>',
        '<!DOCTYPE l [<!ENTITY a "aa">]><rsl xmlns="https://rslstandard.org/rsl">&a;</rsl>',
        "<a>" * 60_000,
        " " * (rsl.MAX_BYTES + 1),
        "\ud800",
        '<?xml version="1.0" encoding="nonsense"?><rsl/>',
    ],
)
def test_what_is_no_license_is_unreadable(text: str) -> None:
    with pytest.raises(rsl.UnreadableError):
        rsl.parse(text)


@settings(max_examples=30, deadline=None)
@given(st.binary(max_size=100) | st.text(max_size=100))
def test_whatever_is_read_is_a_license_or_unreadable(body: bytes | str) -> None:
    with suppress(rsl.UnreadableError):
        rsl.parse(body)
    assert rsl.of_page([body if isinstance(body, str) else body.decode("latin-1")], []) is not None


TERMS = st.sampled_from(
    [
        usage("permits", "all"),
        usage("permits", "search"),
        usage("prohibits", "ai-input"),
        '<payment type="crawl"/>',
        usage("permits", "ai-train") + '<payment type="attribution"/>',
    ]
)
PATHS = st.sampled_from(["/", "/articles/", "/articles/a.jpg", "/other/", "/*.jpg$", "https://site.example/", ""])


@settings(deadline=None)
@given(st.lists(st.tuples(PATHS, TERMS), min_size=1, max_size=5), PATHS, st.integers(0, 5))
def test_a_content_that_prohibits_never_admits_more(contents: list[tuple[str, str]], path: str, at: int) -> None:
    before = rsl.parse(license_of(*contents)).terms_for(URL)
    more = [*contents[:at], (path, usage("prohibits", "ai-train")), *contents[at:]]
    after = rsl.parse(license_of(*more)).terms_for(URL)
    assert rsl.refuses(after) or after == before
    assert rsl.refuses(after) or not rsl.refuses(before)


def test_link_headers_name_licenses_by_their_type() -> None:
    values = [
        '<https://cc.example/by>; rel="license", </rsl.xml>; type="application/rsl+xml"; rel="license nofollow"',
        '<b.xml>;rel=License;type=application/rsl+xml;title="a, b", <c>; rel=next; type=application/rsl+xml',
    ]
    assert rsl.licenses_of_links(values, URL) == ["https://site.example/rsl.xml", "https://site.example/articles/b.xml"]
    assert rsl.licenses_of_links(["<" * 9_000, '<a>; rel="' + '\\"' * 5_000, ";" * 9_000], URL) == []


def test_what_a_page_says_is_that_of_its_own_license_else_where_those_are_that_it_names() -> None:
    no, yes = license_of(("", usage("prohibits", "all"))), license_of(("https://else.example/", ""))
    named = ["https://a.example/1.xml"]
    assert rsl.of_page([], []) is None
    assert rsl.of_page([yes], []) == "permitted: all"
    assert rsl.of_page([yes], named) == "license: https://a.example/1.xml"
    assert rsl.of_page(["<rsl", no], named) == "prohibited: all"
    many = [f"https://a.example/{n}" for n in range(9)]
    for inline, links in ((["<rsl"], named), ([], many), (["<rsl", yes], named)):
        said = rsl.of_page(inline, links) or ""
        assert said.startswith(UNREADABLE) and rsl.named_by(said) == links[: rsl.MAX_LICENSES]
    assert rsl.named_by("license: https://a.example/1.xml https://b.example/") == [*named, "https://b.example/"]
    assert rsl.named_by("permitted: all") == rsl.named_by("prohibited: permits license alone") == []
    assert (rsl.of_page([yes] * 9, []) or "").startswith(UNREADABLE)

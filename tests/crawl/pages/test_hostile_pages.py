"""Pages made to take a parser's time or memory: they take no more than their length allows, and keep their images."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from selectolax.lexbor import LexborHTMLParser

import crawl.pages.html
from crawl.pages.html import Page, parse_page
from crawl.pages.simplified import _open_at_most, is_affordable, simplify_page
from tests.crawl.pages.test_html import rows
from tests.crawl.work import calls

SOURCES = ("alt", "title", "figcaption", "microdata", "json-ld", "og", "link")


def times(part: str) -> Callable[[int], str]:
    return lambda n: part * n


def each(part: str) -> Callable[[int], str]:
    return lambda n: "".join(part.replace("#", str(number)) for number in range(n))


HOSTILE: dict[str, Callable[[int], str]] = {
    "deep": times("<div>"),
    "deep and closed": lambda n: "<div>" * n + "</div>" * n,
    "stray ends hide depth": times("<div></x>"),
    "attributes": lambda n: "<p" + each(" a#")(n) + ">",
    "attributes behind quoted brackets": lambda n: "<p" + each(" a#= '>'")(n) + ">",
    "attributes with brackets": lambda n: "<p" + each(" a#<")(n) + ">",
    "attributes between slashes": lambda n: "<p" + each("/a#")(n) + ">",
    "comments": lambda n: "<b>" * n + "<!--" * n,
    "brackets": times("<"),
    "ends": times("</p>"),
    "formatting": times("<b><i>"),
    "formatting made anew": lambda n: "<p>" + each("<b id=#>")(n) + "<p>x" * n,
    "formatting behind a scope": lambda n: "<p>" + each("<b id=#><object></b></object>")(n) + "<p>x" * n,
    "formatting that seems closed": lambda n: "<p>" + each("<b id=# x='></b>'>")(n) + "<p>x" * n,
    "sources": lambda n: "<picture>" + "<source srcset=a>" * n + "<img>" * n,
    "pictures": times("<picture><source srcset=a><img>"),
    "images of a caption": lambda n: "<figure><figcaption>" + "word " * n + "<img src=a>" * n,
    "figures": times("<figure><figcaption>x"),
    "figures in figures": lambda n: "<figure>" * n + "<img src=a><figcaption>x" * n,
    "links": times("<a href=x.jpg>x<object>"),
    "bases": lambda n: "<svg>" + "<g>" * n + "<base href=x>" * n,
    "metas": lambda n: (
        "<meta property=og:title content=" + "t" * n + ">" + each("<meta property=og:image content=#>")(n)
    ),
    "items": lambda n: "<p itemscope itemtype=x/ImageObject>" * n + "<b itemprop=caption>x" * n + "<img src=a>" * n,
    "captions in captions": times("<p itemscope itemtype=x/ImageObject itemprop=caption><object>"),
    "captions below wide tags": lambda n: (
        "<div itemscope itemtype=x/ImageObject>"
        + ("<div" + each(" a#")(min(n, 200)) + ">") * 12
        + "<i itemprop=caption>x</i><img src=a>" * n
    ),
    "attributes of the page itself": lambda n: "<!--" + "x" * 2**17 + "-->" + each("<html a#><body b#>")(n),
    "templates": times("<template><img src=a>"),
    "data": lambda n: "<script type=application/ld+json>ImageObject" + "[" * n,
    "commas": lambda n: "<img alt=x srcset='" + "," * n + "a 1x'>",
    "parentheses": lambda n: "<img alt=x srcset='" + "a (" * n + "'>",
    "stand-ins": lambda n: "<img alt=x data-src=b.jpg src='" + "-blank" * n + ".gif'>",
    "tables": times("<table><tr><td>"),
    "titles": times("<title/>"),
}


def page(name: str, n: int) -> bytes:
    return f"<img src=a.jpg alt=first>{HOSTILE[name](n)}".encode()


@pytest.mark.parametrize("name", HOSTILE)
def test_the_work_for_a_page_grows_with_its_length(name: str) -> None:
    """Four times the page, no more than four times the calls, and about as much time: its square would be sixteen."""
    once, more = page(name, 500), page(name, 2_000)
    of_making_it_simple = 16 * 2_000
    few, many = (calls(lambda data=data: parse_page(data, SOURCES)) for data in (once, more))  # type: ignore[misc]
    assert many <= 4 * few + of_making_it_simple

    def seconds(data: bytes) -> float:
        begin = time.process_time()
        parse_page(data, SOURCES)
        return time.process_time() - begin

    small, large = seconds(page(name, 3_000)), page(name, 12_000)
    assert any(seconds(large) <= 10 * small + 0.5 for _ in range(3))  # what else the process does may cost once


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("n", [500, 4_000])
def test_a_tree_is_no_larger_than_its_page_allows(name: str, n: int) -> None:
    data = page(name, n)
    tree = LexborHTMLParser(data if is_affordable(data) else simplify_page(data))
    assert len(tree.css("*")) < max(1_100_000, len(data))


@pytest.mark.parametrize("name", HOSTILE)
def test_texts_are_no_larger_than_a_page_allows(name: str) -> None:
    found = parse_page(page(name, 10_000), SOURCES)
    assert found.urls[0] == "a.jpg"
    assert found.texts[0][0] == "first"
    assert sum(len(text) for column in found.texts for text in column) < 2**24


@pytest.mark.parametrize("name", sorted(HOSTILE.keys() - {"comments", "brackets", "data", "titles"}))
def test_images_behind_hostile_markup_are_kept(name: str) -> None:
    end = "\">'></object></figcaption></figure></picture></svg></a><img src=z.jpg alt=last>"
    found = parse_page(page(name, 10_000) + end.encode(), SOURCES)
    if name not in ("attributes", "templates") and "behind quoted" not in name:
        assert ("z.jpg", "last") in zip(found.urls, found.texts[0], strict=True)


FIGURE = "<figure><a href=/#><img src=#.jpg></a><br><figcaption>caption <b>#</b></figcaption></figure>"


@pytest.mark.parametrize("n", [1_000, 4_200, 9_000])
def test_honest_pages_of_any_length_keep_every_caption(n: int) -> None:
    found = parse_page(each(FIGURE)(n).encode(), ("figcaption",))
    assert found.urls == [f"{number}.jpg" for number in range(n)]
    assert [text.strip() for text in found.texts[0]] == [f"caption {number}" for number in range(n)]
    assert not found.is_simplified


def test_line_breaks_are_no_depth() -> None:
    found = parse_page(("<br>" * 8_400 + FIGURE).encode(), ("figcaption",))
    assert (found.texts, found.is_simplified) == ([["caption #"]], False)


def test_captions_are_given_to_so_many_images_as_memory_allows() -> None:
    caption = "word " * 4_000
    found = parse_page(
        f"<figure>{'<img src=a>' * 1_000}<figcaption>{caption}</figcaption></figure>".encode(), ("figcaption",)
    )
    assert found.texts[0][0].split() == caption.split()
    assert found.texts[0][-1] == ""
    assert found.is_simplified


HONEST = [
    *(
        "<p>",
        "</p>",
        "<div class='a b'>",
        "</div>",
        "<b id=x>",
        "</b>",
        "<br>",
        "word ",
        "é &amp; ",
        "<!-- <img src=no> -->",
    ),
    *(
        "<img src=a.jpg alt='x > y'>",
        "<IMG SRC=b.jpg ALT=y />",
        "<script>'<img src=no alt=no>'</script>",
        "<title>t</title>",
    ),
    *("<figure>", "</figure>", "<figcaption>", "</figcaption>", "<a href=c.jpg>", "</a>", "<li>", "<span>", "</span>"),
    *(
        "<picture><source srcset='d.webp 1x'><img src=data:,x alt=z></picture>",
        "<template><img src=e alt=e></template>",
    ),
    *(
        "<svg viewBox='0 0 1 1'><path d=x></path></svg>",
        "<noscript><img src=f alt=f></noscript>",
        "<style>p > a {}</style>",
    ),
    *("<meta property=og:image content=g.jpg>", "<meta property=og:title content=title>", "<base href=/h/>"),
    *(
        "<amp-img src=i.jpg alt=i></amp-img>",
        "<script type=application/ld+json>[]</script>",
        "2 < 3 ",
        "<svg><title/></svg>",
    ),
]


def what(found: Page) -> object:
    texts = [(url, [" ".join(text.split()) for text in texts]) for url, texts in rows(found)]
    return texts, found.base, found.language, found.noai, found.license


@given(
    st.lists(
        st.sampled_from(HONEST).filter(lambda part: part not in ("<figure>", "</figure>", "<a href=c.jpg>", "</a>"))
    )
)
def test_a_page_made_simple_says_what_it_said(parts: list[str]) -> None:
    """Whatever is not kept changes nothing, where figures and links are closed as they were opened."""
    body = "".join(parts)
    data = f"<html lang=de><figure><a href=c.jpg>link</a>{FIGURE}</figure>{body}".encode()
    whole, simple = (what(parse_page(of, SOURCES)) for of in (data, simplify_page(data)))
    assert simple == whole


def test_what_is_left_out_cannot_join_to_a_tag() -> None:
    for data in (
        b"<<!-- -->img src=a alt=b>",
        b"<<b>img src=a alt=b>",
        b"<</b>img src=a alt=b>",
        b"<<script></script>img src=a>",
    ):
        assert parse_page(data, ("alt",)).urls == parse_page(simplify_page(data), ("alt",)).urls == []


@pytest.mark.parametrize("attribute", ["x='>'", 'x = ">"', "x<", "x='<p>'", "x/", "x=y>z"])
def test_no_tag_of_many_attributes_is_affordable(attribute: str) -> None:
    many = "".join(f" a{number} {attribute.replace('>z', '')}" for number in range(8_000))
    for before in ("", "<p title='", 'text = "', "<!-- x -->", "<b>it's</b>" * 1_000):
        assert not is_affordable(f"{before}<p{many}>".encode())


def test_ordinary_pages_are_affordable() -> None:
    script = "<script>" + "if (a < b && c > d) { x = \"<p class='y'>\" + z; }\n" * 2_000 + "</script>"
    properties = '"key": "a value", ' * 300
    data = f"<div data-all='{properties}'>{script}" + "<p><i class='icon a'></i> text</p>\n" * 2_000
    assert is_affordable(data.encode())


def test_an_archives_row_counts_and_names_what_was_made_simple(monkeypatch: pytest.MonkeyPatch) -> None:
    from crawl.candidates.assemble import Counts, Rows

    counts = Counts()
    collected = Rows("a.warc", ("alt",), every_text=False, counts=counts)
    monkeypatch.setattr(crawl.pages.html, "is_affordable", lambda data: b"deep" not in data)
    for number, body in enumerate((b"plain", b"deep one", b"deep two")):
        found = parse_page(b"<img src=a.jpg alt=b>" + body, ("alt",))
        collected.add(found, f"http://h.example/{number}", size=9, status=200, date=None, offset=number)
    assert len(collected.flush()) == 3
    assert (counts.pages, counts.simplified_pages, counts.simplified_page) == (3, 2, "http://h.example/1")


PIECES = [
    *(
        "<div>",
        "</div>",
        "<p>",
        "</p>",
        "<table>",
        "<td>",
        "</table>",
        "<svg>",
        "<link>",
        "</svg>",
        "<br>",
        "<img src=a>",
    ),
    *("<q a=", '"', "'", "='", '="', 'b"c="', "</q>", "<q>x</q>", "<q\0>x</q>"),
    *("<button>", "</button>", "<object>", "</object>", "<x a='", "'>", '<x a="', '">', "<x a=<", "<!>", "<!--", "-->"),
    *("<x>", "</x>", "</x a='>'>", "<script>", "</script>", "<title>", "</title>", "<i", " z=", "text", "<", ">", "/"),
    *(
        "<div>a</div>",
        "<x a='<p>'>",
        '<x b=">">',
        "<select>",
        "</select>",
        "<ul><li>",
        "</ul>",
        "<li>",
        "<a href=x>",
        "</a>",
    ),
]


def depth(data: bytes) -> int:
    """Return the depth of a page's tree, as a browser's parser builds it."""
    deepest, at, level = 0, LexborHTMLParser(data).root, 1
    while at is not None:
        deepest = max(deepest, level)
        if (child := at.first_child) is not None:
            at, level = child, level + 1
            continue
        while at is not None and at.next is None:
            at, level = at.parent, level - 1
        at = at.next if at is not None and level > 0 else None
    return deepest


def open_at_most(data: bytes) -> int:
    return _open_at_most(data, np.flatnonzero(np.frombuffer(data, np.uint8) == ord("<")), 0)


@pytest.mark.parametrize(
    "part",
    [
        """<div x=">t</div><q y=">t</q>""",
        """<div x= '>t</div><q y='>t</q>""",
        """<div a"b="c x=">t</div><q d"="z">t</q>""",
        """<div y="'" x='">t</div><q z='">t</q>""",
        """<div><q a="b>c">t</q a="b></div><q d="">""",
        "<div\0>t</div>",
        "<div\0>t</div\0x>",
        "<Div>t</div x='>",
    ],
)
def test_a_tag_that_an_open_quotation_mark_hides_closes_nothing(part: str) -> None:
    data = (part * 40).encode()
    assert depth(data) <= 4 * open_at_most(data) + 10


def test_elements_that_close_are_not_open_at_once() -> None:
    part = (
        """<div class="a > b" id='>c'><p a=b>one</p><BR><img src=a alt=""/><blockquote>two "<hr></blockquote></div\n>"""
    )
    assert open_at_most((part * 40).encode()) == 0
    assert open_at_most((part.replace("<p a=b>", "<p a='b>") * 40).encode()) == 80  # and what stands around them


@given(st.lists(st.sampled_from(PIECES), min_size=1, max_size=25))
@settings(max_examples=100)
@example(["<x a='", "<i", ">", '"', " z=", "'>", "<div>"])
@example(["<div><applet></div></applet>"])
def test_no_page_hides_how_deep_it_is(parts: list[str]) -> None:
    """A table's body and row stand between it and its cell; of what is closed, a few are open at once."""
    data = ("".join(parts) * 60).encode()
    assert depth(data) <= 4 * open_at_most(data) + 40

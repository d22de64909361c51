from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawl.pages.charset import to_utf8
from crawl.pages.html import Page, open_graph, parse_page

SOURCES = ("alt", "title", "figcaption")


def rows(page: Page) -> list[tuple[str, tuple[str, ...]]]:
    """(URL, texts) image by image; those without a text last."""
    shown = [page.choices[at].shown_url() if at in page.choices else url for at, url in enumerate(page.urls)]
    silent = [(url, ("",) * len(page.texts)) for url in page.silent]
    return [*zip(shown, zip(*page.texts, strict=True), strict=True), *silent]


def images(html: str, sources: tuple[str, ...] = SOURCES) -> list[tuple[str, tuple[str, ...]]]:
    return rows(parse_page(html.encode(), sources))


@pytest.mark.parametrize(
    "html",
    [
        '<img src=a.png alt="x">',
        "<IMG ALT='x' SRC='a.png'/>",
        "<noscript><img src=a.png alt=x></noscript>",
        "<head><noscript><img src=a.png alt=x></noscript></head>",
        "<template><p><img src=a.png alt=x></template>",
        "<picture><source srcset=b.webp><img src=a.png alt=x></picture>",
        "<table><img src=a.png alt=x><tr><td></table>",
        "<svg><img src=a.png alt=x></svg>",
        "<p><a href=#><b><img src=a.png alt=x>",
        "<image src=a.png alt=x>",
        "<img src=a.png alt=x alt=y src=b.png>",
    ],
)
def test_every_place_that_an_image_can_stand_in(html: str) -> None:
    assert images(html) == [("a.png", ("x", "", ""))]


def test_comments_scripts_and_broken_ends_are_no_images() -> None:
    assert images("<!-- <img src=a alt=x> --><script>'<img src=a alt=x>'</script><img src=a alt=x") == []


def test_document_order_entities_and_empty_attributes() -> None:
    html = '<img src="?a=1&amp;b=2" alt="Tom &amp; &#74;erry &eacute;"><img src=b alt><img alt="">'
    assert images(html, ("alt",)) == [("?a=1&b=2", ("Tom & Jerry é",)), ("b", ("",)), ("", ("",))]


def test_texts_of_an_image() -> None:
    figure = (
        "<figure><div><img src=a alt=' ' title=t></div><FIGCAPTION>A <b>bold</b> caption</figcaption></figure><img>"
    )
    first, second = images(figure)
    assert first[1][:2] == (" ", "t")
    assert first[1][2].split() == ["A", "bold", "caption"]
    assert second[1] == ("", "", "")
    assert images(figure, ("title",))[0][1] == ("t",)


def test_aria_label() -> None:
    assert images("<img src=a aria-label=' a kettle '>", ("alt", "aria-label")) == [("a", ("", " a kettle "))]


def test_open_graph() -> None:
    html = """
        <meta property=og:title content="The page"><meta property="og:image" content="/a.jpg">
        <meta property="og:image:url" content="/a.jpg"><meta property=og:image:alt content="A kettle">
        <meta name=OG:Image content=b.jpg><img src=c alt=x>
    """
    assert images(html, ("og", "alt")) == [
        ("c", ("", "x")),
        ("/a.jpg", ("A kettle", "")),
        ("b.jpg", ("The page", "")),
    ]
    assert images(html, ("alt",)) == [("c", ("x",))]
    assert open_graph([("og:image:alt", "of nothing"), ("og:image", "a")]) == [("a", "")]


def test_linked_images() -> None:
    html = """
        <a href=" full.JPG?x=1#y ">The <b>full</b> kettle</a><a href=page.html>no</a><a href=a.jpg><img src=t alt=t></a>
        <a>none</a><a href=.png.html>no</a>
    """
    linked = [(url, text.split()) for url, (text, _) in images(html, ("link", "alt")) if text]
    assert linked == [("full.JPG?x=1#y", ["The", "full", "kettle"])]


def test_picture_gives_the_url_that_its_image_lacks() -> None:
    html = "<picture><source srcset='data:,x'><source srcset='s.webp 1x, l.webp 2x'><img alt=x></picture>"
    assert images(html)[0][0] == "l.webp"


def test_what_a_page_says_of_itself() -> None:
    head = b'<html lang=" de-AT "><base target=_top><base href=" /b/ "><meta name=ROBOTS content="all, NoImageAI">'
    page = parse_page(head, ("alt",))
    assert (page.base, page.language, page.noai) == ("/b/", "de-AT", True)
    page = parse_page(b"<meta name=robots content=noaim><meta name=x content=noai><p>", ("alt",))
    assert (page.base, page.language, page.noai) == (None, None, False)


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        ("<meta name=TDM-Reservation content=' 1 '>", True),
        ("<meta name=tdm-reservation content=0>", False),
        ("<meta name=tdm-reservation content=0><meta name=tdm-reservation content=1>", True),
        ("<meta name=tdm-reservation content=yes>", None),
        ("<p>", None),
    ],
)
def test_tdm_reservation(html: str, expected: bool | None) -> None:
    assert parse_page(html.encode(), ("alt",)).tdm_reserved is expected


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        ("<a rel='external LICENSE' href=' /cc-by '>", "/cc-by"),
        ("<link rel=license href=''><link rel=license href=b>", "b"),
        ("<a rel=nolicense href=a><a href=license>", None),
    ],
)
def test_license(html: str, expected: str | None) -> None:
    assert parse_page(html.encode(), ("alt",)).license == expected


@pytest.mark.parametrize("sources", [("alt",), ("alt", "json-ld")])
def test_rsl_in_a_page_whatever_its_type_is_written_like_and_whatever_texts_are_asked_for(
    sources: tuple[str, ...],
) -> None:
    page = parse_page(
        b'<link rel="License" type="application/RSL&#43;xml" href=" /l.xml "><script type="application/rsl&#x2b;Xml">'
        b"<rsl/></script><script type=application/xml><rsl>not</rsl></script>",
        sources,
    )
    assert (page.rsl_links, page.rsl_inline) == (["/l.xml"], ["<rsl/>"])


def test_xhtml_tags_close_themselves() -> None:
    xhtml = b'<html><head><title/><script src="x" /></head><body><img src="a" alt="x" /></body></html>'
    assert rows(parse_page(xhtml, ("alt",), xhtml=True)) == [("a", ("x",))]


def test_a_base_in_another_namespace_is_none() -> None:
    """HTML standard: the base element is HTML's own; in SVG and MathML its name means nothing."""
    for foreign in (
        "<svg><base href=/x></base></svg>",
        "<math><base href=/x></base></math>",
        "<svg><g><base href=/x/></g></svg>",
    ):
        assert parse_page(f"{foreign}<base href=/y>".encode(), ("alt",)).base == "/y"
    assert parse_page(b"<svg><foreignObject><base href=/x></foreignObject></svg><base href=/y>", ("alt",)).base == "/x"


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("<i>Canis lupus</i>, the grey wolf (<a href=/x>photo</a>).", "Canis lupus, the grey wolf (photo)."),
        ("H<sub>2</sub>O, <span>T</span>he dawn, un<wbr>break<b>able</b>", "H2O, The dawn, unbreakable"),
        ("one<br>two<div>three</div>four<p>five<p>six<ul><li>a<li>b</ul>", "one two three four five six a b"),
        ("<table><tr><td>a<td>b<tr><td>c</table>", "a b c"),
        ("a<script>var x</script><style>.x{}</style><noscript>on</noscript><template>t</template><!-- c -->b", "ab"),
        ("a <span hidden>x</span><span style='display: none'>y</span><svg><title>t</title></svg><rp>(</rp>b", "a b"),
        ("a<select><option>x</select><textarea>y</textarea><video>z</video><object>o</object> b", "a b"),
        ("5 &lt; 6 &amp;amp; 7", "5 < 6 &amp; 7"),
        ("<figure><img src=q><figcaption>inner</figcaption></figure>outer", "outer"),
    ],
)
def test_a_caption_is_what_a_browser_renders(caption: str, expected: str) -> None:
    (url, (_, _, found)) = images(f"<figure><img src=a><figcaption>{caption}</figcaption></figure>")[0]
    assert (url, " ".join(found.split())) == ("a", expected)
    ((_, (linked,)),) = images(f"<a href=b.jpg>{caption.replace('<a href=/x>photo</a>', 'photo')}</a>", ("link",))[-1:]
    assert " ".join(linked.split()) == expected or "<p>" in caption or "<table>" in caption or "inner" in caption


def test_each_figure_has_its_own_caption() -> None:
    html = """
        <figure><img src=outer><figure><img src=inner><figcaption>in</figcaption></figure>
            <figcaption>out</figcaption></figure>
        <figure><figure><img src=bare></figure><figcaption>of both</figcaption></figure><img src=none>
        <figure><img src=two><figcaption>first</figcaption><figcaption>second</figcaption></figure>
        <template><figure><img src=held><figcaption>later</figcaption></figure></template>
    """
    found = {url: text.strip() for url, (text,) in images(html, ("figcaption",))}
    assert found == {"outer": "out", "inner": "in", "bare": "", "none": "", "two": "first", "held": "later"}


def test_other_elements_that_are_images() -> None:
    html = """
        <figure><amp-img src=chair.jpg srcset="x.jpg 9w" alt="a chair"></amp-img><figcaption>c</figcaption></figure>
        <svg><image href=lamp.jpg aria-label="a lamp"><title>the lamp</title></image><image xlink:href=old.jpg /></svg>
        <video poster=film.jpg title="a film"></video><video title=none></video>
        <input type=image src=button.jpg alt="a button"><image src=stool.jpg alt="a stool">
    """
    assert images(html, ("alt", "title", "aria-label", "figcaption")) == [
        ("chair.jpg", ("a chair", "", "", "c")),
        ("lamp.jpg", ("", "the lamp", "a lamp", "")),
        ("old.jpg", ("", "", "", "")),
        ("film.jpg", ("", "a film", "", "")),
        ("stool.jpg", ("a stool", "", "", "")),
    ]


@pytest.mark.parametrize(
    ("picture", "expected"),
    [
        ("<source srcset=a.avif type=image/avif><source srcset=b.webp><img src=blank.gif>", "a.avif"),
        ("<source srcset=a.jxl type=image/jxl><source srcset=b.webp><img src=data:,x>", "b.webp"),
        ("<source srcset=a.heic><source srcset=b.jpg><img>", "b.jpg"),
        ("<source srcset=a type=image/svg+xml><img src=b.svg>", "b.svg"),
        ("<source srcset=s.jpg media='(max-width: 600px)'><source srcset=l.jpg><img src=data:,x>", "l.jpg"),
        ("<source data-srcset='a.jpg 1x, b.jpg 2x' srcset=data:,x><img src=data:,x data-lazy=true>", "b.jpg"),
        ("<source srcset=true><source srcset='{width}.jpg'><img src=blank.gif>", "true"),
        ("<source srcset=a.webp><img src=b.jpg>", "b.jpg"),
        ("<source srcset=big.jpg><img src=b_20x.jpg>", "big.jpg"),
    ],
)
def test_a_picture_gives_what_can_be_stored(picture: str, expected: str) -> None:
    if expected == "true":
        expected = "blank.gif"  # nothing better is named
    assert images(f"<picture>{picture}</picture>")[0][0] == expected


def test_microdata_captions() -> None:
    html = """
        <div itemscope itemtype="https://schema.org/ImageObject"><img src=a itemprop=contentUrl>
            <div><meta itemprop=description content=worse><p itemprop="caption">A <b>fox</b>es' den</p></div></div>
        <p itemscope itemtype="http://schema.org/ImageObject"><link itemprop=contentUrl href=b.jpg>
            <meta itemprop=caption content="A bear"></p>
        <div itemscope itemtype="https://schema.org/Recipe"><img src=c><p itemprop=description>Soup</p></div>
    """
    assert images(html, ("alt", "microdata")) == [
        ("a", ("", "A foxes' den")),
        ("c", ("", "")),
        ("b.jpg", ("", "A bear")),
    ]


def test_images_that_json_ld_describes() -> None:
    html = """<script type="application/LD+json">{"@graph": [
        {"@type": "ImageObject", "contentUrl": "a.jpg?x=1&amp;y=2", "url": "page", "caption": "A <i>fox</i> &hellip;"},
        {"@type": ["Photo", "https://schema.org/ImageObject"], "url": ["b.jpg"], "description": "A bear\n"},
        {"@type": "Article", "image": {"@type": "ImageObject", "url": "c.jpg", "caption": "A wolf"},
         "author": {"@type": "Person", "image": {"@type": "ImageObject", "url": "d.jpg", "caption": "J. Doe"}},
         "publisher": {"logo": {"@type": "ImageObject", "url": "e.jpg", "caption": "The Paper"}}},
        {"@type": "ImageObject", "caption": "of none"}, {"@type": "ImageObject", "url": "f.jpg"}]};</script>
        <script type=application/ld+json>{"@type": "ImageObject"</script><script>{"@type":"ImageObject"}</script>"""
    assert [(url, text.split()) for url, (_, text) in images(html, ("alt", "json-ld"))] == [
        ("a.jpg?x=1&y=2", ["A", "fox", "…"]),
        ("b.jpg", ["A", "bear"]),
        ("c.jpg", ["A", "wolf"]),
    ]


@given(st.binary(max_size=300))
def test_any_bytes_are_a_page(data: bytes) -> None:
    parse_page(to_utf8(data).html, SOURCES)


TAGS = ["<img alt=x>", "<table>", "</p>", "<svg>", "<template>", "'", '"', "<!--", "-->", "<a b=c"]


@given(st.lists(st.sampled_from(TAGS)))
def test_any_tags_are_a_page(parts: list[str]) -> None:
    images("".join(parts))


JAPANESE = "<p>日本語のページ</p>"


@pytest.mark.parametrize(
    ("page", "declared", "expected"),
    [
        (JAPANESE.encode("euc-jp"), "EUC-JP", JAPANESE),
        (b'<meta charset="shift_jis">' + JAPANESE.encode("shift_jis"), None, JAPANESE),
        (b"<META http-equiv=x content='text/html; charset=x-euc-jp'>" + JAPANESE.encode("euc-jp"), None, JAPANESE),
        (b'<?xml version="1.0" encoding="iso-2022-jp"?>' + JAPANESE.encode("iso-2022-jp"), None, JAPANESE),
        ("\ufeffé".encode(), "iso-8859-1", "é"),  # a byte order mark outranks the header
        ("é".encode("utf-16-le"), "utf-16", "é"),
        (b"\xff\xfe" + "é".encode("utf-16-le"), None, "é"),
        (b"<meta charset=utf-16>" + "é".encode(), None, "é"),
        (b"\x93caf\xe9\x94", "latin1", "“café”"),
        (b"\x93caf\xe9\x94", None, "“café”"),
        ("café".encode(), None, "café"),
        ("café".encode()[:-1], None, "caf"),  # cut in a character
        ("é".encode(), "no-such-charset", "é"),
        (b"<meta charset=utf-7>" + "é".encode(), None, "é"),  # not an encoding of the web
        (b"<!-- <meta charset=koi8-r> --><meta charset=windows-1251>" + "я".encode("cp1251"), None, "я"),
        ("你".encode("gb18030"), "gb2312", "你"),
    ],
)
def test_charsets(page: bytes, declared: str | None, expected: str) -> None:
    assert expected in to_utf8(page, declared).html.decode("utf-8", "replace")

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawl.charset import codec_of, to_utf8
from crawl.html import Image, parse_page

SOURCES = ("alt", "title", "figcaption")


def images(html: str, sources: tuple[str, ...] = SOURCES) -> list[Image]:
    return parse_page(html.encode(), sources).images


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
    assert images(html) == [Image("a.png", ("x", "", ""))]


def test_comments_scripts_and_broken_ends_are_no_images() -> None:
    assert images("<!-- <img src=a alt=x> --><script>'<img src=a alt=x>'</script><img src=a alt=x") == []


def test_document_order_entities_and_empty_attributes() -> None:
    html = '<img src="?a=1&amp;b=2" alt="Tom &amp; &#74;erry &eacute;"><img src=b alt><img alt="">'
    assert images(html, ("alt",)) == [Image("?a=1&b=2", ("Tom & Jerry é",)), Image("b", ("",)), Image("", ("",))]


def test_texts_of_an_image() -> None:
    figure = (
        "<figure><div><img src=a alt=' ' title=t></div><FIGCAPTION>A <b>bold</b> caption</figcaption></figure><img>"
    )
    first, second = images(figure)
    assert first.texts[:2] == (" ", "t")
    assert first.texts[2].split() == ["A", "bold", "caption"]
    assert second.texts == ("", "", "")
    assert images(figure, ("title",))[0].texts == ("t",)


def test_picture_gives_the_url_that_its_image_lacks() -> None:
    html = "<picture><source srcset='data:,x'><source srcset='s.webp 1x, l.webp 2x'><img alt=x></picture>"
    assert images(html)[0].url == "l.webp"


def test_what_a_page_says_of_itself() -> None:
    head = b'<html lang=" de-AT "><base target=_top><base href=" /b/ "><meta name=ROBOTS content="all, NoImageAI">'
    page = parse_page(head, ("alt",))
    assert (page.base, page.language, page.noai) == ("/b/", "de-AT", True)
    page = parse_page(b"<meta name=robots content=noaim><meta name=x content=noai><p>", ("alt",))
    assert (page.base, page.language, page.noai) == (None, None, False)


def test_xhtml_tags_close_themselves() -> None:
    xhtml = b'<html><head><title/><script src="x" /></head><body><img src="a" alt="x" /></body></html>'
    assert parse_page(xhtml, ("alt",), xhtml=True).images == [Image("a", ("x",))]


@pytest.mark.parametrize(
    "hostile",
    [
        "<div>" * 300_000,
        "<div>" * 300_000 + "</div>" * 300_000,
        "<p " + " ".join(f"a{i}" for i in range(200_000)) + ">",
        "<!--" * 200_000 + "-->",
        "<img src=" * 100_000 + ">",
        "<" * 1_000_000,
        "<b><i>" * 100_000,
    ],
    ids=["deep", "deep and closed", "attributes", "comment", "attribute", "brackets", "formatting"],
)
def test_hostile_pages_take_seconds_and_keep_their_images(hostile: str) -> None:
    start = time.process_time()
    found = images(f"<img src=a alt=first>{hostile}\n<!-- --><img src=b alt='the last'>", ("alt",))
    assert time.process_time() - start < 4
    assert found[0] == Image("a", ("first",))
    if not hostile.startswith(("<!--", "<img", "<<")):  # whose syntax takes in what follows
        assert found[-1] == Image("b", ("the last",))


@given(st.binary(max_size=300))
def test_any_bytes_are_a_page(data: bytes) -> None:
    parse_page(to_utf8(data), SOURCES)


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
    assert expected in to_utf8(page, declared).decode("utf-8", "replace")


def test_labels_are_the_standards() -> None:
    assert codec_of("US-ASCII ") == codec_of("iso-8859-1") == "cp1252"
    assert codec_of("gb2312") == "gb18030"
    assert codec_of("base64") is codec_of("") is codec_of(None) is None

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawl.wat import parse_wat
from tests.crawl.test_html import rows
from tests.crawl.warc_bytes import wat

SOURCES = ("alt", "title", "figcaption")


def link(**attributes: object) -> dict[str, object]:
    return {"path": "IMG@/src", **attributes}


def test_images_of_a_page() -> None:
    html = {
        "Head": {"Base": " http://cdn.example/ ", "Metas": [{"name": "Robots", "content": "noai"}, {}]},
        "Links": [
            {"path": "A@/href", "url": "x", "alt": "not an image"},
            link(url="a.jpg", alt="first", title="t"),
            link(alt="lazy", **{"data-src": "b.jpg"}),
            link(alt="inlined", url="data:,x", srcset="s.jpg 1x, l.jpg 2x"),
            link(alt="nothing"),
        ],
    }
    found = parse_wat(wat(html), SOURCES)
    assert found is not None
    assert (found.uri, found.date) == ("http://site.example/dir/page", "2024-05-06T07:08:09Z")
    assert (found.page.base, found.page.language, found.page.noai) == ("http://cdn.example/", None, True)
    assert rows(found.page) == [
        ("a.jpg", ("first", "t", "")),
        ("b.jpg", ("lazy", "", "")),
        ("l.jpg", ("inlined", "", "")),
        ("", ("nothing", "", "")),
    ]


@pytest.mark.parametrize("name", ["X-Robots-Tag", "x-robots-tag"])
@pytest.mark.parametrize("value", ["noimageai", ["all", "otherbot: noai"]])
def test_noai_header(name: str, value: object) -> None:
    found = parse_wat(wat({"Links": []}, headers={name: value}), SOURCES)
    assert found is not None
    assert found.page.noai


@pytest.mark.parametrize(("status", "expected"), [("404", 404), ("200", 200), ("OK", 200), ("", 200), ("99999", 200)])
def test_status(status: str, expected: int) -> None:
    found = parse_wat(wat({"Links": []}, status=status), SOURCES)
    assert found is not None
    assert found.status == expected


def test_what_is_no_page() -> None:
    assert parse_wat(b'{"Envelope": {"Payload-Metadata": {"HTTP-Request-Metadata": {}}}}', SOURCES) is None
    assert parse_wat(b'{"Envelope": {"Payload-Metadata": {"HTTP-Response-Metadata": {}}}}', SOURCES) is None
    assert parse_wat(b"{}", SOURCES) is None


def test_fields_of_the_wrong_type_cost_only_themselves() -> None:
    block = wat({"Head": {"Base": 7, "Metas": "x"}, "Links": [link(url="a", alt=["x"]), "x", link(url="b", alt="ok")]})
    found = parse_wat(block, SOURCES)
    assert found is not None
    assert rows(found.page) == [("b", ("ok", "", "")), ("a", ("", "", ""))]


def test_lone_surrogates_and_broken_bytes() -> None:
    block = wat({"Links": [link(url="a", alt="MARK")]})
    for bad, expected in ((rb"x\ud83dy", "x\ud83dy"), (b"x\xffy", "x\ufffdy")):
        found = parse_wat(block.replace(b"MARK", bad), SOURCES)
        assert found is not None
        assert found.page.texts[0][0] == expected


@pytest.mark.parametrize("block", [b"", b"\x00", b"{", b"[" * 100_000, b'{"Envelope": '])
def test_not_json(block: bytes) -> None:
    with pytest.raises(ValueError):
        parse_wat(block, SOURCES)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "Envelope",
                    "Payload-Metadata",
                    "HTTP-Response-Metadata",
                    "HTML-Metadata",
                    "Head",
                    "Links",
                    "path",
                    "url",
                ]
            ),
            inner,
            max_size=3,
        )
    ),
)


@given(JSON)
def test_any_json_is_read_or_refused(data: object) -> None:
    parse_wat(json.dumps(data).encode(), SOURCES)


def compact(html: dict[str, object]) -> bytes:
    """A record as ia-web-commons writes it, without white space."""
    return json.dumps(json.loads(wat(html)), ensure_ascii=False, separators=(",", ":")).encode()


ANCHOR = {"path": "A@/href", "url": "x.html", "text": "a page"}
TEXT = st.text(st.sampled_from('ab"\\{}[],:/ é😀') | st.characters(codec="utf-8"), max_size=8) | st.sampled_from(
    ["IMG@/src", '"path":"IMG@/src"', '{"path":"', '"Links":[', "}]}", '\\"}']
)
LINKS = st.lists(
    st.builds(lambda url, alt: link(url=url, alt=alt), TEXT, TEXT)
    | st.builds(lambda text: {**ANCHOR, "text": text}, TEXT)
    | st.builds(lambda alt: {"alt": alt, "path": "IMG@/src", "url": "x"}, TEXT),
    max_size=4,
)
HEADS = st.dictionaries(st.sampled_from(["Base", "Title"]), TEXT) | st.just({"Link": [{"path": "LINK@/href"}]})


@given(LINKS, HEADS, st.booleans())
def test_reading_the_images_alone_changes_nothing(
    links: list[dict[str, object]], head: dict[str, object], is_last: bool
) -> None:
    html: dict[str, object] = {"Head": head, "Links": links} if is_last else {"Links": links, "Head": head}
    assert parse_wat(compact(html), SOURCES) == parse_wat(wat(html), SOURCES)


def test_images_without_a_text_are_told_apart_by_their_address_alone() -> None:
    shapes = [
        link(url="a"),
        link(),
        link(url="data:,x", **{"data-src": "b"}),
        link(url="data:,x"),
        link(url=" "),
        link(url="dog"),
    ]
    found = parse_wat(compact({"Links": shapes}), SOURCES)
    assert found is not None
    assert (found.page.urls, found.page.silent) == ([], ["a", "", "b", "data:,x", "", "dog"])


@pytest.mark.parametrize(
    "odd", ['{"text":"IMG@/src","path":"A@/href"}', '{"alt":"x","path":"IMG@/src"}', '{ "path":"IMG@/src"}']
)
def test_links_in_another_form_are_read_as_json(odd: str) -> None:
    block = compact({"Links": [ANCHOR, link(url="a", alt="a"), ANCHOR]}).replace(
        b'{"path":"A', odd.encode() + b',{"path":"A', 1
    )
    found = parse_wat(block, ("alt",))
    assert found is not None
    assert found.page == parse_wat(json.dumps(json.loads(block)).encode(), ("alt",)).page  # type: ignore[union-attr]


def test_images_alone_need_not_be_decoded_with_the_other_links() -> None:
    block = compact({"Links": [ANCHOR, link(url="a", alt="}"), ANCHOR, link(url="b", alt="b"), ANCHOR]})
    broken = block.replace(b'"a page"', b"7", 1)  # only the last link but those of images is looked at
    for item in (block, broken):
        found = parse_wat(item, ("alt",))
        assert found is not None
        assert rows(found.page) == [("a", ("}",)), ("b", ("b",))]


def test_what_the_head_and_the_links_say() -> None:
    html: dict[str, object] = {
        "Head": {
            "Metas": [
                {"property": "og:image", "content": "/og.jpg"},
                {"property": "og:title", "content": "The page"},
                {"name": "tdm-reservation", "content": "1"},
            ],
            "Link": [{"path": "LINK@/href", "url": "/cc-by", "rel": "license"}],
        },
        "Links": [
            link(url="a", alt="x"),
            {**ANCHOR, "url": "full.png"},
            {"path": "A@/href", "url": "bare.png"},
            ANCHOR,
        ],
    }
    for block in (wat(html), compact(html)):
        found = parse_wat(block, ("alt", "og", "link"))
        assert found is not None
        assert (found.page.tdm_reserved, found.page.license) == (True, "/cc-by")
        assert rows(found.page) == [
            ("a", ("x", "", "")),
            ("/og.jpg", ("", "The page", "")),
            ("full.png", ("", "", "a page")),
        ]
    reserved = parse_wat(wat({"Links": []}, headers={"tdm-reservation": ["0", "1"]}), SOURCES)
    assert reserved is not None
    assert reserved.page.tdm_reserved

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawl.wat.records import parse_head, parse_wat
from tests.crawl.pages.test_html import rows
from tests.crawl.warc_bytes import compact, wat

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


def test_what_the_head_and_the_links_say() -> None:
    anchor = {"path": "A@/href", "url": "x.html", "text": "a page"}
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
            {**anchor, "url": "full.png"},
            {"path": "A@/href", "url": "bare.png"},
            anchor,
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
    head = parse_head(compact(html), ("alt", "og"))
    assert head is not None
    assert (head.uri, head.status, head.date) == (found.uri, found.status, found.date)
    assert (head.page.tdm_reserved, head.page.license) == (True, "/cc-by")
    assert rows(head.page) == [("/og.jpg", ("", "The page"))]
    assert compact(html)[head.links - 9 : head.links] == b'"Links":['
    assert parse_head(compact(html), ("alt", "link")) is None  # which needs all of them
    reserved = parse_wat(wat({"Links": []}, headers={"tdm-reservation": ["0", "1"]}), SOURCES)
    assert reserved is not None
    assert reserved.page.tdm_reserved
    permitted = wat(
        {"Head": {"Metas": [{"name": "tdm-reservation", "content": "0"}]}, "Links": []},
        headers={"TDM-Reservation": "1"},
    )
    found = parse_wat(permitted, SOURCES)
    assert found is not None
    assert found.page.tdm_reserved is False  # what the page itself says comes before

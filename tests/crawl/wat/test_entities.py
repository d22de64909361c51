"""What old WAT files left encoded is decoded, as a page's parser would have; later files are left as they are."""

from __future__ import annotations

import html
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crawl.candidates.config import ExtractConfig
from crawl.candidates.extract import Extraction, extract
from crawl.wat.entities import with_references_decoded
from tests.crawl.warc_bytes import members, record, whole

OLD, NEW = "2019-05-30T12:00:00Z", "2019-06-20T12:00:00Z"
DEEP = "[" * 200_000


def wat(links: list[dict[str, str]], head: dict[str, Any] | None = None, *, last: str = "") -> bytes:
    """A record's JSON as ia-web-commons writes it; last: what stands behind all else in its HTML-Metadata."""
    page = json.dumps({"Head": head or {}, "Links": links}, separators=(",", ":"))[:-1] + last + "}"
    around = {
        "Container": {"Filename": "x.warc.gz"},
        "Envelope": {
            "Payload-Metadata": {
                "HTTP-Response-Metadata": {
                    "Headers": {"X": "&amp;"},
                    "HTML-Metadata": "@",
                    "Response-Message": {"Status": "200"},
                }
            },
            "WARC-Header-Metadata": {"WARC-Target-URI": "http://site.example/d/p?a&amp;b", "WARC-Type": "response"},
        },
    }
    return json.dumps(around, separators=(",", ":")).replace('"@"', page).encode()


def read(folder: Path, *records: tuple[bytes, str], **config: Any) -> Extraction:
    blocks = [
        record(block, type_="metadata", content_type="application/json").replace(b"2024-05-06T07:08:09Z", date.encode())
        for block, date in records
    ]
    return extract([whole(folder, members(*blocks), "a.warc.wat.gz")], ExtractConfig(**config))


def image(url: str, alt: str) -> dict[str, str]:
    return {"path": "IMG@/src", "url": url, "alt": alt}


LINKS = [
    image("https://v.example/a.jpg?p=8&amp;v=5", "&quot;He can&#39;t&quot; &amp;&#10; &lt;more&gt; caf&eacute;"),
    image("/door.php?w&#x3D;5&amp;h&#x3D;6#top", "a green door"),
    image("/c.jpg?a=1&copy=2&notit=3&amp", "&copy 2004 &amp;amp; &unknown; &notit; \u201c\\"),
    {**image("data:image/gif;base64,x", "lazy &amp; late"), "data-src": "/lazy.jpg?a&amp;b"},
    {"path": "A@/href", "url": "/big.jpg?a=1&amp;b=2", "text": "Big &amp; bold"},
]
ENCODED = [
    ("https://v.example/a.jpg?p=8&amp;v=5", "&quot;He can&#39;t&quot; &amp;&#10; &lt;more&gt; caf&eacute;"),
    ("http://site.example/door.php?w&", "a green door"),
    ("http://site.example/c.jpg?a=1&copy=2&notit=3&amp", "&copy 2004 &amp;amp; &unknown; &notit; \u201c\\"),
    ("http://site.example/lazy.jpg?a&amp;b", "lazy &amp; late"),
]
DECODED = [
    ("https://v.example/a.jpg?p=8&v=5", '"He can\'t" & <more> café'),
    ("http://site.example/door.php?w=5&h=6", "a green door"),
    ("http://site.example/c.jpg?a=1&copy=2&notit=3&", "© 2004 &amp; &unknown; &notit; \u201c\\"),
    ("http://site.example/lazy.jpg?a&b", "lazy & late"),
]


@pytest.mark.parametrize("sources", [("alt",), ("alt", "link")])  # read in columns, and one by one
@pytest.mark.parametrize(("date", "pairs"), [(OLD, DECODED), (NEW, ENCODED)])
def test_only_files_of_old_are_decoded(
    tmp_path: Path, sources: tuple[str, ...], date: str, pairs: list[tuple[str, str]]
) -> None:
    linked = ("b=2", "Big & bold") if date == OLD else ("amp;b=2", "Big &amp; bold")
    expected = pairs + [(f"http://site.example/big.jpg?a=1&{linked[0]}", linked[1])] * (len(sources) - 1)
    rows = read(tmp_path, (wat(LINKS), date), text_sources=sources).candidates.to_pylist()
    assert [(row["url"], row["text"]) for row in rows] == expected
    assert {row["page_url"] for row in rows} == {"http://site.example/d/p?a&amp;b"}  # no HTML


def test_the_base_and_metas_are_decoded_too(tmp_path: Path) -> None:
    metas = [
        {"property": "og:image", "content": "o.jpg?a&amp;b"},
        {"property": "og:title", "content": "Tom &amp; Jerry"},
    ]
    head = {"Base": "http://site.example/a&amp;b/", "Metas": metas}
    found = read(tmp_path, (wat([image("c.jpg", "c")], head), OLD), text_sources=("alt", "og"))
    assert [(row["url"], row["text"]) for row in found.candidates.to_pylist()] == [
        ("http://site.example/a&b/c.jpg", "c"),
        ("http://site.example/a&b/o.jpg?a&b", "Tom & Jerry"),
    ]


def test_a_record_that_is_no_json_is_decoded_as_far_as_it_is_read(tmp_path: Path) -> None:
    block = wat([image("/a.jpg?a&amp;b", "x &amp; \\udc00 y")]).replace(b"\\\\udc00", b"\\udc00\xff")
    rows = read(tmp_path, (block, OLD)).candidates.to_pylist()
    assert [(row["url"], row["text"]) for row in rows] == [("http://site.example/a.jpg?a&b", "x & \ufffd\ufffd y")]


@settings(max_examples=60)
@given(st.text(max_size=12), st.text("&amp;#x3D=\"\\{}[]\u00e9'", max_size=12))
def test_whatever_a_page_says_is_found_again(alt: str, rest: str) -> None:
    meant = (alt + rest).encode("utf-8", "replace").decode().replace("\r", "").replace("\x00", "")
    block = wat([image("/a.jpg", html.escape(meant))])
    found = json.loads(with_references_decoded(block, OLD))["Envelope"]["Payload-Metadata"]["HTTP-Response-Metadata"]
    assert found["HTML-Metadata"]["Links"][0]["alt"] == meant
    assert found["Headers"] == {"X": "&amp;"}
    assert with_references_decoded(block, NEW) == with_references_decoded(block, None) == block


@pytest.mark.parametrize("date", [OLD, NEW])
@pytest.mark.parametrize("last", [f',"x":{DEEP}', f',"x":{DEEP}{DEEP.replace("[", "]")}', ',"x":' + '{"a":' * 100_000])
def test_a_record_nested_without_end_costs_itself_alone(tmp_path: Path, date: str, last: str) -> None:
    good = [(wat([image(f"/{n}.jpg", f"a picture of {n} &amp; more")]), date) for n in range(6)]
    bad = (wat([image("/bad.jpg", "bad")], last=last), date)
    within = wat([image("/worse.jpg", "worse")]).replace(b'"path":"IMG', f'"y":{DEEP},"path":"IMG'.encode())
    found = read(tmp_path, *good[:3], bad, (within, date), *good[3:])
    assert [row["url"][-6:] for row in found.candidates.to_pylist()] == [f"/{n}.jpg" for n in range(6)]
    (source,) = found.sources.to_pylist()
    assert (source["damaged_records"], source["pages"], source["candidates"]) == (2, 6, 6)
    assert "is not the JSON of a WAT file" in source["error"]

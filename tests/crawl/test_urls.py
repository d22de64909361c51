from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawl.urls import (
    MAX_URL_CHARS,
    as_written,
    canonical_url,
)

BASE = "http://site.example/dir/page?q=1#top"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("a.jpg", "http://site.example/dir/a.jpg"),
        ("../a b.jpg#x", "http://site.example/a%20b.jpg"),
        ("//CDN.example:80/./b/../a.jpg", "http://cdn.example/a.jpg"),
        ("https://cdn.example:443/a.jpg", "https://cdn.example/a.jpg"),
        (" \n http://h.example/a\n.jpg\t", "http://h.example/a.jpg"),
        ("http://münchen.example/ü?ü", "http://xn--mnchen-3ya.example/%C3%BC?%C3%BC"),
        ("http://user:secret@h.example/a", "http://h.example/a"),
        ("http:\\\\h.example\\a", "http://h.example/a"),
        ("http://2130706433/a", "http://127.0.0.1/a"),
        ("?x", "http://site.example/dir/page?x"),
        ("http://h.example/a.jpg?utm_source=x&w=1&UTM_Term=&fbclid=abc#f", "http://h.example/a.jpg?w=1"),
        ("http://h.example/a.jpg?gclid", "http://h.example/a.jpg"),
        ("http://faẞ.example/ẞ", "http://xn--fa-hia.example/%E1%BA%9E"),
        ("//fa%e1%ba%9e.example/%E1%BA%9E", "http://xn--fa-hia.example/%E1%BA%9E"),
        ("faẞ/a", "http://site.example/dir/fa%E1%BA%9E/a"),
        ("http://h.example./a", "http://h.example./a"),
        ("http://h.example/utm_source=x?fbclids=1&xgclid=1", "http://h.example/utm_source=x?fbclids=1&xgclid=1"),
    ],
)
def test_what_a_browser_would_request(url: str, expected: str) -> None:
    assert canonical_url(url, BASE) == expected


@pytest.mark.parametrize(
    "url",
    [
        "http://[::",
        "http://a b/",
        "mailto:a@b.example",
        "javascript:void(0)",
        "file:///a.jpg",
        "data:,x",
        "http://\ud800/",
    ],
)
def test_none_for_what_cannot_be_requested(url: str) -> None:
    assert canonical_url(url, BASE) is None


def test_a_lone_surrogate_is_a_replacement_character() -> None:
    assert canonical_url("http://a/\ud800") == "http://a/%EF%BF%BD"
    assert canonical_url("http://a/\ud83d\ude00") == canonical_url("http://a/😀")


def test_relative_without_a_usable_base() -> None:
    assert canonical_url("a.jpg") is None
    assert canonical_url("a.jpg", "mailto:x") is None
    assert canonical_url("a.jpg", "not a url") is None


def test_length_limit() -> None:
    root = "http://h.example/"
    longest = root + "a" * (MAX_URL_CHARS - len(root))
    assert canonical_url(longest) == longest
    assert canonical_url(longest + "a") is None
    assert canonical_url(root + "ü" * 1000) is None  # too long once it is encoded


@given(st.text(max_size=40), st.sampled_from([None, BASE]))
def test_idempotent(url: str, base: str | None) -> None:
    once = canonical_url(url, base)
    if once is not None:
        assert canonical_url(once) == once
        assert canonical_url(once, BASE) == once
        assert once.isascii()
        assert "#" not in once
        assert once.split("/")[2]


@given(st.from_regex(r"https?://([a-z0-9.@:/\\?#\[\]%&=ü _-]|utm_a=|[&?]fbclid){0,40}", fullmatch=True))
def test_idempotent_on_urls(url: str) -> None:
    once = canonical_url(url)
    assert once is None or canonical_url(once) == once


def test_as_written_fits_a_table() -> None:
    assert as_written(" ja\x00va\nscript:\ud800x ") == "javascript:\ufffdx"
    assert len(as_written("x" * 10_000)) == MAX_URL_CHARS

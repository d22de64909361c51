"""The query of a URL is in the encoding of its page, its path in UTF-8."""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crawl.encodings import LABELS, decode
from crawl.pages.query_encoding import with_queries_encoded, with_query_encoded
from crawl.urls import canonical_url

HOME = "http://site.example"


@pytest.mark.parametrize(
    ("encoding", "written", "url"),
    [
        ("windows-1251", "/мир?q=мир", "/%D0%BC%D0%B8%D1%80?q=%EC%E8%F0"),
        ("windows-1252", "/é?é=†#é", "/%C3%A9?%E9=%86"),
        ("windows-1252", "?ж", "/?%26%231078%3B"),
        ("windows-1252", "?😀", "/?%26%23128512%3B"),
        ("windows-1252", "?é=\"'<>#\\", "/?%E9=%22%27%3C%3E"),
        ("windows-1252", "?%e9=\u00e9\n\té", "/?%e9=%E9%E9"),
        ("windows-1252", "?\x81", "/?%81"),
        ("iso-8859-2", "/?ł", "/?%B3"),
        ("koi8-u", "?ў", "/?%AE"),
        ("shift_jis", "?表=ｱ−", "/?%95\\=%B1%81|"),
        ("shift_jis", "?①∵纊", "/?%87@%81%E6%FA\\"),  # the first of equals, but IBM's own place
        ("euc-jp", "?表=ｱ¥−", "/?%C9%BD=%8E%B1\\%A1%DD"),
        ("iso-2022-jp", "?表a¥ｶ!\x0e", "/?%1B$BI=%1B(Ba%1B(J\\%1B$B%+%1B(B!"),
        ("big5", "?表十𧍣", "/?%AA%ED%A4Q%26%23160611%3B"),  # no character of Hong Kong's
        ("gbk", "?表€ḿ", "/?%B1%ED%80%A8%BC"),
        ("gb18030", "?表€\ue7c7\ue5e5😀", "/?%B1%ED%A2%E3%815%F47%26%2358853%3B%949%FC6"),
        ("euc-kr", "?표", "/?%C7%A5"),
        ("utf-8", "?é", "/?%C3%A9"),
        ("utf-16le", "?é", "/?%C3%A9"),
        ("windows-1251", "?q=a", "/?q=a"),
        ("windows-1251", "/мир#?мир", "/%D0%BC%D0%B8%D1%80"),
    ],
)
def test_the_address_that_a_browser_asks_for(encoding: str, written: str, url: str) -> None:
    found = canonical_url(with_query_encoded(written, encoding), HOME)
    assert found is not None and found.removeprefix(HOME).removesuffix("%26%2365533%3B") == url


def test_a_column_of_many_pages() -> None:
    urls = ["/ж?ж", "/ж?a", "/ж?ж", "/?ж", "a.jpg"]
    encodings = ["utf-8", "windows-1251", "koi8-r"]
    found = with_queries_encoded(pa.array(urls), encodings, np.array([0, 1, 1, 2, 2])).to_pylist()
    assert found == ["/ж?ж", "/ж?a", "/ж?%E6", "/?%D6", "a.jpg"]


@settings(max_examples=100)
@given(
    st.text(st.characters(codec="utf-8", min_codepoint=0x20, exclude_characters="#&\u00a5\u203e\u2212"), max_size=12),
    st.sampled_from(sorted(set(LABELS) - {"utf-16le", "utf-16be", "iso-2022-jp"})),
)
def test_what_is_encoded_reads_as_it_was_written(query: str, encoding: str) -> None:
    encoded = with_query_encoded(f"?{query}", encoding)[1:]
    if "%" not in query and "%26%23" not in encoded:
        assert decode(unquote_to_bytes(encoded), encoding) == query

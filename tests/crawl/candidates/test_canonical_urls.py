from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawl.candidates.canonical_urls import canonical_urls
from crawl.urls import MAX_URL_CHARS, as_written, canonical_url
from dataset.hosts import hostname

BASES = [
    "http://site.example/dir/page?q=/1",
    "https://a.example/",
    "http://site.example:8080/x",
    None,
    "http://127.0.0.1/a/",
    "http://xn--mnchen-3ya.example/",
]
HOSTS = [
    "h.example",
    "a-b.Example",
    "xn--a.example",
    "xn--mnchen-3ya.de",
    "1.2.3.4",
    "a.0x1",
    "h",
    "h.example:80",
    "-a.example",
]
PIECES = [
    *(
        "/",
        "//",
        ".",
        "..",
        "%2e",
        "%2E%2e",
        "%2f",
        "%",
        "%4",
        "%%",
        "a",
        "A.jpg",
        "~",
        "|",
        "[",
        "]",
        "^",
        "{",
        "`",
        "'",
    ),
    *(
        '"',
        "<",
        " ",
        "\\",
        ":",
        "@",
        "?",
        "#",
        "&",
        "=",
        ";",
        "utm_source=x",
        "&fbclid",
        "é",
        "\x00",
        "\t",
        "\ud800",
        "$1",
    ),
]
WRITTEN = st.builds(
    lambda start, rest: start + "".join(rest),
    st.sampled_from(
        ["", "/", "//", "http:", "HTTP://h.example/", "?", "./", "x:", *(f"https://{host}/" for host in HOSTS)]
    )
    | st.sampled_from(HOSTS).map("//{}".format)
    | st.sampled_from(HOSTS).map("http://{}".format),
    st.lists(st.sampled_from(PIECES) | st.characters(codec="ascii"), max_size=6),
)


def one_by_one(url: str, base: str | None) -> tuple[str, str]:
    found = canonical_url(url, base)
    return (as_written(url), "") if found is None else (found, hostname(found))


@given(st.lists(st.tuples(WRITTEN, st.integers(0, len(BASES) - 1)), max_size=8))
def test_a_column_is_what_its_urls_are_one_by_one(rows: list[tuple[str, int]]) -> None:
    urls, hosts = canonical_urls([url for url, _ in rows], BASES, np.array([base for _, base in rows], np.int64))
    found = list(zip(urls.to_pylist(), hosts.to_pylist(), strict=True))
    assert found == [one_by_one(url, BASES[base]) for url, base in rows]


@pytest.mark.parametrize("extra", [-1, 0, 1])
def test_length_limit(extra: int) -> None:
    url = "http://h.example/".ljust(MAX_URL_CHARS + extra, "a")
    urls, hosts = canonical_urls([url], [None], np.array([0]))
    assert (urls[0].as_py(), hosts[0].as_py()) == one_by_one(url, None)

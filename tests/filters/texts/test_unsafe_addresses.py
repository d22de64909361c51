"""Addresses whose own words call them pornography, and names that only look alike."""

from __future__ import annotations

import pyarrow as pa
import pytest

from filters.texts.unsafe_addresses import unsafe_addresses


def found(url: str | None, page_url: str | None = None) -> str | None:
    rows = pa.table({"row": pa.array([4], pa.uint32()), "url": pa.array([url]), "page_url": pa.array([page_url])})
    answer: str | None = unsafe_addresses(rows).to_pylist()[0]
    return answer


@pytest.mark.parametrize(
    ("url", "what"),
    [
        ("http://cdn1.thumbs.worldsex.example/4/a.jpg", "sex"),
        ("https://sexcams.example/x.jpg", "sexcams"),
        ("https://a.example.xxx/b.jpg", "xxx"),
        ("https://user:word@a.porn:8080/x", "porn"),
        ("https://freeporn.example/", "porn"),
        ("https://www.pornhd.example/", "pornhd"),
        ("https://MY-MILF-PICS.example/", "milf"),
        ("https://img.example/Porn/x.jpg", "porn"),
        ("https://img.example/a/xvideos/88/x.jpg", "xvideos"),
        ("https://img.example/free_milf_1.jpg", "milf"),
    ],
)
def test_what_calls_itself_so(url: str, what: str) -> None:
    assert found(url) == what
    assert found("https://img.example/1.jpg", url) == what


@pytest.mark.parametrize(
    "url",
    [
        "https://www.essex.ac.uk/a.jpg",
        "http://sussex.police.uk/b",
        "https://visitmiddlesex.org/essex.jpg",
        "https://unisex.example/",
        "https://www.sextant.example/sextant.jpg",
        "https://sexton.example/",
        "https://sexed.example/sex-education.jpg",
        "https://pornic.example/pornic.jpg",
        "http://www.historiquedesjeuxvideo.example/11313.jpg",
        "https://e.org/a.jpg?from=porn#porn",
        "not an address",
        "",
    ],
)
def test_names_that_look_alike(url: str) -> None:
    assert found(url) is None


def test_no_address() -> None:
    assert found(None) is None

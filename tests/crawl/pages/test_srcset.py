from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawl.pages.srcset import ImageSource, image_sources
from tests.crawl.work import calls


def urls(srcset: str) -> list[str]:
    return [source.url for source in image_sources(srcset)]


@pytest.mark.parametrize(
    ("srcset", "expected"),
    [
        ("", []),
        (",,,", []),
        (" , ,,a,", ["a"]),
        ("a,,, ,b", ["a", "b"]),
        ("a,b c,d", ["d"]),  # `c` is no descriptor of `a,b`
        ("\t\n\f\r a\t\n\f\r 1x\t\n\f\r ", ["a"]),
        ("a\xa0b 1x", ["a\xa0b"]),  # white space that HTML does not know
        ("a\x0bb 1x", ["a\x0bb"]),
        ("a ( , b 1x, ), c", ["c"]),
        ("a ((( , b 1x, ), c", ["c"]),
        ("a [ , b 1x, ], c", ["b", "]", "c"]),
        ("a, b (", ["a"]),
        ("a \\,b", ["b"]),
        ("data:image/svg+xml;base64,PHN2Zy8+ 1x, b 2x", ["data:image/svg+xml;base64,PHN2Zy8+", "b"]),
    ],
)
def test_where_a_source_ends(srcset: str, expected: list[str]) -> None:
    assert urls(srcset) == expected


@pytest.mark.parametrize(
    ("descriptors", "width", "density"),
    [
        ("", None, None),
        ("1x", None, 1.0),
        ("0x", None, 0.0),
        ("-0x", None, 0.0),
        (".5x", None, 0.5),
        ("1e-1x", None, 0.1),
        ("1E+1x", None, 10.0),
        ("320w", 320.0, None),
        ("0320w", 320.0, None),
        ("500w 750h", 500.0, None),
        ("750h 500w", 500.0, None),
        ("9" * 5_000 + "w", float("inf"), None),
    ],
)
def test_descriptors(descriptors: str, width: float | None, density: float | None) -> None:
    assert list(image_sources(f"a {descriptors}")) == [ImageSource("a", width, density)]


@pytest.mark.parametrize(
    "descriptors",
    [
        *("0w", "-1w", "+1w", "1.0w", "1e2w", "1W", "w", "1", "1q", "0x1w", "\u0661w"),
        *("-1x", "+1x", "1.x", "1e", "1ex", "NaNx", "infx", "1X", "x", "1x 1x", "1w 1x", "1x 1w", "1w 1w"),
        *("1h", "1w 0h", "1w -1h", "1w 1.0h", "1w 1h 1h", "1x 1h", "1h 1x", "1w 1q", "1x()", "(1x)", "1x (a b)"),
    ],
)
def test_a_source_with_a_wrong_descriptor_is_none(descriptors: str) -> None:
    assert urls(f"a {descriptors}, b") == ["b"]


def test_size() -> None:
    sizes = [source.size for source in image_sources("a 2x, b 100w, c, d 300w")]
    assert sorted(sizes) == [sizes[2], sizes[0], sizes[1], sizes[3]]


@pytest.mark.parametrize("part", [",", "a,", "a ,", "(", ")", "a (", "a 1w,", "a b ", "  "])
def test_work_grows_with_length_alone(part: str) -> None:
    once, twice = (calls(lambda n=n: urls(part * n)) for n in (500, 1_000))  # type: ignore[misc]
    assert twice <= 2 * once + 20


@given(st.text(st.sampled_from("a, \n()12wxh.e-")))
def test_any_text_is_a_srcset(srcset: str) -> None:
    for url in urls(srcset):
        assert url in srcset
        assert url.strip(", \n") == url or url[0] != ","

from __future__ import annotations

import re

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawl.pages.image_address import (
    IMAGE_FILE,
    LAZY,
    LESSER,
    NO_ADDRESS,
    NONE,
    PLAUSIBLE,
    NamedInTag,
    are_no_addresses,
    best_url,
    grade_of,
    image_url,
    is_stand_in,
    largest_of,
    names_image,
    what_is_clear,
)

GIF = "data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw=="


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"src": " a.jpg "}, "a.jpg"),
        ({"src": None, "data-src": "b.jpg"}, "b.jpg"),
        ({"src": GIF, "data-original": "b.jpg"}, "b.jpg"),
        ({"src": "/img/blank.gif?v=1", "data-lazy-src": "b.jpg"}, "b.jpg"),
        ({"src": "/img/blank.gif"}, "/img/blank.gif"),
        ({"data-src": GIF, "srcset": "s.jpg 100w, l.jpg 800w"}, "l.jpg"),
        ({"srcset": "s.jpg 1x", "data-srcset": "l.jpg 3x"}, "l.jpg"),
        ({"src": "data:,x"}, "data:,x"),
        ({}, ""),
    ],
)
def test_what_a_browser_shows_in_the_end(attributes: dict[str, str | None], expected: str) -> None:
    assert image_url(attributes) == expected


@pytest.mark.parametrize(
    "value", ["true", "false", "null", "undefined", "#", "12345", "lazy", '{"id": 5}', "[180, 360]", " "]
)
@pytest.mark.parametrize("name", ["data-src", "data-lazy", "data-original", "data-image", "data-url", "data-srcset"])
def test_a_flag_a_number_or_json_is_no_address(name: str, value: str) -> None:
    assert image_url({"src": GIF, name: value, "srcset": "fox.jpg 480w"}) == "fox.jpg"
    assert image_url({"src": "fox.jpg", name: value}) == "fox.jpg"
    assert image_url({"src": GIF, name: value}) == GIF


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"src": GIF, "data-url": "/article/12", "srcset": "cow.jpg"}, "cow.jpg"),
        ({"src": GIF, "data-src": "/article/12", "srcset": "cow.jpg"}, "cow.jpg"),
        ({"src": GIF, "data-src": "/article/12.html", "data-original": "/image.php?u=1"}, "/image.php?u=1"),
        ({"src": GIF, "data-src": "/media/7"}, "/media/7"),  # the only one, under a name that says what it is
        ({"src": GIF, "data-image": "/media/7"}, GIF),
        ({"src": "/img/lazy-dog.jpg", "data-url": "/dogs/7"}, "/img/lazy-dog.jpg"),
        ({"src": "cow.jpg", "data-image": "https://h/another.jpg"}, "cow.jpg"),
        ({"src": GIF, "data-large-file": "cow.jpg?w=900"}, "cow.jpg?w=900"),
    ],
)
def test_the_address_of_something_else_is_not_the_pictures(attributes: dict[str, str | None], expected: str) -> None:
    assert image_url(attributes) == expected


@pytest.mark.parametrize(
    "mark",
    [
        *(
            "{width}",
            "{{ item.image }}",
            "%7Bwidth%7D",
            "%7B%7Bx%7D%7D",
            "${url}",
            "<%= pic %>",
            "<?= $pic ?>",
            "{% x %}",
        ),
        *("[[image]]", "%5B%5Bimage%5D%5D", "%s", "%1$s", "%(name)s", "[object Object]", "[object%20Object]", "{0}"),
    ],
)
def test_an_address_that_a_script_was_still_to_fill_in_is_none(mark: str) -> None:
    template = f"//cdn.example/shoe_{mark}.jpg"
    assert image_url({"src": GIF, "data-src": template, "srcset": "shoe.jpg 360w"}) == "shoe.jpg"
    assert image_url({"src": "shoe.jpg", "data-src": template}) == "shoe.jpg"
    assert are_no_addresses(pa.array([template])).all()


@pytest.mark.parametrize(
    "url",
    [
        *(
            "photo[1].jpg",
            "a%20b.jpg",
            "50%sale.jpg",
            "/f?id={3F2504E0-4F89-41D3-9A0C-0305E82C3301}.jpg",
            "null-island.jpg",
        ),
        *(
            "/undefined-behaviour/a.jpg",
            "/thailand/nan/a.jpg",
            "?x=%7B%22w%22:3%7D.jpg",
            "a_(1).jpg",
            "javascript/a.jpg",
            "%d0%b0.jpg",
        ),
    ],
)
def test_odd_addresses_that_are_some(url: str) -> None:
    assert grade_of(url) == IMAGE_FILE


@pytest.mark.parametrize(
    ("src", "others", "expected"),
    [
        ("/r/w780q1/webt/street.jpeg", {"data-src": "/webt/street.jpeg"}, "/webt/street.jpeg"),
        ("/cdn/harbour_20x.jpg", {"data-srcset": "h_480x.jpg 480w, h_1080x.jpg 1080w"}, "h_1080x.jpg"),
        ("/cdn/harbour_20x.jpg", {"srcset": "h_480x.jpg 480w, h_1080x.jpg 1080w"}, "h_1080x.jpg"),
        ("/a.jpg?w=16&q=10", {"srcset": "/a.jpg?w=640 1x"}, "/a.jpg?w=640"),
        ("/a-lqip.jpg", {"data-src": "/a.jpg"}, "/a.jpg"),
        ("/c/w_30,e_blur:1000/a.jpg", {"data-src": "/c/w_900/a.jpg"}, "/c/w_900/a.jpg"),
        ("/a-800x600.jpg", {"data-src": "/a-150x150.jpg"}, "/a-800x600.jpg"),
        ("/a-150x150.jpg", {"data-src": "/a-800x600.jpg"}, "/a-800x600.jpg"),
        ("/bridge.jpg", {"srcset": "/bridge.jpg 1x, /bridge@2x.jpg 2x"}, "/bridge.jpg"),
        ("/a.jpg", {"data-lazy-src": "/a.jpg?is-pending-load=1"}, "/a.jpg"),  # as a plug-in writes the same picture
        ("/16by9.png", {"data-src": "/a.jpg"}, "/a.jpg"),
        ("/bridge.svg", {"srcset": "/bridge.png 1x"}, "/bridge.png"),
        ("/icon-32x32.png", {}, "/icon-32x32.png"),
    ],
)
def test_a_preview_does_not_win_over_the_picture(src: str, others: dict[str, str | None], expected: str) -> None:
    assert image_url({"src": src, **others}) == expected


def test_a_stand_in_alone_is_no_picture() -> None:
    assert best_url({"src": "/img/blank.gif"})[1] < PLAUSIBLE
    assert best_url({"src": GIF, "data-lazy": "true"}) == (GIF, NONE)
    assert best_url({"src": "cat"}) == ("cat", PLAUSIBLE)
    assert best_url({"src": "1x1.png", "data-src": "a.svg"}) == ("a.svg", LESSER)


@pytest.mark.parametrize(
    ("srcset", "expected"),
    [
        ("a.jpg 1x, b.jpg 2.5x", "b.jpg"),
        ("http://h/q_1,w_2/a.jpg 480w,http://h/b,c.jpg 800w", "http://h/b,c.jpg"),
        ("a.jpg, b.jpg", "a.jpg"),
        ("a.jpg 100w, b.jpg 200w 300h", "b.jpg"),
        (f"{GIF} 1w", ""),
        (" , ", ""),
        ("a.jpg 10q", ""),
        ("a_{width}x.jpg 900w, a_360x.jpg 360w", "a_360x.jpg"),
        ("a.svg 3x, a.png 1x", "a.png"),
    ],
)
def test_largest_of_a_srcset(srcset: str, expected: str) -> None:
    assert largest_of(srcset)[0] == expected


def test_names_of_image_files() -> None:
    assert names_image("http://h/a.JPEG?x=b.html")
    assert not names_image("http://h/a.html?x=b.jpg")
    assert not names_image(".jpg#")  # a name before its ending
    assert grade_of("/image.php?u=1") == PLAUSIBLE
    assert grade_of("/a.heic") == grade_of("/a.jxl?x") == grade_of("/a.svg") == LESSER
    assert grade_of("/a.avif") == grade_of("/a.JPG.pjpeg") == IMAGE_FILE


def test_an_address_that_cannot_be_asked_is_one_if_there_is_no_other() -> None:
    """So the image is not counted as inlined, and the fetch says why it has none."""
    assert image_url({"src": "data:,x", "data-src": "ftp://h/a.jpg"}) == "ftp://h/a.jpg"
    assert image_url({"src": "data:,x", "data-src": "ftp://h/a.jpg", "srcset": "/b.jpg 2x"}) == "/b.jpg"
    assert image_url({"src": "/a.jpg", "data-src": "ftp://h/b.jpg"}) == "/a.jpg"
    assert image_url({"src": "data:,x", "data-src": "mailto:a@h"}) == "data:,x"


@pytest.mark.parametrize(
    "name",
    [
        *("/img/1x1.gif?x", "blank.gif", "blank_2.png", "image-placeholder.png", "theme_blank.gif", "spacer10.gif"),
        *(
            "ajax-loader.gif",
            "placeholder-300x200.jpg",
            "lazy.jpg",
            "transparent-1.PNG",
            "loading.3f2a91bc.svg",
            "#",
            "data:,",
        ),
    ],
)
def test_stand_ins_by_name(name: str) -> None:
    assert is_stand_in(name)


@pytest.mark.parametrize(
    "name",
    [
        *(
            "cat.gif",
            "lazy-dog.jpg",
            "clear-sky.png",
            "google-pixel.jpg",
            "empty-room.webp",
            "loading-dock.jpg",
            "blank",
        ),
        *("blanket.gif", "pixel-art.png", "a/blank/cat.gif", "trans-siberian.jpg", "clear.html"),
    ],
)
def test_pictures_that_are_named_like_stand_ins(name: str) -> None:
    assert not is_stand_in(name)


PARTS = [
    *(
        "blank",
        "1x1",
        "Lazy",
        "trans",
        "cat",
        "ſ",
        "é",
        "_",
        "-",
        ".",
        "/",
        "?",
        "#",
        "=",
        "20",
        "300",
        "x",
        "px",
        "w",
        "q",
    ),
    *(
        "{",
        "}",
        "%7B",
        "%s",
        "[[",
        "<",
        "undefined",
        "null",
        "data:",
        "about:",
        "lqip",
        "q_1,",
        "max/",
        "w=",
        "quality=5",
    ),
]
ENDINGS = ["", ".gif", ".PNG?x", ".webp#", ".jpg", ".svg", ".jxl", ".avif", ".html"]
URLS = st.builds(
    lambda parts, ending: "".join(parts) + ending,
    st.lists(st.sampled_from(PARTS), max_size=5),
    st.sampled_from(ENDINGS),
)


@given(st.lists(st.tuples(URLS, st.none() | URLS, st.none() | URLS), max_size=8))
def test_what_is_clear_of_columns_is_what_single_tags_show(tags: list[tuple[str, str | None, str | None]]) -> None:
    names = ("src", LAZY[0], "srcset")
    choices = [
        NamedInTag({name: value for name, value in zip(names, tag, strict=True) if value is not None}) for tag in tags
    ]
    srcs, lazy = (
        [value.strip() for value in column] for column in ([tag[0] for tag in tags], [c.lazy for c in choices])
    )
    assert are_no_addresses(pa.array(srcs, pa.string())).tolist() == [
        re.search(NO_ADDRESS, url) is not None for url in srcs
    ]
    shows_src, shows_lazy = what_is_clear(
        pa.array(srcs, pa.string()), pa.array(lazy, pa.string()), np.array([c.names_lazy for c in choices], bool)
    )
    for choice, src, other, is_src, is_lazy in zip(choices, srcs, lazy, shows_src, shows_lazy, strict=True):
        assert not is_src or choice.shown_url() == src
        assert not is_lazy or choice.shown_url() == other


def test_what_is_clear_is_most() -> None:
    srcs = ["/a-300x200.jpg", "/b.jpg?v=2", "", "data:,x", "/c.jpg", "/blank.gif", "data:,x"]
    lazy = ["", "", "/d-300x200.jpg", "/e.jpg", "/f.jpg", "/g-300x200.jpg", "/h.jpg?w=800"]
    shows_src, shows_lazy = what_is_clear(pa.array(srcs), pa.array(lazy), np.array([bool(value) for value in lazy]))
    assert shows_src.tolist() == [True, True, False, False, False, False, False]
    assert shows_lazy.tolist() == [False, False, True, True, True, True, True]


@pytest.mark.parametrize("src", ["/a.jpg", "/a.jpg?w=300", "/a.jpg?v=2", "/a.gif"])
@pytest.mark.parametrize("lazy", ["/a.jpg", "/a.jpg?v=2", "/a.jpg?w=800", "/a.jpg/x.html?y", "/a.jpgx"])
def test_columns_tell_two_addresses_of_one_file_apart_as_single_tags_do(src: str, lazy: str) -> None:
    choice = NamedInTag({"src": src, LAZY[0]: lazy})
    shows_src, shows_lazy = what_is_clear(pa.array([src]), pa.array([lazy]), np.array([True]))
    assert not shows_src[0] or choice.shown_url() == src
    assert not shows_lazy[0] or choice.shown_url() == lazy


def test_a_long_address_takes_no_longer_than_its_length() -> None:
    """No two repeats of an expression fit the same characters: these would take minutes."""
    for part in ("-blank", "-1", "1x", "_0x", "a.jpg", "{", "%7b", "/w1", "/1x", "blank-123456"):
        image_url({"src": part * 400, "data-src": part * 300 + ".gif", "srcset": part * 100_000})
        what_is_clear(pa.array([part * 100_000]), pa.array([part * 100_000 + ".jpg"]), np.array([True]))

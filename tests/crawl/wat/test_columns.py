from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import crawl.wat.scan
from crawl.urls import INLINED
from crawl.wat.columns import Images, WatImages
from crawl.wat.records import parse_head, parse_wat
from tests.crawl.pages.test_html import rows
from tests.crawl.warc_bytes import compact, wat

SOURCES = ("alt", "title")
ANCHOR = {"path": "A@/href", "url": "x.html", "text": "a page"}


def link(**attributes: object) -> dict[str, object]:
    return {"path": "IMG@/src", **attributes}


def together(*blocks: bytes) -> Images | None:
    """The images of records, if each can be read without the rest of it."""
    images = WatImages()
    for number, block in enumerate(blocks):
        head = parse_head(block, SOURCES)
        if head is None or not images.read(block, head.links):
            return None
        images.belong(number)
    return images.images()


def told(images: Images) -> list[tuple[str, tuple[str, ...]]]:
    columns = (images.urls, images.alts, images.titles)
    return [(url, (alt, title)) for url, alt, title in zip(*(column.to_pylist() for column in columns), strict=True)]


def counts(images: Images) -> tuple[int, int, int]:
    return images.silent, images.silent_without_url, images.silent_inlined


def expected(block: bytes) -> tuple[list[tuple[str, tuple[str, ...]]], tuple[int, int, int]]:
    """What reading the whole record gives."""
    found = parse_wat(block, SOURCES)
    assert found is not None
    silent = found.page.silent
    return rows(found.page)[: len(found.page.urls)], (
        len(silent),
        silent.count(""),
        sum(url[:5] in INLINED for url in silent),
    )


def same(*blocks: bytes) -> Images:
    """The images, which are those that reading each record whole gives."""
    images = together(*blocks)
    assert images is not None
    each = [expected(block) for block in blocks]
    assert told(images) == [row for rows, _ in each for row in rows]
    assert counts(images) == tuple(np.sum([silent for _, silent in each], axis=0).tolist())
    assert images.page.tolist() == [number for number, (rows, _) in enumerate(each) for _ in rows]
    return images


TEXT = st.text(st.sampled_from('ab"\\{}[],:/ é😀\n') | st.characters(codec="utf-8"), max_size=8) | st.sampled_from(
    [
        "IMG@/src",
        '"path":"IMG@/src"',
        '{"path":"',
        '"Links":[',
        "}]}",
        '\\"}',
        "data:,x",
        " Data:,x",
        "blank.gif",
        "a.jpg",
        "b_20x.jpg",
        "c.svg",
        "{d}.jpg",
        "/e",
    ]
)
ATTRIBUTES = st.dictionaries(
    st.sampled_from(
        ["url", "alt", "title", "srcset", "data-src", "data-original", "data-srcset", "width", "d", "altt"]
    ),
    TEXT | st.none(),
)
LINKS = st.lists(
    ATTRIBUTES.map(lambda attributes: link(**attributes))
    | st.builds(lambda text: {**ANCHOR, "text": text}, TEXT)
    | st.builds(lambda alt: {"alt": alt, "path": "IMG@/src", "url": "x"}, TEXT),
    max_size=4,
)
HEADS = st.dictionaries(st.sampled_from(["Base", "Title"]), TEXT) | st.just({"Link": [{"path": "LINK@/href"}]})


@given(st.lists(st.tuples(LINKS, HEADS, st.booleans()), min_size=1, max_size=3))
def test_reading_the_images_alone_changes_nothing(
    pages: list[tuple[list[dict[str, object]], dict[str, object], bool]],
) -> None:
    """Each record is read as its own JSON with white space is, which is read whole; or it is left to that."""
    blocks = []
    for links, head, is_last in pages:
        html: dict[str, object] = {"Head": head, "Links": links} if is_last else {"Links": links, "Head": head}
        if together(compact(html)) is not None:
            blocks.append(compact(html))
            assert expected(wat(html)) == expected(compact(html))
    if blocks:
        same(*blocks)


def test_ordinary_records_are_not_left_to_others() -> None:
    links: Sequence[dict[str, object]] = [
        link(url="a", alt="x"),
        ANCHOR,
        link(url="b", title='quo"ted', alt="back\\slash {} ]"),
        link(url=" c ", alt="é", title=None),
        link(alt="no address"),
        link(url="d", alt="", srcset="s 1x"),
        link(url="data:,x", alt="lazy", **{"data-src": " e.jpg "}),
        link(url="data:,x", alt="set", srcset="f 1x, g 2x"),
        link(url="pixel.gif", alt="old", **{"data-src": "data:,x", "data-original": "h.jpg"}),
        ANCHOR,
    ]
    images = same(compact({"Links": links}), compact({"Links": links[::-1]}))
    assert told(images)[:7] == [
        ("a", ("x", "")),
        ("b", ("back\\slash {} ]", 'quo"ted')),
        ("c", ("é", "")),
        ("", ("no address", "")),
        ("e.jpg", ("lazy", "")),
        ("g", ("set", "")),
        ("h.jpg", ("old", "")),
    ]


def test_images_without_a_text_are_counted_by_their_address() -> None:
    shapes: list[dict[str, Any]] = [
        link(url="a"),
        link(),
        link(url="data:,x", **{"data-src": "b"}),
        link(**{"data-src": "b"}),
        link(url="DATA:,x"),
        link(url="data:,x", srcset="data:,x 1x"),
        link(url=" "),
        link(url=" data:,x"),
        link(url="dog"),
        link(url="é"),
    ]
    assert counts(same(compact({"Links": shapes}))) == (10, 2, 3)


@pytest.mark.parametrize(
    "odd", ['{"text":"IMG@/src","path":"A@/href"}', '{"alt":"x","path":"IMG@/src"}', '{ "path":"IMG@/src"}']
)
def test_links_in_another_form_are_left_to_others(odd: str) -> None:
    block = compact({"Links": [ANCHOR, link(url="a", alt="a"), ANCHOR]})
    assert together(block) is not None
    assert together(block.replace(b'{"path":"A', odd.encode() + b',{"path":"A', 1)) is None


@pytest.mark.parametrize("bad", [rb'"x\ud83dy"', b'["x"]', b"7", rb'"\x"', b'"x\n"', b'"x'])
def test_what_is_no_string_is_left_to_others(bad: bytes) -> None:
    block = compact({"Links": [link(url="a", alt="MARK"), ANCHOR]})
    assert together(block.replace(b'"MARK"', bad)) is None


def test_bytes_that_are_not_utf8() -> None:
    links = [
        link(url="MARK", alt="MARK"),
        link(url="data:,", alt="é", **{"data-src": "MARK"}),
        link(url="data:,", alt="è", srcset="MARK 2x"),
        link(url="é", title="", srcset="MARK"),
        ANCHOR,
    ]
    images = same(compact({"Links": links}).replace(b"MARK", b"x\xffy\xe2\x82"))
    assert told(images)[0] == ("x\ufffdy\ufffd", ("x\ufffdy\ufffd", ""))


def test_images_need_not_be_decoded_with_the_other_links() -> None:
    block = compact({"Links": [ANCHOR, link(url="a", alt="}"), ANCHOR, link(url="b", alt="b"), ANCHOR]})
    images = together(block.replace(b'"a page"', b"7", 1))  # only the last link but those of images is looked at
    assert images is not None
    assert told(images) == [("a", ("}", "")), ("b", ("b", ""))]


def test_room_is_made_for_many_records_links_and_bytes() -> None:
    many = compact({"Links": [link(url=f"{number}.jpg", alt="x" * 200) for number in range(50_000)]})
    few = compact({"Links": [link(url="a", alt="b"), link()]})
    assert crawl.wat.scan.ImageLinkReader()._strings.shape[1] < 50_000 * 200
    images = same(few, many, *[few] * 5_000)
    assert len(images.page) == 55_001


def test_nothing_is_read_beyond_a_record() -> None:
    """Wherever a record is cut off, a link that does not end in it is none, though the memory behind it goes on."""
    block = compact({"Links": [link(url="a", alt="b"), link(url="c", title="d", srcset="e 1x")]})
    ends = [block.index(b"},{"), block.index(b"}]")]
    for cut in range(ends[0] - 30, len(block)):
        data = bytearray(block)
        del data[cut:]
        found = crawl.wat.scan.ImageLinkReader().read(data, 0)
        assert found is not None
        assert len(found) == data.count(crawl.wat.scan.MARK) - sum(end < cut for end in ends)


def test_a_record_without_a_page_counts_for_nothing() -> None:
    images = WatImages()
    block = compact({"Links": [link(url="a", alt="b"), link(url="c", alt=json.loads(r'"\u00e9"')), link()]})
    assert images.read(block, 0)
    assert not images.read(block.replace(b'"b"', b'"\\ud800"'), 0)
    assert images.read(block, 0)
    images.belong(7)
    found = images.images()
    assert found.page.tolist() == [7, 7]
    assert counts(found) == (1, 1, 0)


def test_a_machine_without_a_place_for_compiled_code(monkeypatch: pytest.MonkeyPatch) -> None:
    njit = crawl.wat.scan.numba.njit

    def without_cache(signature: str, cache: bool = False) -> Any:
        if cache:
            raise RuntimeError("cannot cache function 'f': no locator available for file 'f.py'")
        return njit(signature)

    monkeypatch.setattr(crawl.wat.scan.numba, "njit", without_cache)
    assert crawl.wat.scan._compile("int64(int64)")(lambda number: number + 1)(2) == 3

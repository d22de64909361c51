"""Where on its page an image stands."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawl.candidates.config import ExtractConfig
from crawl.pages.html import parse_page
from crawl.pages.places import MAX_WORDS, NOWHERE, leads_elsewhere, pixels, roles
from dataset.schema import PLACE
from tests.crawl.candidates.test_extract import run
from tests.crawl.warc_bytes import compact, wat, wat_record
from tests.crawl.warc_bytes import page as response

SOURCES = ExtractConfig().text_sources


def place(html: str):  # type: ignore[no-untyped-def]
    return parse_page(html.encode(), SOURCES).places.get(0, NOWHERE)


@pytest.mark.parametrize(
    ("around", "part"),
    [
        ("<footer><p>{}</p></footer>", "footer"),
        ("<nav>{}</nav>", "navigation"),
        ("<div role=contentinfo>{}</div>", "footer"),
        ("<div id=sidebar><ul><li>{}</ul></div>", "aside"),
        ("<div class=site-header>{}</div>", "header"),
        ("<main><article><header>{}</header></article></main>", "content"),  # an article's own
        ("<header><nav><article>{}</article></nav></header>", "navigation"),  # a menu with teasers
        ("<article><aside>{}</aside></article>", "aside"),
        ("<div class='page-header-image'>{}</div>", None),  # no name of a part
        ("<p>{}</p>", None),
    ],
)
def test_the_part_of_a_page_is_that_of_its_tags_roles_and_names(around: str, part: str | None) -> None:
    assert place(around.format("<img src=a.jpg alt=text>")).part == part


def test_the_class_of_a_body_says_nothing_of_an_image() -> None:
    assert roles([place("<body class='logo'><div><img src=a.jpg alt=Acme></div>").classes]).to_pylist() == [None]


@pytest.mark.parametrize(
    ("classes", "role"),
    [
        ("site-logo", "logo"),
        ("custom_logo link", "logo"),
        ("catalogo", None),
        ("user-avatar logo", "logo"),
        ("avatar avatar-32", "avatar"),
        ("ad-item", "advertisement"),
        ("loading lazyload shadow", None),
        ("", None),
    ],
)
def test_a_class_says_what_an_image_is(classes: str, role: str | None) -> None:
    assert roles([classes]).to_pylist() == [role]


def test_classes_of_the_element_around_the_one_around_the_image_count_and_no_further() -> None:
    near = place("<div class=logo><a href=/><span><img src=a.jpg alt=Acme></span></a></div>")
    far = place("<div class=logo><div><div><div><img src=a.jpg alt=Acme></div></div></div></div>")
    assert roles([near.classes, far.classes]).to_pylist() == ["logo", None]


@pytest.mark.parametrize(
    ("link", "is_elsewhere"),
    [
        ("/about", False),
        ("https://www.news.example/about", False),
        ("//cdn.news.example/a", False),
        ("https://images.example.net/a", False),  # where the image itself is
        ("https://shop.example.com/", True),
        ("https://news.example@shop.example.com/", True),
        ("https://www.flickr.com/photos/1", False),  # where the picture is from
        ("javascript:open()", False),
        ("mailto:a@shop.example.com", False),
        ("http://[", True),
    ],
)
def test_links_to_another_site(link: str, is_elsewhere: bool) -> None:
    assert leads_elsewhere(link, "https://news.example/a", "https://cdn.example.net/a.jpg") == is_elsewhere


def test_sites_below_the_suffix_of_a_country_are_different() -> None:
    assert leads_elsewhere("http://a.co.uk/", "http://b.co.uk/", "a.jpg")
    assert not leads_elsewhere("http://a.co.uk/", "http://www.a.co.uk/", "a.jpg")


@pytest.mark.parametrize(
    ("written", "number"),
    [
        ("16", 16),
        (" 16px ", 16),
        ("16.5", 16),
        ("100%", None),
        ("auto", None),
        ("", None),
        ("9" * 40, None),
        ("-1", None),
    ],
)
def test_pixels(written: str, number: int | None) -> None:
    assert pixels(written) == number


def test_a_text_of_many_words_is_judged_by_itself() -> None:
    words = " ".join(["word"] * (MAX_WORDS + 1))
    assert place(f"<footer><img src=a.jpg alt='{words}'></footer>") == NOWHERE


def test_candidates_say_where_they_stand(tmp_path: Path) -> None:
    html = """<footer><a href="https://shop.example.com/" class="sponsor">
    <img src="a.jpg" alt="Acme" width="120" height="40">
    </a></footer><img src="b.jpg" alt="A bridge">"""
    first, second = run(tmp_path, response(html)).candidates.select(PLACE.names).to_pylist()
    assert first == {
        "page_part": "footer",
        "tag_role": "advertisement",
        "links_elsewhere": True,
        "tag_width": 120,
        "tag_height": 40,
    }
    assert second == dict.fromkeys(PLACE.names)


def test_of_a_wat_sizes_are_known_however_it_is_read(tmp_path: Path) -> None:
    links = [
        {"path": "IMG@/src", "url": "a.jpg", "alt": "one", "width": "16px", "height": "20"},
        {"path": "IMG@/src", "url": "b.jpg", "alt": 'escaped "two"', "width": "100%", "height": "7"},
        {"path": "IMG@/src", "url": "c.jpg", "alt": "three"},
    ]
    for written in (compact, wat):  # the first is read by compiled code
        found = run(tmp_path, wat_record(written({"Links": links}))).candidates
        assert found["tag_width"].to_pylist() == [16, None, None]
        assert found["tag_height"].to_pylist() == [20, 7, None]


@given(
    st.lists(st.sampled_from(["<div class=logo>", "<nav>", "</nav>", "<a href=//x>", "</div>", "<img src=a alt=b>"]))
)
def test_any_page_has_places_for_its_images_alone(parts: list[str]) -> None:
    page = parse_page("".join(parts).encode(), SOURCES)
    assert set(page.places) <= set(range(len(page.urls)))
    assert set(roles([found.classes for found in page.places.values()]).to_pylist()) <= {
        None,
        "logo",
        "avatar",
        "advertisement",
    }

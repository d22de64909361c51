"""What is no caption by its form, and what looks alike and is one."""

from __future__ import annotations

import pyarrow as pa
import pytest

from dataset.schema import PLACE
from filters.texts.not_captions import not_captions

PLAIN = "https://e.org/uploads/2021/kettle.jpg"


def kinds(text: str | None, url: str | None = PLAIN) -> list[str]:
    rows = pa.table({"row": pa.array([3], pa.uint32()), "url": pa.array([url]), "text": pa.array([text])})
    return [item["kind"] for item in not_captions(rows).to_pylist()[0]]


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        ("stand_in", "img/blank.gif"),
        ("stand_in", "a/pixel-1x1.png"),
        ("stand_in", "no-image.jpg"),
        ("stand_in", "transparent_200x100.gif"),
        ("stand_in", "placeholders/7.png"),
        ("interface", "wp-content/themes/x/images/team.jpg"),
        ("interface", "assets/icons/phone.png"),
        ("interface", "static/nav/a.jpg"),
        ("interface", "img/search-icon.png"),
        ("interface", "img/pin.svg"),
        ("interface", "img/facebook.png"),
        ("avatar", "customavatars/avatar68451_1.gif"),
        ("avatar", "gravatars/d7a1.gif"),
        ("avatar", "u/profile-pic.jpg"),
        ("logo", "brand/logo-white.png"),
        ("logo", "x/sponsors/7.jpg"),
        ("logo", "emblems/wappen/b1.png"),
        ("advertisement", "img/728x90.gif"),
        ("advertisement", "img/summer-ad.jpg"),
        ("advertisement", "banners/3.jpg"),
    ],
)
def test_an_address_says_what_its_image_is(kind: str, path: str) -> None:
    assert kind in kinds("Vom Feinsten", f"https://e.org/{path}?v=2#a")


def test_a_sentence_about_a_picture_in_a_folder_of_the_interface_is_a_caption() -> None:
    sentence = "Using the five modes to convert two very different color images to black and white"
    for folder in ("images/menus/colors", "layout", "widgets"):
        assert kinds(sentence, f"https://e.org/{folder}/modes.jpg") == []
    assert kinds("The “Filters” menu", "https://e.org/images/menus/filters.png") == []
    assert kinds("Vom Feinsten", "https://e.org/images/menus/filters.png") == ["interface"]


def test_a_name_of_several_words_that_ends_as_a_mark_does_speaks_against_longer_texts_too() -> None:
    text = "Kettle Tools for Shops and Kitchens"
    assert kinds(text, "https://e.org/images/cookie-icon.png") == ["interface"]
    assert kinds(text, "https://e.org/images/iconic-kettle.png") == []
    assert kinds(text, "https://e.org/KettleLogoWhite140x48.png") == ["logo"]
    assert kinds(text, "https://e.org/kettlelogistics.png") == []
    assert kinds("RSS feed of the most recent posts of this forum", "https://e.org/rss.png") == ["interface"]


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("interface", "Search"),
        ("interface", "Startseite"),
        ("interface", "Share on Facebook"),
        ("interface", "Auf Twitter teilen"),
        ("interface", "Subscribe to our magazine"),
        ("interface", "Kettles YouTube"),
        ("interface", "Red Kettles on Facebook"),
        ("interface", "Download PDF"),
        ("interface", "Print this page"),
        ("interface", "weather icon"),
        ("avatar", "Avatar von kettlelover"),
        ("avatar", "kettlelover's profile picture"),
        ("logo", "Acme logo"),
        ("logo", "Acme-Logo"),
        ("logo", "Logo da TV 5"),
        ("logo", "kettles.example.org"),
        ("credit", "© Acme"),
        ("credit", "Photo: Jane Doe / Acme"),
        ("credit", "Foto von Jane Doe"),
        ("credit", "Getty Images"),
        ("code", "{{ product.title }}"),
        ("code", "undefined"),
        ("code", "Lorem ipsum dolor sit amet"),
    ],
)
def test_a_short_text_says_what_it_is(kind: str, text: str) -> None:
    assert kind in kinds(text)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("A kettle on the stove, photo: Jane Doe", "kettle.jpg"),
        ("Arrow on a target, hand drawn in black ink", "arrow-on-target.jpg"),
        ("Logo design of a coffee house with beans and a cup, vector", "logo-design.jpg"),
        ("People search the woods for the missing dog", "missing-dog.jpg"),
        ("The start of the marathon in the rain", "start.jpg"),
        ("A banner hangs over the street of the old town", "banner-old-town.jpg"),
        ("Woman with a mask in a supermarket", "pexels-photo-278430.jpeg"),
        ("The catalogue of the museum", "blogosphere/catalogue.jpg"),
        ("Home Depot opens a shop in Ohio", "2011/home.jpg"),
        ("Iconic chair of the sixties", "iconic-chair.jpg"),
        ("Zwei Frauen beim Einkaufen", "thumbs/7.jpg"),
        ("Two men look at Facebook", "two-men.jpg"),
    ],
)
def test_what_looks_alike_is_a_caption(text: str, path: str) -> None:
    assert kinds(text, f"https://logo.e.org/{path}") == []


def test_a_stand_in_is_none_where_the_text_speaks_of_what_its_file_is_called() -> None:
    assert kinds("Hills in summer", "https://example.org/blank.jpg") == ["stand_in"]
    assert kinds("Hills near Leeds in summer", "https://example.org/blank.jpg") == ["stand_in"]
    assert kinds("A photo of blank paper beside a grape", "https://example.org/blank.jpg") == []


def test_an_image_of_few_pixels_belongs_to_the_interface_if_its_text_is_short() -> None:
    for address in ("a.jpg?resize=40%2C40", "a.jpg?resize=40,40", "a.jpg?w=64&h=64", "a-32x32.png", "48x48/a.png"):
        assert kinds("Two red foxes", f"https://example.org/{address}") == ["interface"]
        assert kinds("Two red foxes in the snow", f"https://example.org/{address}") == []
    for address in ("a.jpg?resize=400%2C40", "a.jpg?w=65&h=65", "a-320x320.png", "a.jpg?w=64"):
        assert kinds("Two red foxes", f"https://example.org/{address}") == []


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("interface", "(navigation image)"),
        ("interface", "[Note]"),
        ("interface", "4.10 out of 5 stars"),
        ("interface", "3,5 von 5 Sternen"),
        ("interface", "Animated GIF"),
        ("logo", "by-nc"),
        ("logo", "CC BY-SA 4.0"),
        ("logo", "Attribution-NonCommercial-ShareAlike"),
        ("logo", "Attribution-Share Alike 3.0"),
        ("logo", "Public Domain"),
    ],
)
def test_remarks_in_brackets_ratings_and_licences_are_no_captions(kind: str, text: str) -> None:
    assert kinds(text) == [kind]


def test_what_looks_like_them_is_one() -> None:
    for text in (
        "Pope Leo (left) and a friend",
        "5 stars over the bay",
        "by the river",
        "[1] A view of Rome",
        "Feed the birds",
    ):
        assert kinds(text) == []
    assert kinds("Every star of the northern sky in one photograph", "https://example.org/stars.jpg") == []


def test_a_drawing_of_one_word_of_the_interface_belongs_to_it() -> None:
    for name in ("rss.png", "half_star.gif", "star-small.png", "mail.gif"):
        assert kinds("See recent additions to the list", f"https://example.org/{name}") == ["interface"]
    assert kinds("The mail coach at the inn", "https://example.org/mail-coach.png") == []


def test_every_row_has_an_answer() -> None:
    assert kinds(None, None) == kinds("", "") == kinds("\x00", "::") == []
    rows = pa.table(
        {"row": pa.array([], pa.uint32()), "url": pa.array([], pa.string()), "text": pa.array([], pa.string())}
    )
    assert not_captions(rows).to_pylist() == []


@pytest.mark.parametrize(
    ("kind", "place"),
    [
        ("interface", {"page_part": "footer"}),
        ("interface", {"page_part": "header"}),
        ("interface", {"tag_width": 300, "tag_height": 24}),
        ("interface", {"tag_width": 64, "tag_height": 48}),
        ("avatar", {"tag_role": "avatar"}),
        ("logo", {"tag_role": "logo"}),
        ("advertisement", {"tag_role": "advertisement"}),
        ("advertisement", {"links_elsewhere": True}),
        (None, {"page_part": "navigation"}),  # menus have teasers
        (None, {"page_part": "content", "links_elsewhere": True}),  # where it is from
        (None, {"page_part": "content", "links_elsewhere": False, "tag_width": 300, "tag_height": 200}),
        (None, {"tag_width": 60}),  # how high it is, it does not say
    ],
)
def test_the_place_of_an_image_speaks_against_a_short_text(kind: str | None, place: dict[str, object]) -> None:
    rows = [
        {"row": row, "url": PLAIN, "text": text, **dict.fromkeys(PLACE.names), **place}
        for row, text in enumerate(["A blue kettle", "A blue kettle on an old stove, seen from above"])
    ]
    types = [("row", pa.uint32()), ("url", pa.string()), ("text", pa.string()), *PLACE]
    short, long = not_captions(pa.Table.from_pylist(rows, pa.schema(types))).to_pylist()
    assert [item["kind"] for item in short] == ([kind] if kind else [])
    assert long == []


def test_words_of_scripts_without_spaces_are_counted() -> None:
    rows = pa.table(
        {
            "row": pa.array([0, 1], pa.uint32()),
            "url": pa.array([PLAIN] * 2),
            "text": pa.array(["茶壺", "在老爐子上的一個藍色茶壺，從上面看到的樣子"]),
            "page_part": pa.array(["footer"] * 2),
        }
    )
    assert [len(found) for found in not_captions(rows).to_pylist()] == [1, 0]


def test_a_formula_is_code() -> None:
    assert kinds(r"{\displaystyle A^{-1}A=I}") == ["code"]
    assert kinds("The int and the sum of a kettle") == []


def test_a_ratio_in_an_address_is_no_size() -> None:
    assert kinds("A kettle", "https://e.org/kettle_16x9_992.jpg") == []
    assert kinds("A kettle", "https://e.org/kettle_48x48_2.jpg") == ["interface"]


def test_a_page_s_header_is_told_from_an_article_s() -> None:
    assert kinds("Healthy food", "https://e.org/img/page-header-2.jpg") == ["interface"]
    assert kinds("Healthy food", "https://e.org/img/Healthy-Food.HEADER-715x358.jpg") == []

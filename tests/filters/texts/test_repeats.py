"""filters.texts.repeats: phrases of a site's captions, and texts on many of its images."""

from __future__ import annotations

import random
from typing import Any

import pyarrow as pa

from filters.texts.repeats import REPEATS, SAMPLE, captions, repeats, samples, without_repeats
from filters.texts.text import TextConfig

THINGS = ("red kettle", "blue lamp", "old bridge", "white horse", "garden gate", "paper boat", "stone wall", "wool hat")


def rows(*texts: str, site: str = "shop.example", pages: int = 100, first: int = 0) -> pa.Table:
    return pa.table(
        {
            "row": pa.array(range(first, first + len(texts)), pa.uint32()),
            "url": [f"https://img.example/{site}/{first + at}.jpg" for at in range(len(texts))],
            "text": pa.array(texts, pa.string()),
            "host": ["img.example"] * len(texts),
            "page_url": [f"https://www.{site}/{(first + at) % pages}" if pages else "" for at in range(len(texts))],
        }
    )


def cut(table: pa.Table, **keys: Any) -> dict[str, str | None]:
    """Text -> what is left of it; None of one that is a repeat."""
    config = TextConfig(**keys)
    found = repeats(samples(table), config)
    texts = dict(zip(table["row"].to_pylist(), table["text"].to_pylist(), strict=True))
    answer = without_repeats(table, found, config).to_pylist()
    return {texts[item["row"]]: None if item["is_repeat"] else item["rest"] for item in answer}


def wares(ending: str = "", beginning: str = "") -> list[str]:
    return [f"{beginning}{thing} number {number}{ending}" for number in range(2) for thing in THINGS]


def test_what_many_captions_of_a_site_end_or_begin_with_is_cut_off() -> None:
    for ending in (" | My Shop", " - Buy online", " – now with free delivery"):
        found = cut(rows(*wares(ending)))
        assert found[f"red kettle number 0{ending}"] == "red kettle number 0"
        assert len(found) == 16
    for beginning in ("Part of our collection (Wed Aug 25 2004) ", "From My Shop: ", "Now with free delivery. "):
        assert cut(rows(*wares(beginning=beginning)))[f"{beginning}old bridge number 1"] == "old bridge number 1"
    assert cut(rows(*wares(". Free delivery everywhere")))["red kettle number 0. Free delivery everywhere"] == (
        "red kettle number 0."
    )


def test_words_that_no_punctuation_sets_apart_belong_to_the_caption() -> None:
    for begin, end in (("Picture shows our ", ""), ("A portrait of the ", " in the old town")):
        assert cut(rows(*wares(end, begin))) == {}


def test_it_must_be_many_of_the_site_s_and_of_several_pages() -> None:
    some = wares(" | My Shop")
    assert cut(rows(*some[:9])) == {}  # too few
    assert cut(rows(*some, *(f"{number} quite another caption" for number in range(100)))) == {}  # too small a share
    assert cut(rows(*some, pages=2)) == {}  # what two pages are about
    assert len(cut(rows(*some, pages=0))) == 16  # a table's rows are on no page
    assert cut(rows(*some), cut_repeats=False) == {}


def test_of_another_site_nothing_is_cut() -> None:
    other = rows("kettle number 3 | My Shop", site="other.example", first=50)
    assert "kettle number 3 | My Shop" not in cut(pa.concat_tables([rows(*wares(" | My Shop")), other]))


def test_a_text_of_which_nothing_would_be_left_stays() -> None:
    table = rows(*wares(" | My Shop"), "Kettle | My Shop")
    assert "Kettle | My Shop" not in cut(table)


def test_a_text_on_many_images_of_a_site_is_a_repeat() -> None:
    table = rows(*["Various pictures"] * 21, *wares())
    assert cut(table) == {"Various pictures": None}
    assert cut(table, max_site_images_per_text=21) == {} == cut(table, max_site_images_per_text=0)


def test_partitions_and_order_change_nothing() -> None:
    table = rows(*wares(" | My Shop"), *[f"picture {number} of a lake | My Shop" for number in range(2 * SAMPLE)])
    whole = repeats(samples(table), TextConfig())
    assert whole.num_rows and max(whole["of"].to_pylist()) <= SAMPLE
    at = list(range(table.num_rows))
    random.Random(1).shuffle(at)
    parts = [samples(table.take(pa.array(at[number::3]))) for number in range(3)]
    assert repeats(pa.concat_tables(parts[::-1]), TextConfig()).equals(whole)


def test_captions_say_what_was_done_and_hold_only_what_is_not_as_it_was_written() -> None:
    table = rows("red kettle | My Shop", "Tom & Jerry", "a lake", "Various pictures")
    found = [
        {"site": "shop.example", "place": "end", "phrase": "| My Shop", "found": 12, "of": 40},
        {"site": "shop.example", "place": "whole", "phrase": "Various pictures", "found": 21, "of": 90},
    ]
    changes = pa.array([[], ["markup"], [], []], pa.list_(pa.string()))
    answer = captions(
        table, table["text"].combine_chunks(), changes, pa.Table.from_pylist(found, REPEATS), TextConfig()
    )
    assert answer.to_pylist() == [
        {
            "row": 0,
            "text": "red kettle",
            "reworded": ["repeat"],
            "repeat": "| My Shop",
            "repeat_found": 12,
            "repeat_of": 40,
            "is_repeat": False,
        },
        {
            "row": 1,
            "text": "Tom & Jerry",
            "reworded": ["markup"],
            "repeat": None,
            "repeat_found": None,
            "repeat_of": None,
            "is_repeat": False,
        },
        {
            "row": 3,
            "text": "Various pictures",
            "reworded": [],
            "repeat": "Various pictures",
            "repeat_found": 21,
            "repeat_of": 90,
            "is_repeat": True,
        },
    ]

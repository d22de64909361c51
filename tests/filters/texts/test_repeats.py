"""filters.texts.repeats: phrases of a site's captions, and texts on many of its images."""

from __future__ import annotations

import random
from itertools import chain, pairwise
from typing import Any

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.texts.repeats import (
    REPEATS,
    SAMPLE,
    SAMPLE_OF_IMAGE,
    SAMPLE_PAGES,
    SAMPLES,
    by_sites,
    captions,
    narrow_samples,
    repeats,
    repeats_of_parts,
    samples,
    without_repeats,
)
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


def stand(said: list[tuple[str, str, str]], **keys: Any) -> dict[tuple[str, str], tuple[int | None, ...]]:
    """(image, text) -> its texts, its pages, of how many; of those that repeat."""
    images, texts, pages = zip(*said, strict=True)
    addresses = [f"https://img.example/{image}" for image in images]
    table = rows(*texts).set_column(1, "url", pa.array(addresses))
    table = table.set_column(4, "page_url", pa.array([f"https://a.example/{page}" for page in pages]))
    config = TextConfig(**keys)
    unchanged = pa.array([[]] * len(said), pa.list_(pa.string()))
    found = captions(table, table["text"].combine_chunks(), unchanged, repeats(samples(table), config), config)
    limits = (found[name].to_pylist() for name in ("row", "image_texts", "image_pages", "of_pages"))
    return {said[row][:2]: tuple(counts) for row, *counts in zip(*limits, strict=True)}


def test_an_image_with_many_texts_on_many_pages_of_a_site_stands_for_all() -> None:
    said = [("taj.jpg", f"effect number {page}", f"{page}") for page in range(11)]
    assert stand(said) == {(image, text): (11, None, None) for image, text, _ in said}
    assert stand(said[:10]) == {} == stand(said, max_site_texts_per_image=0)
    assert stand([(image, text, "0") for image, text, _ in said]) == {}  # which is for max_texts_on_page to judge
    assert stand([(image, "one effect", page) for image, _, page in said[:9]]) == {}


def test_an_image_with_one_text_on_most_pages_of_a_site_is_of_none() -> None:
    pages = [(f"{page}.jpg", f"a picture of number {page}", f"{page}") for page in range(11)]
    button = [("next.png", "Next", f"{page}") for page in range(6)]
    assert stand(pages + button) == {("next.png", "Next"): (None, 6, 11)}
    assert stand(pages + button, max_site_page_share=0.6) == {} == stand(pages + button, max_site_page_share=1)
    assert stand(pages + button[:5]) == {}
    assert stand(pages[:9] + button) == {}  # too few pages were seen


def test_a_large_site_is_judged_by_some_of_its_pages_whatever_the_partitions() -> None:
    count = 3 * SAMPLE
    table = rows(*[f"picture {number}" for number in range(count)], *["Next"] * count, pages=count)
    table = table.set_column(1, "url", pa.array([*table["url"].to_pylist()[:count], *["https://a.example/n"] * count]))
    config = TextConfig(max_site_images_per_text=0)
    whole = repeats(samples(table), config)
    assert [(row["phrase"], row["found"], row["of"]) for row in whole.to_pylist()] == [
        ("Next", SAMPLE_PAGES, SAMPLE_PAGES)
    ]
    parts = [samples(table.take(pa.array(range(number, 2 * count, 3)))) for number in range(3)]
    assert sum(part.num_rows for part in parts) < 3 * count
    assert repeats(pa.concat_tables(parts[::-1]), config).equals(whole)


def test_what_one_site_sends_is_bounded_whatever_the_partitions() -> None:
    buttons = pa.table(
        {
            "row": pa.array(range(4_000), pa.uint32()),
            "url": [f"https://shop.example/button{at % 2}.gif" for at in range(4_000)],
            "text": ["Basket", "Home page"] * 2_000,
            "host": ["shop.example"] * 4_000,
            "page_url": [f"https://shop.example/{at // 2}" for at in range(4_000)],
        }
    )
    whole = samples(buttons)
    assert whole.num_rows == 2 * max(SAMPLE_OF_IMAGE, SAMPLE_PAGES)
    parts = [samples(buttons.slice(first, 500)) for first in range(0, 4_000, 500)]
    for most in (1, 700, 10**6):
        assert pa.concat_tables(narrow_samples(iter(reversed(parts)), most)).equals(whole)
    assert repeats(whole, TextConfig()).equals(repeats(pa.concat_tables(parts), TextConfig()))
    assert list(narrow_samples([])) == []
    assert repeats_of_parts([], TextConfig()).equals(REPEATS.empty_table())


def test_partitions_and_order_change_nothing() -> None:
    table = rows(*wares(" | My Shop"), *[f"picture {number} of a lake | My Shop" for number in range(2 * SAMPLE)])
    whole = repeats(samples(table), TextConfig())
    assert whole.num_rows and max(whole["of"].to_pylist()) <= SAMPLE
    at = list(range(table.num_rows))
    random.Random(1).shuffle(at)
    parts = [samples(table.take(pa.array(at[number::3]))) for number in range(3)]
    assert repeats(pa.concat_tables(parts[::-1]), TextConfig()).equals(whole)


SITES = ("a.example", "Z.example", "ä.example", "\U00010000.example", "\uffee.example", "a")
FREE = TextConfig(max_site_images_per_text=1, max_site_texts_per_image=1, max_site_page_share=0.1)
"""Of which also small sites have repeats of each kind."""


def said_on(seed: int, count: int) -> pa.Table:
    """Return SAMPLES of so many rows, some of them equal."""
    at = random.Random(seed)
    said = [
        (
            at.choice(SITES),
            at.randrange(count),
            at.choice([None, *range(12)]),
            f"{at.choice(THINGS)} number {at.randrange(9)}{at.choice(('', ' | My Shop', ' | My Shop'))}",
        )
        for _ in range(count)
    ]
    return pa.table([list(column) for column in zip(*said, strict=True)], schema=SAMPLES)


@given(
    seed=st.integers(0, 2**32),
    cuts=st.lists(st.integers(0, 200), max_size=4),
    rows_at_once=st.integers(1, 200),
)
@settings(max_examples=4, deadline=None)
def test_some_sites_after_others_have_the_same_repeats_as_all_at_once(
    seed: int, cuts: list[int], rows_at_once: int
) -> None:
    said = said_on(seed, 200)
    bounds = [0, *sorted(cuts), 200]
    parts = [said.slice(first, last - first) for first, last in pairwise(bounds)]
    whole = repeats(said, FREE)
    assert {"end", "whole", "image", "page"} & set(whole["place"].to_pylist())
    assert repeats_of_parts(reversed(parts), FREE, rows_at_once).equals(whole)


@given(seed=st.integers(0, 2**32), rows_at_once=st.integers(1, 60))
@settings(max_examples=20, deadline=None)
def test_a_slice_has_whole_sites_and_few_rows(seed: int, rows_at_once: int) -> None:
    said = said_on(seed, 60)
    slices = list(by_sites(said, rows_at_once))
    sites = [sorted(set(one["site"].to_pylist())) for one in slices]
    assert [*chain(*sites)] == sorted(set(said["site"].to_pylist()))
    largest = max(item["counts"] for item in said["site"].value_counts().to_pylist())
    assert all(0 < one.num_rows < rows_at_once + largest for one in slices)
    for one, names in zip(slices, sites, strict=True):
        assert one.to_pylist() == [row for row in said.to_pylist() if row["site"] in names]


def test_captions_say_what_was_done_and_hold_only_what_is_not_as_it_was_written() -> None:
    table = rows("red kettle | My Shop", "Tom & Jerry", "a lake", "Various pictures")
    found = [
        {"site": "shop.example", "place": "end", "url_hash": None, "phrase": "| My Shop", "found": 12, "of": 40},
        {
            "site": "shop.example",
            "place": "whole",
            "url_hash": None,
            "phrase": "Various pictures",
            "found": 21,
            "of": 90,
        },
    ]
    changes = pa.array([[], ["markup"], [], []], pa.list_(pa.string()))
    answer = captions(
        table, table["text"].combine_chunks(), changes, pa.Table.from_pylist(found, REPEATS), TextConfig()
    )
    of_images = dict.fromkeys(("image_texts", "image_pages", "of_pages"))
    assert answer.to_pylist() == [
        {
            "row": 0,
            "text": "red kettle",
            "reworded": ["repeat"],
            "repeat": "| My Shop",
            "repeat_found": 12,
            "repeat_of": 40,
            "is_repeat": False,
            **of_images,
        },
        {
            "row": 1,
            "text": "Tom & Jerry",
            "reworded": ["markup"],
            "repeat": None,
            "repeat_found": None,
            "repeat_of": None,
            "is_repeat": False,
            **of_images,
        },
        {
            "row": 3,
            "text": "Various pictures",
            "reworded": [],
            "repeat": "Various pictures",
            "repeat_found": 21,
            "repeat_of": 90,
            "is_repeat": True,
            **of_images,
        },
    ]

"""sql/decisions/language.sql: a text, what stands around it, and the language that it is taken to be in."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from filters.texts.context import in_context
from filters.texts.text import TextConfig, measure_text

PAGE = {"url": "https://img.example.org/a.jpg", "page_url": "https://example.org/a", "page_language": None}


def judged(*items: dict[str, Any], **keys: Any) -> list[dict[str, Any]]:
    """The language of each text; items on one page are of one record."""
    full = [{**PAGE, "offset": 0, **item} for item in items]
    rows = pa.table(
        {
            "row": pa.array(range(7, 7 + len(full)), pa.uint32()),
            **{
                name: pa.array([item[name] for item in full], pa.string())
                for name in ("url", "text", "page_url", "page_language")
            },
            "text_source": ["alt"] * len(full),
            "archive": ["a.warc.gz"] * len(full),
            "offset": pa.array([item["offset"] for item in full], pa.int64()),
        }
    )
    config = TextConfig(**keys)
    table = in_context(rows, measure_text(rows, config), config)
    assert table["row"].to_pylist() == rows["row"].to_pylist()
    return table.select(["language", "language_probability", "is_undetermined"]).to_pylist()


def language(*items: dict[str, Any], **keys: Any) -> str:
    """Return the language of the first text."""
    return str(judged(*items, **keys)[0]["language"])


@pytest.mark.parametrize(
    "place",
    [
        {"page_language": "de-AT"},
        {"page_url": "https://example.org/de/a"},
        {"page_url": "https://de.example.org/a"},
        {"page_url": "https://beispiel.de/a"},
        {"page_url": "", "url": "https://bilder.beispiel.at:8080/a.jpg"},
    ],
)
def test_what_a_page_says_of_itself_decides_where_the_model_is_wrong(place: dict[str, Any]) -> None:
    text = "Frau berät Seniorin"
    assert judged({"text": text}, language_context=False)[0]["language"] == "fi"
    assert language({"text": text, **place}) == "de"


def test_the_other_texts_of_a_page_decide_too() -> None:
    text = {"text": "Wanderung am Steinsee"}
    others = [
        {"text": "Nach dem Regen liegt der Nebel noch lange über dem Tal und den Wiesen"},
        {"text": "Am Abend kehren die Wanderer müde und zufrieden in das Dorf zurück"},
        {"text": "Der Weg führt zuerst durch den Wald und dann steil auf den Berg hinauf"},
    ]
    unsure = {"text": "Oldtimer-Treffen"}
    assert language(text, *others) == "de"
    alone, beside = judged(unsure)[0], judged(unsure, *others)[0]
    elsewhere = judged(unsure, *({**item, "offset": 99} for item in others))[0]
    assert alone["language"] == "en" and beside["language"] == "de" and elsewhere == alone


def test_the_more_function_words_of_a_language_a_text_has_the_less_its_page_counts() -> None:
    others = [
        {"text": f"Am Abend kehren die Wanderer müde und zufrieden in das Dorf Nummer {n} zurück"} for n in range(4)
    ]
    text = "Absinthe products of the Artemisia distillery, pictured on August 13, 2013, in the distillery in Couvet"
    assert language({"text": text, "page_language": "de"}, *others) == "en"


def test_a_text_that_speaks_for_itself_needs_no_page() -> None:
    sentences = {
        "en": "A small dog is running through the green grass",
        "fr": "Un petit chien court dans l'herbe verte",
        "ja": "小さな犬が緑の草の上を走っています",
        "ru": "Маленькая собака бежит по зелёной траве",
    }
    found = judged(*({"text": text, "page_language": "de", "offset": n} for n, text in enumerate(sentences.values())))
    assert [item["language"] for item in found] == list(sentences)
    assert not any(item["is_undetermined"] for item in found)


def test_letters_that_english_hardly_has_outweigh_a_page_that_says_it_is_english() -> None:
    for code, text in (
        ("pl", "Dwa niebieskie koła na tle starego ceglanego muru"),
        ("pl", "Żółte serce, które wczoraj narysowała moja córka"),
        ("fr", "Deux cercles bleus devant un vieux mur de briques"),
    ):
        assert language({"text": text, "page_language": "en"}) == code
        if code == "pl":  # however much English stands around it
            others = [
                {"text": f"A red circle on the wall of house number {n}", "page_language": "en"} for n in range(20)
            ]
            assert language({"text": text, "page_language": "en"}, *others) == code


def test_where_nothing_else_is_known_the_commoner_language_is_likelier() -> None:
    for text in ("Lake Maggiore Magic Tote Bag", "RVM B18 17 Black Rims Wheels BMW E36 E46 E92 3 Series"):
        assert judged({"text": text}, language_context=False)[0]["language"] != "en"
        assert language({"text": text, "page_url": ""}) == "en"


@pytest.mark.parametrize("text", ["2021", "* * *", "Olivier Véran", "Mel B", "Contura 766 EF (2021)"])
def test_names_and_numbers_are_in_no_language_and_follow_their_page(text: str) -> None:
    (found,) = judged({"text": text, "page_language": "de"})
    assert found["is_undetermined"] and found["language"] in ("de", "fr")


@pytest.mark.parametrize(
    "text", ["Kaffee in einer alten Tasse", "Zwei Frauen beim Einkaufen", "Eine Frau beim Zahnarzt."]
)
def test_what_is_said_in_words_is_no_name(text: str) -> None:
    assert not judged({"text": text, "page_language": "de"})[0]["is_undetermined"]


def test_the_threshold_is_of_what_is_known_in_all() -> None:
    text = {"text": "Oldtimer-Treffen und mehr", "page_language": None}
    (found,) = judged(text, language_min_probability=0.0)
    assert not found["is_undetermined"]
    (found,) = judged(text, language_min_probability=1.0)
    assert found["is_undetermined"]


def test_without_context_it_is_the_models_guess() -> None:
    (found,) = judged({"text": "Wake News Facebook", "page_language": "de"}, language_context=False)
    assert found == {"language": "es", "language_probability": pytest.approx(0.85, abs=0.01), "is_undetermined": False}


def test_the_texts_of_an_image_on_its_page_are_counted() -> None:
    rows = pa.table(
        {
            "row": pa.array(range(8), pa.uint32()),
            "url": ["a", "a", "a", "a", "b", "a", "t", "t"],
            "text": ["one", "two", "two", "three", "four", "five", "six", "seven"],
            "text_source": ["alt", "alt", "alt", "title", "alt", "alt", "table", "table"],
            "page_url": [*["http://e.org/"] * 6, "", None],
            "page_language": pa.nulls(8, pa.string()),
            "archive": ["x"] * 8,
            "offset": pa.array([0, 0, 0, 0, 0, 9, 0, 0], pa.int64()),
        }
    )
    config = TextConfig()
    whole = measure_text(rows, config)
    assert in_context(rows, whole, config)["texts_on_page"].to_pylist() == [2, 2, 2, 2, 1, 1, 1, 1]
    some = in_context(rows, whole.slice(1, 2), config)  # of rows that no worker survived nothing is measured
    assert some["row"].to_pylist() == [1, 2] and some["texts_on_page"].to_pylist() == [2, 2]


def test_every_row_has_an_answer() -> None:
    found = judged({"text": ""}, {"text": None}, {"text": "\x00", "url": "::", "page_url": None, "page_language": "  "})
    assert [item["is_undetermined"] for item in found] == [True, True, True]
    assert judged() == []

"""What is measured on texts and their addresses."""

from __future__ import annotations

import warnings
from typing import Any

import pyarrow as pa
import pytest

from filters.texts.text import TextConfig, measure_text


def rows(*items: dict[str, Any]) -> pa.Table:
    """Candidate rows; `row` does not begin at 0, as after an earlier stage's verdicts."""
    return pa.table(
        {
            "row": pa.array(range(5, 5 + len(items)), pa.uint32()),
            "url": pa.array([item.get("url", "https://example.org/x.jpg") for item in items], pa.string()),
            "text": pa.array([item.get("text", "a red car") for item in items], pa.string()),
            "page_url": pa.array([item.get("page_url", "https://example.org/") for item in items], pa.string()),
        }
    )


def test_columns_and_order() -> None:
    table = measure_text(
        rows({"text": "a red car"}, {"text": " "}, {"text": "ein rotes Auto fährt\u00a0los"}), TextConfig()
    )
    assert table.column_names == [
        "row",
        "characters",
        "words",
        "is_filename",
        "has_letters",
        "is_latin",
        "accents",
        "is_name_like",
        "function_words",
        "blocked_domains",
        "language_guesses",
        "blocked_terms",
        "profanity_probability",
    ]
    assert table["row"].to_pylist() == [5, 6, 7]
    assert table["characters"].to_pylist() == [9, 1, 24]
    assert table["words"].to_pylist()[:2] == [3, 0]
    assert table["language_guesses"].to_pylist()[2][0]["language"] == "de"


def test_no_rows() -> None:
    assert measure_text(rows(), TextConfig()).num_rows == 0


@pytest.mark.parametrize(
    "text",
    [
        "IMG_2034.jpg",
        "IMG_2034",
        "DSC00012",
        "dsc 0012",
        "P1010203.JPG",
        "image 3",
        "Screenshot 2024-01-02 at 10.11.12",
        "my photo-final (2).png",
        "20190304_120000",
        "12345",
        "https://example.org/a.jpg",
        "//cdn.example.org/a",
        "www.example.org/shop",
        r"C:\Users\me\Pictures\a cat.jpg",
        "data:image/png;base64,AAAA",
        "sunset_beach_02",
        "buy-one-get-one-free-today",
        "9f86d081884c7d659a2feaa0c55ad015",
        "0b54a3b2-4ac0-4d3e-8d2f-1f1b2a3c4d5e",
    ],
)
def test_filenames(text: str) -> None:
    if text == "my photo-final (2).png":  # with spaces, it is one only as the name of its file
        assert is_filename(text, "https://example.org/my%20photo-final%20(2).png")
    else:
        assert is_filename(text, "https://example.org/x.jpg")


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("red-car", "https://example.org/a/red-car.jpg?w=200"),
        ("Red-Car", "https://example.org/a/red-car-300x200.webp#top"),
        ("kitten 7.png", "https://example.org/kitten%207.png"),
    ],
)
def test_name_of_its_own_file(text: str, url: str) -> None:
    assert is_filename(text, url)
    assert text == "kitten 7.png" or not is_filename(text, "https://example.org/other.jpg")


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("sunset", "https://example.org/sunset.jpg"),
        ("red car", "https://example.org/red%20car.jpg"),
        ("Apollo 11", "https://example.org/x.jpg"),
        ("a state-of-the-art kitchen", "https://example.org/x.jpg"),
        ("state-of-the-art", "https://example.org/x.jpg"),
        ("3 red balloons", "https://example.org/x.jpg"),
        ("Photo of 3 dogs", "https://example.org/x.jpg"),
        ("T-shirt", "https://example.org/x.jpg"),
        ("Mercedes-Benz", "not a url"),
        ("Ein Auto", "https://example.org/%E0%A4%A"),
        ("a red car", ""),
    ],
)
def test_captions(text: str, url: str) -> None:
    assert not is_filename(text, url)


def is_filename(text: str, url: str) -> bool:
    value = measure_text(rows({"text": text, "url": url}), TextConfig())["is_filename"].to_pylist()[0]
    assert isinstance(value, bool)
    return value


def test_blocklist_key() -> None:
    table = rows({"text": "free porn"})
    both = [
        {"term": "porn", "list": "builtin", "language": None},
        {"term": "porn", "list": "ldnoobw", "language": "en"},
    ]
    assert measure_text(table, TextConfig())["blocked_terms"].to_pylist() == [both]
    assert measure_text(table, TextConfig(blocklist="builtin"))["blocked_terms"].to_pylist() == [both[:1]]
    for none in ("", ()):
        assert measure_text(table, TextConfig(blocklist=none))["blocked_terms"].to_pylist() == [[]]


def test_the_classifier_is_asked_only_if_a_limit_is_set_and_only_about_english() -> None:
    table = rows(
        {"text": "Fucking the boss's daughter"}, {"text": "Die Heldenhelfer vor dem alten Haus"}, {"text": None}
    )
    assert measure_text(table, TextConfig())["profanity_probability"].to_pylist() == [None] * 3
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        measured = measure_text(table, TextConfig(max_profanity_probability=0.9))["profanity_probability"].to_pylist()
    assert measured[0] > 0.9
    assert measured[1:] == [None, None]
    assert measure_text(rows(), TextConfig(max_profanity_probability=0.9)).num_rows == 0


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("min_characters", 0),
        ("min_words", 0),
        ("max_characters", 3),
        ("language_min_probability", 1.5),
        ("languages", ("english",)),
        ("language_model", ""),
    ],
)
def test_bad_config(key: str, value: object) -> None:
    with pytest.raises(ValueError, match=rf"^{key} must"):
        TextConfig(**{key: value})  # type: ignore[arg-type]

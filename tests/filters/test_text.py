"""What is measured on texts and their addresses."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from filters.text import TextConfig, measure_text


def rows(*items: dict[str, Any]) -> pa.Table:
    """Candidate rows; `row` does not begin at 0, as after an earlier stage's verdicts."""
    return pa.table(
        {
            "row": pa.array(range(5, 5 + len(items)), pa.uint32()),
            "url": pa.array([item.get("url", "https://example.org/x.jpg") for item in items], pa.string()),
            "text": pa.array([item.get("text", "a red car") for item in items], pa.string()),
            "host": pa.array([item.get("host", "example.org") for item in items], pa.string()),
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
        "blocked_domain",
        "language",
        "language_probability",
        "blocked_term",
    ]
    assert table["row"].to_pylist() == [5, 6, 7]
    assert table["characters"].to_pylist() == [9, 1, 24]
    assert table["words"].to_pylist()[:2] == [3, 0]
    assert table["language"].to_pylist()[2] == "de"


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


def test_blocked_domains(tmp_path: Path) -> None:
    path = tmp_path / "domains.txt.gz"
    path.write_bytes(
        gzip.compress("# list\nBad.example\n*.worse.example\nbücher.example\nexample.net.\nnet\n".encode())
    )
    config = TextConfig(blocked_domains=str(path))
    items = [
        {"host": "bad.example"},
        {"host": "cdn.a.bad.example:8080"},
        {"host": "notbad.example"},
        {"host": "img.worse.example"},
        {"host": "www.xn--bcher-kva.example"},
        {"host": "a.example.net"},
        {"page_url": "https://me@www.bad.example:81/x"},
        {"host": "x.worse.example", "page_url": "https://bad.example/"},
        {"host": "example.org", "page_url": None},
        {"host": "", "page_url": "no url"},
        {"host": "[::1]:80"},
    ]
    assert measure_text(rows(*items), config)["blocked_domain"].to_pylist() == [
        "bad.example",
        "bad.example",
        None,
        "worse.example",
        "xn--bcher-kva.example",
        "example.net",
        "bad.example",
        "worse.example",
        None,
        None,
        None,
    ]


def test_blocklist_key() -> None:
    table = rows({"text": "free porn"})
    assert measure_text(table, TextConfig())["blocked_term"].to_pylist() == ["porn"]
    assert measure_text(table, TextConfig(blocklist=""))["blocked_term"].to_pylist() == [None]


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

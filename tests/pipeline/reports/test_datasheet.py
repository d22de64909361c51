"""The datasheet: filled from the dataset, the same bytes for the same dataset, without this machine's folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dataset.store.storage import Storage
from pipeline.config import build as make_config
from pipeline.reports import datasheet
from tests.pipeline.dataset_fixture import ARCHIVE, HandMade

ROWS: list[dict[str, Any]] = [
    {"url": "http://a.example/1.jpg", "text": "a red rose"},
    {"url": "http://b|evil`.example/2.jpg", "text": "a rose"},
    {"url": "http://c.example/3.jpg", "text": "rose", "drop": ("text", "text_too_short", {})},
]


def sheet(out: str, **overrides: Any) -> str:
    config = make_config({"sources": [ARCHIVE], "out": out, "name": "garden", **overrides})
    datasheet.write(Storage(out), config, [])
    return Storage(out).read("datasheet.md").decode()


def test_it_holds_what_a_reader_asks(tmp_path: Path) -> None:
    text = sheet(HandMade(tmp_path).write(ROWS, error=f"{ARCHIVE} is cut off"))
    headings = [line.removeprefix("## ") for line in text.splitlines() if line.startswith("## ")]
    assert headings == [
        "Motivation",
        "Composition",
        "Collection process",
        "Preprocessing, cleaning, labelling",
        "Uses",
        "Distribution",
        "Maintenance",
    ]
    assert "# Datasheet: garden" in text
    assert "| a.example | 1 | 50.00 |" in text
    assert "| text | text\\_too\\_short | 1 |" in text
    assert "| pack | 2 | 2 | 0 |" in text
    assert "2024-05-01T12:00:00Z" in text
    assert "crawl.warc.gz is cut off" in text
    assert "licences of the images and texts are unknown" in text
    assert "WordNet" in text  # the built-in query list's terms travel with it


def test_no_folder_of_this_machine_is_in_it(tmp_path: Path) -> None:
    text = sheet(HandMade(tmp_path).write(ROWS, error=f"{ARCHIVE} is cut off"))
    assert "/somewhere" not in text
    assert str(tmp_path) not in text


def test_hostile_names_stay_in_their_cell(tmp_path: Path) -> None:
    text = sheet(HandMade(tmp_path).write(ROWS))
    assert "b\\|evil\\`.example" in text


def test_the_same_dataset_gives_the_same_bytes_and_no_second_write(tmp_path: Path) -> None:
    out = HandMade(tmp_path / "one").write(ROWS)
    first = sheet(out)
    written = (tmp_path / "one" / "datasheet.md").stat().st_mtime_ns
    assert sheet(out) == first
    assert (tmp_path / "one" / "datasheet.md").stat().st_mtime_ns == written
    assert sheet(HandMade(tmp_path / "two").write(ROWS)) == first


def test_an_empty_dataset_has_one_too(tmp_path: Path) -> None:
    assert "holds no pair" in sheet(HandMade(tmp_path).write([]))


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        (["/a/b/x.warc", "/a/c/x.warc"], ["b/x.warc", "c/x.warc"]),
        (["/a/x.warc"], ["x.warc"]),
        (["crawl/x.warc", "s3://bucket/x.warc"], ["crawl/x.warc", "s3://bucket/x.warc"]),
    ],
)
def test_absolute_names_lose_the_folder_that_they_share(names: list[str], shown: list[str]) -> None:
    assert list(datasheet.shown_names(names).values()) == shown

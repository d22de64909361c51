"""A new crawl against datasets that exist: what they hold is a duplicate, and nothing of them is touched."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

import dataset
from pipeline.asking.explain import explain
from pipeline.config import build
from pipeline.config_errors import ConfigError
from pipeline.engine.sources.earlier_datasets import earlier_partitions
from tests.pipeline import pages
from tests.pipeline.pages import IMAGE_HOST as HOST
from tests.pipeline.pages import crawl


def files(out: str) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(Path(out).rglob("*")) if path.is_file()}


def old_images() -> dict[str, tuple[str, bytes]]:
    """Images of which one of the last two looks like the other, so that the dataset keeps one of them."""
    kept = {f"{n}.jpg": (f"An old castle on hill number {n}", pages.encoded(pages.texture(n))) for n in range(4)}
    return kept | {"copy.jpg": ("A castle that is only a copy", pages.encoded(pages.texture(3), quality=40))}


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> str:
    return crawl(tmp_path_factory.mktemp("old"), "old", old_images())


def new_images() -> dict[str, tuple[str, bytes]]:
    """Images of which the old dataset has all but the last, one way or another."""
    return {
        "0.jpg": ("An old castle on hill number 0", pages.encoded(pages.texture(0))),  # the same pair
        "1.jpg": ("Quite another text of the castle", pages.encoded(pages.texture(1))),  # the same address
        "moved.jpg": ("The castle at another address", pages.encoded(pages.texture(2))),  # the same bytes
        "large.jpg": ("The castle larger than it was", pages.encoded(pages.texture(3, side=192))),  # it looks alike
        "new.jpg": ("A castle that nobody has seen", pages.encoded(pages.texture(9))),
    }


def dropped_from(out: str) -> dict[str, tuple[str, Any]]:
    """File name -> reason, evidence."""
    dropped = dataset.open(out).sql("SELECT url, reason, evidence FROM dropped").fetchall()
    return {url.rpartition("/")[2]: (reason, json.loads(evidence)) for url, reason, evidence in dropped}


def test_what_a_dataset_kept_is_a_duplicate_in_the_next_crawl(old: str, tmp_path: Path) -> None:
    before = files(old)
    out = crawl(tmp_path, "new", new_images(), against=[old])
    found = dropped_from(out)
    assert {file: reason for file, (reason, _) in found.items()} == {
        "0.jpg": "duplicate_pair",
        "1.jpg": "duplicate_image",
        "moved.jpg": "duplicate_image",
        "large.jpg": "near_duplicate_image",
    }
    assert [url for (url,) in dataset.open(out).sql("SELECT url FROM pairs").fetchall()] == [f"{HOST}/new.jpg"]
    assert found["0.jpg"][1]["first_dataset"] == found["moved.jpg"][1]["duplicate_of_dataset"] == old
    for file, of in (("0.jpg", "0.jpg"), ("moved.jpg", "2.jpg"), ("large.jpg", "3.jpg")):
        (story,) = explain(out, f"{HOST}/{file}")
        told = next(fact for name, fact in story.steps[-1].facts.items() if name.startswith("the "))
        assert (told["dataset"], told["url"]) == (old, f"{HOST}/{of}")
        assert told["end"].startswith("shards/")
    assert "left out as known: old." in (Path(out) / "datasheet.md").read_text().replace("\n", " ")
    assert files(old) == before


def test_where_an_address_has_one_text_the_old_datasets_is_the_first(old: str, tmp_path: Path) -> None:
    out = crawl(tmp_path, "new", new_images(), to="dedup", against=[old], dedup={"texts_per_url": "first"})
    reasons = {file: reason for file, (reason, _) in dropped_from(out).items()}
    assert reasons == {"0.jpg": "duplicate_pair", "1.jpg": "url_has_other_text"}


def test_what_the_old_dataset_dropped_is_new_and_a_dataset_gone_is_told(old: str, tmp_path: Path) -> None:
    pair = {"copy.jpg": ("A castle that is only a copy", pages.encoded(pages.texture(11)))}
    out = crawl(tmp_path, "new", pair, to="neardup", against=[old])
    kept = "SELECT kept FROM funnel WHERE stage = 'neardup'"
    assert dataset.open(out).sql(kept).fetchall() == [(1,)]
    first = crawl(tmp_path, "first", pair)
    out = crawl(tmp_path, "again", pair, to="dedup", against=[first])
    Path(first).rename(tmp_path / "away")
    (story,) = explain(out, f"{HOST}/copy.jpg")
    assert story.steps[-1].facts["the first one"] == {"dataset": first, "end": "not there any more"}


def test_a_dataset_without_the_hash_or_without_an_end_is_refused(old: str, tmp_path: Path) -> None:
    images = {"a.jpg": ("A castle of its own", pages.encoded(pages.texture(20)))}
    with pytest.raises(ConfigError, match=r"neardup.hash is phash, which the images of .* were never measured by"):
        crawl(tmp_path, "new", images, against=[old], neardup={"hash": "phash", "max_hamming": 7})
    with pytest.raises(ConfigError, match=r"against names .*nothing, which is no dataset"):
        crawl(tmp_path, "new", images, against=[str(tmp_path / "nothing")])
    with pytest.raises(ConfigError, match="which is where this run writes"):
        crawl(tmp_path, "new", images, against=[str(tmp_path / "new")])


def test_a_short_hash_is_measured_once_and_kept(tmp_path: Path) -> None:
    copies = old_images()
    out = crawl(tmp_path, "old", copies, neardup={"hash": "dhash", "max_hamming": 4})
    ((reason, evidence),) = dataset.open(out).sql("SELECT reason, evidence FROM dropped").fetchall()
    assert reason == "near_duplicate_image"
    assert json.loads(evidence)["dhash_hamming"] <= 4
    dhash = {"hash": "dhash", "max_hamming": 4}
    new = crawl(tmp_path, "new", {"b.jpg": copies["copy.jpg"]}, to="neardup", against=[out], neardup=dhash)
    assert dataset.open(new).sql("SELECT reason FROM dropped").fetchall() == [("near_duplicate_image",)]
    hashes = files(f"{out}/neardup/hash")
    exact = {"hash": "dhash", "max_hamming": 0, "max_colour_distance": 0}
    crawl(tmp_path, "old", copies, to="neardup", neardup=exact)
    assert files(f"{out}/neardup/hash") == hashes


def test_the_same_pixels_in_other_bytes_are_one_image(tmp_path: Path) -> None:
    picture = pages.texture(30)
    images = {"a.png": ("A castle without loss", pages.encoded(picture, "PNG")), "b.bmp": ("A castle in a bitmap", b"")}
    images["b.bmp"] = (images["b.bmp"][0], pages.encoded(picture, "BMP"))
    out = crawl(tmp_path, "new", images, to="neardup")
    ((reason, evidence),) = dataset.open(out).sql("SELECT reason, evidence FROM dropped").fetchall()
    assert (reason, json.loads(evidence)["identical"]) == ("duplicate_image", "pixels")


def test_a_path_of_against_that_leads_nowhere_is_said_to(tmp_path: Path) -> None:
    for name, files, said in (
        ("mistyped", [], "is no dataset; is it mistyped?"),
        ("begun", ["config.yaml"], "has not been finished; finish it by `wit run`"),
    ):
        for file in files:
            (tmp_path / name).mkdir()
            (tmp_path / name / file).write_text("{}")
        with pytest.raises(ConfigError, match=re.escape(f"against names {tmp_path}/{name}, which {said}")):
            earlier_partitions(build({"sources": ["a"], "out": "out", "against": [f"{tmp_path}/{name}"]}))

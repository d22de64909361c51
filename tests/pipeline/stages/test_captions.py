"""The texts that a run judges and keeps, where they are not those that extraction wrote."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import dataset
from dataset.ids import pair_id
from pipeline.build import build
from pipeline.config import build as make_config
from pipeline.engine.sources import plan
from pipeline.stages.pack.stage import repeats_warning
from tests.crawl import warc_bytes as warc

THINGS = ("kettle", "lamp", "bridge", "horse", "gate", "boat", "wall", "hat", "spoon", "clock", "chair", "ladder")
SHOP = [f"A wooden {thing} in a garden | My Shop" for thing in THINGS]
OTHERS = {
    "old-stone-bridge-and-river.jpg": "old stone bridge and river",
    "Tom &amp; Jerry on a bridge, jerry&#64;example.com": "Tom & Jerry on a bridge, [email_address]",
    "A lamp in a garden": "A lamp in a garden",
}
PAGES = 11
OWN = [f"A boat on river {page}" for page in range(PAGES)]
SHARED, CORNER = [f"A lamp of room {page}" for page in range(PAGES)], "A horse that looks"
"""The pages of one site: a picture of each, one with a text of each, and one with the same text on all."""
PROVOKES = {"text_repeats_on_site"}
"""Reasons that a run here gives."""
REPEATED = "Various pictures of lamps"


def run(folder: Path, **text: Any) -> Path:
    rows = [*SHOP, *OTHERS, *[REPEATED] * 21]
    pairs = [(f"https://shop.example/{at}.jpg", row) for at, row in enumerate(rows)]
    sources = [folder / "even.csv", folder / "odd.csv"]  # a partition each: no site repeats a text in one alone
    for first, source in enumerate(sources):
        with source.open("w", newline="") as file:
            csv.writer(file).writerows([("url", "text"), *pairs[first::2]])
    sources.append(folder / "site.warc.gz")
    images = '<img src="/own{0}.jpg" alt="{1}"><img src="/shared.jpg" alt="{2}"><img src="/corner.jpg" alt="{3}">'
    pages = [images.format(page, OWN[page], SHARED[page], CORNER) for page in range(PAGES)]
    records = [warc.page(page, f"http://site.example/{number}") for number, page in enumerate(pages)]
    sources[2].write_bytes(warc.members(*records))
    (folder / "queries.txt").write_text("\n".join([*THINGS, "river", "shop", "email_address"]))
    out = folder / "out"
    raw = {
        "sources": [str(source) for source in sources],
        "out": str(out),
        "text": {"languages": [], **text},
        "match": {"queries": str(folder / "queries.txt")},
        "run": {"workers": 0},
    }
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(plan, "_LEAST_BYTES", 1000)
        done = build(make_config(raw), to="prebalance", quiet=True).did
    assert done["extract.candidates"] > 1
    return out


def kept(out: Path) -> dict[str, bytes]:
    """The pairs' texts, with their ids."""
    tables = [pq.read_table(file) for file in (out / "prebalance" / "pairs").glob("pairs-*.parquet")]
    return {row["text"]: row["pair_id"] for table in tables for row in table.select(["text", "pair_id"]).to_pylist()}


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(tmp_path_factory.mktemp("captions"))


def test_pairs_have_the_texts_that_were_judged_and_candidates_those_that_were_written(out: Path) -> None:
    texts = kept(out)
    assert set(texts) == {text.removesuffix(" | My Shop") for text in SHOP} | set(OTHERS.values()) | set(OWN)
    written = [text for (text,) in dataset.open(str(out)).sql("SELECT text FROM candidates").fetchall()]
    assert set(written) == {*SHOP, *OTHERS, REPEATED, *OWN, *SHARED, CORNER}
    assert texts["A wooden lamp in a garden"] == pair_id("https://shop.example/1.jpg", SHOP[1])


def test_what_stands_on_many_images_is_dropped_with_how_many(out: Path) -> None:
    question = "SELECT DISTINCT text, reason, evidence->>'images' FROM dropped WHERE host = 'shop.example'"
    (reason,) = PROVOKES
    assert dataset.open(str(out)).sql(question).fetchall() == [(REPEATED, reason, "21")]


def test_an_image_that_stands_all_over_a_site_is_dropped_with_how_many(out: Path) -> None:
    question = "SELECT text, reason, evidence FROM dropped WHERE host = 'site.example'"
    found = {(text, reason, evidence) for text, reason, evidence in dataset.open(str(out)).sql(question).fetchall()}
    texts = '{"texts_on_site":11,"max_site_texts_per_image":10}'
    pages = '{"pages":11,"of_pages":11,"max_site_page_share":0.5}'
    expected = {(text, "image_is_stand_in", texts) for text in SHARED} | {(CORNER, "text_is_interface", pages)}
    assert found == expected


def test_what_was_done_is_told_of_each_text(out: Path) -> None:
    told = dataset.open(str(out)).sql("SELECT reworded, repeat FROM _captions WHERE len(reworded) > 0").fetchall()
    assert sorted(told, key=str) == sorted(
        [*[(["repeat"], "| My Shop")] * len(SHOP), (["slug"], None), (["markup"], None)], key=str
    )


def test_nothing_is_changed_where_the_config_asks_for_nothing(tmp_path: Path) -> None:
    nothing = {"decode_markup": False, "slugs_to_words": False, "cut_repeats": False, "max_site_images_per_text": 0}
    nothing |= {"max_site_texts_per_image": 0, "max_site_page_share": 1}
    out = run(tmp_path, drop_filenames=False, **nothing)
    texts = set(kept(out))
    assert {*SHOP, list(OTHERS)[1], *OWN, CORNER} < texts <= {*SHOP, *OTHERS, REPEATED, *OWN, *SHARED, CORNER}
    assert texts & set(SHARED)
    assert not (out / "text" / "captions").exists()


def test_many_repeats_among_what_is_kept_are_warned_of() -> None:
    assert repeats_warning(100, 80) is None is repeats_warning(0, 0)
    assert repeats_warning(1_000, 790) is not None and "210 of 1,000" in str(repeats_warning(1_000, 790))

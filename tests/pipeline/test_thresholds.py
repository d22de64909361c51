"""A changed threshold reruns the SQL that decides, or a search over what was measured; no model, no hash, no fetch."""

from __future__ import annotations

import shutil
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dataset
import pipeline.engine.reuse
import pipeline.stages.decontaminate.stage
import pipeline.stages.fetch.stage
import pipeline.stages.image.embed
import pipeline.stages.image.models
import pipeline.stages.image.stage
import pipeline.stages.neardup.stage
from crawl.images.store import read_images
from filters.images.perceptual import pdq
from pipeline.build import build
from pipeline.config import build as make_config
from tests.filters import models
from tests.filters.pictures import flip
from tests.pipeline import pages
from tests.pipeline.tinted import tinted

HOST = "http://images.example"
TEXTS = (
    "a kettle that stands upon the old table",
    "a small kettle beside the window of a kitchen",
    "ein alter Kessel, auf Englisch kettle, in der Küche",
    "a fucking kettle of shit",
    "a busty kettle from the casino",
    "a kettle that looks like the first one",
    "a kettle in a picture of the evaluation set",
    "a kettle on a list of hashes",
)


class World:
    """Eight pairs that pass a permissive run with every model, and what its config names."""

    def __init__(self, folder: Path):
        pixels = [tinted(place, place / 10) for place in range(len(TEXTS))]
        bodies = [pages.encoded(picture) for picture in pixels]
        bodies[4] = pages.encoded(np.roll(tinted(2, 0.2), 2, axis=1))  # like the third
        bodies[5] = pages.encoded(tinted(1, 0.16), quality=30)  # like the second, and redder
        urls = [f"{HOST}/{place}.jpg" for place in range(len(TEXTS))]
        tags = "".join(f'<img src="{url}" alt="{text}">' for url, text in zip(urls, TEXTS, strict=True))
        held = {url: ("image/jpeg", body) for url, body in zip(urls, bodies, strict=True)}
        archive = pages.write(folder / "a.warc.gz", [("http://page.example/", f"<html lang=en>{tags}")], held)
        (folder / "queries.txt").write_text("kettle\n")
        (folder / "words.txt").write_text("busty\n")
        (folder / "set").mkdir()
        (folder / "set" / "0.jpg").write_bytes(pages.encoded(tinted(6, 0.62), quality=30))
        listed = flip(np.frombuffer(pdq(pixels[7])[0], np.uint8)[None], 20, np.random.default_rng(0))
        (folder / "list.pdq").write_text(listed.tobytes().hex())
        red = models.mean_colour(folder / "red.onnx")
        self.base: dict[str, Any] = {
            "sources": [str(archive)],
            "text": {
                "language_min_probability": 0.0,
                "languages": [],
                "blocklist": str(folder / "words.txt"),
                "allowed_terms": ["busty"],
                "max_profanity_probability": 0.999999,
            },
            "match": {"queries": str(folder / "queries.txt")},
            "fetch": {"origins": ["archive"]},
            "hashlists": {"files": [str(folder / "list.pdq")], "max_pdq_hamming": 10},
            "image": {
                "models": [{"name": "redness", "path": red, "size": 8, "answer": 0}],
                "nsfw_model": "redness",
                "max_nsfw_probability": 1.0,
                "embedding_model": models.tiny_run(folder),
                "min_clip_score": -1.0,
            },
            "faces": {"yunet": models.red_yunet(folder / "yunet.onnx"), "action": "drop", "min_score": 1.0},
            "neardup": {"hash": "phash", "max_hamming": 7, "max_colour_distance": 2, "min_quality": 0},
            "semantic": {"min_cosine": 0.99999},
            "decontaminate": {
                "folders": [str(folder / "set")],
                "model": {"path": red, "size": 8},
                "min_cosine": 1.0,
            },
            "pack": {"heldout_share": 0.0},
            "run": {"workers": 0},
        }
        self.built = folder / "out"
        self.build(self.built, self.base)

    @staticmethod
    def build(out: Path, config: dict[str, Any], to: str | None = None) -> set[str]:
        """Build, up to a stage; the phases that had anything to do."""
        return set(build(make_config({**config, "out": str(out)}), to=to, quiet=True).did)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("thresholds"))


def decided(out: Path, stage: str) -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = (
        dataset.open(str(out))
        .sql(f"SELECT text, reason FROM dropped WHERE stage = '{stage}' ORDER BY text, reason")
        .fetchall()
    )
    return rows


SEARCH = {
    f"neardup.{phase}"
    for phase in ("map", "edges", "small_star", "components", "members", "clusters", "cells", "semantic", "decide")
}
CHANGES: list[tuple[str, Any, set[str]]] = [
    # key, another value, the phases of its stage that may run
    ("text.languages", ["en"], {"text.decide"}),
    ("text.max_profanity_probability", 0.0, {"text.decide"}),
    ("text.allowed_terms", [], {"text.decide"}),
    ("hashlists.max_pdq_hamming", 31, {"fetch.get", "fetch.decide"}),
    ("image.max_nsfw_probability", 0.55, {"image.decide"}),
    ("image.min_clip_score", 0.99, {"image.decide"}),
    ("image.min_clip_score", "top 30%", {"image.cutoffs", "image.decide"}),
    ("image.min_side", 97, {"image.decide"}),
    ("faces.min_score", 0.5, {"image.decide"}),
    ("neardup.max_hamming", 0, SEARCH),
    ("neardup.max_colour_distance", 30, SEARCH),
    ("semantic.min_cosine", 0.5, {"neardup.semantic", "neardup.decide"}),
    ("decontaminate.max_hamming", 0, {"decontaminate.decide"}),
    ("decontaminate.min_cosine", 0.95, {"decontaminate.decide"}),
    ("decontaminate.max_colour_distance", 0, {"decontaminate.find", "decontaminate.decide"}),
]


LOOKS = {"image.nsfw", "image.embed", "image.faces", "neardup.hash", "decontaminate.embed"}
"""Phases that look at images."""


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Each time that stored images are read, by which stage, and how many."""
    calls: list[tuple[str, int]] = []
    for module, stage in (
        (pipeline.stages.image.models, "nsfw"),
        (pipeline.stages.image.stage, "faces"),
        (pipeline.stages.image.embed, "embed"),
        (pipeline.stages.neardup.stage, "hash"),
        (pipeline.stages.decontaminate.stage, "copies"),
    ):

        def read(storage: Any, images: Any, stage: str = stage) -> list[bytes]:
            calls.extend([(stage, images.num_rows)] if images.num_rows else [])
            return read_images(storage, images)

        monkeypatch.setattr(module, "read_images", read)
    return calls


def files(out: Path) -> dict[str, bytes]:
    """All that was committed; the fetch store records what was observed, and when."""
    left_out = ("log", "lease.json")
    return {
        str(path.relative_to(out)): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file() and path.relative_to(out).parts[0] not in left_out and "store" not in path.parts
    }


def test_no_image_is_looked_at_again_when_an_earlier_stage_drops_more_or_less(
    world: World, tmp_path: Path, looked: list[tuple[str, int]]
) -> None:
    """And what is remembered makes the same bytes as what is measured. One whose row comes back is measured again."""
    out, strict = tmp_path / "out", deepcopy(world.base)
    strict["text"]["languages"] = ["en"]
    strict["image"]["max_nsfw_probability"] = 0.65
    shutil.copytree(world.built, out)
    assert world.build(out, strict) >= LOOKS
    assert looked == []
    shutil.copytree(out / "fetch" / "store", tmp_path / "fresh" / "fetch" / "store")  # where a blob is counts
    world.build(tmp_path / "fresh", strict)
    assert len(looked) == len(LOOKS)
    assert files(out) == files(tmp_path / "fresh")
    looked.clear()
    world.build(out, world.base)
    assert dict(looked) == {"nsfw": 1, "faces": 1, "embed": 1, "hash": 2, "copies": 1}
    assert files(out) == files(world.built)


def test_another_number_of_partitions_or_another_model_is_no_stranger(
    world: World, tmp_path: Path, looked: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, many = tmp_path / "out", {**world.base, "run": {"workers": 0, "pairs_per_partition": 3}}
    shutil.copytree(world.built, out)
    assert world.build(out, many) >= LOOKS
    assert looked == []
    other = deepcopy(many)
    other["image"]["models"][0]["answer"] = 1
    world.build(out, other)
    assert {stage for stage, _ in looked} == {"nsfw"}
    looked.clear()
    monkeypatch.setattr(pipeline.engine.reuse, "MOST_ROWS", 3)  # too many to look through
    world.build(out, {**other, "run": world.base["run"]})
    assert {stage for stage, _ in looked} == {"nsfw", "faces", "embed", "hash", "copies"}


@pytest.mark.parametrize(("key", "value", "phases"), CHANGES, ids=[f"{key}={value}" for key, value, _ in CHANGES])
def test_a_changed_threshold_decides_anew_on_what_was_measured(
    key: str, value: Any, phases: set[str], world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    section, name = key.split(".")
    stage = {"hashlists": "fetch", "faces": "image", "semantic": "neardup"}.get(section, section)
    config = deepcopy(world.base)
    config[section][name] = value
    out = tmp_path / "out"
    shutil.copytree(world.built, out)
    monkeypatch.setattr(pipeline.stages.fetch.stage, "ingest", None)  # no image is taken in again
    done = world.build(out, config, stage)
    assert f"{stage}.decide" in done
    assert done <= phases
    assert decided(out, stage) != decided(world.built, stage)

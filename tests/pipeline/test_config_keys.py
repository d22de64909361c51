"""Each key of a run's config changes something that a person can observe; a key that changes nothing would be a lie."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import fields, is_dataclass
from functools import cache
from html import escape
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pytest

import dataset
from dataset import stages
from pipeline.build import build
from pipeline.config import Config
from pipeline.config import build as make_config
from tests.pipeline import pages
from tests.pipeline.stages.fetch.test_fetch_keys import OUTCOMES

NOUNS = ("kettle", "bridge", "lamp", "castle", "garden")
HOST = "http://images.example"


def leaves(owner: type, prefix: str = "") -> Iterator[str]:
    """The dotted name of every key."""
    hints = get_type_hints(owner)
    for item in fields(owner):  # type: ignore[arg-type]
        kind = hints[item.name]
        if is_dataclass(kind):
            yield from leaves(kind, f"{prefix}{item.name}.")  # type: ignore[arg-type]
        else:
            yield prefix + item.name


def soft(seed: int, shift: int = 0) -> np.ndarray:
    """A picture of little contrast, whose PDQ quality is below 100."""
    return pages.texture(seed, shift=shift, contrast=45)


class World:
    """An archive in which every key matters, and the files that configs name."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._write_lists()
        self.archive = self._write_archive()
        self.base: dict[str, Any] = {
            "sources": [str(self.archive)],
            "name": "keys",
            "text": {"language_min_probability": 0.4},
            "match": {"queries": self.path("queries.txt")},
            "dedup": {"max_images_per_text": 4},
            "prebalance": {"oversample": 2.0},
            "fetch": {"origins": ["archive"]},
            "image": {"nsfw_model": ""},
            "decontaminate": {"folders": [self.path("evaluation")]},
            "balance": {"cap": 5},
            "pack": {"samples_per_shard": 8, "heldout_share": 0.2},
            "run": {"workers": 0, "max_quarantined": 3},
            "allow_programs": True,
            "filters": [
                {
                    "name": "own",
                    "stage": "text",
                    "measure": f"{self.path('own.py')}:look",
                    "drop_when": "looked AND contains(text, 'unwanted')",
                }
            ],
        }

    def path(self, name: str) -> str:
        return str(self.folder / name)

    def _write_lists(self) -> None:
        for name, text in {
            "queries.txt": "\n".join(NOUNS),
            "other_queries.txt": "kettle\n",
            "blocklist.txt": "bridge\n",
            "domains.txt": "images.example\n",
            "listed.md5": hashlib.md5(pages.encoded(pages.texture(33))).hexdigest(),
            "own.py": "def look(rows):\n"
            "    assert not any('crashing' in text for text in rows['text'].to_pylist())\n"
            "    return {'looked': [True] * len(rows)}\n",
            "tongues.txt": "__label__de ein haus\n__label__de the house\n" * 20,
        }.items():
            (self.folder / name).write_text(text)
        (self.folder / "evaluation").mkdir()
        (self.folder / "evaluation" / "same.jpg").write_bytes(pages.encoded(pages.texture(38)))
        (self.folder / "evaluation" / "brighter.jpg").write_bytes(pages.encoded(soft(71, 4)))

    def _write_archive(self) -> Path:
        images: dict[str, tuple[str, bytes]] = {}
        tags: list[str] = []

        def add(name: str, alt: str, body: bytes, more: str = "") -> None:
            images[f"{HOST}/{name}"] = ("image/jpeg", body)
            tags.append(f'<img src="{HOST}/{name}" alt="{escape(alt)}" {more}>')

        for n in range(40):
            noun = NOUNS[0] if n < 24 else NOUNS[n % 5]
            add(
                f"{n}.jpg",
                f"A photograph of the old {noun} by the river in number {n}",
                pages.encoded(pages.texture(n)),
            )
        add("title.jpg", "the Kettle", pages.encoded(pages.texture(50)), 'title="A castle that the title names"')
        add("large.jpg", "A very large castle on a hill", pages.encoded(pages.texture(51, side=400)))
        add("wide.jpg", "A wide castle with many roses", pages.encoded(pages.texture(52, side=160)[:80]))
        add("DSC_0042.jpg", "DSC_0042.jpg", pages.encoded(pages.texture(53)))
        add("lamp_1.png", "lamp_1", pages.encoded(pages.texture(54)))
        add("unsafe.jpg", "a porn garden with a lamp", pages.encoded(pages.texture(55)))
        add("unwanted.jpg", "an unwanted castle of stone", pages.encoded(pages.texture(56)))
        add("crashing.jpg", "a crashing castle of stone", pages.encoded(pages.texture(57)))
        add("german.jpg", "Eine alte Burg mit einem Garten castle", pages.encoded(pages.texture(58)))
        add("unsure.jpg", "Un castello castle sul mare", pages.encoded(pages.texture(59)))
        add("mixed.jpg", "le castle rouge garden", pages.encoded(pages.texture(82)))
        add("weak.jpg", "a castle for erotic art", pages.encoded(pages.texture(83)))
        add("porn/address.jpg", "a castle at an unsafe address", pages.encoded(pages.texture(84)))
        add("icons/logo.png", "logo of the castle", pages.encoded(pages.texture(85)))
        for n in range(5):
            add(f"spam{n}.jpg", "the garden of our great shop", pages.encoded(pages.texture(60 + n)))
        add("mail.jpg", "A castle that someone@example.org drew", pages.encoded(pages.texture(80)))
        tags.append(f'<img src="{HOST}/30.jpg" alt="Another and quite a different garden text">')
        for shift in (0, 4):  # copies of soft pictures, whose hashes are not of the best quality
            add(f"soft{shift}.jpg", f"A soft bridge in shade {shift}", pages.encoded(soft(70, shift)))
        add("evaluated.jpg", "A soft castle to be asked about", pages.encoded(soft(71)))
        add("flat.jpg", "A flat lamp of one colour", pages.encoded(pages.texture(32) // 16 + 120))
        add("flat2.jpg", "A flat castle of one colour", pages.encoded(pages.texture(32) // 16 + 121))
        body = "".join(tags)
        noai = f'<meta name="robots" content="noai"><img src="{HOST}/35.jpg" alt="A garden that asks to be left alone">'
        tdm = f'<meta name="tdm-reservation" content="1"><img src="{HOST}/34.jpg" alt="A garden with rights reserved">'
        add("named.jpg", "Klopfgeist Castle", pages.encoded(pages.texture(86)))
        named = f'<html lang="de">{tags.pop()}'
        listed = [
            ("http://page.example/", f'<html lang="en">{body}'),
            ("http://named.example/", named),
            ("http://noai.example/", noai),
            ("http://tdm.example/", tdm),
        ]
        return pages.write(self.folder / "keys.warc.gz", listed, images)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def base(world: World) -> Path:
    out = world.folder / "base"
    build_to(world.base, out, None)
    return out


LAST_STAGE = {section: stage.name for stage in reversed(stages.path()) for section in stage.sections}
"""The stage that a section of the config decides in: what a key of it changes is seen as soon as that has run."""
TO_THE_END = ("pack", "balance")
"""Sections whose keys are seen in the shards, or in two stages."""


def build_to(config: dict[str, Any], out: Path, to: str | None) -> None:
    build(make_config({**deepcopy(config), "out": str(out)}), to=to, quiet=True)


@pytest.fixture(scope="module")
def seen_at(world: World, base: Path) -> Callable[[str | None], dict[str, Any]]:
    """The snapshot of the base dataset up to a stage, or to its end."""

    @cache
    def seen(to: str | None) -> dict[str, Any]:
        if to is None:
            return snapshot(base)
        shutil.copytree(base, out := world.folder / f"to_{to}", copy_function=os.link)
        build_to(world.base, out, to)
        return snapshot(out)

    return seen


def snapshot(out: Path) -> dict[str, Any]:
    """What a person can see of a dataset, its own config apart."""
    made = dataset.open(str(out))
    return {
        "candidates": made.sql("SELECT pair_id, text_source FROM candidates ORDER BY ALL").fetchall(),
        "dropped": made.sql("SELECT pair_id, stage, reason FROM dropped ORDER BY ALL").fetchall(),
        "pairs": made.sql("SELECT pair_id, shard, split, width, height FROM pairs ORDER BY ALL").fetchall(),
        "matches": made.sql("SELECT DISTINCT pair_id, query_id FROM matches ORDER BY ALL").fetchall(),
        "shards": {path.name: path.read_bytes() for path in sorted((out / "shards").glob("*.tar"))},
        "partitions": [(entry["phase"], entry["partitions"]) for entry in made.manifest["phases"]],
        "datasheet": (out / "datasheet.md").read_text().splitlines()[0],
    }


def model(world: World) -> str:
    """A language model that takes everything for German."""
    import fasttext

    path = world.path("german.bin")
    fasttext.train_supervised(input=world.path("tongues.txt"), dim=2, epoch=1, thread=1, verbose=0).save_model(path)
    return path


ARCHIVE_KEYS: dict[str, Any] = {
    "sources": lambda world: [str(world.archive), str(shutil.copy(world.archive, world.path("again.warc.gz")))],
    "name": "another",
    "seed": 1,
    "extract.text_sources": ["title", "alt"],
    "extract.texts_per_image": "all",
    "extract.sample": 0.5,
    "extract.mask_personal_data": [],
    "text.drop_personal_data": True,
    "text.min_characters": 20,
    "text.min_words": 5,
    "text.max_characters": 40,
    "text.languages": ["de"],
    "text.language_min_probability": 1.0,
    "text.language_model": model,
    "text.language_context": False,
    "text.undetermined": "page",
    "text.not_captions": [],
    "text.max_texts_on_page": 1,
    "text.max_site_images_per_text": 1,
    "text.min_weak_terms": 1,
    "text.drop_unsafe_addresses": False,
    "text.drop_filenames": False,
    "text.blocklist": lambda world: world.path("blocklist.txt"),
    "text.blocked_patterns": ["lamp"],
    "text.allowed_terms": ["porn"],
    "text.max_profanity_probability": 0.01,
    "text.blocked_domains": lambda world: world.path("domains.txt"),
    "text.respect_noai": False,
    "text.respect_tdm": False,
    "match.queries": lambda world: world.path("other_queries.txt"),
    "match.rule": "metaclip",
    "dedup.max_images_per_text": 5,
    "dedup.max_share_per_text": 0.5,
    "dedup.texts_per_url": "first",
    "prebalance.oversample": 1.0,
    "hashlists.files": lambda world: [world.path("listed.md5")],
    "image.min_side": 85,
    "image.max_aspect": 1.5,
    "neardup.max_hamming": 0,
    "neardup.min_quality": 100,
    "neardup.max_colour_distance": 0,
    "decontaminate.folders": [],
    "decontaminate.max_hamming": 0,
    "decontaminate.min_quality": 100,
    "decontaminate.max_colour_distance": 0,
    "balance.cap": 2,
    "balance.mode": "sample",
    "pack.samples_per_shard": 3,
    "pack.heldout_share": 0.0,
    "filters": [],
    "run.piece_bytes": 2**16,
    "run.pairs_per_partition": 10,
}
STORE_KEYS: dict[str, Any] = {
    "store.max_pixels": 100_000,
    "store.store_size": 64,
    "store.resize_mode": "border",
    "store.resize_only_if_bigger": False,
    "store.store_format": "webp",
    "store.quality": 20,
}


def changed(config: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    config = deepcopy(config)
    *sections, last = key.split(".")
    at = config
    for section in sections:
        at = at.setdefault(section, {})
    at[last] = value
    return config


@pytest.mark.parametrize("key", ARCHIVE_KEYS)
def test_a_key_changes_the_dataset(
    key: str, world: World, base: Path, seen_at: Callable[[str | None], dict[str, Any]], tmp_path: Path
) -> None:
    value = ARCHIVE_KEYS[key]
    section = key.partition(".")[0]
    to = None if section in TO_THE_END else LAST_STAGE.get(section)
    shutil.copytree(base, out := tmp_path / "out", copy_function=os.link)
    build_to(changed(world.base, key, value(world) if callable(value) else value), out, to)
    assert snapshot(out) != seen_at(to)


@pytest.fixture(scope="module")
def stored_at(world: World, base: Path) -> Callable[[int], Path]:
    """The base dataset with images of a side: at the default, a small image's bytes are taken as they are."""

    @cache
    def stored(side: int) -> Path:
        shutil.copytree(base, out := world.folder / f"side_{side}", copy_function=os.link)
        build_to(changed(world.base, "store.store_size", side), out, None)
        return out

    return stored


@pytest.mark.parametrize("key", STORE_KEYS)
def test_a_key_changes_what_is_stored(key: str, world: World, stored_at: Callable[[int], Path], tmp_path: Path) -> None:
    side = 128 if key == "store.resize_only_if_bigger" else 80  # images have 96
    raw = changed(world.base, key, STORE_KEYS[key])
    raw["store"].setdefault("store_size", side)
    before = stored_at(side)
    shutil.copytree(before, out := tmp_path / "out", copy_function=os.link)
    build_to(raw, out, None)
    assert snapshot(out) != snapshot(before)


def test_what_no_archive_holds_is_asked_of_the_web_where_the_config_says_so(world: World, tmp_path: Path) -> None:
    tag = f'<html lang="en"><img src="{HOST}/gone.jpg" alt="A garden now gone">'
    more = {"sources": [str(pages.write(tmp_path / "more.warc.gz", [("http://page.example/", tag)]))]}
    build_to({**world.base, **more}, tmp_path / "before", "prebalance")
    dropped = []
    for number, origins in enumerate((["archive"], ["archive", "http"])):
        fetch = {"origins": origins, "resolve": {"images.example": "127.0.0.1:9"}}  # where it is refused
        shutil.copytree(tmp_path / "before", tmp_path / str(number))
        build_to({**world.base, **more, "fetch": fetch}, tmp_path / str(number), "fetch")
        asked = dataset.open(str(tmp_path / str(number)))
        dropped.append(asked.sql("SELECT url, reason FROM dropped ORDER BY ALL").fetchall())
    assert dropped[0] != dropped[1] != []


ELSEWHERE: dict[str, Callable[[], None]] = dict.fromkeys(
    (
        *("commoncrawl.files", "commoncrawl.base"),  # test_sources
        "commoncrawl.max_requests_per_s",  # dataset/store/test_rate_limit
        *(f"extract.{name}" for name in ("url_columns", "text_columns", "columns", "quoted_tsv")),  # crawl/tables
        *(f"fetch.{name}" for name in ("user_agent", "resolve", "concurrency", "per_host_concurrency")),
        *("fetch.per_host_delay_s", "fetch.retry", "fetch.refresh_before"),  # stages/fetch/test_fetch_keys
        # tests/crawl/web/test_fetch_wishes.py, and of pages tests/sql/test_text_sql.py
        *(f"fetch.{name}" for name in ("also_heed", "respect_content_signal", "respect_content_usage")),
        *("text.respect_content_signal", "text.respect_content_usage", "text.respect_rsl", "fetch.respect_rsl"),
        *("fetch.respect_data_mining", "fetch.mask_personal_data"),  # crawl/images/test_rights.py
        *(f"{part}.unreadable_{what}" for part in ("fetch", "text") for what in ("policy", "license")),
        "fetch.ai_txt",  # tests/crawl/web/test_fetch_wishes.py
        "fetch.max_wait_s",  # tests/crawl/web/test_visit.py
        "fetch.engine",  # stages/fetch/test_fetch_keys
        "fetch.origins",  # the test of what no archive holds
        "fetch.distributor",  # test_distributing
        "fetch.adopt",  # stages/fetch/test_adopt
        "match.ignore_stopwords",  # stages/test_match
        *(f"text.{name}" for name in ("decode_markup", "slugs_to_words", "cut_repeats")),  # stages/test_captions
        *("text.max_site_texts_per_image", "text.max_site_page_share"),  # stages/test_captions
        *("balance.per_language", "balance.caps"),  # test_languages
        *(f"image.{name}" for name in ("nsfw_model", "max_nsfw_probability", "models", "quantiles")),  # test_models
        *(f"image.{name}" for name in ("embedding_model", "min_clip_score", "heads")),  # test_models
        *("text.blocked_categories", "hashlists.max_pdq_hamming"),  # test_safety
        *("hashlists.min_pdq_quality", "hashlists.categories"),  # test_safety
        *(f"semantic.{name}" for name in ("min_cosine", "images_per_cell", "target_folders")),  # test_models
        *(f"faces.{name}" for name in ("yunet", "model", "action", "min_score")),  # test_models
        "out",  # every test
        *("against", "neardup.hash"),  # test_existing
        *("decontaminate.model", "decontaminate.min_cosine"),  # test_decontaminate
        "run.max_quarantined",  # test_custom
        "run.workers",  # test_cluster: the same bytes with 1 and with 4; 0 starts no Ray
        "run.address",  # test_cluster
        "run.gpus_per_model_task",  # test_cluster
        "run.patience_s",  # engine/test_full_disk
        "run.web_patience_s",  # dataset/test_web, test_secrets
        "allow_programs",  # test_programs
        *("run.record_cpu_s", "run.record_memory_bytes"),  # engine/test_budgets
        "image.nsfw_exact",  # filters/images/test_int8
        "run.small_bytes",  # engine/test_small_runs
    )
)


def test_every_key_has_its_test() -> None:
    assert set(ARCHIVE_KEYS) | set(STORE_KEYS) | set(OUTCOMES) | set(ELSEWHERE) == set(leaves(Config))

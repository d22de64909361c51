"""What the pages in docs/ show can be typed."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml

import dataset
from crawl.candidates.config import ExtractConfig
from crawl.pages.html import TEXT_SOURCES
from pipeline.arguments import parser
from pipeline.build import build
from pipeline.cli import main
from pipeline.config import build as make_config
from pipeline.config_files import PRESETS
from tests.crawl.warc_bytes import http, members, page, record
from tests.pipeline.inline import tasks_in_this_process
from train.config import load as load_training

DOCS = Path(__file__).resolve().parents[1] / "docs"
SOURCES, SAFETY, DUPLICATES, TRAINING, CAPTIONS, EVALUATION = (
    (DOCS / f"{name}.md").read_text(encoding="utf-8")
    for name in ("sources", "safety", "duplicates", "training", "captions", "evaluation")
)


@pytest.mark.parametrize(
    "block", re.findall(r"```yaml\n(.*?)```", SOURCES + SAFETY + DUPLICATES + CAPTIONS, flags=re.DOTALL)
)
def test_every_piece_of_config_is_one(block: str) -> None:
    make_config({"sources": ["a"], "out": "b", **yaml.safe_load(block)})


@pytest.mark.parametrize("block", re.findall(r"```yaml\n(.*?)```", TRAINING, flags=re.DOTALL))
def test_every_piece_of_a_training_config_is_one(block: str) -> None:
    load_training({"dataset": "out", **yaml.safe_load(block)})


@pytest.mark.parametrize("line", re.findall(r"^    (wit .*)$", EVALUATION, flags=re.MULTILINE))
def test_every_command_of_the_page_on_examining_is_one(line: str) -> None:
    """What they do is tested where each is."""
    assert parser().parse_args(shlex.split(line)[1:]).command in {
        "eval",
        "compare",
        "search",
        "why",
        "human",
        "experiment",
    }


def test_every_text_source_is_explained() -> None:
    table = SOURCES.partition("| text source |")[2].partition("\n\n")[0]
    assert set(re.findall(r"`([a-z-]+)`(?:, `([a-z-]+)`)? \| ", table)[0]) <= set(TEXT_SOURCES)
    assert all(f"`{name}`" in table for name in TEXT_SOURCES)
    assert f"text_sources: [{', '.join(ExtractConfig().text_sources)}]" in SOURCES


@tasks_in_this_process()
def test_the_presets_of_the_page_on_safety_are_there_and_its_command_works(tmp_path: Path) -> None:
    (command,) = re.findall(r"^wit (run .*)$", SAFETY, flags=re.MULTILINE)
    archive = tmp_path / "a.warc.gz"
    archive.write_bytes(
        members(page("<html lang=en><img src=a.png alt='an old steam engine'><img src=b.png alt=kettle>"))
    )
    more = ["--set", f"sources={archive}", "--out", f"{tmp_path}/out", "--workers", "0", "--to", "text"]
    assert main([*command.split(), *more]) == 0
    dropped = dataset.open(f"{tmp_path}/out").sql("SELECT text, reason FROM dropped").fetchall()
    assert dropped == [("kettle", "text_too_short")]
    named = set(re.findall(r"^\| `(datacomp_\w+)` \|", SAFETY, flags=re.MULTILINE))
    assert named and named <= {file.stem for file in PRESETS.glob("*.yaml")}


@tasks_in_this_process()
def test_its_filters_drop_by_what_a_page_says(tmp_path: Path) -> None:
    link = "<a rel=license href=https://creativecommons.org/licenses/by/4.0/>CC BY</a>"
    reserved = http(f"{link}<img src=a.png alt='a kettle, reserved'>".encode(), headers=("TDM-Reservation: 1",))
    pages = [
        record(reserved),
        page(f"{link}<img src=b.png alt='a kettle, free'>"),
        page("<img src=c.png alt='a kettle'>"),
    ]
    (tmp_path / "a.warc.gz").write_bytes(members(*pages))
    (block,) = re.findall(r"```yaml\n(filters:.*?)```", SOURCES, flags=re.DOTALL)
    config = {"sources": [f"{tmp_path}/a.warc.gz"], "out": f"{tmp_path}/out", "text": {"languages": []}}
    build(make_config({**config, "run": {"workers": 0}, **yaml.safe_load(block)}), to="text", quiet=True)
    dropped = dataset.open(f"{tmp_path}/out").sql("SELECT text, reason FROM dropped ORDER BY text").fetchall()
    assert dropped == [("a kettle", "not_creative_commons"), ("a kettle, reserved", "page_tdm_reserved")]


def test_a_run_with_lists_of_languages_is_one() -> None:
    text = (Path(__file__).resolve().parents[1] / "docs" / "queries.md").read_text(encoding="utf-8")
    block = re.findall(r"```yaml\n(.*?)```", text.partition("## Several languages")[2], flags=re.DOTALL)[0]
    config = make_config({"sources": ["a"], "out": "b", **yaml.safe_load(block)})
    assert config.balance.per_language
    assert make_config({"sources": ["a"], "out": "b", **yaml.safe_load(block.replace("# caps", "caps"))}).balance.caps

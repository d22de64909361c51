"""What docs/models.md and the configs it names say can be done."""

from __future__ import annotations

import re
import shlex
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml

import dataset
from dataset.reasons import reasons
from filters.images.models import ImageModel
from pipeline import cli
from pipeline.config import build as make_config
from tests.pipeline import small_archive
from tests.pipeline.inline import tasks_in_this_process

ROOT = Path(__file__).resolve().parents[1]
DOC = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
PRESETS = ("clip_score", "image_based", "image_based_clip_score", "semdedup")


def merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """An overlay's keys over a config's."""
    both = dict(base)
    for key, value in over.items():
        both[key] = merged(both[key], value) if isinstance(value, dict) and isinstance(both.get(key), dict) else value
    return both


@pytest.mark.parametrize("block", re.findall(r"```yaml\n(.*?)```", DOC, flags=re.DOTALL))
def test_every_piece_of_config_is_one(block: str) -> None:
    make_config({"sources": ["a"], "out": "b", **yaml.safe_load(block)})


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_goes_over_any_config(name: str) -> None:
    assert f"{name}.yaml" in DOC
    base = yaml.safe_load((ROOT / "configs" / "archive.yaml").read_text())
    over = yaml.safe_load((ROOT / "configs" / "presets" / f"{name}.yaml").read_text())
    config = make_config(merged(base, over))
    assert config.image.min_side == 32
    assert config.image.embedding_model


def test_it_names_every_key_of_a_model_and_only_reasons_that_there_are() -> None:
    assert all(f"`{item.name}`" in DOC or f"{item.name}: " in DOC for item in fields(ImageModel))
    for reason in ("nsfw_image", "clip_score_low", "semantic_duplicate", "unlike_target_images", "image_has_face"):
        assert reason in DOC and reason in reasons()


@tasks_in_this_process()
def test_a_model_that_a_dataset_has_trained_chooses_the_next_ones_pairs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The commands of docs/models.md, which are those of configs/dfn.yaml."""
    (block,) = re.findall(r"```sh\n(.*?)```", DOC, flags=re.DOTALL)
    lines = block.splitlines()
    said = (ROOT / "configs" / "dfn.yaml").read_text()
    assert all(f"#   {line}" in said for line in lines)
    archive = small_archive.write(tmp_path / "crawl.warc.gz", pages=12)
    monkeypatch.chdir(ROOT)
    kept, low = [], []
    for line in lines:
        words = [
            word.replace("out/my-crawl", str(tmp_path / "out")).replace("my-crawl.warc.gz", str(archive))
            for word in shlex.split(line)[1:]
        ]
        if words[0] == "run":
            words += ["--workers", "0", "--set", 'image.nsfw_model=""']
            words += ["--set", f"match.queries={archive.parent / 'queries.txt'}"]  # half a million take their time
        else:
            words += [part for pair in ("batch_size=8", "epochs=1", "workers=0") for part in ("--set", pair)]
        assert cli.main(words) == 0, capsys.readouterr().err
        made = dataset.open(str(tmp_path / "out"))
        kept.append(made.sql("SELECT count(*) FROM pairs").fetchall()[0][0])
        low.append(made.sql("SELECT count(*) FROM dropped WHERE reason = 'clip_score_low'").fetchall()[0][0])
    assert low[1] == 0 and low[3] > 0
    assert 0 < kept[3] < kept[1] / 3
    assert (tmp_path / "out" / "runs" / "filtered").is_dir()

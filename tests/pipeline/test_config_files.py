"""A config is found by its path or by the name of one that openwit carries, and a new one can be begun from each."""

from __future__ import annotations

import importlib.util
import re
import shutil
from dataclasses import fields, is_dataclass
from pathlib import Path

import pytest
import yaml

from filters.queries.build import QueriesConfig
from filters.texts.text import TextConfig
from pipeline import config_files
from pipeline.cli import main
from pipeline.config import Config, ConfigError, build, load
from pipeline.config_files import CARRIED, carried_names, find, read_yaml, with_presets
from pipeline.new_config import docs, text
from train.config import TrainConfig

TRAINING: list[type] = [type(section) for section in vars(TrainConfig("a")).values() if is_dataclass(section)]
"""The sections of a training config."""


def test_a_carried_config_is_found_by_its_name_where_there_is_no_such_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("archive", "archive.yaml", "configs/archive.yaml"):
        assert find(name) == CARRIED / "archive.yaml"
    assert find("train/clip_vit_b32") == CARRIED / "train" / "clip_vit_b32.yaml"
    (tmp_path / "archive.yaml").write_text("sources: [mine]\n")
    assert read_yaml("archive.yaml") == {"sources": ["mine"]}


@pytest.mark.parametrize("name", ["archve", "../pyproject", "../README.md", "/etc/passwd.yaml", "", ".", "train"])
def test_what_is_no_config_is_named(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"there is no config|is a folder"):
        find(name)


@pytest.mark.parametrize("like", carried_names())
def test_a_new_config_says_the_same_as_the_one_it_began_as(like: str) -> None:
    raw = with_presets(read_yaml(like))
    new = yaml.safe_load(text("mine", "mine.yaml", like))
    renamed = {"name": "mine"} if "name" in new else {}
    if "sources" in raw or like == "queries_en":
        renamed["out"] = "out/mine" if "sources" in raw else "mine.parquet"
    assert new == {**raw, **renamed}


@pytest.mark.parametrize(("like", "owner"), [("archive", Config), ("train_archive", TrainConfig), ("queries_en", None)])
def test_every_key_is_there_behind_a_mark_that_can_be_taken_away(like: str, owner: type | None) -> None:
    written = text("mine", "mine.yaml", like)
    whole = yaml.safe_load(re.sub(r"^(\s*)#(?! \S|$)", r"\1", written, flags=re.MULTILINE))
    keys = {field.name for field in fields(owner or QueriesConfig)}
    assert set(whole) >= keys - {"name"}
    if owner is Config:
        assert build(whole) == build(yaml.safe_load(written))
        assert set(whole["dedup"]) == {"max_images_per_text", "max_share_per_text", "texts_per_url"}


@pytest.mark.parametrize("owner", [*TRAINING, QueriesConfig, TextConfig])
def test_every_key_is_explained(owner: type) -> None:
    assert set(docs(owner)) == {field.name for field in fields(owner)}


def test_wit_new_writes_a_file_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["new", "mine"]) == 0
    assert capsys.readouterr().out == "mine.yaml\n"
    assert load("mine.yaml").name == "mine"
    assert main(["new", "mine"]) == 2
    assert "is there already" in capsys.readouterr().err
    assert main(["new", "other", "--like", "nothing_like_it"]) == 2
    assert "cc_10m" in capsys.readouterr().err


def test_a_key_that_stands_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("sources: [a]\ntext:\n  min_words: 2\nmatch: {}\ntext:\n  languages: [en]\n")
    with pytest.raises(ConfigError, match=r"c\.yaml, line 5 .*text stands here for the second time"):
        read_yaml(str(tmp_path / "c.yaml"))


def test_a_section_of_nothing_but_comments_is_empty() -> None:
    assert build({"sources": ["a"], "out": "b", "text": None}) == build({"sources": ["a"], "out": "b"})


def test_debug_stands_before_or_after_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["--debug", "status", "{}"], ["status", "--debug", "{}"], ["status", "{}", "--debug"]):
        assert main([word.format(tmp_path / "nothing") for word in words]) == 2
        assert "Traceback" in capsys.readouterr().err
    assert main(["status", str(tmp_path / "nothing")]) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_an_installed_wheel_reads_its_own_configs_and_not_another_packages(tmp_path: Path) -> None:
    code = tmp_path / "pipeline"
    shutil.copytree(Path(config_files.__file__).parent, code, ignore=shutil.ignore_patterns("__pycache__", "stages"))
    for folder, content in ((tmp_path / "configs", "a: theirs"), (tmp_path / "openwit" / "configs", "a: ours")):
        folder.mkdir(parents=True)
        (folder / "archive.yaml").write_text(content)
    spec = importlib.util.spec_from_file_location("installed", code / "config_files.py")
    assert spec is not None and spec.loader is not None
    installed = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(installed)
    assert tmp_path / "openwit" / "configs" == installed.CARRIED
    assert Path(config_files.__file__).parent.parent / "configs" == CARRIED


@pytest.mark.parametrize("value", [".nan", ".inf", "-1", "1.5"])
def test_gpus_that_cannot_be_are_refused_and_those_that_nobody_gives_are_too(value: str) -> None:
    raw = {"sources": ["a"], "out": "out"}
    with pytest.raises(ConfigError, match="gpus_per_model_task must be 0, a share of 1 or whole"):
        build({**raw, "run": {"gpus_per_model_task": float(value.lstrip("."))}})
    with pytest.raises(ConfigError, match=r"gpus_per_model_task is Ray's, which workers: 0 does without"):
        build({**raw, "run": {"gpus_per_model_task": 0.5, "workers": 0}})

"""A path means what it means in the folder where the command was typed: for every argument and every key."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args, get_type_hints

import pytest
import yaml

from dataset.store.storage import Storage
from filters.queries.build import QueriesConfig
from pipeline import arguments, cli, submit
from pipeline.config import Config
from pipeline.config_errors import ConfigError
from pipeline.paths import ARGUMENTS, KEYS, settle
from tests.train import tiny
from train.checkpoints.checkpoint import check_resumable
from train.config import PATHS, TrainConfig, by_place, load

COMMANDS = sorted(set(ARGUMENTS) - {"queries"})
NO_PATHS = {
    "which",
    "query",
    "name",
    "set",
    "words",
    "address",
    "format",
    "to",
    "retry",
    "sample",
    "weights",
    "before",
    "host",
    "pairs",
    "assume",
    "user_agent",
}
"""Arguments that are texts, and no paths; `name` is an audit's."""


def parsers(parser: argparse.ArgumentParser, before: str = "") -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Every command's parser."""
    below = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not below:
        yield before, parser
    for action in below:
        for name, made in action.choices.items():
            yield from parsers(made, f"{before} {name}".strip())


def test_every_argument_that_is_a_path_is_declared() -> None:
    found = dict(parsers(arguments.parser()))
    assert sorted(found) == COMMANDS
    assert set(cli.COMMANDS) == set(ARGUMENTS)
    for command, parser in found.items():
        texts = {
            action.dest
            for action in parser._actions
            if action.type is None and action.nargs != 0 and not action.choices and action.dest != "help"
        }
        assert texts - NO_PATHS <= set(ARGUMENTS[command]) <= texts, command


@pytest.mark.parametrize("command", COMMANDS)
def test_every_argument_is_absolute_before_anything_is_done(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    many = {"tasks", "preset", "in_distribution", "examined"}
    given = SimpleNamespace(**{name: ["a/b"] if name in many else "a/b" for name in ARGUMENTS[command]})
    settle(command, given)  # type: ignore[arg-type]
    for name, kind in ARGUMENTS[command].items():
        (value,) = getattr(given, name) if name in many else [getattr(given, name)]
        assert value == ("a/b" if kind == "name" else str(tmp_path / "a" / "b")), name
    remote = SimpleNamespace(**{name: ["s3://b/c"] if name in many else "s3://b/c" for name in ARGUMENTS[command]})
    settle(command, remote)  # type: ignore[arg-type]
    assert all(value in ("s3://b/c", ["s3://b/c"]) for value in vars(remote).values())


@pytest.mark.parametrize(
    ("command", "name"), [(c, n) for c in COMMANDS for n, kind in ARGUMENTS[c].items() if kind == "written"]
)
def test_a_job_elsewhere_writes_nothing_into_its_passing_copy(
    command: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(submit.HOME, "another-machine:/home/me")
    given = dict.fromkeys(ARGUMENTS[command])
    with pytest.raises(ConfigError, match=rf"^{name} is out/x, which would be lost with the job's copy"):
        settle(command, argparse.Namespace(**{**given, name: "out/x"}))
    settle(command, argparse.Namespace(**{**given, name: "/shared/x"}))
    settle(command, argparse.Namespace(**{**given, name: "s3://bucket/x"}))


def keys(owner: type, before: str = "") -> Iterator[str]:
    """A config's keys that take texts of any kind."""
    hints = get_type_hints(owner)
    for item in dataclasses.fields(owner):
        hint = hints[item.name]
        inner = [kind for kind in (hint, *get_args(hint)) if dataclasses.is_dataclass(kind)]
        for kind in inner:
            yield from keys(kind, f"{before}{item.name}.")  # type: ignore[arg-type]
        if not inner and "str" in str(hint) and "Literal" not in str(hint):
            yield f"{before}{item.name}"


NO_PATH_KEYS = {
    "run": {
        *(
            "name",
            "fetch.user_agent",
            "fetch.also_heed",
            "fetch.mask_personal_data",
            "text.not_captions",
            "fetch.refresh_before",
            "fetch.resolve",
            "run.address",
            "image.nsfw_model",
        ),
        *("extract.text_sources", "extract.url_columns", "extract.text_columns", "extract.columns", "balance.caps"),
        *("extract.mask_personal_data", "text.languages", "text.blocked_patterns", "text.allowed_terms"),
        *("faces.model.output", "decontaminate.model.output", "image.models.output", "image.models.name"),
        *(
            "image.heads.name",
            "text.blocked_categories",
            "image.min_clip_score",
            "image.quantiles",
            "filters.name",
            "filters.drop_when",
        ),
    },
    "queries build": {"language"},
    "train": {"name", "data.captions", "log.wandb", "evaluation.evaluators", "distributed.address"},
}
CONFIGS: dict[str, type] = {"run": Config, "queries build": QueriesConfig, "train": TrainConfig}


@pytest.mark.parametrize("command", CONFIGS)
def test_every_key_that_is_a_path_is_declared(command: str) -> None:
    known = set(keys(CONFIGS[command]))
    assert KEYS[command] | NO_PATH_KEYS[command] == known


@pytest.mark.parametrize("key", PATHS)
def test_every_key_of_a_training_run_is_absolute_when_it_is_read(
    key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    relative: Any = {"data.mixture": {"a/b": 2.0, "s3://c/d": 1.0}, "model.name": "a/b.json"}.get(key, "a/b")
    found = by_place(load({"dataset": "out"}, {key: relative}))[key]
    here = str(tmp_path / "a" / "b")
    others = {"data.mixture": {here: 2.0, "s3://c/d": 1.0}, "model.name": f"{here}.json", "evaluation.tasks": [here]}
    assert found == others.get(key, here)
    monkeypatch.chdir("/")
    assert by_place(load({"dataset": "/out"}, {key: found}))[key] == found  # in whatever folder it is read again


def test_a_run_that_was_begun_with_relative_paths_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    begun = {"dataset": "out", "pretrained": "a/b", "mixture": {"c": 1.0}, "model": "ViT-B-32"}
    described = {"index_fingerprint": "x", "config": begun}
    check_resumable(Storage("run"), described, load(begun), "x")
    with pytest.raises(ValueError, match=r"was begun with model\.pretrained"):
        check_resumable(Storage("run"), described, load({**begun, "pretrained": "a/c"}), "x")


def test_names_are_no_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    named = load({"dataset": "out", "model": "ViT-B-32", "pretrained": "openai"})
    assert (named.model.name, named.model.pretrained) == ("ViT-B-32", "openai")
    Path("openai").touch()
    assert load({"dataset": "out", "pretrained": "openai"}).model.pretrained == str(tmp_path / "openai")


def test_a_process_of_ray_train_finds_what_the_command_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The processes of Ray Train work in a folder of Ray's own."""

    class Trainer:
        def __init__(self, work: Any, train_loop_config: dict[str, Any], **options: Any):
            self.work, self.given = work, train_loop_config

        def fit(self) -> Any:
            (tmp_path / "elsewhere").mkdir()
            os.chdir(tmp_path / "elsewhere")
            return SimpleNamespace(return_value=self.work(self.given))

    ray: Any = types.ModuleType("ray")
    ray.is_initialized, ray.cluster_resources = (lambda: True), dict
    ray_train: Any = types.ModuleType("ray.train")
    ray_train.FailureConfig = ray_train.RunConfig = ray_train.ScalingConfig = SimpleNamespace
    torch_train: Any = types.ModuleType("ray.train.torch")
    torch_train.TorchConfig, torch_train.TorchTrainer = SimpleNamespace, Trainer
    for module in (ray, ray_train, torch_train):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.chdir(tmp_path)
    tiny.write_dataset(Path("data"))
    Path("model").mkdir()
    Path("model", "tiny-here.json").write_text(json.dumps(tiny.CONFIG))
    small = {"batch_size": 16, "samples_seen": 32, "workers": 0, "device": "cpu", "tensorboard": False}
    Path("train.yaml").write_text(yaml.safe_dump({"dataset": "data", "model": "model/tiny-here.json", **small}))
    assert cli.main(["train", "train.yaml", "--set", "ranks=1", "--out", "run"]) == 0
    assert (tmp_path / "run" / "log.jsonl").is_file()
    os.chdir(tmp_path)
    tars = "data/shards/{train-00000,heldout-00000}.tar"
    (tmp_path / "elsewhere").rmdir()
    assert cli.main(["train", "train.yaml", "--set", "ranks=1", "--set", f"dataset={tars}"]) == 0
    assert (tmp_path / "data" / "shards" / "runs" / "clip" / "log.jsonl").is_file()

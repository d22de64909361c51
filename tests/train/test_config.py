"""A wrong config is one sentence that names the key."""

from __future__ import annotations

import re
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import pytest

from dataset.store.storage import Storage
from train.checkpoints.checkpoint import check_resumable
from train.config import (
    OLD_KEYS,
    RESUMABLE_CHANGES,
    TrainConfig,
    by_key,
    by_place,
    from_keys,
    load,
    place_of,
)

WRONG = [
    ("dataset", ""),
    ("dataset", ["a"]),
    ("name", ""),
    ("name", "a/b"),
    ("name", ".hidden"),
    ("batch_size", 0),
    ("batch_size", 2.5),
    ("batch_size", True),
    ("micro_batch", -1),
    ("loss", "hinge"),
    ("epochs", 0),
    ("epochs", "many"),
    ("learning_rate", -1e-3),
    ("learning_rate", float("inf")),
    ("learning_rate", float("nan")),
    ("warmup_share", 1),
    ("warmup_share", -0.1),
    ("weight_decay", -0.1),
    ("weight_decay", float("inf")),
    ("grad_clip", 0),
    ("crop_min", 0),
    ("crop_min", 1.01),
    ("crop", "round"),
    ("flip", 1.5),
    ("captions", {}),
    ("captions", "txt"),
    ("mixture", ["a"]),
    ("mixture", {"out": 1.0}),
    ("shuffle", "some"),
    ("shuffle_shards", 0),
    ("damaged", "ignore"),
    ("cache", 1.5),
    ("cache_bytes", 0),
    ("precision", "fp8"),
    ("warmup_steps", -1),
    ("samples_seen", -1),
    ("optimizer", "sgd"),
    ("schedule", "linear"),
    ("cooldown_share", 1),
    ("unlocked_groups", -1),
    ("lock", "both"),
    ("image_size", -1),
    ("context_length", -1),
    ("final_share", 1),
    ("patch_dropout", 1),
    ("ema", 1),
    ("compile", "yes"),
    ("grad_checkpointing", 1),
    ("deterministic", "no"),
    ("tensorboard", 0),
    ("parallel", "tp"),
    ("on_nan", "ignore"),
    ("max_skipped", -1),
    ("peak_tflops", -1),
    ("wandb", 1.5),
    ("seed", "x"),
    ("device", "tpu"),
    ("workers", -1),
    ("log_every", 0),
    ("checkpoint_every", 0),
    ("keep", 0),
]


@pytest.mark.parametrize(("key", "value"), WRONG)
def test_a_wrong_value_is_one_sentence_that_names_the_key_and_its_section(key: str, value: Any) -> None:
    section, _, name = place_of(key).rpartition(".")
    for given in ({key: value}, {section: {name: value}} if section else {}):
        if not given or (not isinstance(value, int | float | str | list) and section in given):
            continue
        with pytest.raises(ValueError, match=rf"^({section}: )?({section}\.)?{name}.* must be ") as caught:
            load({"dataset": "out", **given})
        assert "\n" not in str(caught.value)


def test_an_unknown_key_is_named_with_the_nearest_in_whatever_section() -> None:
    for wrong, right in (
        ({"batchsize": 3}, r"batchsize; did you mean training\.batch_size\?"),
        ({"training": {"learning_rate": 1}}, r"training\.learning_rate; did you mean optimizer\.learning_rate\?"),
        ({"schedule": {"warmup_step": 1}}, r"schedule\.warmup_step; did you mean warmup_steps\?"),
        ({"log": {"x": 1}}, r"log\.x; known keys: every, tensorboard, wandb, peak_tflops"),
    ):
        with pytest.raises(ValueError, match=f"^there is no key {right}$"):
            load({"dataset": "out", **wrong})


@pytest.mark.parametrize("wrong", [0, -1, "two", [3, 2], [0, 2], [1, 2, 3], True, 1.5])
def test_a_wrong_number_of_ranks_is_one_sentence(wrong: Any) -> None:
    numbers = "a number of processes, or the least and the most as"
    with pytest.raises(ValueError, match=rf"^distributed(: |\.)ranks must be ({numbers}|a whole number or a list)"):
        load({"dataset": "out", "ranks": wrong})


def test_how_processes_are_started_changes_nothing_that_is_learned() -> None:
    whole = load({"dataset": "out", "ranks": [1, 4], "address": "head:6379"})
    assert (whole.distributed.ranks, whole.distributed.by_ray) == ((1, 4), True)
    assert not load({"dataset": "out"}).distributed.by_ray
    assert load({"dataset": "out", "ranks": 1}).distributed.by_ray
    old = {key: value for key, value in by_place(load({"dataset": "out"})).items() if key not in RESUMABLE_CHANGES}
    assert old == {key: value for key, value in by_place(whole).items() if key not in RESUMABLE_CHANGES}
    with pytest.raises(ValueError, match=r"distributed\.address must be a text or empty, such as name, not 6379"):
        load({"dataset": "out", "address": 6379})


def test_the_page_on_training_has_every_section_and_key() -> None:
    text = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")
    table = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", text, flags=re.MULTILINE))
    for section, keys in table.items():
        assert re.findall(r"`(\w+)`", keys) == [
            item.name for item in fields(getattr(load({"dataset": "out"}), section))
        ]
    sections = [item.name for item in fields(TrainConfig) if item.name not in ("dataset", "name", "seed")]
    assert list(table) == sections


def test_old_keys_mean_what_they_meant() -> None:
    config = from_keys("out", model="ViT-B-32", batch_size=8, optimizer="muon", log_every=3, mixture={"a": 0.5})
    assert (config.model.name, config.optimizer.name, config.log.every) == ("ViT-B-32", "muon", 3)
    assert (config.training.batch_size, config.data.mixture) == (8, {"a": 0.5})
    assert set(OLD_KEYS.values()) == set(by_place(config)) - {"dataset", "name", "seed"}
    assert from_keys(**by_key(config)) == config
    with_both = {"dataset": "out", "optimizer": {"grad_clip": 2}, "learning_rate": 1}
    assert load(with_both).optimizer == load({"dataset": "out", "grad_clip": 2, "learning_rate": 1}).optimizer


def test_a_key_that_stands_in_both_ways_is_refused() -> None:
    with pytest.raises(ValueError, match=r"has batch_size and training\.batch_size, .*; take batch_size away"):
        load({"dataset": "out", "batch_size": 8, "training": {"batch_size": 8}})
    with pytest.raises(ValueError, match=r"^training must be a section of keys"):
        load({"dataset": "out", "batch_size": 8, "training": 3})


def test_overrides_reach_old_keys_and_sections_of_either_kind_of_file() -> None:
    for raw in ({"model": "a", "captions": {"txt": 1}}, {"model": {"name": "a"}, "data": {"captions": {"txt": 1}}}):
        for key in ("model", "model.name"):
            config = load({"dataset": "out", **raw}, {key: "b", "captions.alt": 0.5, "model.image_size": 32})
            assert (config.model.name, config.model.image_size) == ("b", 32)
            assert config.data.captions == {"txt": 1.0, "alt": 0.5}
    assert load({"dataset": "out"}, {"model": {"name": "c"}}).model.name == "c"
    with pytest.raises(ValueError, match=r"name\.x cannot be set: name is a value"):
        load({"dataset": "out", "name": "a"}, {"name.x": 1})


def test_a_file_and_a_checkpoint_of_an_older_version_are_read(tmp_path: Path) -> None:
    run = Storage(str(tmp_path))
    old = {**by_key(load({"dataset": "/out", "epochs": 3, "model": "ViT-B-32"})), "ranks": None}
    described = {"index_fingerprint": "x", "config": {key: old[key] for key in old if key not in ("ranks", "address")}}
    check_resumable(run, described, load({"dataset": "/out", "training": {"epochs": 3}, "model": "ViT-B-32"}), "x")
    with pytest.raises(ValueError, match=r"was begun with training\.epochs 3\.0, not 4\.0"):
        check_resumable(run, described, load({"dataset": "/out", "epochs": 4, "model": "ViT-B-32"}), "x")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"lock": "image"}, "^model: pretrained must be given where a tower is locked"),
        (
            {"precision": "fp16", "parallel": "fsdp"},
            r"^distributed\.parallel must be ddp where compute\.precision is fp16",
        ),
        (
            {"schedule": "constant", "cooldown_share": 0.98},
            "^schedule: cooldown_share must be at most 0.95, with warmup_share",
        ),
    ],
)
def test_keys_that_do_not_go_together_are_one_sentence(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        load({"dataset": "out", **values})


def test_the_dataset_is_required() -> None:
    with pytest.raises(ValueError, match=r"^dataset must be the URL"):
        load({"batch_size": 3})


@pytest.mark.parametrize(("text", "words"), [("- a\n", "mapping"), ("a: [\n", "not YAML"), ("", "mapping")])
def test_a_file_that_is_no_config_is_one_sentence(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "train.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=words) as caught:
        load(path)
    assert "\n" not in str(caught.value)


def test_a_file_is_read_and_overrides_win(tmp_path: Path) -> None:
    path = tmp_path / "train.yaml"
    path.write_text("dataset: out\nlearning_rate: 5e-3\nbatch_size: 8\n")
    config = load(path, {"batch_size": 16.0, "name": 7})
    assert (config.optimizer.learning_rate, config.training.batch_size, config.name) == (5e-3, 16, "7")
    assert load(asdict(config)) == config


def test_a_missing_file_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "none.yaml")


@pytest.mark.parametrize("weight", [0, -1, float("nan"), float("inf"), "much", True])
@pytest.mark.parametrize("key", ["captions", "mixture"])
def test_a_wrong_weight_is_named_with_its_key(key: str, weight: Any) -> None:
    with pytest.raises(ValueError, match=rf"^data(: |\.){key}\.a must be ") as caught:
        load({"dataset": "out", key: {"a": weight}})
    assert "\n" not in str(caught.value)


def test_steps_reach_across_epochs() -> None:
    config = from_keys("out", batch_size=10, epochs=2.5)
    assert config.training.steps(39) == (3.9, 10)
    assert from_keys("out", batch_size=10, epochs=0.01).training.steps(39) == (3.9, 1)
    with pytest.raises(
        ValueError, match=r"^training\.batch_size must be at most the dataset's 9 training samples, not 10$"
    ):
        config.training.steps(9)


def test_a_key_that_stands_twice_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "clip.yaml"
    path.write_text("dataset: out\nepochs: 3\nlr: 1e-3\nepochs: 30\n")
    with pytest.raises(ValueError, match=r"clip.yaml, line 4 is not YAML: the key epochs stands here for the second"):
        load(path)
    path.write_bytes(b"dataset: \xff")
    with pytest.raises(ValueError, match=r"clip.yaml is not YAML: it is not UTF-8"):
        load(path)

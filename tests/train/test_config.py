"""A wrong config is one sentence that names the key."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from train.config import LAUNCH, TrainConfig, checked_ranks, load, without_launch

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
def test_a_wrong_value_is_one_sentence_that_names_the_key(key: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"^{key} must be ") as caught:
        load({"dataset": "out", key: value})
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith(f"not {value!r}") or isinstance(value, int | float)


def test_an_unknown_key_is_named_with_the_nearest_and_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"unknown key batchsize .*; did you mean batch_size\? the keys are address, "):
        load({"dataset": "out", "batchsize": 3})


@pytest.mark.parametrize("wrong", [0, -1, "two", [3, 2], [0, 2], [1, 2, 3], True, None, 1.5])
def test_a_wrong_number_of_ranks_is_one_sentence(wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"^ranks must be a number of processes, or the least"):
        load({"dataset": "out", "ranks": wrong})


def test_how_processes_are_started_changes_nothing_of_a_run() -> None:
    assert checked_ranks(3) == 3
    assert checked_ranks([1, 4]) == (1, 4)
    whole = {"dataset": "out", "ranks": [1, 4], "address": "head:6379"}
    assert load(whole) == load({"dataset": "out"})
    assert without_launch(whole) == ({"dataset": "out"}, {"ranks": [1, 4], "address": "head:6379"})
    with pytest.raises(ValueError, match="address must be a Ray cluster's, as host:port, not 6379"):
        load({"dataset": "out", "address": 6379})


def test_keys_that_start_a_run_are_documented_beside_the_others() -> None:
    text = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")
    assert all(f"`{key}" in text for key in LAUNCH)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"lock": "image"}, "^pretrained must be given where a tower is locked"),
        ({"precision": "fp16", "parallel": "fsdp"}, "^parallel must be ddp where precision is fp16"),
        ({"schedule": "constant", "cooldown_share": 0.98}, "^cooldown_share must be at most 0.95, with warmup_share"),
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
    assert (config.learning_rate, config.batch_size, config.name) == (5e-3, 16, "7")
    assert load(asdict(config)) == config


def test_a_missing_file_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "none.yaml")


@pytest.mark.parametrize("weight", [0, -1, float("nan"), float("inf"), "much", True])
@pytest.mark.parametrize("key", ["captions", "mixture"])
def test_a_wrong_weight_is_named_with_its_key(key: str, weight: Any) -> None:
    with pytest.raises(ValueError, match=rf"^{key}\.a must be ") as caught:
        load({"dataset": "out", key: {"a": weight}})
    assert "\n" not in str(caught.value)


def test_steps_reach_across_epochs() -> None:
    config = TrainConfig("out", batch_size=10, epochs=2.5)
    assert config.steps(39) == (3.9, 10)
    assert TrainConfig("out", batch_size=10, epochs=0.01).steps(39) == (3.9, 1)
    with pytest.raises(ValueError, match=r"^batch_size must be at most the dataset's 9 training samples, not 10$"):
        config.steps(9)


def test_a_key_that_stands_twice_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "clip.yaml"
    path.write_text("dataset: out\nepochs: 3\nlr: 1e-3\nepochs: 30\n")
    with pytest.raises(ValueError, match=r"clip.yaml, line 4 is not YAML: the key epochs stands here for the second"):
        load(path)
    path.write_bytes(b"dataset: \xff")
    with pytest.raises(ValueError, match=r"clip.yaml is not YAML: it is not UTF-8"):
        load(path)

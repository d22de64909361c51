"""An experiment does what is missing, once, and says what its seeds can show and what they cannot."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from scipy import stats

from pipeline.cli import main
from pipeline.config_errors import ConfigError
from pipeline.experiment import model_task, run
from pipeline.experiment.config import ExperimentConfig, read
from pipeline.experiment.statistics import comparisons, mean, paired_t_test
from tests.train import tiny
from tests.train.evaluate import helpers

CONFIG = Path(__file__).resolve().parents[3] / "configs" / "experiment_clipart.yaml"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two datasets, of true and of strangers' captions, a set, a model, and an experiment on them."""
    root = tmp_path_factory.mktemp("experiment")
    model = tiny.register(root)
    tiny.write_dataset(root / "true")
    tiny.write_dataset(root / "fewer", tiny.CAPTIONS[:32])
    helpers.class_folders(root / "set", 3)
    training = {"model": str(model), "batch_size": 16, "samples_seen": 32, "workers": 0, "device": "cpu"}
    config = {
        "out": str(root / "out"),
        "data": {"true": {"dataset": str(root / "true")}, "fewer": {"dataset": str(root / "fewer")}},
        "train": {**training, "tensorboard": False},
        "tasks": [str(root / "set")],
        "evaluators": ["zero_shot"],
    }
    (root / "experiment.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    return root


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Which models were trained, in their order."""
    seen: list[str] = []

    def one(given: dict[str, Any]) -> str:
        seen.append(given["config"]["name"])
        return model_task.train_and_examine(given)

    monkeypatch.setattr(run, "train_and_examine", one)
    yield seen


def test_what_is_missing_is_done_once_and_what_changed_anew(
    folder: Path, counted: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["experiment", str(folder / "experiment.yaml")]
    assert main(words) == 0
    assert sorted(counted) == sorted(f"{name}-{seed}" for name in ("true", "fewer") for seed in range(3))
    text = capsys.readouterr().out
    assert "(random weights)" in text and "(chance, n = 18)" in text and "3 times" in text
    made = json.loads((folder / "out" / "experiment.json").read_text())
    values = made["values"]["set zero_shot acc1"]
    assert all(len(each) == 3 for each in values.values())
    assert made["chance"]["set zero_shot acc1"] == 1 / 6
    (compared,) = made["comparisons"]
    assert (compared["data"], compared["against"]) == ("fewer", "true")
    assert (folder / "out" / "experiment.svg").read_bytes().startswith(b"<?xml")
    before = {name: (folder / "out" / name).read_bytes() for name in ("experiment.svg", "experiment.md")}
    counted.clear()
    assert main([*words, "--format", "json"]) == 0  # again: nothing is left to do, and the files are the same
    assert counted == []
    assert before == {name: (folder / "out" / name).read_bytes() for name in before}
    assert json.loads(capsys.readouterr().out)["values"] == made["values"]
    next((folder / "out" / "results").glob("fewer-1-*")).unlink()  # killed between training and its result
    assert main(words) == 0
    assert counted == ["fewer-1"]
    assert json.loads((folder / "out" / "experiment.json").read_text())["values"] == made["values"]


def test_what_changes_a_model_gives_it_another_name_and_what_does_not_leaves_it(folder: Path) -> None:
    config = read(str(folder / "experiment.yaml"))

    def given(config: ExperimentConfig, data: str = "true", marks: str = "") -> dict[str, Any]:
        return run.model(config, "true", config.data[data].dataset, 0, [marks]).job

    before = given(config)
    assert given(replace(config, train={**config.train, "log_every": 3}))["result"] == before["result"]
    for changed in (given(replace(config, train={**config.train, "learning_rate": 1e-3})), given(config, "fewer")):
        assert changed["run"] != before["run"] and changed["result"] != before["result"]
    looked = given(config, marks="other images")  # it is examined anew, and not trained anew
    assert looked["run"] == before["run"] and looked["result"] != before["result"]


def test_a_model_that_fails_leaves_the_others_and_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tried: list[str] = []

    def one(given: dict[str, Any]) -> str:
        tried.append(given["config"]["name"])
        return "it broke" if tried[-1] == "fewer-0" else ""

    monkeypatch.setattr(run, "train_and_examine", one)
    assert main(["experiment", str(folder / "experiment.yaml"), "--set", f"out={folder / 'failing'}"]) == 1
    assert "1 of 6 models are missing; fewer, seed 0: it broke" in capsys.readouterr().err
    assert len(tried) == 6
    monkeypatch.setattr(run, "train_and_examine", lambda given: model_task.STOPPED)
    assert main(["experiment", str(folder / "experiment.yaml"), "--set", f"out={folder / 'failing'}"]) == 130
    assert not (folder / "failing" / "experiment.json").exists()


def test_an_error_of_the_trainer_is_the_reason(folder: Path, tmp_path: Path) -> None:
    config = read(str(folder / "experiment.yaml"))
    given = run.model(config, "true", config.data["true"].dataset, 0, []).job
    given = {**given, "config": {**given["config"], "model": "no such model"}, "run": str(tmp_path / "run")}
    assert "no such model" in model_task.train_and_examine(given)


def test_the_intervals_are_students() -> None:
    values = [0.2, 0.5, 0.4, 0.3]
    found = mean(values)
    expected = stats.t.interval(0.95, 3, loc=np.mean(values), scale=stats.sem(values))
    assert (found.low, found.high) == pytest.approx(expected)
    other = [0.3, 0.55, 0.5, 0.45]
    apart, p = paired_t_test(values, other)
    assert p == pytest.approx(stats.ttest_rel(other, values).pvalue)
    assert apart.value == pytest.approx(0.1)


def test_of_many_comparisons_of_noise_few_are_called_shown() -> None:
    """Holm's correction: of 300 experiments without any difference, at most a few show one among their six."""
    rng = np.random.default_rng(0)
    shown = 0
    for _ in range(300):
        values = {"f": {name: rng.normal(size=4).tolist() for name in "abcdefg"}}
        shown += any(each.is_shown for each in comparisons(values, "a"))
    assert shown <= 30  # 5 % of 300, and three standard deviations
    values = {"f": {"a": [0.1, 0.2, 0.15], "b": [0.5, 0.61, 0.55], "c": [0.1, 0.2, 0.15]}}
    better, same = comparisons(values, "a")
    assert better.is_shown and better.difference.value == pytest.approx(0.4, abs=0.01)
    assert not same.is_shown and same.p_value == 1.0


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seeds": 2}, "seeds must be at least 3"),
        ({"data": {"a": {"dataset": "x"}}}, "data must name at least two"),
        ({"data": {"a": {"dataset": "x"}, "b": {}}}, "dataset or build must be given"),
        ({"data": {"a": {"dataset": "x"}, "../b": {"dataset": "y"}}}, "plain names"),
        ({"against": "c"}, "against must be one of"),
        ({"tasks": []}, "tasks must name at least one"),
        ({"evaluators": ["zeroshot"]}, "did you mean zero_shot"),
        ({"train": {"model": "openwit-tiny"}}, "train.training.samples_seen must be given"),
        ({"train": {"samples_seen": 10, "seed": 1}}, "train must not have seed"),
        ({"train": {"samples_seen": 10, "batch": 1}}, "there is no key batch"),
        ({"tsks": []}, "there is no key tsks; did you mean tasks"),
    ],
)
def test_a_wrong_config_is_one_sentence(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    good = {"out": "o", "data": {"a": {"dataset": "x"}, "b": {"dataset": "y"}}, "tasks": ["t"]}
    good["train"] = {"samples_seen": 10}
    (tmp_path / "experiment.yaml").write_text(yaml.safe_dump({**good, **changes}, sort_keys=False))
    with pytest.raises(ConfigError, match=words):
        read(str(tmp_path / "experiment.yaml"))


def test_the_figure_that_nobody_has_is_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["experiment", str(folder / "experiment.yaml"), "--set", "metrics=[accuracy]"]) == 2
    assert "there are acc1, acc5, mean_per_class_recall" in capsys.readouterr().err


def test_a_dataset_that_is_not_there_is_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["experiment", str(folder / "experiment.yaml"), "--set", "data.true.dataset=nowhere"]) == 2
    assert "data.true: " in capsys.readouterr().err


def test_the_carried_experiment_is_one() -> None:
    config = read(str(CONFIG))
    assert config.base == "unfiltered" and {"paper", "all_defaults", "unspoilt"} <= set(config.data)

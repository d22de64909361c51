"""A run examines its model: the same figures on any number of processes, nothing learnt otherwise, no failure's end."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.train import ranks, tiny
from tests.train.evaluate import helpers
from tests.train.test_loop import log_of
from train.checkpoints.load import Encoder
from train.config import TrainConfig, from_keys, load, with_changes
from train.distributed.processes import Stop
from train.evaluate.evaluators import zero_shot
from train.evaluate.in_training.team import Team
from train.logs.log import EVALUATIONS
from train.loop import train

EACH = 23  # of six classes: batches of 64, 64 and 10


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set of class folders, with one image that cannot be read."""
    root = helpers.class_folders(tmp_path_factory.mktemp("tasks") / "set", EACH)
    (root / "red_blue" / "0.jpg").write_bytes(b"no image")
    return root


@pytest.fixture
def config(tiny_dataset: str, task: Path) -> TrainConfig:
    """The config of a run that is examined every second step."""
    small: dict[str, Any] = {"model": tiny.MODEL, "batch_size": 16, "samples_seen": 80, "workers": 0, "device": "cpu"}
    small |= {"log_every": 1, "tensorboard": False, "timeout_s": 20}
    return from_keys(tiny_dataset, tasks=[str(task)], evaluate_every=2, **small)


def lines(run: str | Path) -> list[dict[str, Any]]:
    """What a run's examinations recorded."""
    return [json.loads(line) for line in (Path(run) / EVALUATIONS).read_text().splitlines()]


def quiet(record: dict[str, Any]) -> None:
    """Stands for a progress bar."""


def test_it_is_examined_every_so_many_steps_and_after_the_last(config: TrainConfig, tmp_path: Path) -> None:
    run = train(config, str(tmp_path / "run"), quiet).run
    found = lines(run)
    assert {line["step"] for line in found} == {2, 4, 5}
    assert {(line["dataset"], line["task"]) for line in found} == {("set", "zero_shot"), ("heldout", "retrieval")}
    acc1 = next(line for line in found if line["metric"] == "acc1")
    assert (acc1["n"], acc1["chance"], acc1["damaged"], acc1["is_main"]) == (6 * EACH - 1, 1 / 6, 1, True)
    assert acc1["low"] <= acc1["value"] <= acc1["high"]
    before = (Path(run) / EVALUATIONS).read_bytes()
    train(config, run, quiet)  # again, when there is nothing left to do
    assert (Path(run) / EVALUATIONS).read_bytes() == before


@pytest.mark.parametrize("changes", [{}, {"ema": 0.5}, {"model": tiny.RESNET, "grad_checkpointing": True}])
def test_what_is_learnt_is_the_same_whether_or_not_anyone_looks(
    config: TrainConfig, tmp_path: Path, changes: dict[str, Any]
) -> None:
    config = with_changes(config, samples_seen=48, **changes)
    train(config, str(tmp_path / "looked"), quiet)
    train(with_changes(config, tasks=[], evaluate_every=0), str(tmp_path / "alone"), quiet)
    assert not (tmp_path / "alone" / EVALUATIONS).exists()
    for one, other in zip(log_of(tmp_path / "looked"), log_of(tmp_path / "alone"), strict=True):
        assert (one["loss"], one["gradient_norm_all"]) == (other["loss"], other["gradient_norm_all"])


@pytest.fixture(scope="module")
def finished(tiny_run: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has ended, and was never examined."""
    return Path(shutil.copytree(tiny_run, tmp_path_factory.mktemp("finished") / "run"))


def test_figures_are_those_of_wit_eval_on_any_number_of_processes(finished: Path, task: Path, tmp_path: Path) -> None:
    """A finished run that is given tasks is examined at once, so all examine the same weights."""
    more = {"tasks": [str(task)], "evaluators": ["zero_shot", "retrieval", "prompt_ablation", "linear_probe"]}
    config = load(finished / "config.yaml", {**more, "timeout_s": 20})
    found = []
    for count, kind in ((1, "ddp"), (2, "ddp"), (3, "ddp"), (2, "fsdp")):
        run = tmp_path / f"{kind}{count}"
        shutil.copytree(finished, run)
        ranks.run(count, ranks.training(with_changes(config, parallel=kind), str(run)))
        found.append(lines(run))
    assert all(other == found[0] for other in found[1:])
    values = {(line["dataset"], line["task"], line["metric"]): line.get("value") for line in found[0]}
    assert {("set", "linear_probe"), ("heldout", "retrieval")} <= {key[:2] for key in values}
    from pipeline.cli import main

    words = ["eval", str(finished), "--tasks", str(task), "--evaluators", ",".join(more["evaluators"])]
    assert main([*words, "--format", "json", "--output", str(tmp_path / "eval.json"), "--no-baseline"]) == 0
    for row in json.loads((tmp_path / "eval.json").read_text()):
        for metric, value in row["metrics"].items():
            assert values[row["dataset"], row["task"], metric] == (None if value is None else pytest.approx(value))


def fail(*_: object, **__: object) -> Any:
    """Stands for what nobody foresaw."""
    raise RuntimeError("it broke\nin two lines")


def test_a_failing_evaluator_is_a_sentence_and_the_run_goes_on(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(zero_shot, "evaluate", fail)
    result = train(with_changes(config, samples_seen=32), str(tmp_path / "run"), quiet)
    assert result.step == 2
    failed = [line for line in lines(result.run) if "error" in line]
    assert [(line["dataset"], line["task"], line["error"]) for line in failed] == [
        ("set", "zero_shot", "RuntimeError: it broke in two lines")
    ]
    assert any(line["task"] == "retrieval" for line in lines(result.run))
    assert "step 2: set zero_shot was not examined: RuntimeError: it broke in two lines" in capsys.readouterr().err


def test_a_process_that_cannot_encode_its_part_is_named(config: TrainConfig, tmp_path: Path) -> None:
    def work() -> None:
        with pytest.MonkeyPatch.context() as patch:
            if os.environ["RANK"] == "1":
                patch.setattr(Encoder, "towers", fail)
            train(with_changes(config, samples_seen=32), str(tmp_path / "run"), quiet)

    ranks.run(2, work)
    errors = {line["error"] for line in lines(tmp_path / "run") if line["task"] == "zero_shot"}
    assert errors == {"rank 1: RuntimeError: it broke in two lines"}


def test_a_model_whose_features_are_no_numbers_gets_no_figure(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Encoder.towers

    def nothing(self: Encoder, pixels: Any) -> Any:
        return tuple(np.full_like(features, np.nan) for features in real(self, pixels))

    monkeypatch.setattr(Encoder, "towers", nothing)
    run = train(with_changes(config, samples_seen=32), str(tmp_path / "run"), quiet).run
    assert [line for line in lines(run) if "value" in line] == []
    assert all("are no numbers" in line["error"] for line in lines(run))


def test_sigterm_while_it_is_examined_stops_it_and_it_is_made_up_for(config: TrainConfig, tmp_path: Path) -> None:
    config = with_changes(config, samples_seen=48, checkpoint_every=100)

    def work() -> None:
        real = Team.ask

        def ask(self: Team, *given: Any) -> Any:
            if os.environ["RANK"] == "1" or self.processes.rank == 0:
                stops[-1].asked = True
            return real(self, *given)

        stops: list[Stop] = []
        enter = Stop.__enter__

        def entered(self: Stop) -> Stop:
            stops.append(self)
            return enter(self)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Stop, "__enter__", entered)
            patch.setattr(Team, "ask", ask)
            assert train(config, str(tmp_path / "run"), quiet).step == 2

    ranks.run(2, work)
    assert not (tmp_path / "run" / EVALUATIONS).exists()
    ranks.run(2, ranks.training(config, str(tmp_path / "run")))
    assert {line["step"] for line in lines(tmp_path / "run")} == {2, 3}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"tasks": ["nowhere"]}, "every process of the run sees; .*nowhere is not"),
        ({"evaluators": ["zeroshot"]}, "did you mean zero_shot"),
        ({"evaluators": ["bias"]}, "wit eval --acknowledge-bias"),
        ({"evaluators": ["counting"]}, "counting can examine none of"),
        ({"tasks": [], "evaluators": ["zero_shot"]}, "none of the tasks, for there are none"),
    ],
)
def test_what_cannot_be_examined_is_told_before_the_first_step(
    config: TrainConfig, tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        train(with_changes(config, **changes), str(tmp_path / "run"), quiet)
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_the_keys_are_read_from_yaml() -> None:
    assert load({"dataset": "/d", "tasks": "/a", "evaluators": ["few_shot"]}).evaluation.tasks == ["/a"]
    with pytest.raises(ValueError, match=r"^evaluation\.tasks\.0 must be a text, such as name, not 1"):
        load({"dataset": "/d", "tasks": [1]})
    with pytest.raises(ValueError, match=r"^evaluation: every must be at least 0, not -1"):
        load({"dataset": "/d", "evaluate_every": -1})


def test_retrieval_of_a_set_is_examined_too(config: TrainConfig, tmp_path: Path) -> None:
    folder = helpers.retrieval_folder(tmp_path / "captioned")
    run = train(with_changes(config, samples_seen=16, tasks=[str(folder)]), str(tmp_path / "run"), quiet).run
    assert {(line["dataset"], line["task"]) for line in lines(run)} == {
        ("captioned", "retrieval"),
        ("heldout", "retrieval"),
    }

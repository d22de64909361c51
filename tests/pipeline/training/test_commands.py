"""`wit train`, `wit eval` and `wit export` from the command line: what they advise, keep and refuse."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipeline.cli import main
from tests.train import tiny
from tests.train.test_loop import config_of, quiet
from train.__main__ import main as train_main
from train.config import TrainConfig, with_absolute_paths
from train.loop import TrainingError, train

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset with a short run in it, which was trained by a path relative to the folder above."""
    tiny.register(tmp_path_factory.mktemp("model"))
    folder = tmp_path_factory.mktemp("data")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        tiny.write_dataset(Path("out"))
        train(config_of("out", epochs=0.25), progress=quiet)
    return folder / "out"


def test_usage_errors_are_told_before_torch_is_imported(dataset: Path) -> None:
    lines = [["train", "configs/train_demo.yaml", "--set", "dataset=nowhere"], ["eval", "nowhere"]]
    lines += [["eval", str(dataset)], ["export", "nowhere", "model"]]
    lines += [["eval", str(dataset / "runs/clip"), "--tasks", "nowhere"]]
    lines += [["train", "configs/train_demo.yaml", "--set", f"dataset={dataset}", "--set", "mixture={elsewhere: 1}"]]
    lines += [["eval", str(dataset / "shards")]]
    code = f"import sys, pipeline.cli\nfor line in {lines!r}: assert pipeline.cli.main(line) == 2\n"
    code += "assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = done.stderr.splitlines()
    assert len(told) == len(lines)
    assert f"{dataset} is a dataset; examine one of its runs, such as {dataset}/runs/clip" in told[2]
    assert told[4].endswith(f"there is no task directory {ROOT}/nowhere")
    assert "elsewhere has no shards/index, and no tars" in told[5]
    assert f"{dataset}/shards is neither a run of `wit train`, nor one of its checkpoints" in told[6]


def test_one_config_means_the_same_to_wit_train_and_to_python_m_train(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who starts the processes differs; every key that the loop is given is the same, those of the start, too."""
    given: dict[str, TrainConfig] = {}

    def take(name: str) -> Any:
        def train(config: TrainConfig, out: str | None) -> None:
            given[name] = with_absolute_paths(config)
            raise TrainingError(f"{name} has it")

        return train

    monkeypatch.setattr("pipeline.training.ray_train.train", take("wit"))
    monkeypatch.setattr("train.__main__.train", take("python"))
    monkeypatch.setattr("train.__main__.end_after_main_thread", lambda: None)
    file, changes = tmp_path / "one.yaml", ["--set", "optimizer.beta2=0.9", "--set", "batch_size=8"]
    sections = {"distributed": {"ranks": [2, 4], "address": "auto", "timeout_s": 30}, "log": {"every": 3}}
    file.write_text(json.dumps({"dataset": str(dataset), "model": {"name": tiny.MODEL}, **sections}))
    assert main(["train", str(file), *changes]) == 1
    assert train_main([str(file), *changes]) == 1
    assert given["wit"] == given["python"]
    config = given["wit"]
    assert (config.distributed.ranks, config.distributed.address, config.log.every) == ((2, 4), "auto", 3)
    assert (config.optimizer.beta2, config.training.batch_size) == (0.9, 8)


@pytest.mark.parametrize("content", ["a: [", "- a", "", "name"])
def test_a_run_whose_config_is_damaged_says_so(dataset: Path, tmp_path: Path, content: str, capsys: Any) -> None:
    run = tmp_path / "run"
    shutil.copytree(dataset / "runs" / "clip", run)
    (run / "config.yaml").write_text(content)
    assert main(["eval", str(run)]) == 2
    told = capsys.readouterr().err
    assert f"{run}/config.yaml: it is not what a training run wrote; restore it" in told


def test_the_file_that_is_not_there_is_the_one_that_is_named(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = [f"dataset={dataset}", "batch_size=8", f"resume={tmp_path}/epoch_5.pt"]
    words = [word for key in keys for word in ("--set", key)]
    assert main(["train", "configs/train_demo.yaml", "--out", str(tmp_path / "run"), *words]) == 2
    assert f"resume names {tmp_path}/epoch_5.pt, which does not exist" in capsys.readouterr().err


def test_a_run_is_examined_from_any_folder_and_keeps_all_its_figures(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for caption in tiny.CAPTIONS[:2]:
        picture = tmp_path / "task" / caption / "a.jpg"
        picture.parent.mkdir(parents=True)
        picture.write_bytes(tiny.picture(caption))
    run = dataset / "runs" / "clip"
    assert main(["eval", str(run)]) == 0
    assert main(["eval", str(run / "checkpoints" / "best"), "--tasks", "task", "--pairs", "9"]) == 0
    rows = json.loads((run / "evaluation.json").read_text())
    names = [(row["task"], row["metric"]) for row in rows]
    assert {task for task, _ in names} == {"retrieval", "task"} and len(names) == len(set(names))
    assert {row["samples"] for row in rows if row["task"] == "retrieval"} == {9}


def test_a_run_on_anyones_tars_is_examined_on_what_is_named(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tars = tmp_path / "tars"
    tars.mkdir()
    shutil.copy(dataset / "shards" / "train-00000.tar", tars / "0.tar")
    config = tmp_path / "train.yaml"
    config.write_text(f"dataset: {tars}\nmodel: {tiny.MODEL}\nbatch_size: 16\nepochs: 0.25\nworkers: 0\n")
    assert main(["train", str(config), "--out", str(tmp_path / "run")]) == 0
    assert f"examine it: wit eval {tmp_path / 'run'} --tasks DIR" in capsys.readouterr().out
    assert main(["eval", str(tmp_path / "run")]) == 2
    assert "nothing to examine on: give --tasks DIR" in capsys.readouterr().err

"""Training learns, and a run that is stopped anywhere goes on as if it had not been."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from dataset.store.storage import Storage
from tests.train import tiny
from tests.train.data.test_loader import spoil
from train import loop
from train.__main__ import main
from train.checkpoints.load import load_clip
from train.config import TrainConfig, from_keys, place_of, with_changes
from train.loop import TrainingError, train
from train.loss import softmax_loss
from train.schedule import learning_rate

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)


def config_of(dataset: str, **changes: Any) -> TrainConfig:
    defaults: dict[str, Any] = {
        "model": tiny.MODEL,
        "batch_size": 16,
        "epochs": 1.5,
        "learning_rate": 1e-3,
        "workers": 0,
        "device": "cpu",
        "log_every": 1,
        "checkpoint_every": 2,
        "tensorboard": False,
    }
    return from_keys(dataset, **{**defaults, **changes})


def quiet(record: dict[str, Any]) -> None:
    """A progress that shows nothing."""


def log_of(run: str | Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (Path(run) / "log.jsonl").read_text().splitlines()]


def losses(run: str | Path) -> dict[int, float]:
    log = log_of(run)
    assert len({record["step"] for record in log}) == len(log)
    return {record["step"]: record["loss"] for record in log}


def weights(run: str | Path) -> dict[str, torch.Tensor]:
    return load_clip(str(run), "model").model.state_dict()


@pytest.fixture(scope="module")
def whole_run(tiny_dataset: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Six steps without a stop."""
    return train(config_of(tiny_dataset), str(tmp_path_factory.mktemp("whole")), quiet).run


def assert_same_run(run: str | Path, whole: str) -> None:
    assert losses(run) == losses(whole)
    here, there = weights(run), weights(whole)
    assert all(torch.equal(here[name], there[name]) for name in there)


def test_it_learns(tiny_dataset: str, tmp_path: Path) -> None:
    result = train(
        config_of(tiny_dataset, epochs=20, learning_rate=5e-3, log_every=10, checkpoint_every=80), str(tmp_path), quiet
    )
    log = log_of(tmp_path)
    assert log[0]["loss"] > 1.4
    assert result.loss == log[-1]["loss"] < 0.7
    assert (result.steps, result.samples_seen, result.damaged_samples) == (80, 1280, 0)
    assert [record["step"] for record in log] == list(range(10, 81, 10))
    assert set(log[0]) == {
        "step", "steps", "epoch", "samples_seen", "loss", "logit_scale", "learning_rate", "gradient_norm_image",
        "gradient_norm_text", "gradient_norm_rest", "gradient_norm_all", "duplicate_share", "samples_per_second",
        "samples_per_second_per_device", "step_seconds", "data_wait_seconds", "data_wait_share",
        "bottleneck", "device_share", "loader_share", "network_share", "host_share",
        "mfu", "eta_seconds", "memory_bytes", "damaged_samples", "skipped_steps",
    }  # fmt: skip


def test_a_run_is_a_directory_of_config_log_and_checkpoints(whole_run: str) -> None:
    files = sorted(str(path.relative_to(whole_run)) for path in Path(whole_run).rglob("*") if path.is_file())
    files = [name for name in files if not name.startswith("tensorboard/events.out.tfevents.")]
    assert files == [
        "checkpoints/best",
        "checkpoints/latest",
        *(
            f"checkpoints/step-{step:08d}/{name}"
            for step in (4, 6)
            for name in (".metadata", "__0_0.distcp", "checkpoint.json")
        ),
        "config.yaml",
        "log.jsonl",
    ]
    assert yaml.safe_load((Path(whole_run) / "config.yaml").read_text())["training"]["batch_size"] == 16


def test_the_run_lies_beside_its_dataset_by_default(tmp_path: Path) -> None:
    url = tiny.write_dataset(tmp_path)
    result = train(config_of(url, name="first", epochs=0.5), progress=quiet)
    assert result.run == f"{url}/runs/first"
    assert Path(result.checkpoint).is_dir()


class StopError(Exception):
    """Stands for anything that ends a run."""


@pytest.mark.parametrize("stops", [(1,), (2,), (3, 5)])
def test_a_stopped_run_goes_on_to_the_same_bits(
    tiny_dataset: str, whole_run: str, tmp_path: Path, stops: tuple[int, ...]
) -> None:
    for stop in stops:

        def progress(record: dict[str, Any], stop: int = stop) -> None:
            if record["step"] == stop:
                raise StopError

        with pytest.raises(StopError):
            train(config_of(tiny_dataset), str(tmp_path), progress)
    train(config_of(tiny_dataset, workers=2), str(tmp_path), quiet)
    assert_same_run(tmp_path, whole_run)


def killed(config: TrainConfig, run: Path, step: int, within_write_of: str | None) -> None:
    """Train in a process that SIGKILLs itself: at a step, or just before it writes a file after that step."""

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def work() -> None:
        seen = 0
        write, open_output = Storage.write, Storage.open_output

        def progress(record: dict[str, Any]) -> None:
            nonlocal seen
            seen = record["step"]
            if within_write_of is None and seen == step:
                die()

        def writing(storage: Storage, name: str, data: Any) -> None:
            if within_write_of == name and seen >= step:
                die()
            write(storage, name, data)

        def opening(storage: Storage, name: str) -> Any:
            stream = open_output(storage, name)
            if within_write_of == name and seen >= step:
                stream.write(b"a part")
                die()
            return stream

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Storage, "write", writing)
            patch.setattr(Storage, "open_output", opening)
            train(config, str(run), progress)

    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL


@pytest.mark.parametrize(
    ("step", "within_write_of"),
    [
        (3, None),
        (4, "checkpoints/latest"),
        (4, "checkpoints/step-00000004/__0_0.distcp"),
        (4, "checkpoints/step-00000004/.metadata"),
        (4, "log.jsonl"),
    ],
)
def test_a_killed_run_goes_on_to_the_same_bits(
    tiny_dataset: str, whole_run: str, tmp_path: Path, step: int, within_write_of: str | None
) -> None:
    killed(config_of(tiny_dataset), tmp_path, step, within_write_of)
    train(config_of(tiny_dataset), str(tmp_path), quiet)
    assert_same_run(tmp_path, whole_run)


def test_a_complete_run_has_nothing_left_to_do(tiny_dataset: str, tiny_run: str) -> None:
    before = (Path(tiny_run) / "log.jsonl").read_bytes()
    config = config_of(tiny_dataset, epochs=2, learning_rate=5e-4, log_every=10, checkpoint_every=500)
    again = train(config, tiny_run, quiet)
    assert (Path(tiny_run) / "log.jsonl").read_bytes() == before
    assert again.loss == log_of(tiny_run)[-1]["loss"]


@pytest.mark.parametrize(
    "changes", [{"batch_size": 8}, {"learning_rate": 2e-3}, {"epochs": 4}, {"seed": 1}, {"crop_min": 0.5}]
)
def test_a_run_does_not_go_on_with_another_config(tiny_dataset: str, whole_run: str, changes: dict[str, Any]) -> None:
    (key,) = changes
    with pytest.raises(ValueError, match=f"was begun with {place_of(key)} .*; give the new run another name"):
        train(with_changes(config_of(tiny_dataset), **changes), whole_run, quiet)


def test_a_run_does_not_go_on_with_another_dataset(whole_run: str, tmp_path: Path) -> None:
    other = tiny.write_dataset(tmp_path, tiny.CAPTIONS[:-1])
    with pytest.raises(ValueError, match="was trained on another version"):
        train(config_of(other, epochs=4), whole_run, quiet)


def test_only_the_newest_checkpoints_and_the_best_are_kept(tiny_dataset: str, tmp_path: Path) -> None:
    for keep in (1, 3):
        run = tmp_path / str(keep)
        worse = config_of(tiny_dataset, epochs=2, keep=keep, learning_rate=9.0, warmup_share=0.9)
        train(worse, str(run), quiet)
        steps = sorted(int(path.name[5:]) for path in (run / "checkpoints").glob("step-*"))
        logged = losses(run)
        best = min(range(2, 9, 2), key=lambda step: logged[step - 1] + logged[step])
        assert best < 8  # so high a learning rate
        assert steps == sorted({best, *range(10 - 2 * keep, 9, 2)})
        assert load_clip(str(run / "checkpoints" / "best")).model is not None


def test_a_spoiled_checkpoint_is_one_sentence(tiny_dataset: str, tmp_path: Path) -> None:
    result = train(config_of(tiny_dataset, epochs=0.25), str(tmp_path), quiet)
    for file in (".metadata", "__0_0.distcp"):
        (Path(result.checkpoint) / file).write_bytes(b"PK\x03\x04" + bytes(100))
    with pytest.raises(ValueError, match="is not a checkpoint of this trainer"):
        train(config_of(tiny_dataset, epochs=0.25), str(tmp_path), quiet)


def test_the_logit_scale_never_exceeds_the_papers_hundred(
    tiny_dataset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def greedy(images: torch.Tensor, texts: torch.Tensor, scale: torch.Tensor, **more: Any) -> torch.Tensor:
        return softmax_loss(images, texts, scale, **more) - scale

    monkeypatch.setitem(loop.LOSSES, "softmax", greedy)
    scales: list[float] = []
    config = config_of(tiny_dataset, samples_seen=160, learning_rate=0.3, warmup_share=0.0, schedule="constant")
    train(config, str(tmp_path), lambda record: scales.append(record["logit_scale"]))
    assert 99 < max(scales) <= 100.001
    assert len(set(scales)) > 5


def test_a_loss_that_is_no_number_ends_the_run_before_it_is_saved(
    tiny_dataset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(
        loop.LOSSES, "softmax", lambda *features, **more: softmax_loss(*features, **more) * float("nan")
    )
    with pytest.raises(
        TrainingError, match=r"^the loss is nan at step 1, on the samples [0-9a-f]{32}, .*; try a lower"
    ):
        train(config_of(tiny_dataset, log_every=100), str(tmp_path), quiet)
    assert not (tmp_path / "checkpoints").exists()


def test_damaged_samples_are_counted_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url = tiny.write_dataset(tmp_path)
    index = spoil(url, [3, 9], "image")
    result = train(config_of(url, epochs=1), progress=quiet)
    assert result.damaged_samples >= 2
    assert log_of(result.run)[-1]["damaged_samples"] == result.damaged_samples
    named = capsys.readouterr().err
    assert all(f"damaged sample, replaced: {index.name(row)}: " in named for row in (3, 9))


def test_the_rate_rises_linearly_and_falls_as_a_cosine() -> None:
    config = from_keys("out", learning_rate=1.0, warmup_share=0.1)
    rates = [learning_rate(step, 100, config.optimizer.learning_rate, config.schedule) for step in range(100)]
    assert rates[:10] == pytest.approx([0.1 * (step + 1) for step in range(10)])
    assert rates[10] == 1.0
    assert rates[55] == pytest.approx(0.5)
    assert rates[99] < 0.001
    assert learning_rate(0, 100, 1.0, with_changes(config, warmup_share=0.0).schedule) == 1.0


def test_two_processes_of_torchruns_train_as_one(tiny_dataset: str, tiny_model: Path, tmp_path: Path) -> None:
    file = tmp_path / "train.yaml"
    values = {"dataset": tiny_dataset, "batch_size": 16, "epochs": 1, "log_every": 1, "workers": 0, "device": "cpu"}
    file.write_text(yaml.safe_dump({**values, "model": str(tiny_model), "learning_rate": 1e-3}))
    # torchrun's own agent; it forks, where its command would have each process import everything anew.
    torchrun = LaunchConfig(
        1, 1, 2, rdzv_backend="c10d", rdzv_endpoint="localhost:0", start_method="fork", monitor_interval=0.1
    )
    before = {number: signal.getsignal(number) for number in SIGNALS}
    status = elastic_launch(torchrun, main)([str(file), "--out", str(tmp_path / "two")])
    for number, listener in before.items():  # the agent leaves its own
        signal.signal(number, listener)
    assert status == {0: 0, 1: 0}
    train(from_keys(**{**values, "model": tiny.MODEL, "learning_rate": 1e-3}), str(tmp_path / "one"), quiet)
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.yaml"], "No such file"),
        (["{file}", "--set", "batch_sise=3"], "there is no key batch_sise; did you mean training.batch_size?"),
        (["{file}", "--set", "batch_size=300"], "batch_size must be at most the dataset's 64 training samples"),
        (["{file}", "--set", "model=tinny"], "model must be"),
        (["{file}", "--set", "epochs"], "--set takes KEY=VALUE, not 'epochs'"),
        (["{file}", "--set", "dataset=/nowhere"], "/nowhere"),
    ],
)
def test_the_command_says_in_a_sentence_what_is_wrong(
    tiny_dataset: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    file = tmp_path / "train.yaml"
    file.write_text(yaml.safe_dump({"dataset": tiny_dataset, "batch_size": 16, "device": "cpu"}))
    status = main([word.format(file=file) for word in arguments])
    said = capsys.readouterr().err
    assert status == 2
    assert said.startswith("error: ")
    assert message in said
    assert said.count("\n") == 1


def test_the_command_trains(tiny_dataset: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "train.yaml"
    file.write_text(yaml.safe_dump({"dataset": tiny_dataset, "model": tiny.MODEL, "batch_size": 16, "workers": 0}))
    assert main([str(file), "--out", str(tmp_path / "run"), "--set", "epochs=1", "log_every=2"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in printed[:-1]] == ["2/4", "4/4"]
    assert "samples/s" in printed[0]
    assert printed[-1].startswith(str(tmp_path / "run" / "checkpoints" / "step-00000004"))

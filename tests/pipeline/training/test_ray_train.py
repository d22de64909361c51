"""Ray Train starts the same loop, and starts it again where a process dies."""

from __future__ import annotations

import importlib
import json
import os
import signal
from pathlib import Path

import pytest
import ray
import yaml

from pipeline.cli import main
from pipeline.training.train_worker import FirstError, work
from tests.pipeline.patient_ray import PATIENT
from tests.train import tiny
from train import loop
from train.failure import PeerError, TrainingError

KILLER = """
import os, signal, sys
from pathlib import Path

def work(given):
    for name in ("transformers", "timm"):  # most of an import's time, and not needed here
        sys.modules[name] = None
    from pipeline.training.train_worker import work
    from train import loop

    exact = loop.learning_rate
    once = Path(os.environ["WIT_TEST_KILLED"])

    def deadly(step, *schedule):
        if step == 6 and os.environ.get("RANK", "0") == "1" and not once.exists():
            once.write_text(str(os.getpid()))
            os.kill(os.getpid(), signal.SIGKILL)
        return exact(step, *schedule)

    loop.learning_rate = deadly
    return work(given)
"""


class Actor:
    """Stands for the handle of an actor of Ray's: calls are made here and now."""

    def __init__(self, actor: FirstError):
        for name in ("tell", "get"):
            method = type("Method", (), {"remote": staticmethod(getattr(actor, name))})
            setattr(self, name, method)


def test_an_error_that_would_come_again_is_every_process_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process that has it answers so; one that it ended is tried again, and then gives that answer at once."""
    monkeypatch.setattr(ray, "get", lambda answer, timeout: answer)
    given = {"config": {"dataset": "data"}, "run": "run", "first_error": Actor(FirstError())}
    errors: list[Exception] = [PeerError("rank 1 failed"), OSError("no route"), KeyError("colour")]

    def fail(*_: object) -> None:
        raise errors.pop(0)

    monkeypatch.setattr(loop, "train", fail)
    with pytest.raises(PeerError):
        work(given)
    with pytest.raises(OSError, match="no route"):
        work(given)
    answer = work(given)
    assert isinstance(answer, TrainingError)
    assert str(answer) == "KeyError: 'colour'"
    assert errors == []
    assert work(given) is answer  # without training, which would find no more errors to raise


@pytest.mark.parametrize("kind", [ValueError, FileNotFoundError])
def test_what_is_wrong_with_a_config_or_a_dataset_is_told_as_such(
    kind: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    class OwnError(kind):  # type: ignore[valid-type,misc]
        def __init__(self, one: str, two: str):
            super().__init__(f"{one} {two}")

    def fail(*_: object) -> None:
        raise OwnError("no", "samples")

    monkeypatch.setattr(loop, "train", fail)
    answer = work({"config": {"dataset": "data"}, "run": "run"})
    assert type(answer) is kind
    assert str(answer) == "no samples"


@pytest.mark.slow
def test_a_killed_worker_costs_the_steps_since_the_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As many processes as there is room for on a local Ray, two; one is killed at step 7, after the checkpoint of
    step 4."""
    model = tmp_path / "ray-tiny.json"
    model.write_text(json.dumps(tiny.CONFIG))
    values = {"dataset": tiny.write_dataset(tmp_path / "data"), "model": str(model), "batch_size": 16, "epochs": 2}
    more = {"workers": 0, "device": "cpu", "log_every": 1, "checkpoint_every": 4, "tensorboard": False}
    (tmp_path / "train.yaml").write_text(yaml.safe_dump({**values, **more}))
    (tmp_path / "deadly").mkdir()
    (tmp_path / "deadly" / "killer.py").write_text(KILLER)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'deadly'}:{Path(__file__).resolve().parents[3]}")
    monkeypatch.setenv("WIT_TEST_KILLED", str(tmp_path / "killed"))
    # Nobody takes this machine away; its two watchers import all of Ray Train.
    for name, value in {**PATIENT, "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.syspath_prepend(tmp_path / "deadly")
    monkeypatch.setattr("pipeline.training.ray_train.work", importlib.import_module("killer").work)
    ctrl_c = signal.getsignal(signal.SIGINT)
    assert main(["train", str(tmp_path / "train.yaml"), "--set", "ranks=[1,2]", "--out", str(tmp_path / "two")]) == 0
    assert signal.getsignal(signal.SIGINT) is ctrl_c
    assert int((tmp_path / "killed").read_text()) != os.getpid()
    assert "8 steps" in capsys.readouterr().out
    assert main(["train", str(tmp_path / "train.yaml"), "--out", str(tmp_path / "one")]) == 0

    def losses(run: str) -> list[float]:
        return [json.loads(line)["loss"] for line in (tmp_path / run / "log.jsonl").read_text().splitlines()]

    assert losses("two") == pytest.approx(losses("one"), abs=1e-4)

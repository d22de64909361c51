"""A log line says what limits the run."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch

from tests.train import ranks
from tests.train.test_loop import config_of
from tests.train.test_resume import log_of
from train import loop
from train.data.loader import Samples
from train.logs.clock import Clock, divide
from train.loop import train

FIGURES = ("data", "others", "launching", "computing", "travelling")


@pytest.mark.parametrize(
    ("figures", "limit", "shares"),
    [
        # A GPU computes all the time: its process is ahead of it, or waits for samples that are not needed yet.
        ((0, 0, 2, 9.8, 0.1), "device", (9.7, 0, 0.1, 0.2)),
        ((8, 0, 1, 9.8, 0.1), "device", (9.7, 0.2, 0.1, 0)),
        ((7, 0, 1, 3, 0), "loader", (3, 7, 0, 0)),
        ((0, 0, 9.5, 9.6, 0), "host", (0, 0, 0, 10)),
        ((0, 0, 2, 9.8, 6), "network", (3.8, 0, 6, 0.2)),
        ((1, 6, 2, 3, 0), "network", (3, 1, 6, 0)),
        ((0, 0, 1, 2, 0), "host", (2, 0, 0, 8)),  # it writes, perhaps
        ((2, 0, 0, 7, 1), "device", (6, 2, 1, 1)),  # a CPU
    ],
)
def test_time_is_divided_into_what_it_was_spent_on(
    figures: tuple[float, ...], limit: str, shares: tuple[float, ...]
) -> None:
    spent = divide(10.0, **dict(zip(FIGURES, figures, strict=True)))
    assert list(spent) == ["device", "loader", "network", "host"]
    assert tuple(spent.values()) == pytest.approx(shares)
    assert max(spent, key=lambda what: spent[what]) == limit


def test_waits_within_a_step_are_no_work_of_this_process() -> None:
    clock = Clock(0, torch.device("cpu"))
    clock.step_begins()
    with clock.waiting("device"):
        time.sleep(0.02)
    clock.step_ends()
    assert 0 <= clock._launching < 0.02
    record = clock.rates(1, 2, 8, 1, 1.0, None)
    assert record["bottleneck"] == "device"
    assert sum(record[f"{what}_share"] for what in ("device", "loader", "network", "host")) == pytest.approx(
        1, abs=0.01
    )
    assert clock._launching == 0 and not any(clock._waited.values())


def slow(monkeypatch: pytest.MonkeyPatch, where: type, name: str, seconds: float) -> None:
    exact = getattr(where, name)

    def slowly(self: object, *args: object) -> object:
        time.sleep(seconds)
        return exact(self, *args)

    monkeypatch.setattr(where, name, slowly)


def test_a_run_that_waits_for_samples_says_so(
    tiny_dataset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    slow(monkeypatch, Samples, "part", 1.0)
    train(config_of(tiny_dataset, samples_seen=32, log_every=2), str(tmp_path))
    assert log_of(tmp_path)[-1]["bottleneck"] == "loader"
    assert "limited by loader" in capsys.readouterr().out


def test_a_process_that_waits_for_another_says_network(
    tiny_dataset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact = loop.backward

    def backward(*args: object, **more: object) -> object:
        if torch.distributed.get_rank() == 1:
            time.sleep(0.7)
        return exact(*args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(loop, "backward", backward)
    # In its second step DDP has the processes agree on buckets, which nobody sees; in the others they meet in the loss.
    ranks.run(2, ranks.training(config_of(tiny_dataset, samples_seen=16 * 5, log_every=5), str(tmp_path)))
    assert log_of(tmp_path)[-1]["bottleneck"] == "network"

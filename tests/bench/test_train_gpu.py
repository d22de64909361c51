"""The bench for a GPU runs on a CPU too, with tiny sizes, so that it cannot rot."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest

from bench import train_gpu


@pytest.mark.slow
def test_all_runs_are_measured(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["train_gpu", "--tiny"])
    status = train_gpu.main()
    *lines, last = capsys.readouterr().out.splitlines()
    summary = json.loads(last)
    assert (status, summary["failed"], summary["equal"]) == (0, 0, True), lines
    assert summary["ratio"] == round(summary["ours"] / summary["peer"], 2)
    runs = {(run["side"], run["run"]) for run in summary["runs"]}
    both = {"shards, compile on", "synthetic, compile on", "synthetic, compile off"}
    assert {run for side, run in runs if side == "ours"} == both | {"batch 24 by micro-batches of 8"}
    assert {run for side, run in runs if side == "peer"} == both | {"gradients"}


def test_without_a_gpu_only_tiny_sizes_run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["train_gpu"])
    monkeypatch.setattr(train_gpu.torch.cuda, "is_available", lambda: False)
    assert train_gpu.main() == 2
    assert capsys.readouterr().err == "error: there is no GPU here; --tiny runs on a CPU\n"


def test_a_run_that_fails_is_reported_beside_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    fine: dict[str, Any] = {"model": "a", "run": "shards", "data_wait_share": 0.5, "memory_bytes": 2**30}
    results = [
        {**fine, "side": "ours", "samples_per_second": 30.0},
        {"side": "peer", "model": "a", "run": "shards", "error": "OutOfMemoryError: none left"},
    ]
    assert train_gpu.report(results, "a GPU", 1.0) == 1
    summary = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (summary["ours"], summary["peer"], summary["ratio"], summary["failed"]) == (30.0, None, None, 1)
    results[1] = {**fine, "side": "peer", "samples_per_second": 20.0}
    assert train_gpu.report([*results, {"side": "peer", "run": "gradients", "model": "a", "apart": 1e-6}], "", 1.0) == 0
    summary = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (summary["ratio"], summary["equal"]) == (1.5, True)

"""The bench for a GPU runs on a CPU too, with tiny sizes, so that it cannot rot."""

from __future__ import annotations

import contextlib
import io
import json
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from bench import train_gpu
from bench.processes import train_gpu as process


def measured_here(specs: list[process.Spec], folder: Path, tiny: bool) -> list[dict[str, Any]]:
    """What a process of its own would measure, without importing torch once more; of one see the last test."""
    file, said = folder / "specs.json", io.StringIO()
    file.write_text(json.dumps([asdict(spec) for spec in specs]), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(said):
        patch.setattr(sys, "argv", ["train_gpu", str(file)])
        patch.setattr(torch, "compile", lambda model: model)  # as TORCH_COMPILE_DISABLE, without importing a compiler
        patch.setattr(torch.nn.Module, "compile", lambda self, **_: None)
        process.main()
    return [json.loads(line) for line in said.getvalue().splitlines() if line.startswith('{"side": ')]


@pytest.mark.slow
def test_all_runs_are_measured(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["train_gpu", "--tiny"])
    monkeypatch.setattr(train_gpu, "results_of", measured_here)
    status = train_gpu.main()
    *lines, last = capsys.readouterr().out.splitlines()
    summary = json.loads(last)
    assert (status, summary["failed"], summary["equal"]) == (0, 0, True), lines
    ours, peer = summary["ours"], summary["peer"]  # rounded to a tenth, which is much of the rates of a busy machine
    assert summary["ratio"] == pytest.approx(ours / peer, abs=0.005 + 0.05 * (1 + ours / peer) / (peer - 0.05))
    runs = {(run["side"], run["run"]) for run in summary["runs"]}
    both = {f"{data}, compile {compiled}" for data in ("shards", "synthetic") for compiled in ("on", "off")}
    assert {run for side, run in runs if side == "ours"} == both | {"batch 24 by micro-batches of 8"}
    assert {run for side, run in runs if side == "peer"} == both | {"gradients", "loss, float64", "4 steps"}


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
    large = {**fine, "side": "ours", "run": "batch 32768", "samples_per_second": 25.0}
    noise = {**fine, "side": "ours", "run": "synthetic", "samples_per_second": 40.0, "mfu": 0.5}
    late = {"side": "peer", "model": "a", "run": "synthetic", "left_out": "no time was left for it"}
    apart = {"side": "peer", "run": "gradients", "model": "a", "apart": 1e-6, "limit": 1e-4}
    assert train_gpu.report([*results, large, noise, late, apart], "", 1.0) == 0
    *lines, last = capsys.readouterr().out.splitlines()
    summary = json.loads(last)
    assert (summary["ratio"], summary["equal"], summary["large_batch"]) == (1.5, True, 25.0)
    assert (summary["failed"], summary["left_out"]) == (0, 1)
    assert summary["goals"] == {"ratio": [1.5, 1.5], "mfu": [0.5, 0.45]}
    assert lines == ["goal: ratio 1.5; measured 1.5", "goal: mfu 0.45; measured 0.5"]


def test_a_process_that_dies_or_hangs_leaves_what_it_had_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    line = json.dumps({"side": "ours", "model": "a", "run": "first", "samples_per_second": 1.0})
    body = f"import sys, time\nprint({line!r}, flush=True)\n"
    spec = train_gpu.tiny_specs(str(tmp_path))[0]
    monkeypatch.setattr(train_gpu, "format_result", lambda result: result["run"])
    monkeypatch.setattr(train_gpu, "GRACE", 3)
    for end, told in (("sys.exit('no memory')", "ended with 1: no memory"), ("time.sleep(600)", "its time was up")):
        processes = tmp_path / "bench" / "processes"
        processes.mkdir(parents=True, exist_ok=True)
        for package in (processes.parent, processes):
            (package / "__init__.py").write_text("")
        (processes / "train_gpu.py").write_text(body + end)
        monkeypatch.setattr(train_gpu, "ROOT", tmp_path)
        results = train_gpu.results_of([replace(spec, deadline=time.time())], tmp_path, True)
        assert [result["run"] for result in results] == ["first", "the process"]
        assert told in results[1]["error"]
    assert capsys.readouterr().out.split("\n")[:2] == ["first", "the process"]

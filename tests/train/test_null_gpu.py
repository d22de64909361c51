"""What a step asks of a GPU, seen on one that computes nothing: no wait, no copy that waits, memory as forecast.

The library (tests/null_gpu) stands in for CUDA's runtime under the CUDA build of torch that is installed; dispatcher,
autograd, allocator and streams are the real ones. Numbers mean nothing there, and cuDNN and NCCL are not run.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.null_gpu.build import CannotBuildError, build, environment
from tests.train import tiny
from train.config import by_key, load

ROOT = Path(__file__).resolve().parents[2]
PRESETS = {path.stem: path for path in sorted((ROOT / "configs" / "train").glob("*.yaml"))}
COMMON = {"workers": 0, "device": "cuda", "tensorboard": False}
BEGINNING = 2
"""Steps in which libraries make ready. Then come one, one that is logged, one, one that is saved, and a last."""
RESNET = "RESNET"  # tests/null_gpu/measure.py makes it, like WEIGHTS and LARGE_IMAGES

OPTIONS: dict[str, dict[str, Any]] = {
    "fp32, sigmoid, moving average": {"precision": "fp32", "loss": "sigmoid", "ema": 0.99},
    "fp16, patch dropout": {"precision": "fp16", "patch_dropout": 0.5},
    "Muon, gradient checkpointing": {"optimizer": "muon", "grad_checkpointing": True},
    "locked image tower": {"lock": "image", "pretrained": "WEIGHTS", "grad_clip": float("inf")},
    "locked text tower": {"lock": "text", "pretrained": "WEIGHTS"},
    "smaller images first": {"image_size": 16, "final_share": 0.8},
    "repeatable": {"deterministic": True},
    "decoded on the GPU": {"decode": "gpu", "flip": 0.5},
    "ResNet, fp16": {"model": RESNET, "precision": "fp16"},
    "ResNet, gradient checkpointing": {"model": RESNET, "grad_checkpointing": True},
}
ALONE = {"smaller images first"}  # its second part begins from a checkpoint, which several write together
CANNOT_SHARD = {"fp16, patch dropout", "repeatable", "ResNet, fp16", "decoded on the GPU"}
FORECAST = {
    "ViT-B/32": ("clip_vit_b32", {}),
    "ResNet": ("clip_rn50", {}),
    "fp32, sigmoid, a moving average, in shards": (
        "datacomp_small",
        {"precision": "fp32", "loss": "sigmoid", "ema": 0.99, "parallel": "fsdp"},
    ),
    "by micro-batches": ("one_24gb_gpu", {"batch_size": 512}),
}
"""Whose memory is held against the forecast, of two layers a tower: (preset, what is changed)."""


def gpus_of(preset: str) -> int:
    """How many GPUs a preset says that it is for."""
    found = re.search(r"on (\d+) GPUs? (?:of|with) \d+ GB", PRESETS[preset].read_text(), flags=re.IGNORECASE)
    assert found is not None
    return int(found[1])


def cases() -> list[dict[str, Any]]:
    """All that is trained."""
    made = []
    for preset, path in PRESETS.items():
        gpus, config = gpus_of(preset), by_key(load(path))
        config.update(model=RESNET if "RN" in config["model"] else tiny.MODEL, pretrained="", learning_rate=1e-3)
        config.update(batch_size=4 * gpus, micro_batch=min(2, config["micro_batch"]))
        made.append(stepped(preset, config, gpus, 1 % gpus))
    for option, values in OPTIONS.items():
        for gpus, kind in ((1, "ddp"), (8, "ddp"), (8, "fsdp")):
            if (kind == "fsdp" and option in CANNOT_SHARD) or (gpus > 1 and option in ALONE):
                continue
            config = {"model": tiny.MODEL, "precision": "bf16", "batch_size": 4 * gpus, "parallel": kind, **values}
            config["micro_batch"] = 2 if gpus > 1 else 0
            made.append(stepped(f"{option}, {gpus} {kind}", config, gpus, 3 % gpus))
    made.append(
        {
            "name": "copies",
            "config": {**COMMON, "model": "LARGE_IMAGES", "batch_size": 1024, "micro_batch": 64, "samples_seen": 2048},
            "bare": True,
        }
    )
    for name, (preset, changes) in FORECAST.items():
        gpus, config = gpus_of(preset), {**by_key(load(PRESETS[preset])), **COMMON, **changes}
        config.update(pretrained="", samples_seen=2 * config["batch_size"])
        made.append({"name": f"memory, {name}", "config": config, "processes": gpus, "bare": True, "shallow": True})
    return made


def stepped(name: str, config: dict[str, Any], gpus: int, rank: int) -> dict[str, Any]:
    """A case of which the steps are looked at, when the first few are done."""
    often = {"log_every": BEGINNING + 2, "checkpoint_every": BEGINNING + 4}
    config = {**config, **COMMON, **often, "samples_seen": (BEGINNING + 5) * config["batch_size"]}
    return {"name": name, "config": config, "processes": gpus, "rank": rank, "beginning": BEGINNING}


class Measured(NamedTuple):
    """What the process with the GPUs that compute nothing has found."""

    cases: dict[str, dict[str, Any]]
    """What each case measured, by its name."""
    bench: dict[str, Any]
    """The summary of `bench.train_gpu --tiny`."""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Measured:
    """All of it, by one process: it takes seconds to start."""
    folder = tmp_path_factory.mktemp("null_gpu")
    try:
        gpus = environment(build(folder), gpus=8) | {"TORCH_COMPILE_DISABLE": "1"}  # as the bench does where it is tiny
    except CannotBuildError as error:
        pytest.skip(f"no GPU that computes nothing: {error}")
    file = folder / "cases.json"
    file.write_text(json.dumps(cases()))
    command = [sys.executable, "-m", "tests.null_gpu.measure", str(file), "--bench"]
    done = subprocess.run(command, cwd=ROOT, env=gpus, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-3000:]
    printed = done.stdout.splitlines()
    lines = [json.loads(line) for line in printed if line.startswith('{"name": ')]
    assert len(lines) == len(cases())
    return Measured({line["name"]: line for line in lines}, json.loads(printed[-1]))


@pytest.fixture(scope="module")
def measured(found: Measured) -> dict[str, dict[str, Any]]:
    """What each case measured, by its name."""
    return found.cases


TRAINED = [case["name"] for case in cases() if "beginning" in case]


@pytest.mark.parametrize("name", TRAINED)
def test_a_step_waits_for_nothing(name: str, measured: dict[str, dict[str, Any]]) -> None:
    found = measured[name]
    assert "error" not in found, found["error"]
    steps = {int(step): asked for step, asked in found["steps"].items()}
    before, logged, _, saved = sorted(steps)
    assert before == BEGINNING + 1
    for step, asked in steps.items():
        told = step in (logged, saved)
        of_the_scaler = 2 if step == saved and "fp16" in name else 0
        assert asked["waits"] <= 2 * told + of_the_scaler, (step, found["waits"])
        assert asked["pageable_to_device"] == 0, step  # torch would wait for such a copy
        assert asked["pageable_to_host"] <= told, step  # the figures of a log line
        assert asked["kernels"] > 0
    assert steps[saved]["pinned_to_host"] > 50  # the checkpoint's tensors
    assert not found["misplaced"], "NCCL takes no tensor that lies on a CPU"
    assert not found["elsewhere"], "a process works on its own GPU alone"


@pytest.mark.parametrize("name", FORECAST)
def test_a_step_holds_what_was_forecast(name: str, measured: dict[str, dict[str, Any]]) -> None:
    found = measured[f"memory, {name}"]
    assert "error" not in found, found["error"]
    assert found["forecast"] == pytest.approx(found["peak"], rel=0.05)


def test_two_copies_of_a_batch_lie_on_the_device(measured: dict[str, dict[str, Any]]) -> None:
    found = measured["copies"]
    assert "error" not in found, found["error"]
    copied, cublas = 1024 * 3 * 224 * 224, 2 * 2**25  # which has work space for two threads
    assert abs(found["peak"] - cublas - found["forecast"]) < copied / 4  # the forecast has two copies


def test_no_line_of_the_bench_for_a_gpu_is_new_where_there_is_one(found: Measured) -> None:
    summary = found.bench
    assert (summary["failed"], summary["left_out"]) == (0, 0)
    assert "(null)" in summary["device"]
    runs = [run for run in summary["runs"] if "samples_per_second" in run]
    assert all(run["mfu"] > 0 and run["memory_bytes"] > 0 for run in runs)
    assert all(run["forecast_bytes"] > 0 for run in runs if run["side"] == "ours")
    assert sum("apart" in run for run in summary["runs"]) == 3

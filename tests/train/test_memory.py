"""Memory of a step: forecast without a GPU; every preset fits the GPUs that it names; blocks are computed twice."""

from __future__ import annotations

import re
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.train.test_accumulate import assert_equal, batch, gradients
from train.accumulate import backward
from train.config import TrainConfig, load
from train.distributed.processes import Processes
from train.loss import softmax_loss
from train.memory.auto import settled
from train.memory.dry_run import dry_run
from train.memory.forecast import Forecast, Memory
from train.memory.recompute import recompute
from train.model import create

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "train"
TINY = TrainConfig("x", model="openwit-tiny", batch_size=2048, precision="bf16")


def step(config: TrainConfig, gpus: int = 1, micro_batch: int | None = None, **changes: Any) -> Memory:
    """A forecast, made in a process of its own: other tests fork this one, which torch forbids where a step has run on
    tensors without numbers."""
    with ProcessPoolExecutor(1, mp_context=get_context("fork")) as apart:
        return apart.submit(_step, config, gpus, micro_batch, changes).result(timeout=300)


def _step(config: TrainConfig, gpus: int, micro_batch: int | None, changes: dict[str, Any]) -> Memory:
    return Forecast(config, gpus).memory(config.micro_batch if micro_batch is None else micro_batch, **changes)


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_preset_fits_the_gpus_that_it_names(path: Path) -> None:
    head = path.read_text().partition("\n\n")[0]
    ((gpus, gigabytes),) = re.findall(r"on (\d+) GPUs? (?:of|with) (\d+) GB", head, flags=re.IGNORECASE)
    started = {key: int(value) for key, value in re.findall(r"--(nnodes|nproc-per-node) (\d+)", head)}
    assert started.get("nnodes", 1) * started.get("nproc-per-node", 1) == int(gpus)
    config = load(path)
    assert step(config, int(gpus)).fits(int(gigabytes) * 1e9)


def test_more_memory_is_needed_for_more_samples_and_less_where_it_is_saved() -> None:
    whole, parts = step(TINY), step(TINY, micro_batch=256)
    assert parts.activations < whole.activations / 2
    assert (parts.weights, parts.batches) == (whole.weights, whole.batches)
    assert step(TINY, grad_checkpointing=True).activations < 0.8 * whole.activations
    assert step(TINY, precision="fp32").activations > 1.3 * whole.activations
    assert step(TINY, ema=0.9).moving_average > 0 == whole.moving_average


def test_what_a_config_holds_between_steps_is_arithmetic() -> None:
    clip = create("openwit-tiny")
    parameters = 4 * sum(parameter.numel() for parameter in clip.model.parameters())
    alone, two, shards = (step(replace(TINY, parallel=kind, batch_size=2048 * count), count)
                          for kind, count in (("ddp", 1), ("ddp", 2), ("fsdp", 2)))  # fmt: skip
    assert alone.gradients == pytest.approx(parameters, rel=0.02)  # each tensor takes whole pieces of 512 bytes
    assert alone.optimizer == two.optimizer == pytest.approx(2 * parameters, rel=0.02)
    assert two.gradients == pytest.approx(2 * parameters, rel=0.02)  # and DDP's buckets
    assert shards.optimizer == pytest.approx(parameters, rel=0.02)
    assert alone.batches == 2 * 2048 * (3 * 64 * 64 + 8 * 24)


def test_the_largest_micro_batch_is_found_that_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    def memory(self: Forecast, micro_batch: int, **changes: Any) -> Memory:
        return Memory(0, 0, 0, 0, 0, activations=micro_batch * 10**7)

    monkeypatch.setattr(Forecast, "memory", memory)
    forecast = Forecast(TINY, 1)
    assert forecast.largest(memory(forecast, 512).needed / 0.9 + 1) == 512
    assert forecast.largest(1e12) == 2048
    assert forecast.largest(1e6) is None


def test_a_dry_run_says_what_a_run_takes_and_which_key_to_change(monkeypatch: pytest.MonkeyPatch) -> None:
    def memory(self: Forecast, micro_batch: int, **changes: Any) -> Memory:
        each = 10**7 if changes.get("grad_checkpointing") else 10**8
        return Memory(10**9, 10**9, 2 * 10**9, 0, 10**8, activations=(micro_batch or self.share) * each)

    monkeypatch.setattr(Forecast, "memory", memory)
    config = replace(TINY, samples_seen=2048 * 1000)
    lines, fits = dry_run(config, 2, 300e9, samples=20_480, rate=1000.0)
    assert fits
    assert lines[0] == "1,000 steps of 2,048: 2,048,000 samples, 100.0 epochs of 20,480"
    assert lines[1] == "0.6 hours at 1,000 samples/s"
    assert "memory of each of 2 GPUs at its peak, 1,024 of 1,024 samples at a time:" in lines
    assert "      2.0 GB  optimizer" in lines
    assert lines[-1] == "a checkpoint takes 3.0 GB of disk, at most 4 of them 12.0 GB"
    lines, fits = dry_run(config, 2, 24e9, samples=20_480)
    assert not fits
    advice = "it does not fit 24 GB with a tenth to spare: set micro_batch: 128, which takes 20.2 GB"
    assert advice in lines
    lines, fits = dry_run(config, 2, 10e9, samples=None)
    assert "set micro_batch: 256, grad_checkpointing: true, which takes 8.5 GB" in "\n".join(lines)
    lines, fits = dry_run(config, 2, 4e9)
    assert "no micro_batch does; take more GPUs" in "\n".join(lines)


def test_auto_is_what_fits_the_gpu_with_the_least_free_and_on_a_cpu_all(monkeypatch: pytest.MonkeyPatch) -> None:
    class Two(Processes):
        def gather(self, value: Any) -> list[Any]:
            return [value, value // 4 if value is not None and value > 10**6 else value]

    def memory(self: Forecast, micro_batch: int, **changes: Any) -> Memory:
        return Memory(0, 0, 0, 0, 0, activations=micro_batch * 10**7)

    monkeypatch.setattr(Forecast, "memory", memory)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (32 * 10**9, 80 * 10**9))
    config = load({"dataset": "x", "batch_size": 4096, "micro_batch": "auto"})
    assert settled(config, Two(0, 2, torch.device("cuda", 0))).micro_batch == 512
    assert settled(config, Processes(0, 1, torch.device("cpu"))).micro_batch == 0
    assert settled(replace(config, micro_batch=7), Processes(0, 1, torch.device("cuda", 0))).micro_batch == 7


@pytest.mark.parametrize("micro_batch", [0, 8])
def test_a_resnets_blocks_computed_twice_learn_the_same(micro_batch: int) -> None:
    found, buffers, saved = [], [], []
    for twice in (False, True):
        model = create("openwit-tiny").model.train()
        if twice:
            recompute(model)
        kept: set[int] = set()

        def keep(tensor: torch.Tensor, kept: set[int] = kept) -> torch.Tensor:
            kept.add(tensor.untyped_storage().data_ptr())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            model(*batch(64, 24))
        saved.append(len(kept))
        model = create("openwit-tiny").model.train()
        if twice:
            recompute(model)
        backward(model, *batch(64, 24), loss=softmax_loss, seed=0, micro_batch=micro_batch)
        buffers.append({name: buffer.clone() for name, buffer in model.named_buffers()})
        found.append(gradients(model))
    assert_equal(*found)
    assert saved[1] < 0.7 * saved[0]
    assert all(torch.equal(buffers[0][name], buffers[1][name]) for name in buffers[0])


def test_a_tower_that_cannot_compute_twice_is_refused() -> None:
    class Cannot(torch.nn.Module):
        visual = None

        def set_grad_checkpointing(self) -> None:
            raise AssertionError("gradient checkpointing not supported")

    with pytest.raises(ValueError, match=r"^grad_checkpointing must be false .* gradient checkpointing not supported$"):
        recompute(Cannot())

"""Memory of a step: forecast without a GPU; every preset fits the GPUs that it names; blocks are computed twice."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.cli import main as wit
from tests.train import tiny
from tests.train.test_accumulate import assert_equal, batch, gradients
from train.__main__ import main as trainer
from train.accumulate import backward
from train.checkpoints.checkpoint import about, find
from train.config import TrainConfig, from_keys, load, with_changes
from train.distributed.processes import Processes
from train.loop import train
from train.loss import softmax_loss
from train.memory.auto import resolve_micro_batch
from train.memory.dry_run import dry_run
from train.memory.forecast import Memory, MemoryForecast
from train.memory.recompute import recompute
from train.models.clip import create

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "train"
TINY = from_keys("x", model="openwit-tiny", batch_size=2048, precision="bf16")
DEEP = {
    "embed_dim": 64,
    "vision_cfg": {"image_size": 64, "layers": 3, "width": 128, "head_width": 32, "patch_size": 16},
    "text_cfg": {"context_length": 24, "width": 64, "heads": 2, "layers": 3},
}
"""Transformers, whose forecast takes a tenth of a ResNet's."""


Step = Callable[..., Memory]


@pytest.fixture(scope="module")
def step(apart: ProcessPoolExecutor) -> Step:
    """Forecasts the step of (config, gpus, micro_batch), with keys changed; once what is equal but for names."""
    known: dict[str, Memory] = {}

    def step(config: TrainConfig, gpus: int = 1, micro_batch: int | None = None, **changes: Any) -> Memory:
        config = with_changes(config, name="any", samples_seen=0, **changes)
        key = repr((config, gpus, micro_batch))
        if key not in known:
            known[key] = apart.submit(_step, config, gpus, micro_batch).result(timeout=300)
        return known[key]

    return step


def _step(config: TrainConfig, gpus: int, micro_batch: int | None) -> Memory:
    return MemoryForecast(config, gpus).memory(config.training.micro_batch if micro_batch is None else micro_batch)


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> TrainConfig:
    path = tmp_path_factory.mktemp("model") / "deep.json"
    path.write_text(json.dumps(DEEP))
    return with_changes(TINY, model=str(path))


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_preset_fits_the_gpus_that_it_names(path: Path, step: Step) -> None:
    head = path.read_text().partition("\n\n")[0]
    ((gpus, gigabytes),) = re.findall(r"on (\d+) GPUs? (?:of|with) (\d+) GB", head, flags=re.IGNORECASE)
    started = {key: int(value) for key, value in re.findall(r"--(nnodes|nproc-per-node) (\d+)", head)}
    assert started.get("nnodes", 1) * started.get("nproc-per-node", 1) == int(gpus)
    config = load(path)
    memory = step(config, int(gpus))
    assert memory.fits(int(gigabytes) * 1e9)
    assert memory.fragments == (1.4 if "RN" in config.model.name else 1.2)


def test_more_memory_is_needed_for_more_samples_and_less_where_it_is_saved(deep: TrainConfig, step: Step) -> None:
    whole, parts = step(deep), step(deep, micro_batch=256)
    assert parts.activations < whole.activations / 2
    assert (parts.weights, parts.batches) == (whole.weights, whole.batches)
    assert step(deep, grad_checkpointing=True).activations < 0.8 * whole.activations
    assert step(deep, precision="fp32").activations > 1.3 * whole.activations
    assert step(deep, ema=0.9).moving_average > 0 == whole.moving_average


def test_what_a_config_holds_between_steps_is_arithmetic(deep: TrainConfig, step: Step) -> None:
    clip = create(deep.model.name)
    parameters = 4 * sum(parameter.numel() for parameter in clip.model.parameters())
    alone, two, shards = (step(with_changes(deep, parallel=kind, batch_size=2048 * count), count)
                          for kind, count in (("ddp", 1), ("ddp", 2), ("fsdp", 2)))  # fmt: skip
    assert alone.gradients == pytest.approx(parameters, rel=0.02)  # each tensor takes whole pieces of 512 bytes
    assert alone.optimizer == two.optimizer == pytest.approx(2 * parameters, rel=0.02)
    assert two.gradients == pytest.approx(2 * parameters, rel=0.02)  # and DDP's buckets
    assert shards.optimizer == pytest.approx(parameters, rel=0.02)
    assert alone.batches == 2 * 2048 * (3 * 64 * 64 + 8 * 24)


def test_fragments_take_more_where_a_tower_is_of_convolutions() -> None:
    """What was measured, with some to spare: 1.37 of a ResNet computed twice, 1.16 of others."""
    parts = (10**9, 0, 0, 0, 0, 10**9)
    assert Memory(*parts).needed == 2.4e9 + 0.8e9
    assert Memory(*parts, fragments=1.4).needed == 2.8e9 + 0.8e9


def test_the_largest_micro_batch_is_found_that_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    def memory(self: MemoryForecast, micro_batch: int, **changes: Any) -> Memory:
        return Memory(0, 0, 0, 0, 0, activations=micro_batch * 10**7)

    monkeypatch.setattr(MemoryForecast, "memory", memory)
    forecast = MemoryForecast(TINY, 1)
    assert forecast.largest(memory(forecast, 512).needed / 0.9 + 1) == 512
    assert forecast.largest(1e12) == 2048
    assert forecast.largest(1e6) is None


def test_a_dry_run_says_what_a_run_takes_and_which_key_to_change(monkeypatch: pytest.MonkeyPatch) -> None:
    def memory(self: MemoryForecast, micro_batch: int, **changes: Any) -> Memory:
        each = 10**7 if changes.get("grad_checkpointing") else 10**8
        return Memory(10**9, 10**9, 2 * 10**9, 0, 10**8, activations=(micro_batch or self.share) * each)

    monkeypatch.setattr(MemoryForecast, "memory", memory)
    config = with_changes(TINY, samples_seen=2048 * 1000)
    lines, fits = dry_run(config, 2, 300e9, samples=20_480, rate=1000.0)
    assert fits
    assert lines[0] == "1,000 steps of 2,048: 2,048,000 samples, 100.0 epochs of 20,480"
    assert lines[1] == "0.6 hours at 1,000 samples/s"
    assert "memory of each of 2 GPUs at its peak, 1,024 of 1,024 samples at a time:" in lines
    assert "      2.0 GB  optimizer" in lines
    assert lines[-1] == "a checkpoint takes 3.0 GB of disk, at most 4 of them 12.0 GB"
    lines, fits = dry_run(config, 2, 24e9, samples=20_480)
    assert not fits
    advice = "it does not fit 24 GB with a tenth to spare: set training.micro_batch: 128, which takes 21.1 GB"
    assert advice in lines
    lines, fits = dry_run(config, 2, 10e9, samples=None)
    assert "set training.micro_batch: 256, compute.grad_checkpointing: true, which takes 8.8 GB" in "\n".join(lines)
    lines, fits = dry_run(config, 2, 4e9)
    assert "no training.micro_batch does; take more GPUs" in "\n".join(lines)


def test_auto_is_what_fits_the_gpu_with_the_least_free_and_on_a_cpu_all(monkeypatch: pytest.MonkeyPatch) -> None:
    class Two(Processes):
        def gather(self, value: Any) -> list[Any]:
            return [value, value // 4 if isinstance(value, int) else value]

    def memory(self: MemoryForecast, micro_batch: int, **changes: Any) -> Memory:
        return Memory(0, 0, 0, 0, 0, activations=micro_batch * 10**7)

    monkeypatch.setattr(MemoryForecast, "memory", memory)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (32 * 10**9, 80 * 10**9))
    config = load({"dataset": "x", "batch_size": 4096, "micro_batch": "auto"})
    two = Two(0, 2, torch.device("cuda", 0))
    assert resolve_micro_batch(config, two, {})[1] == 512
    assert resolve_micro_batch(config, Processes(0, 1, torch.device("cpu")), {})[1] == 0
    assert (
        resolve_micro_batch(with_changes(config, micro_batch=7), Processes(0, 1, torch.device("cuda", 0)), {})[1] == 7
    )
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (10**9, 80 * 10**9))
    with pytest.raises(
        ValueError, match=r"nothing that fits GPUs with 0.2 GB free: no training.micro_batch does; take more GPU"
    ):
        resolve_micro_batch(config, two, {})


def test_what_auto_found_is_kept_by_a_run_that_goes_on_with_as_many_gpus(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def memory(self: MemoryForecast, micro_batch: int, **changes: Any) -> Memory:
        return Memory(0, 0, 0, 0, 0, activations=micro_batch * 10**7)

    monkeypatch.setattr(MemoryForecast, "memory", memory)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (8 * 10**9, 80 * 10**9))
    config = load({"dataset": "x", "batch_size": 4096, "micro_batch": "auto"})
    alone = Processes(0, 1, torch.device("cuda", 0))
    begun = {"config": {"micro_batch": 64}}
    assert resolve_micro_batch(config, alone, {**begun, "auto_on": "1 cuda"})[1] == 64
    assert capsys.readouterr().err == ""
    for other in ("2 cuda", "1 cpu", None):  # None: somebody chose 64
        assert resolve_micro_batch(config, alone, {**begun, "auto_on": other})[1] == 512
        assert "micro_batch: auto is 512 from now on; the run had 64 until now" in capsys.readouterr().err


def test_a_run_says_on_what_auto_found_it(tiny_dataset: str, tmp_path: Path) -> None:
    config = from_keys(tiny_dataset, model=tiny.MODEL, batch_size=16, epochs=0.25, micro_batch="auto", workers=0)
    for micro_batch, auto_on in (("auto", "1 cpu"), (0, None)):
        done = train(with_changes(config, micro_batch=micro_batch), str(tmp_path / str(auto_on)), lambda record: None)
        described = about(*find(done.checkpoint))
        assert (described["config"]["training"]["micro_batch"], described["auto_on"]) == (0, auto_on)


def test_python_m_train_makes_a_dry_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def memory(self: MemoryForecast, micro_batch: int, **changes: Any) -> Memory:
        return Memory(10**9, 0, 0, 0, 0, activations=micro_batch * 10**7)

    monkeypatch.setattr(MemoryForecast, "memory", memory)
    file = tmp_path / "run.yaml"
    file.write_text("dataset: nowhere\nbatch_size: 2048\nsamples_seen: 204800\nmicro_batch: auto\n")
    spoken = {}
    for main in (trainer, wit):
        words = [str(file), "--dry-run", "--gpus", "2", "--rate", "1000", "--gpu-memory"]
        words = ["train", *words] if main is wit else words
        assert [main([*words, "24"]), main([*words, "2"])] == [0, 1]
        spoken[main] = capsys.readouterr().out
        assert main([*words, "-1"]) == 2
        assert "--gpu-memory must be above 0, not -1" in capsys.readouterr().err
    assert spoken[trainer] == spoken[wit]
    assert "100 steps of 2,048: 204,800 samples" in spoken[wit]
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("micro_batch", [0, 8])
def test_a_resnets_blocks_computed_twice_learn_the_same(micro_batch: int) -> None:
    found, buffers, saved = [], [], []
    for twice in (False, True):
        model = create(tiny.RESNET).model.train()
        if twice:
            recompute(model)
        kept: set[int] = set()

        def keep(tensor: torch.Tensor, kept: set[int] = kept) -> torch.Tensor:
            kept.add(tensor.untyped_storage().data_ptr())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            model(*batch(64))
        saved.append(len(kept))
        model = create(tiny.RESNET).model.train()
        if twice:
            recompute(model)
        backward(model, *batch(64), loss=softmax_loss, seed=0, micro_batch=micro_batch)
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

"""What a GPU would be asked to do, by tensors that say they are on one and hold nothing: nothing mixes devices, and
nothing waits for numbers within a step."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from tests.train import tiny
from tests.train.test_loop import config_of, quiet
from train import loop
from train.accumulate import backward
from train.config import from_keys
from train.data.loader import Batch
from train.logs.metrics import PEAK_TFLOPS, peak_flops
from train.loop import TrainingError, train
from train.loss import LOSSES
from train.models.clip import create
from train.optimizers import MovingAverage, clip_gradients, gradient_norms, make_optimizers

CUDA = torch.device("cuda", 0)


def on_cuda(model: nn.Module) -> Any:
    """A model whose tensors are placeholders on a GPU."""
    for module in model.modules():
        for kind in (module._parameters, module._buffers):
            for name, tensor in list(kind.items()):
                if tensor is not None:
                    empty = torch.empty(tensor.shape, dtype=tensor.dtype, device=CUDA)
                    kind[name] = nn.Parameter(empty) if isinstance(tensor, nn.Parameter) else empty
    return model


def carried(outputs: Any, gradients: Any) -> None:
    """Stands for the backward pass, which has no placeholders for a GPU that is not there."""
    for output, gradient in zip(outputs, gradients, strict=True):
        assert output.device == gradient.device and output.shape == gradient.shape


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("model", [tiny.MODEL, tiny.RESNET])  # a transformer, a ResNet
def test_a_step_stays_on_the_device(model: str, precision: str, loss: str, apart: ProcessPoolExecutor) -> None:
    apart.submit(_step, model, precision, loss).result(timeout=300)


def _step(model: str, precision: str, loss: str) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(torch.autograd, "grad", lambda output, leaves: [torch.zeros_like(leaf) for leaf in leaves])
        monkeypatch.setattr(torch.autograd, "backward", carried)
        clip = create(model, loss=loss)
        half = torch.float16 if precision == "fp16" else torch.bfloat16
        with monkeypatch.context() as patch:
            patch.setattr(torch.cuda, "is_available", lambda: True)  # or these two would do nothing
            patch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
            autocast = torch.autocast("cuda", half, enabled=precision != "fp32")
            scaler = torch.amp.GradScaler("cuda", enabled=precision == "fp16")
        with FakeTensorMode():
            towers = on_cuda(clip.model)
            (adamw,) = make_optimizers(towers, from_keys("out").optimizer)
            average = MovingAverage(towers, 0.9)
            found = backward(
                towers,
                torch.zeros(10, 3, clip.image_size, clip.image_size, dtype=torch.uint8, device=CUDA),
                torch.zeros(10, towers.context_length, dtype=torch.int64, device=CUDA),
                loss=LOSSES[loss],
                seed=0,
                micro_batch=4,
                prepare=lambda images: (images * torch.ones(1, 3, 1, 1, device=CUDA)).sub_(1),
                autocast=autocast,
                scaler=scaler,
            )
            for name, parameter in towers.named_parameters():
                if not name.startswith("visual."):  # as where the image tower is locked
                    parameter.grad = torch.zeros_like(parameter)
            norms = gradient_norms(towers)
            clip_gradients(towers, norms["all"], 1.0)
            adamw.step()
            average.update()
            assert {tensor.device for tensor in (found, *norms.values(), *average.average.values())} == {CUDA}
            assert found.dtype == torch.float32
            with pytest.raises(DataDependentOutputException):
                found.item()  # so nothing above has asked for a number


def test_a_batch_in_page_locked_memory_goes_as_it_is(apart: ProcessPoolExecutor) -> None:
    apart.submit(_batch).result(timeout=300)


def _batch() -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        asked: list[Any] = []
        pixels = torch.zeros(2, 4, 4, 3, dtype=torch.uint8).permute(0, 3, 1, 2)
        monkeypatch.setattr(Tensor, "pin_memory", lambda tensor: asked.append(tensor.shape) or tensor)
        batch = Batch(pixels, torch.zeros(2, 5, dtype=torch.int64), torch.arange(2), []).pin_memory()
        assert asked == [(2, 3, 4, 4), (2, 5)]
        with FakeTensorMode() as mode:
            sent = Batch(mode.from_tensor(batch.images), mode.from_tensor(batch.texts), batch.rows, []).to(CUDA)
            assert (sent.images.device, sent.texts.device, sent.images.dtype) == (CUDA, CUDA, torch.uint8)
            assert sent.images.is_contiguous(memory_format=torch.channels_last)


def test_a_device_without_memory_is_one_sentence(
    tiny_dataset: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def large(*arguments: Any, **more: Any) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")

    monkeypatch.setattr(loop, "backward", large)
    words = r"for 6 samples at a time; set training\.micro_batch lower or compute\.grad_checkpointing: true$"
    with pytest.raises(TrainingError, match=words):
        train(config_of(tiny_dataset, micro_batch=6), str(tmp_path), quiet)


@pytest.mark.parametrize(
    ("name", "tflops"),
    [
        ("NVIDIA H100 80GB HBM3", 989), ("NVIDIA H100 PCIe", 756), ("NVIDIA H100 NVL", 835), ("NVIDIA H200", 989),
        ("NVIDIA GH200 480GB", 989), ("NVIDIA A100-SXM4-80GB", 312), ("NVIDIA A10G", 70), ("NVIDIA A10", 125),
        ("NVIDIA L40S", 362), ("NVIDIA L4", 121), ("NVIDIA GeForce RTX 4090", 165.2), ("NVIDIA B200", 2250),
        ("NVIDIA RTX A4000", None), ("Something else", None),
    ],
)  # fmt: skip
def test_a_devices_peak_goes_by_its_name(name: str, tflops: float | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: name)
    assert peak_flops(CUDA, 0) == (tflops and tflops * 1e12)
    assert peak_flops(CUDA, 2.0) == 2e12
    assert peak_flops(torch.device("cpu"), 0) is None
    assert all(peak > 0 for peak in PEAK_TFLOPS.values())

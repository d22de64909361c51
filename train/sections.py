"""The sections of a training config that are owned by modules which import torch: a config is read without it.

`data`, `distributed` and `evaluation` are in the rooms that they configure.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from dataset.config_check import require


def _require_each(section: Any, expected: str, low: float, high: float, *keys: str, is_open: bool = False) -> None:
    """Each key is from `low`, or above it where `is_open`, to below `high`."""
    for key in keys:
        value = getattr(section, key)
        require((low < value if is_open else low <= value) and value < high, key, expected, value)


@dataclass(frozen=True)
class ModelConfig:
    """What is trained, and what it begins with (train/models/clip.py, train/models/pretrained.py)."""

    name: str = "openwit-tiny"
    """An open_clip model name, one of ours (train/models), or the path of an open_clip config in JSON."""
    pretrained: str = ""
    """Weights to begin with: one of open_clip's tags for the model, a file that open_clip reads, an exported folder, or
    a run of ours. Position embeddings of another size are interpolated."""
    lock: Literal["none", "image", "text"] = "none"
    """none; or image or text: that tower stays as `pretrained` made it (LiT; Zhai et al. 2022)."""
    unlocked_groups: int = 0
    """How many of the locked tower's last groups of layers learn all the same, as open_clip counts them."""
    tokenizer: str = ""
    """A folder with a Hugging Face tokenizer, instead of the model's own tokenizer."""
    image_size: int = 0
    """Pixels of a training image's side; 0 is the model's own."""
    context_length: int = 0
    """Tokens of a text; 0 is the model's own."""
    final_share: float = 0.0
    """The share of all steps, at the end, in which images and texts have the model's own sizes again."""
    patch_dropout: float = 0.0
    """The share of an image's patches that training leaves out (Li et al. 2023, FLIP)."""

    def __post_init__(self) -> None:
        _require_each(self, "at least 0", 0, math.inf, "unlocked_groups", "image_size", "context_length")
        _require_each(self, "from 0 to below 1", 0, 1, "final_share", "patch_dropout")
        if self.lock != "none":
            require(bool(self.pretrained), "pretrained", "given where a tower is locked", self.pretrained)


@dataclass(frozen=True)
class TrainingConfig:
    """What a step is, and how many there are (train/loop.py, train/accumulate.py, train/loss.py)."""

    batch_size: int = 256
    """Samples per step, over all processes together."""
    micro_batch: int | Literal["auto"] = 0
    """The most samples that go through the model at a time on one device; 0 is all of them. Gradients are the same.
    auto: as many as fit the GPU by `wit train --dry-run`'s forecast, found before the first step; on a CPU all."""
    epochs: float = 32.0
    """How often each training sample is seen."""
    samples_seen: int = 0
    """How many samples are seen in all, repeats counted; 0 leaves that to `epochs`."""
    loss: Literal["softmax", "sigmoid"] = "softmax"
    """softmax, CLIP's; or sigmoid, SigLIP's, for models with a logit bias too."""
    on_nan: Literal["stop", "skip"] = "stop"
    """What a loss or gradient that is no number does: stop the run, or skip the step."""
    max_skipped: int = 10
    """The number of steps that may be skipped, with on_nan: skip, before the run stops all the same."""

    def __post_init__(self) -> None:
        require(self.batch_size >= 1, "batch_size", "at least 1", self.batch_size)
        _require_each(self, "above 0", 0, math.inf, "epochs", is_open=True)
        _require_each(self, "at least 0", 0, math.inf, "samples_seen", "max_skipped")
        if self.micro_batch != "auto":
            require(self.micro_batch >= 0, "micro_batch", "at least 0, or auto", self.micro_batch)

    def steps(self, samples: int) -> tuple[float, int]:
        """Return (steps per epoch, steps of the run) on that many samples; a batch may reach into the next epoch.

        Raises:
            ValueError: a batch is larger than the dataset.
        """
        if samples < self.batch_size:
            raise ValueError(
                f"training.batch_size must be at most the dataset's {samples} training samples, not {self.batch_size}"
            )
        wanted = self.samples_seen / self.batch_size if self.samples_seen else self.epochs * samples / self.batch_size
        return samples / self.batch_size, max(1, round(wanted))


@dataclass(frozen=True)
class OptimizerConfig:
    """What turns gradients into weights (train/optimizers.py)."""

    name: Literal["adamw", "muon"] = "adamw"
    """adamw; or muon for the matrices of the towers' blocks (Jordan et al. 2024), with AdamW for the rest."""
    learning_rate: float = 5e-4
    """The highest learning rate, reached after the warm-up."""
    weight_decay: float = 0.2
    """AdamW's decoupled decay, of all weights that are not gains or biases."""
    beta1: float = 0.9
    """AdamW's decay of the mean of gradients."""
    beta2: float = 0.0
    """AdamW's decay of the mean of squared gradients; 0 is the paper's: 0.98 for transformers, 0.999 for ResNets."""
    epsilon: float = 0.0
    """AdamW's least denominator; 0 is the paper's: 1e-6 for transformers, 1e-8 for ResNets."""
    grad_clip: float = 1.0
    """The largest norm of the gradient; a larger one is scaled down to it. `.inf` does not, as the paper."""
    ema: float = 0.0
    """The decay, by step, of a moving average of the weights, which `wit eval` and `wit export` then take; 0: none."""

    def __post_init__(self) -> None:
        _require_each(self, "above 0", 0, math.inf, "learning_rate", is_open=True)
        _require_each(self, "from 0 to below 1", 0, 1, "beta1", "beta2", "ema")
        _require_each(self, "at least 0", 0, math.inf, "weight_decay", "epsilon")
        require(self.grad_clip > 0, "grad_clip", "above 0, or .inf for none", self.grad_clip)


@dataclass(frozen=True)
class ScheduleConfig:
    """How the learning rate rises and falls (train/schedule.py)."""

    name: Literal["cosine", "constant"] = "cosine"
    """What follows the warm-up: cosine, down to zero; or constant, with a linear cooldown to zero."""
    warmup_share: float = 0.05
    """The share of all steps in which the learning rate rises from zero."""
    warmup_steps: int = 0
    """The same as a number of steps, instead of the share; 0 leaves it to the share."""
    cooldown_share: float = 0.2
    """The share of all steps in which a constant learning rate falls to zero at the end (Hägele et al. 2024, §3)."""

    def __post_init__(self) -> None:
        _require_each(self, "from 0 to below 1", 0, 1, "warmup_share", "cooldown_share")
        _require_each(self, "at least 0", 0, math.inf, "warmup_steps")
        if self.name == "constant":
            rest = 1 - self.warmup_share
            expected = f"at most {rest:g}, with warmup_share"
            require(self.cooldown_share <= rest, "cooldown_share", expected, self.cooldown_share)


@dataclass(frozen=True)
class ComputeConfig:
    """What a step is computed on, and how (train/to_device.py, train/memory, torch's own switches)."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto (a GPU if there is one), cpu or cuda."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """fp32; or bf16 or fp16: the towers compute in 16 bits, weights and loss stay float32. fp16 scales the loss."""
    grad_checkpointing: bool = False
    """Compute activations twice instead of keeping them: less memory, a third more time."""
    compile: bool = False
    """Have torch.compile fuse the towers, with fsdp block by block: minutes at the start, faster after it."""
    deterministic: bool = False
    """The same bits at every run on the same machines, at some cost in speed."""


@dataclass(frozen=True)
class CheckpointConfig:
    """When the run's state is written, how much of it is kept, and from what it begins (train/checkpoints)."""

    every: int = 500
    """Steps between two checkpoints; the last step always has one."""
    keep: int = 2
    """How many of the newest checkpoints to keep; the best is kept besides."""
    resume: str = ""
    """A checkpoint of open_clip_train's (`epoch_5.pt`) with which the run begins: its weights, its optimizer's state,
    its loss scale, and the samples seen. A run that has checkpoints of its own goes on from those."""

    def __post_init__(self) -> None:
        _require_each(self, "at least 1", 1, math.inf, "every", "keep")


@dataclass(frozen=True)
class LogConfig:
    """What a run says of itself, and where (train/logs/log.py, train/logs/metrics.py)."""

    every: int = 10
    """Steps between two log lines."""
    tensorboard: bool = True
    """Write RUN/tensorboard as well, where TensorBoard is installed and RUN is a path."""
    wandb: str = ""
    """The Weights & Biases project to log to as well; empty: none."""
    peak_tflops: float = 0.0
    """What one device can compute at most, in 10^12 operations a second, for the log's MFU; 0 goes by its name."""

    def __post_init__(self) -> None:
        _require_each(self, "at least 1", 1, math.inf, "every")
        _require_each(self, "at least 0", 0, math.inf, "peak_tflops")

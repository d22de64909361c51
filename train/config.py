"""What a training run is: one flat, checked config."""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, get_origin, get_type_hints

from dataset.store.storage import absolute
from dataset.yaml_text import YamlError, parse

RESUMABLE_CHANGES = frozenset(
    {
        *("name", "workers", "device", "micro_batch", "grad_checkpointing", "compile", "parallel", "deterministic"),
        *("on_nan", "peak_tflops", "log_every", "checkpoint_every", "keep", "tensorboard", "wandb"),
        *("damaged", "cache", "cache_bytes", "timeout_s", "tasks", "evaluators", "evaluate_every"),
    }
)
"""Keys that may differ when a run resumes: none of them changes what is learned."""

PATHS = ("dataset", "mixture", "model", "pretrained", "resume", "tokenizer", "cache", "tasks")
"""Keys whose values are paths, or may be: a model and its weights have names as well."""

AUTO = -(2**31)
"""What `micro_batch: auto` is as a number."""

LAUNCH = {
    "ranks": "How many processes `wit train` starts; or the least and the most as [2, 8], of which Ray takes what the "
    "cluster has room for. torchrun's own command line says it for `python -m train`.",
    "address": "The Ray cluster (`auto`, host:port) on which `wit train` starts them; empty for Ray on this machine.",
}
"""Keys that say how a run's processes are started, each with what it means. Whoever starts them heeds them; the trainer
checks them and reads on, so that one file serves `wit train` and `torchrun -m train`."""

CHOICES = {
    "loss": ("softmax", "sigmoid"),
    "lock": ("none", "image", "text"),
    "optimizer": ("adamw", "muon"),
    "schedule": ("cosine", "constant"),
    "crop": ("square", "resized", "center"),
    "shuffle": ("full", "blocks"),
    "damaged": ("replace", "stop"),
    "decode": ("cpu", "gpu"),
    "precision": ("fp32", "bf16", "fp16"),
    "parallel": ("ddp", "fsdp"),
    "on_nan": ("stop", "skip"),
    "device": ("auto", "cpu", "cuda"),
}


@dataclass(frozen=True)
class TrainConfig:
    """A training run; docs/training.md has a table of the defaults beside the paper's and open_clip's."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    dataset: str
    """The dataset's URL: a directory or bucket prefix with `shards/index`, or with anyone's WebDataset tars; or
    the tars' own, such as `s3://bucket/{00000..00099}.tar`."""
    mixture: dict[str, float] = field(default_factory=dict)
    """Further datasets to draw from, by URL, with their weights; `dataset` itself has weight 1."""
    name: str = "clip"
    """The run's name; it lies in DATASET/runs/NAME unless told otherwise."""
    model: str = "openwit-tiny"
    """An open_clip model name, one of ours (train/models), or the path of an open_clip config in JSON."""
    batch_size: int = 256
    """Samples per step, over all processes together."""
    micro_batch: int = 0
    """The most samples that go through the model at a time on one device; 0 is all of them. Gradients are the same.
    auto: as many as fit the GPU by `wit train --dry-run`'s forecast, found before the first step; on a CPU all."""
    loss: str = "softmax"
    """softmax, CLIP's; or sigmoid, SigLIP's, for models with a logit bias too."""
    pretrained: str = ""
    """Weights to begin with: one of open_clip's tags for the model, a file that open_clip reads, an exported folder, or
    a run of ours. Position embeddings of another size are interpolated."""
    resume: str = ""
    """A checkpoint of open_clip_train's (`epoch_5.pt`) with which the run begins: its weights, its optimizer's state,
    its loss scale, and the samples seen. A run that has checkpoints of its own goes on from those."""
    lock: str = "none"
    """none; or image or text: that tower stays as `pretrained` made it (LiT; Zhai et al. 2022)."""
    unlocked_groups: int = 0
    """How many of the locked tower's last groups of layers learn all the same, as open_clip counts them."""
    tokenizer: str = ""
    """A folder with a Hugging Face tokenizer, instead of the model's own tokenizer."""
    epochs: float = 32.0
    """How often each training sample is seen."""
    samples_seen: int = 0
    """How many samples are seen in all, repeats counted; 0 leaves that to `epochs`."""
    optimizer: str = "adamw"
    """adamw; or muon for the matrices of the towers' blocks (Jordan et al. 2024), with AdamW for the rest."""
    learning_rate: float = 5e-4
    """The highest learning rate, reached after the warm-up."""
    warmup_share: float = 0.05
    """The share of all steps in which the learning rate rises from zero."""
    warmup_steps: int = 0
    """The same as a number of steps, instead of the share; 0 leaves it to the share."""
    schedule: str = "cosine"
    """What follows the warm-up: cosine, down to zero; or constant, with a linear cooldown to zero."""
    cooldown_share: float = 0.2
    """The share of all steps in which a constant learning rate falls to zero at the end (Hägele et al. 2024, §3)."""
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
    crop_min: float = 0.9
    """The least side of the random square crop as a share of the image's shorter side; 1 is the paper's crop. Of a
    resized crop: its least share of the image's area."""
    crop: str = "square"
    """square: a square, placed at random (the paper's). resized: torchvision's RandomResizedCrop, whose shape varies
    from 3:4 to 4:3 (open_clip's). center: the middle, as in evaluation."""
    flip: float = 0.0
    """The probability that a sample's left and right are exchanged."""
    decode: str = "cpu"
    """cpu: the readers decode. gpu: nvJPEG does, through torchvision, and the readers what is no plain JPEG. Never run
    on a GPU so far."""
    captions: dict[str, float] = field(default_factory=lambda: {"txt": 1.0})
    """Where a sample's captions are, with their weights: a part's name, or `json.` and the path of a field."""
    shuffle: str = "full"
    """full: any sample may follow any other, for disks with random access. blocks: a few shards are read at a time, for
    spinning disks and object stores."""
    shuffle_shards: int = 16
    """The shards of a block; two samples of a batch are from the same shard with probability 1/shuffle_shards."""
    damaged: str = "replace"
    """What to do about a sample that cannot be read: replace it (always by the same one), or stop."""
    cache: str = ""
    """A folder of a fast local disk that keeps copies of shards; every process of the machine shares it."""
    cache_bytes: int = 10**12
    """The most that the copies may take together."""
    image_size: int = 0
    """Pixels of a training image's side; 0 is the model's own."""
    context_length: int = 0
    """Tokens of a text; 0 is the model's own."""
    final_share: float = 0.0
    """The share of all steps, at the end, in which images and texts have the model's own sizes again."""
    patch_dropout: float = 0.0
    """The share of an image's patches that training leaves out (Li et al. 2023, FLIP)."""
    precision: str = "fp32"
    """fp32; or bf16 or fp16: the towers compute in 16 bits, weights and loss stay float32. fp16 scales the loss."""
    ema: float = 0.0
    """The decay, by step, of a moving average of the weights, which `wit eval` and `wit export` then take; 0: none."""
    grad_checkpointing: bool = False
    """Compute activations twice instead of keeping them: less memory, a third more time."""
    compile: bool = False
    """Have torch.compile fuse the towers, with fsdp block by block: minutes at the start, faster after it."""
    parallel: str = "ddp"
    """ddp: every process has a whole model; fsdp (FSDP2): they share one, in shards."""
    timeout_s: float = 60.0
    """How long a process of the run may give no sign of life before all end; samples and collectives may take ten and
    twenty times as long."""
    deterministic: bool = False
    """The same bits at every run on the same machines, at some cost in speed."""
    on_nan: str = "stop"
    """What a loss or gradient that is no number does: stop the run, or skip the step."""
    max_skipped: int = 10
    """With on_nan: skip, how many steps may be skipped before the run stops all the same."""
    seed: int = 0
    """Seeds the initial weights, the data order and the crops."""
    device: str = "auto"
    """auto (a GPU if there is one), cpu or cuda."""
    workers: int = 2
    """Processes per rank that read and decode samples; 0 does it in the training process."""
    log_every: int = 10
    """Steps between two log lines."""
    checkpoint_every: int = 500
    """Steps between two checkpoints; the last step always has one."""
    tasks: list[str] = field(default_factory=list)
    """Evaluation sets, of any form in docs/evaluation.md, on which the model is examined while it is trained."""
    evaluators: list[str] = field(default_factory=list)
    """What examines it: zero_shot, linear_probe, …; none means zero_shot, and retrieval where there are captions.
    Retrieval also asks the dataset's own held-out pairs."""
    evaluate_every: int = 0
    """Steps between two examinations; the last step has one wherever tasks or evaluators are named. 0: that one alone.
    What is found goes to RUN/evaluations.jsonl and TensorBoard; a failure is a line there and does not end the run."""
    keep: int = 2
    """How many of the newest checkpoints to keep; the best is kept besides."""
    peak_tflops: float = 0.0
    """What one device can compute at most, in 10^12 operations a second, for the log's MFU; 0 goes by its name."""
    tensorboard: bool = True
    """Write RUN/tensorboard as well, where TensorBoard is installed and RUN is a path."""
    wandb: str = ""
    """The Weights & Biases project to log to as well; empty: none."""

    def __post_init__(self) -> None:
        _require(bool(self.dataset), "dataset", "the URL of a dataset", self.dataset)
        plain = bool(self.name) and "/" not in self.name and not self.name.startswith(".")
        _require(plain, "name", "a plain file name", self.name)
        for key in ("batch_size", "log_every", "checkpoint_every", "keep", "shuffle_shards", "cache_bytes"):
            _require(getattr(self, key) >= 1, key, "at least 1", getattr(self, key))
        for key in ("epochs", "learning_rate", "timeout_s"):
            value = getattr(self, key)
            _require(value > 0 and math.isfinite(value), key, "above 0", value)
        for key in ("warmup_share", "cooldown_share", "final_share", "patch_dropout", "ema", "beta1", "beta2"):
            _require(0 <= getattr(self, key) < 1, key, "from 0 to below 1", getattr(self, key))
        _require(self.grad_clip > 0, "grad_clip", "above 0, or .inf for none", self.grad_clip)
        for key in ("weight_decay", "epsilon", "peak_tflops"):
            _require(0 <= getattr(self, key) < math.inf, key, "at least 0", getattr(self, key))
        for key in ("samples_seen", "warmup_steps", "unlocked_groups", "max_skipped", "workers", "evaluate_every"):
            _require(getattr(self, key) >= 0, key, "at least 0", getattr(self, key))
        holds = self.micro_batch >= 0 or self.micro_batch == AUTO
        _require(holds, "micro_batch", "at least 0, or auto", self.micro_batch)
        for key in ("image_size", "context_length"):
            _require(getattr(self, key) >= 0, key, "at least 0", getattr(self, key))
        for key, choices in CHOICES.items():
            expected = ", ".join(choices[:-1]) + " or " + choices[-1]
            _require(getattr(self, key) in choices, key, expected, getattr(self, key))
        _require(0 < self.crop_min <= 1, "crop_min", "above 0 and at most 1", self.crop_min)
        _require(0 <= self.flip <= 1, "flip", "from 0 to 1", self.flip)
        _require(bool(self.captions), "captions", "a mapping of at least one place to its weight", self.captions)
        for key in ("captions", "mixture"):
            for name, weight in getattr(self, key).items():
                _require(0 < weight < math.inf, f"{key}.{name}", "a weight above 0", weight)
        _require(self.dataset not in self.mixture, "mixture", "of other datasets than `dataset`", self.mixture)
        if self.schedule == "constant":
            rest = 1 - self.warmup_share
            _require(
                self.cooldown_share <= rest,
                "cooldown_share",
                f"at most {rest:g}, with warmup_share",
                self.cooldown_share,
            )
        if self.lock != "none":
            _require(bool(self.pretrained), "pretrained", "given where a tower is locked", self.pretrained)
        if self.precision == "fp16":
            _require(self.parallel == "ddp", "parallel", "ddp where precision is fp16", self.parallel)

    def steps(self, samples: int) -> tuple[float, int]:
        """(steps per epoch, steps of the run) on that many samples; a batch may reach into the next epoch.

        Raises:
            ValueError: a batch is larger than the dataset.
        """
        if samples < self.batch_size:
            raise ValueError(
                f"batch_size must be at most the dataset's {samples} training samples, not {self.batch_size}"
            )
        wanted = self.samples_seen / self.batch_size if self.samples_seen else self.epochs * samples / self.batch_size
        return samples / self.batch_size, max(1, round(wanted))

    def first_part(self, steps: int) -> int:
        """How many of a run's steps train with `image_size` and `context_length`; the rest with the model's own."""
        return steps - round(self.final_share * steps) if self.image_size or self.context_length else steps


def _require(holds: bool, key: str, expected: str, value: object) -> None:
    if not holds:
        raise ValueError(f"{key} must be {expected}, not {value!r}")


def load(source: str | Path | Mapping[str, Any], overrides: Mapping[str, Any] | None = None) -> TrainConfig:
    """A config from a YAML file or a mapping, with overrides on top.

    Raises:
        ValueError: a key is unknown or missing, or a value is impossible; the message is one sentence.
        FileNotFoundError: there is no such file.
    """
    if isinstance(source, Mapping):
        raw: Any = dict(source)
    else:
        try:
            raw = parse(Path(source).read_bytes())
        except YamlError as error:
            line = f", line {error.line}" if error.line else ""
            raise ValueError(f"{source}{line} is not YAML: {error}") from None
    if not isinstance(raw, dict):
        raise ValueError(f"a training config must be a mapping of keys to values, not {type(raw).__name__}")
    raw.update(overrides or {})
    types = get_type_hints(TrainConfig)
    known = {field.name for field in dataclasses.fields(TrainConfig)} | set(LAUNCH)
    if unknown := sorted(str(key) for key in raw if key not in known):
        near = difflib.get_close_matches(unknown[0], known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}? " if near else ""
        names = ", ".join(sorted(known))
        raise ValueError(f"unknown key {unknown[0]} in the training config; {hint}the keys are {names}")
    raw, _ = without_launch(raw)
    if "dataset" not in raw:
        raise ValueError("dataset must be the URL of a dataset; the training config has no such key")
    return with_absolute_paths(TrainConfig(**{key: _convert(key, value, types[key]) for key, value in raw.items()}))


def without_launch(raw: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """A config's keys and values: the trainer's, and those of LAUNCH.

    Raises:
        ValueError: one of LAUNCH has an impossible value.
    """
    launch = {key: raw[key] for key in LAUNCH if key in raw}
    if "ranks" in launch:
        checked_ranks(launch["ranks"])
    if not isinstance(launch.get("address") or "", str):
        raise ValueError(f"address must be a Ray cluster's, as host:port, not {launch['address']!r}")
    return {key: value for key, value in raw.items() if key not in launch}, launch


def checked_ranks(ranks: Any) -> int | tuple[int, int]:
    """A number of processes, or (least, most). Raises ValueError: it is neither."""
    match ranks:
        case bool():
            pass
        case int() if ranks >= 1:
            return ranks
        case [int() as least, int() as most] if 1 <= least <= most:
            return least, most
    raise ValueError(f"ranks must be a number of processes, or the least and the most as [2,8], not {ranks!r}")


def with_absolute_paths(config: TrainConfig) -> TrainConfig:
    """The config with its paths as every process finds them, in whatever folder it works."""
    values: dict[str, Any] = {key: absolute_value(key, getattr(config, key)) for key in PATHS}
    return dataclasses.replace(config, **values)


def absolute_value(key: str, value: Any) -> Any:
    """The value of a key of PATHS with its paths made absolute; names and what is empty stay as they are."""
    if not value:
        return value
    if isinstance(value, Mapping):
        return {absolute(url): weight for url, weight in value.items()}
    if isinstance(value, list):
        return [absolute(item) for item in value]
    is_name = (key == "model" and not value.endswith(".json")) or (
        key == "pretrained" and "/" not in value and not Path(value).exists()
    )
    return value if is_name else absolute(value)


def _convert(key: str, value: Any, kind: type) -> Any:
    if get_origin(kind) is dict:
        if not isinstance(value, Mapping):
            raise ValueError(f"{key} must be a mapping of names to weights, not {value!r}")
        return {str(name): _convert(f"{key}.{name}", weight, float) for name, weight in value.items()}
    if get_origin(kind) is list:
        items = [value] if isinstance(value, str) else value
        if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
            raise ValueError(f"{key} must be a list of texts, not {value!r}")
        return list(items)
    if (key, value) == ("micro_batch", "auto"):
        return AUTO
    try:
        if isinstance(value, bool) or kind is bool:
            if kind is bool and isinstance(value, bool):
                return value
            raise ValueError
        if kind is float and isinstance(value, (int, float, str)):  # YAML reads 5e-4 as a string
            return float(value)
        if kind is int and (isinstance(value, int) or (isinstance(value, float) and value.is_integer())):
            return int(value)
        if kind is str and isinstance(value, (str, int)):
            return str(value)
        raise ValueError
    except ValueError:
        words = {float: "a number", int: "a whole number", str: "a text", bool: "true or false"}
        raise ValueError(f"{key} must be {words[kind]}, not {value!r}") from None

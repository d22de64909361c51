"""What a training run is: one config, of sections that are owned by what they configure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any

from dataset.config_check import ConfigValueError, checked_config, require
from dataset.store.storage import absolute
from dataset.yaml_text import YamlError, parse
from train.data.config import DataConfig
from train.distributed.config import DistributedConfig
from train.evaluate.in_training.config import EvaluationConfig
from train.sections import (
    CheckpointConfig,
    ComputeConfig,
    LogConfig,
    ModelConfig,
    OptimizerConfig,
    ScheduleConfig,
    TrainingConfig,
)

RESUMABLE_CHANGES = frozenset(
    {
        *("name", "training.micro_batch", "training.on_nan", "data.workers", "data.damaged", "data.cache"),
        *("data.cache_bytes", "compute.device", "compute.grad_checkpointing", "compute.compile"),
        *("compute.deterministic", "distributed.ranks", "distributed.address", "distributed.parallel"),
        *("distributed.timeout_s", "checkpoint.every", "checkpoint.keep", "evaluation.tasks", "evaluation.evaluators"),
        *("evaluation.every", "log.every", "log.tensorboard", "log.wandb", "log.peak_tflops"),
    }
)
"""Keys that may differ when a run resumes: none of them changes what is learned."""

PATHS = (
    *("dataset", "data.mixture", "data.cache", "model.name", "model.pretrained", "model.tokenizer"),
    *("checkpoint.resume", "evaluation.tasks"),
)
"""Keys whose values are paths, or may be: a model and its weights have names as well."""


@dataclass(frozen=True)
class TrainConfig:
    """A training run; docs/training.md has a table of the defaults beside the paper's and open_clip's."""

    dataset: str
    """The dataset's URL: a directory or bucket prefix with `shards/index`, or with anyone's WebDataset tars; or
    the tars' own, such as `s3://bucket/{00000..00099}.tar`."""
    name: str = "clip"
    """The run's name; it lies in DATASET/runs/NAME unless `--out` names another place."""
    seed: int = 0
    """Seeds the initial weights, the data order and the crops."""
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    compute: ComputeConfig = field(default_factory=ComputeConfig)
    distributed: DistributedConfig = field(default_factory=DistributedConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    log: LogConfig = field(default_factory=LogConfig)

    def __post_init__(self) -> None:
        require(bool(self.dataset), "dataset", "the URL of a dataset", self.dataset)
        plain = bool(self.name) and "/" not in self.name and not self.name.startswith(".")
        require(plain, "name", "a plain file name", self.name)
        mixture = self.data.mixture
        require(self.dataset not in mixture, "data.mixture", "of other datasets than `dataset`", mixture)
        if self.compute.precision == "fp16":
            parallel = self.distributed.parallel
            require(parallel == "ddp", "distributed.parallel", "ddp where compute.precision is fp16", parallel)

    def first_part(self, steps: int) -> int:
        """Return how many of a run's steps train with `image_size` and `context_length`; the rest with the
        model's own.
        """
        model = self.model
        return steps - round(model.final_share * steps) if model.image_size or model.context_length else steps


_SECTIONS = frozenset(item.name for item in fields(TrainConfig) if is_dataclass(item.default_factory))
_OF_SECTIONS = {
    "data": (
        *("mixture", "captions", "crop", "crop_min", "flip", "decode", "shuffle", "shuffle_shards", "damaged"),
        *("workers", "cache", "cache_bytes"),
    ),
    "model": (
        *("pretrained", "lock", "unlocked_groups", "tokenizer", "image_size", "context_length", "final_share"),
        "patch_dropout",
    ),
    "training": ("batch_size", "micro_batch", "epochs", "samples_seen", "loss", "on_nan", "max_skipped"),
    "optimizer": ("learning_rate", "weight_decay", "beta1", "beta2", "epsilon", "grad_clip", "ema"),
    "schedule": ("warmup_share", "warmup_steps", "cooldown_share"),
    "compute": ("device", "precision", "grad_checkpointing", "compile", "deterministic"),
    "distributed": ("ranks", "address", "parallel", "timeout_s"),
    "checkpoint": ("keep", "resume"),
    "evaluation": ("tasks", "evaluators"),
    "log": ("tensorboard", "wandb", "peak_tflops"),
}
OLD_KEYS: Mapping[str, str] = {
    **{key: f"{section}.{key}" for section, keys in _OF_SECTIONS.items() for key in keys},
    **{section: f"{section}.name" for section in ("model", "optimizer", "schedule")},
    "checkpoint_every": "checkpoint.every",
    "evaluate_every": "evaluation.every",
    "log_every": "log.every",
}
"""The keys of configs that are older than the sections, and where each stands now. They mean the same as ever."""


def place_of(key: str) -> str:
    """Return where a key stands, which may be an old one: `training.batch_size` for `batch_size`."""
    first, dot, rest = key.partition(".")
    if first in OLD_KEYS and not (rest and first in _SECTIONS):
        return f"{OLD_KEYS[first]}{dot}{rest}"
    return key


def in_sections(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config's keys and values with old keys in their sections.

    Raises:
        ConfigValueError: a key stands there twice, by its old name and in its section.
    """
    sections: dict[str, Any] = {}
    old: dict[str, Any] = {}
    for key, value in raw.items():
        if key in OLD_KEYS and not (key in _SECTIONS and (isinstance(value, Mapping) or value is None)):
            old[key] = value
        else:
            sections[key] = dict(value) if key in _SECTIONS and isinstance(value, Mapping) else value
    for key, value in old.items():
        section, _, name = OLD_KEYS[key].partition(".")
        if not isinstance(within := sections.setdefault(section, {}) or {}, dict):
            continue  # no section, as the check will say
        if name in within:
            raise ConfigValueError(f"the config has {key} and {section}.{name}, which are the same; take {key} away")
        sections[section] = {**within, name: value}
    return sections


def overridden(raw: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config's keys and values in sections, with others in their place: {"training.batch_size": 8, "epochs":
    2}.

    Raises:
        ConfigValueError: a key's parent is a value.
    """
    config = in_sections(raw)
    for key, value in overrides.items():
        section = config
        *parents, last = place_of(key).split(".") if key not in _SECTIONS or not isinstance(value, Mapping) else [key]
        for parent in parents:
            below = section.get(parent) or {}
            if not isinstance(below, Mapping):
                raise ConfigValueError(f"{key} cannot be set: {parent} is a value, not a section")
            section[parent] = dict(below)
            section = section[parent]
        section[last] = value
    return config


def load(source: str | Path | Mapping[str, Any], overrides: Mapping[str, Any] | None = None) -> TrainConfig:
    """Load a config from a YAML file or a mapping, with overrides on top, each by its place or its old key.

    Raises:
        ValueError: a key is unknown or missing, or a value is impossible; the message is one sentence.
        FileNotFoundError: there is no such file.
    """
    if isinstance(source, Mapping):
        raw: Any = source
    else:
        try:
            raw = parse(Path(source).read_bytes())
        except YamlError as error:
            line = f", line {error.line}" if error.line else ""
            raise ValueError(f"{source}{line} is not YAML: {error}") from None
    if not isinstance(raw, Mapping):
        raise ValueError(f"a training config must be a mapping of keys to values, not {type(raw).__name__}")
    keys = overridden(raw, overrides or {})
    if "dataset" not in keys:
        raise ValueError("dataset must be the URL of a dataset; the training config has no such key")
    return with_absolute_paths(_check(keys))


def with_changes(config: TrainConfig, **keys: Any) -> TrainConfig:
    """Return a config with other values, each by its old key, such as `batch_size`: the shorter name.

    Raises:
        ConfigValueError: as `load`.
    """
    return _check(overridden(asdict(config), keys))


def from_keys(dataset: str, **keys: Any) -> TrainConfig:
    """Return a config of a dataset and of values, each by its old key, such as `batch_size`: the shorter name.

    Raises:
        ConfigValueError: as `load`.
    """
    return _check(overridden({"dataset": dataset}, keys))


def by_key(config: TrainConfig) -> dict[str, Any]:
    """Return the values of a config by their old keys, as `from_keys` takes them, and its dataset, name and seed."""
    values = by_place(config)
    return {key: values[OLD_KEYS.get(key, key)] for key in ("dataset", "name", "seed", *OLD_KEYS)}


def _check(raw: Mapping[str, Any]) -> TrainConfig:
    """A config of values in sections; a name may be a number, and a list of one text that text."""
    keys = dict(raw)
    if isinstance(keys.get("name"), int) and not isinstance(keys["name"], bool):
        keys["name"] = str(keys["name"])
    if isinstance(evaluation := keys.get("evaluation"), Mapping):
        keys["evaluation"] = {key: [value] if isinstance(value, str) else value for key, value in evaluation.items()}
    return checked_config(TrainConfig, keys)


def by_place(config: TrainConfig | Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a config, or of what a run wrote of one, by their keys' places: {"training.batch_size":
    256}.
    """
    raw = in_sections(config) if isinstance(config, Mapping) else asdict(config)
    return dict(_flatten(raw))


def _flatten(raw: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in raw.items():
        if key in _SECTIONS and isinstance(value, Mapping):
            yield from ((f"{key}.{name}", inner) for name, inner in value.items())
        else:
            yield key, value


def with_absolute_paths(config: TrainConfig) -> TrainConfig:
    """Return the config with its paths as every process finds them, in whatever folder it works."""
    values = by_place(config)
    return _check(overridden(asdict(config), {place: absolute_value(place, values[place]) for place in PATHS}))


def absolute_value(place: str, value: Any) -> Any:
    """Return the value of a key of PATHS with its paths made absolute; names and what is empty stay as they are."""
    if not value:
        return value
    if isinstance(value, Mapping):
        return {absolute(url): weight for url, weight in value.items()}
    if isinstance(value, list):
        return [absolute(item) for item in value]
    is_name = (place == "model.name" and not value.endswith(".json")) or (
        place == "model.pretrained" and "/" not in value and not Path(value).exists()
    )
    return value if is_name else absolute(value)

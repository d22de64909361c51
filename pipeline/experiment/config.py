"""What an experiment is: which data, at what budget, how often, and asked what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from dataset.config_check import ConfigValueError, checked_config
from dataset.store.storage import absolute
from pipeline.config_errors import ConfigError
from pipeline.config_files import read_yaml, with_overrides
from train.config import TrainConfig, by_place, load
from train.evaluate import registry

OWN_KEYS = ("dataset", "name", "seed", "evaluation.tasks", "evaluation.evaluators", "evaluation.every")
"""Keys of a training config that the experiment itself sets."""
LEAST_SEEDS = 3


@dataclass(frozen=True)
class Data:
    """One of the datasets that are compared: one that is there, or one that is built first."""

    dataset: str = ""
    """The URL of a dataset."""
    build: str = ""
    """Instead, the config of a build: a file, or the name of one in configs/; it goes to OUT/data/NAME."""
    presets: tuple[str, ...] = ()
    """Presets of configs/presets that are laid over it."""
    set: dict[str, Any] = field(default_factory=dict)
    """Keys that are overridden, such as `text.languages: []`."""

    def __post_init__(self) -> None:
        if bool(self.dataset) == bool(self.build):
            raise ValueError("dataset or build must be given, and not both")
        if self.dataset and (self.presets or self.set):
            raise ValueError("presets and set are a build's; a dataset that is there stays as it is")


@dataclass(frozen=True)
class ExperimentConfig:
    """An experiment; configs/experiment_clipart.yaml is one."""

    out: str
    """Where its datasets, runs and results go: a folder, or a URL."""
    data: dict[str, Data]
    """What is compared, by name: at least two."""
    train: dict[str, Any]
    """The training config that all have in common, with `training.samples_seen`: the compute budget."""
    against: str = ""
    """The name of the data that all others are compared with; by default the first."""
    set: dict[str, Any] = field(default_factory=dict)
    """Keys that are overridden in every build."""
    seeds: int = 3
    """How often a model is trained on each: with the seeds 0, 1, …, which give weights, order and crops."""
    tasks: tuple[str, ...] = ()
    """The evaluation sets, the same for all, as `wit eval --tasks` takes them."""
    evaluators: tuple[str, ...] = ("zero_shot", "retrieval")
    """Which evaluators examine the models."""
    metrics: tuple[str, ...] = ()
    """Which figures are compared; by default each evaluator's main one."""
    at_once: int = 1
    """How many models are trained at once: above 1 by Ray, each on a GPU of its own where there are any."""
    address: str = ""
    """A Ray cluster's address; empty for this machine."""

    def __post_init__(self) -> None:
        if len(self.data) < 2:
            raise ValueError(f"data must name at least two datasets, not {len(self.data)}")
        if wrong := [name for name in self.data if not name or "/" in name or name.startswith(".")]:
            raise ValueError(f"data must have plain names, not {wrong[0]!r}")
        if self.against and self.against not in self.data:
            raise ValueError(f"against must be one of {', '.join(self.data)}, not {self.against!r}")
        if self.seeds < LEAST_SEEDS:
            raise ValueError(f"seeds must be at least {LEAST_SEEDS}: fewer say nothing about chance, not {self.seeds}")
        if self.at_once < 1:
            raise ValueError(f"at_once must be at least 1, not {self.at_once}")
        if not self.tasks:
            raise ValueError("tasks must name at least one evaluation set: held-out pairs differ from data to data")
        if not self.out:
            raise ValueError("out must be a folder or a URL")
        registry.check(self.evaluators)
        if "bias" in self.evaluators:
            raise ValueError("evaluators must not name bias: its figures do not say which data is better")
        keys = by_place(self.train)
        if refused := [key for key in OWN_KEYS if key in keys]:
            raise ValueError(f"train must not have {refused[0]}, which the experiment sets")
        if not keys.get("training.samples_seen"):
            raise ValueError("train.training.samples_seen must be given: it is the compute budget that all have")
        self.training("a", "a", 0)

    @property
    def base(self) -> str:
        """The name of what the others are held against."""
        return self.against or next(iter(self.data))

    def training(self, name: str, dataset: str, seed: int) -> TrainConfig:
        """Return one model's training config. Raises ValueError."""
        return load({**self.train, "dataset": dataset, "name": name, "seed": seed})


def read(path: str, overrides: Sequence[str] = ()) -> ExperimentConfig:
    """Return an experiment's config, its paths made absolute. Raises ConfigError."""
    raw: Mapping[str, Any] = with_overrides(read_yaml(path), overrides)
    try:
        config = checked_config(ExperimentConfig, raw)
    except ConfigValueError as error:
        raise ConfigError(f"{path}: {error}") from None
    data = {
        name: replace(each, dataset=absolute(each.dataset)) if each.dataset else each
        for name, each in config.data.items()
    }
    return replace(config, out=absolute(config.out), tasks=tuple(map(absolute, config.tasks)), data=data)

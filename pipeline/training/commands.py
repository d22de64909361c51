"""`wit train` and `wit export`: the trainer's functions, with the command line's errors and progress."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from dataset.config_check import ConfigValueError
from dataset.display import say
from dataset.store.storage import Storage, is_local
from dataset.webdataset.foreign import find_shards
from dataset.webdataset.index_parts import has_index
from pipeline.config_errors import ConfigError
from pipeline.config_files import parse_override, read_yaml
from pipeline.engine.progress import Bars
from train.config import TrainConfig, load, overridden
from train.failure import TrainingError, end_after_main_thread, outlet
from train.models.names import check_name, our_models

if TYPE_CHECKING:
    from train.loop import RunResult


def raw_config(path: str, overrides: Sequence[str]) -> dict[str, Any]:
    """Return a config file's keys and values, with overrides on top. Raises ConfigError."""
    return _override(path, read_yaml(path), overrides)


def _override(path: str, raw: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """A training config's keys and values, in sections, with `key=value` applied. Raises ConfigError."""
    try:
        pairs = [parse_override(item) for item in overrides]
        return overridden(raw, dict(pairs))
    except ConfigValueError as error:
        raise ConfigError(f"{path}: {error}") from None


def raw_config_of_open_clip(path: str, overrides: Sequence[str]) -> dict[str, Any]:
    """Return what a params.txt of open_clip_train's comes to, with overrides on top; what it loses is said on standard
    error.

    Raises:
        ConfigError: it is no params.txt.
    """
    from train.from_open_clip.params import carry, read

    try:
        carried = carry(read(path))
    except (ValueError, FileNotFoundError) as error:
        raise ConfigError(f"{path}: {error}") from error
    for sentence in carried.lost:
        say(f"{path}: {sentence}", to_errors=True)
    return _override(path, carried.values, overrides)


def write_config(source: str, raw: dict[str, Any], file: str) -> int:
    """Write a training config that `wit train` and `python -m train` take. Raises ConfigError."""
    import yaml

    load_config(source, raw)
    if Path(file).exists():
        raise ConfigError(f"{file} is there already; choose another name, or remove it first")
    Path(file).write_text(yaml.safe_dump(raw, sort_keys=False, allow_unicode=True), encoding="utf-8")
    say(file)
    return 0


def train(path: str, raw: dict[str, Any], out: str | None) -> int:
    """Train by a config; prints where the run lies. Raises ConfigError, TrainingError.

    Args:
        path: the config's file, for messages.
    """
    config = _load_for_run(path, raw)
    with sentences(path):
        for url in (config.dataset, *config.data.mixture):
            find_shards(url)
        if config.distributed.by_ray:
            from pipeline.training.ray_train import train as on_ray

            result: RunResult = on_ray(config, out)
        else:
            from train.loop import train as train_loop

            with TrainingProgress() as progress:
                result = train_loop(config, out, progress.update)
    if result.step < result.steps:
        say(f"{result.run}: stopped after step {result.step:,} of {result.steps:,}; the same command goes on there")
        return 0
    say(f"{result.run}: {result.steps:,} steps, {result.samples_seen:,} samples seen, loss {result.loss:.3f}")
    more = "" if held_out_dataset(Storage(result.run)) else " --tasks DIR"
    say(f"examine it: wit eval {result.run}{more}")
    return 0


def load_config(path: str, overrides: Sequence[str] | dict[str, Any]) -> TrainConfig:
    """Return a training config by its file's name and overrides, or by what they came to. Raises ConfigError."""
    try:
        return load(overrides if isinstance(overrides, dict) else raw_config(path, overrides))
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from error


def _load_for_run(path: str, raw: dict[str, Any]) -> TrainConfig:
    """Load a config as `load_config` does, for a run that is to begin: what can be told before torch is
    imported, which takes seconds.
    """
    config = load_config(path, raw)
    open_clip = sys.modules.get("open_clip")  # which may have been told of others by now
    with sentences(path):
        check_name(config.model.name, {*open_clip.list_models(), *our_models()} if open_clip else None)
        ranks, batch_size = config.distributed.ranks or 1, config.training.batch_size
        least = ranks if isinstance(ranks, int) else ranks[0]
        if batch_size < least:
            raise ValueError(f"training.batch_size must be at least the number of processes, {least}, not {batch_size}")
    return config


@contextlib.contextmanager
def sentences(path: str) -> Iterator[None]:
    """Raise what the trainer raises in the block for a config that does not fit as ConfigError."""
    try:
        yield
    except (ValueError, FileNotFoundError) as error:
        raise ConfigError(f"{path}: {error}") from error
    except Exception as error:
        end_after_main_thread()
        raise TrainingError(outlet(error)) from error


class TrainingProgress(Bars):
    """How far a run is, on standard output where there is no terminal."""

    def __init__(self, console: Console | None = None) -> None:
        super().__init__(console or Console(stderr=True))
        self._is_first = True

    def update(self, record: dict[str, Any]) -> None:
        """Show a log record of the loop."""
        rate = (
            f"loss {record['loss']:.3f}  scale {record['logit_scale']:.1f}  "
            f"{record['samples_per_second']:.0f} samples/s  waiting for data {record['data_wait_share']:.0%}"
        )
        is_due = self.show("train", record["step"], record["steps"], rate)
        if not self.is_on_terminal and (is_due or self._is_first or record["step"] == record["steps"]):
            print(
                f"step {record['step']}/{record['steps']}  {rate}  about {record['eta_seconds']:.0f} s left", flush=True
            )
        self._is_first = False


def dry_run(
    path: str,
    raw: dict[str, Any],
    out: str | None,
    gpus: int | None,
    gpu_gigabytes: float | None,
    rate: float | None,
) -> int:
    """Say what a run would take, and write nothing; 1 if a step does not fit the GPUs. Raises ConfigError."""
    config = _load_for_run(path, raw)
    from train.memory.dry_run import dry_run_here

    ranks = config.distributed.ranks
    with sentences(path):
        if gpus is None and isinstance(ranks, int):
            gpus = ranks
        lines, fits = dry_run_here(config, out, gpus, gpu_gigabytes, rate)
    print("\n".join(lines))
    return 0 if fits else 1


def show_batch(path: str, raw: dict[str, Any], file: str) -> int:
    """Write the first batch of a run, as the model sees it, as a page."""
    config = _load_for_run(path, raw)
    from train.diagnosis.diagnose import show_batch as page

    with sentences(path):
        text = page(config)
    Path(file).write_text(text, encoding="utf-8")
    say(file)
    return 0


def overfit(path: str, raw: dict[str, Any], samples: int) -> int:
    """Have the model learn a few samples by heart; 1, with a sentence, if it cannot."""
    config = _load_for_run(path, raw)
    from train.diagnosis.diagnose import overfit as gate

    with sentences(path), TrainingProgress() as progress:
        verdict = gate(config, samples, progress.update)
    print(verdict.sentence)
    return 0 if verdict.learnt else 1


_OF_MODELS = ("checkpoints", "open_clip_config.json", "config.json")  # the last is Hugging Face's


def run_of(checkpoint: str) -> Storage | None:
    """Return the run that a checkpoint, or the run itself, is of; None for an exported folder.

    Raises:
        ConfigError: there is nothing that could be examined.
    """
    if is_local(checkpoint) and not Path(checkpoint).exists():
        raise ConfigError(
            f"there is no checkpoint {checkpoint}: give a run, one of its checkpoints or an exported folder"
        )
    folder, _, _ = checkpoint.rstrip("/").rpartition("/")
    if folder.rpartition("/")[2] == "checkpoints":
        return Storage(folder.rpartition("/")[0] or ".")
    storage = Storage(checkpoint)
    if has_index(storage):
        runs = sorted({info.name.split("/")[1] for info in storage.list("runs", recursive=True)})
        which = f"one of its runs, such as {storage.url}/runs/{runs[0]}" if runs else "a run of `wit train` on it"
        raise ConfigError(f"{checkpoint} is a dataset; examine {which}")
    if storage.exists("config.yaml"):
        return storage
    if is_local(checkpoint) and not any((Path(checkpoint) / name).exists() for name in _OF_MODELS):
        raise ConfigError(
            f"{checkpoint} is neither a run of `wit train`, nor one of its checkpoints, nor an exported folder"
        )
    return None


def held_out_dataset(run: Storage) -> str | None:
    """Return the dataset whose held-out pairs a run's model is examined on by default: that which it was trained on."""
    try:
        dataset = _config_of(run).dataset
    except (ValueError, FileNotFoundError) as error:
        raise ConfigError(f"{run.url_of('config.yaml')}: {error}") from error
    if dataset.endswith(".tar"):
        return None  # others' tars have no held-out part
    # A run of an older version lies in its dataset, whose path may have been relative to another folder.
    for url in (dataset, run.url.rpartition("/runs/")[0]):
        if url and not (is_local(url) and not Path(url).is_dir()) and has_index(Storage(url)):
            return url
    return None


def _config_of(run: Storage) -> TrainConfig:
    """The config that a training run keeps in its folder. Raises ValueError, FileNotFoundError."""
    from dataset.yaml_text import YamlError, parse

    try:
        raw = parse(run.read("config.yaml"), is_written=True)
    except YamlError:
        raw = None
    if not isinstance(raw, dict):
        raise ValueError("it is not what a training run wrote; restore it, or name the dataset by --dataset OUT")
    return load(raw)


def export(run: str, folder: str, weights: str = "auto", onnx: bool = False, hub: bool = False) -> int:
    """Write a run's newest checkpoint as a folder that open_clip loads; as ONNX and for the Hub too, if wanted."""
    run_of(run)
    from train.checkpoints import model_card
    from train.checkpoints.export import export as write
    from train.checkpoints.export import export_onnx

    try:
        paths = write(run, folder, weights)
        if onnx:
            paths += export_onnx(run, folder, weights)
        if hub:
            paths.append(model_card.write(run, folder))
        say("\n".join(str(path) for path in paths))
    except (ValueError, FileNotFoundError) as error:
        raise ConfigError(str(error)) from error
    return 0

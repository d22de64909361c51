"""Does what is missing of an experiment: datasets that are not built, models that are not trained or examined.

A model's folder and result carry a fingerprint of its training config, its dataset's index and the evaluation sets, so
that what changed is made anew, and what did not is not. Killed at any time, the same command goes on where it was.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any, NamedTuple

from dataset.ids import checksum
from dataset.layout import INDEX_PARTS
from dataset.store.storage import Storage
from dataset.webdataset.index_parts import has_index, index_files
from pipeline import submit
from pipeline.config_errors import ConfigError
from pipeline.experiment.config import ExperimentConfig
from pipeline.experiment.model_task import STOPPED, train_and_examine
from train.config import by_key
from train.evaluate.results.row import Row
from train.evaluate.sets.open import open_set
from train.failure import TrainingError

log = logging.getLogger("wit")

_CHANGES_NOTHING = frozenset(
    {
        *("workers", "device", "log_every", "checkpoint_every", "keep", "tensorboard", "wandb", "timeout_s", "ranks"),
        "address",
    }
)


class Model(NamedTuple):
    """One model of an experiment."""

    data: str
    seed: int
    job: dict[str, Any]  # what `train_and_examine` takes

    def __str__(self) -> str:
        return f"{self.data}, seed {self.seed}"


Results = dict[str, dict[int, list[Row]]]
"""{data: {seed: rows}}."""


def carry_out(config: ExperimentConfig, watch: Callable[[Model], Callable[[dict[str, Any]], None]]) -> Results:
    """Build, train and examine what is missing; returns all that was found.

    Args:
        watch: gives what is called with a model's log records, where models are trained in this process.
    Raises:
        ConfigError: a dataset, a build's config or an evaluation set is not there or wrong.
        TrainingError: a model could not be trained or examined; what others have found stays.
    """
    submit.check_out(config.out)
    marks = [open_set(task).test.identity() for task in config.tasks]
    datasets = {name: dataset(config, name) for name in config.data}
    models = [model(config, name, url, seed, marks) for seed in range(config.seeds) for name, url in datasets.items()]
    missing = [each for each in models if not _has_result(each)]
    log.info("%d of %d models are there already", len(models) - len(missing), len(models))
    failed: list[str] = []
    for each, why in (
        _train_by_ray(config, missing) if config.at_once > 1 or config.address else _train_here(missing, watch)
    ):
        log.info("%s: %s", each, why or "trained and examined")
        if why:
            failed.append(f"{each}: {why}")
    if failed:
        raise TrainingError(f"{len(failed)} of {len(models)} models are missing; {failed[0]}")
    results: Results = {name: {} for name in config.data}
    for each in models:
        results[each.data][each.seed] = _read(each)
    return results


def dataset(config: ExperimentConfig, name: str) -> str:
    """Return the URL of a dataset of the experiment, which is built if it is not. Raises ConfigError."""
    from pipeline import config as configs
    from pipeline.build import build

    data = config.data[name]
    url = data.dataset or f"{config.out}/data/{name}"
    if data.build:
        overrides = [f"{key}={json.dumps(value)}" for key, value in {**config.set, **data.set}.items()]
        build(configs.load(data.build, overrides, url, data.presets))
    if not has_index(Storage(url)):
        raise ConfigError(f"data.{name}: {url} is no dataset: it has no {INDEX_PARTS}")
    return url


def model(config: ExperimentConfig, name: str, url: str, seed: int, marks: list[str]) -> Model:
    """Return what is to be done for one model."""
    training = config.training(f"{name}-{seed}", url, seed)
    # By old keys, so that a result keeps its name.
    counts = {key: value for key, value in by_key(training).items() if key not in _CHANGES_NOTHING}
    storage = Storage(url)
    index = checksum("".join(checksum(storage.read(name)) for name in index_files(storage)).encode())
    about = [counts, index, marks, list(config.tasks), list(config.evaluators)]
    # A run's own folder does not depend on what examines it.
    run = checksum(json.dumps(about[:2], sort_keys=True).encode())[:8]
    result = checksum(json.dumps(about, sort_keys=True).encode())[:8]
    return Model(
        name,
        seed,
        {
            "config": asdict(training),
            "run": f"{config.out}/runs/{name}-{seed}-{run}",
            "result": f"{config.out}/results/{name}-{seed}-{result}.json",
            "tasks": list(config.tasks),
            "evaluators": list(config.evaluators),
        },
    )


def _has_result(model: Model) -> bool:
    folder, _, file = model.job["result"].rpartition("/")
    return Storage(folder, leave=True).exists(file)


def _read(model: Model) -> list[Row]:
    folder, _, file = model.job["result"].rpartition("/")
    return [Row.from_dict(row) for row in json.loads(Storage(folder).read(file))]


def _train_here(
    models: list[Model], watch: Callable[[Model], Callable[[dict[str, Any]], None]]
) -> Iterator[tuple[Model, str]]:
    """Train one model after the other, in this process."""
    for each in models:
        why = train_and_examine({**each.job, "progress": watch(each)})
        if why == STOPPED:
            raise KeyboardInterrupt
        yield each, why


def _train_by_ray(config: ExperimentConfig, models: list[Model]) -> Iterator[tuple[Model, str]]:
    """Train some models at once, each in a task of Ray's, with a GPU where the cluster has any."""
    import ray

    from pipeline.training.ray_train import start

    ours = not ray.is_initialized()
    if ours:
        start(config.address or None, config.at_once)
    try:
        gpus = min(1, ray.cluster_resources().get("GPU", 0))
        task: Any = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=3)(train_and_examine)
        waiting = list(models)
        running: dict[Any, Model] = {}
        while waiting or running:
            while waiting and len(running) < config.at_once:
                each = waiting.pop(0)
                running[task.remote(each.job)] = each
            (done,), _ = ray.wait(list(running), num_returns=1)
            each = running.pop(done)
            try:
                yield each, ray.get(done)
            except ray.exceptions.RayError as error:
                yield each, " ".join(str(error).split())[:300]
    finally:
        if ours:
            ray.shutdown()

"""Training on a Ray cluster: Ray Train starts the processes, and starts them again; the loop is that of torchrun."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

from dataset.store.storage import absolute
from dataset.webdataset import foreign
from pipeline.training.train_worker import FirstError, work
from pipeline.workers import ray_address
from pipeline.workers.executor import EXCLUDES
from train.config import TrainConfig, with_absolute_paths, with_changes
from train.loop import RunResult

ROOT = Path(__file__).resolve().parents[2]
MAX_FAILURES = 100
"""Times that processes are started again where one, its node or the storage was lost; each costs the steps since the
last checkpoint."""


def train(config: TrainConfig, out: str | None) -> RunResult:
    """Train by a config in `distributed.ranks` processes (by default one) that Ray places; each has a GPU where the
    cluster has any and the config wants it.

    A process or node that is lost costs the steps since the last checkpoint: all processes start again from there. An
    error that would come again (`train.failure.would_recur`), in any of them, ends the run.

    Raises:
        ConfigError: no cluster answers.
        ValueError, FileNotFoundError, TrainingError: as the loop does; of an unforeseen error in a process, a
            TrainingError with its sentence.
        RuntimeError: processes died more than MAX_FAILURES times.
    """
    os.environ.setdefault("RAY_TRAIN_V2_ENABLED", "1")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    count: Any = config.distributed.ranks or 1
    config = with_absolute_paths(config)
    ours = not ray.is_initialized()
    if ours:
        start(config.distributed.address, count if isinstance(count, int) else count[1])
    try:
        gpu = config.compute.device != "cpu" and ray.cluster_resources().get("GPU", 0) > 0
        run = absolute(out or f"{foreign.root(config.dataset)}/runs/{config.name}")
        first_error = ray.remote(num_cpus=0)(FirstError).remote() if count != 1 else None
        device = config.compute.device if gpu or config.compute.device == "cuda" else "cpu"
        with tempfile.TemporaryDirectory() as scratch:  # Ray Train's own records; checkpoints are the loop's
            trainer = TorchTrainer(
                cast(Any, work),
                train_loop_config={
                    "config": asdict(with_changes(config, device=device)),
                    "run": run,
                    "first_error": first_error,
                },
                torch_config=TorchConfig(backend="nccl" if gpu else "gloo"),
                scaling_config=ScalingConfig(num_workers=count, use_gpu=gpu),
                run_config=RunConfig(
                    name=config.name,
                    storage_path=scratch,
                    failure_config=FailureConfig(max_failures=MAX_FAILURES),
                ),
            )
            with _restore_ctrl_c():
                result: Any = trainer.fit()
            answer = result.return_value
    finally:
        if ours:
            ray.shutdown()
    if isinstance(answer, Exception):
        raise answer
    if not isinstance(answer, dict):
        raise RuntimeError(f"Ray Train ended without a result of {run}")
    return RunResult(**answer)


@contextlib.contextmanager
def _restore_ctrl_c() -> Iterator[None]:
    """Give Ctrl-C back afterwards: Ray Train's handler stays, and would start another Ray to end a run that is over."""
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():  # elsewhere nobody has changed it
            signal.signal(signal.SIGINT, before)


def start(address: str | None, processes: int) -> None:
    """Join a Ray cluster, or begin one on this machine with room for so many processes. Raises ConfigError."""
    options: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": True}
    if address or "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ:  # set by Ray's job manager, which sent the repo
        options["address"] = address or "auto"
        if "RAY_JOB_CONFIG_JSON_ENV_VAR" not in os.environ:
            options["runtime_env"] = {"working_dir": str(ROOT), "excludes": EXCLUDES}
    else:
        # A CPU for each process, whether or not this machine has as many.
        options.update(address="local", include_dashboard=False, num_cpus=max(processes, os.cpu_count() or 1))
    ray_address.join(options)

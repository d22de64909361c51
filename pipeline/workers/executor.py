"""Runs tasks: in Ray workers with bounded work in flight, or in this process. We write no scheduler.

In child processes of this one: see `pipeline.workers.local`.
What is done about tasks that fail: see `pipeline.engine.failures.containment`.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from dataset.ledger.commits import Commit
from dataset.store.faults import WorkerKilledError
from dataset.store.storage import is_local
from pipeline.config_errors import ConfigError
from pipeline.engine.execute import execute
from pipeline.engine.phase import PHASES, Task
from pipeline.workers import ray_address
from pipeline.workers.failures import Failure, Working, unwrap
from pipeline.workers.private_ray import PrivateRay
from pipeline.workers.record_limits import RecordLimits

log = logging.getLogger("wit")

RAY_RETRIES = 3  # for a lost node or a worker killed by the system; our own bisecting begins after these
IN_FLIGHT_PER_CPU = 2  # enough to keep a worker busy while the driver looks elsewhere
_COUNT_SECONDS = 5.0  # how often the cluster is looked at for nodes that have come or gone
_LOOK_SECONDS = 2.0  # how often the tasks at work are asked what they are at
_ASK_SECONDS = 60.0  # how long a node may take to start a worker and look for a folder


SHOW_S = 0.5
"""Between two looks at what the tasks are at."""
Show = Callable[[Sequence[Working]], None]
"""Is told, now and then, what the tasks at work are at."""


SOURCE_REQUESTS = "source_requests_per_s"
"""The hint of how often servers of sources may be asked: of a run all together, when it comes to a worker its share."""


def pace_task(task: Task, at_once: int) -> Task:
    """Return the task with its share of the cap on requests, if there is one, where so many may be at work at once."""
    cap = task.hints.get(SOURCE_REQUESTS)
    return task if not cap else replace(task, hints={**task.hints, SOURCE_REQUESTS: cap / max(1, at_once)})


def nobody(working: Sequence[Working]) -> None:
    """Shows nothing."""


class Executor(Protocol):
    """Where tasks run."""

    def run(self, url: str, tasks: Sequence[Task], show: Show = nobody) -> Iterator[tuple[Task, Commit | Failure]]:
        """Do the tasks, in any order; a failure is an answer."""
        ...

    def close(self) -> None:
        """Let go of what the executor started."""
        ...


class InlineExecutor:
    """Runs tasks in this process itself, one after the other, for a debugger and for tests of a stage.

    Nobody watches there, so the budgets of a record do not hold.
    """

    def run(self, url: str, tasks: Sequence[Task], show: Show = nobody) -> Iterator[tuple[Task, Commit | Failure]]:
        """See `Executor`."""
        for task in tasks:
            try:
                yield task, execute(url, PHASES[task.phase].module, task)
            except Exception as error:
                yield task, Failure(error)

    def close(self) -> None:
        """Do nothing: there is nothing to let go of."""


def in_job() -> bool:
    """Return whether this process is a Ray job's, with what `wit submit` sent."""
    return "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ  # set by Ray's job manager


class RayExecutor:
    """Plain Ray tasks on a local or a remote cluster.

    A cluster is connected to at once, so that a wrong address is told before any work; a Ray of our own starts with the
    first task, because it takes longer to start than a run that has nothing to do.

    Args:
        gpus: what a task with a model takes of a GPU.
        limits: what one record may cost.

    Raises:
        ConfigError: no cluster answers at the address.
    """

    def __init__(
        self,
        workers: int | None,
        address: str | None,
        *,
        working_dir: Path | None = None,
        gpus: float = 0.0,
        limits: RecordLimits | None = None,
    ):
        # Ray retries for ever what the system kills for its memory; such a task is to be bisected instead.
        os.environ.setdefault("RAY_task_oom_retries", str(RAY_RETRIES))
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        there = "ray" in sys.modules and sys.modules["ray"].is_initialized()
        remote = bool(address) or in_job() or there
        self._private = None if remote else PrivateRay()  # before Ray is imported
        import ray

        from pipeline.workers.ray_worker import Board, execute_in_child

        self._ray = ray
        self._own = not there
        self._has_died = False
        self._options: dict[str, Any] | None = None  # to start or join Ray with, until that is done
        if self._own:
            self._options = {"logging_level": logging.ERROR, "log_to_driver": False}
            if self._private is not None:
                self._options.update(self._private.options, num_cpus=workers)
                self._own_options = dict(self._options)
            else:
                self._options["address"] = address or "auto"
                if working_dir is not None and not in_job():
                    self._options["runtime_env"] = {"working_dir": str(working_dir), "excludes": EXCLUDES}
                self._start()
        self._limit = workers if remote else None  # a Ray of our own has no more CPUs than that
        self._seen: set[str] = set()  # nodes known to see the dataset
        # Retried by Ray when a worker or node dies; an exception of our own code is an answer, not a reason to retry.
        self._remote = ray.remote(max_retries=RAY_RETRIES)(execute_in_child)
        # A process that has used one GPU cannot be moved to another, so each such task has its own.
        self._on_gpu = ray.remote(max_retries=RAY_RETRIES, max_calls=1)(execute_in_child)
        self._gpus = gpus
        self._limits = limits or RecordLimits()
        self._on_board = ray.remote(num_cpus=0)(Board)
        self._board: Any = None

    def _start(self) -> None:
        """Start or join Ray, once; a Ray of our own whose processes have died is started again."""
        if self._has_died:
            self._has_died = False
            self._ray.shutdown()
            self._options, self._board = self._own_options, None
        options, self._options = self._options, None
        if options is None:
            return
        try:
            ray_address.join(options)
        except Exception as error:
            if "timed out during startup" not in str(error):
                raise
            raise WorkerKilledError(
                "Ray's processes did not start within Ray's own limit: the machine is too busy; run the same "
                "command again, or with --workers 0, which needs no Ray"
            ) from error

    def run(self, url: str, tasks: Sequence[Task], show: Show = nobody) -> Iterator[tuple[Task, Commit | Failure]]:
        """See `Executor`."""
        self._start()
        self._check_gpus(tasks)
        if self._board is None:
            self._board = self._on_board.remote()
        waiting = deque(tasks)
        running: dict[Any, Task] = {}
        bound, counted, shown = 0, -math.inf, time.monotonic()
        while waiting or running:
            if time.monotonic() - counted > _COUNT_SECONDS:  # nodes come and go
                bound, counted = self._bound(), time.monotonic()
                self._check_nodes(url)
            while waiting and len(running) < bound:
                task = waiting.popleft()
                declared = PHASES[task.phase]
                needs = declared.contract.needs
                remote = self._remote.options(num_cpus=needs.cpus, name=task.phase)
                if needs.gpu and self._gpus:
                    remote = self._on_gpu.options(num_cpus=needs.cpus, num_gpus=self._gpus, name=task.phase)
                arguments = (str(Path.cwd()), url, declared.module, pace_task(task, bound), self._limits, self._board)
                running[remote.remote(*arguments)] = task
            self._ray.wait(list(running), num_returns=1, timeout=_LOOK_SECONDS)
            if time.monotonic() - shown > _LOOK_SECONDS:
                shown = time.monotonic()
                with contextlib.suppress(self._ray.exceptions.RayError):  # lost with its node: work goes on unseen
                    show(self._ray.get(self._board.working_tasks.remote(), timeout=_LOOK_SECONDS))
            done, _ = self._ray.wait(list(running), num_returns=len(running), timeout=0)
            for reference in done:
                task = running.pop(reference)
                try:
                    yield task, self._ray.get(reference)
                except Exception as error:
                    failure = Failure(unwrap(error))
                    self._has_died = self._private is not None and type(error).__name__ == "LocalRayletDiedError"
                    yield task, failure
                if self._has_died:  # it answers nobody any more; the next call starts another
                    for lost in (*running.values(), *waiting):
                        yield lost, failure
                    return

    def _bound(self) -> int:
        """How many tasks may be in flight."""
        if self._limit is not None:
            return self._limit
        return IN_FLIGHT_PER_CPU * max(1, int(self._ray.cluster_resources().get("CPU", 1)))

    def _check_gpus(self, tasks: Sequence[Task]) -> None:
        """Raises ConfigError if tasks would wait for a GPU for ever."""
        wanted = self._gpus if any(PHASES[task.phase].contract.needs.gpu for task in tasks) else 0.0
        there = self._ray.cluster_resources().get("GPU", 0.0) if wanted else 0.0
        if there < wanted:
            raise ConfigError(f"run.gpus_per_model_task is {wanted:g}, but Ray has {there:g} GPUs; leave it at 0 here")

    def _check_nodes(self, url: str) -> None:
        """Raises ConfigError if a node of a cluster does not see a dataset that is a folder."""
        if not is_local(url):
            return
        alive = {node["NodeID"]: node for node in self._ray.nodes() if node["Alive"]}
        fresh = [number for number in alive if number not in self._seen] if len(alive) > 1 else []
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        asked = {
            self._ray.remote(num_cpus=0, max_retries=0)(os.path.isdir)
            .options(scheduling_strategy=NodeAffinitySchedulingStrategy(number, soft=False))
            .remote(url): number
            for number in fresh
        }
        self._seen.update(fresh)
        for reference, number in asked.items():
            try:
                sees = self._ray.get(reference, timeout=_ASK_SECONDS)
            except Exception as error:  # the node is gone again, or too busy to say
                log.debug("node %s did not say whether it sees %s: %s", number, url, error)
                continue
            if not sees:
                raise ConfigError(
                    f"the node {alive[number]['NodeManagerAddress']} does not see {url}; "
                    "give an s3:// URL or a folder that all nodes share"
                )

    def close(self) -> None:
        """Stop the local Ray that this executor started."""
        if self._own and self._options is None:
            self._ray.shutdown()
        if self._private is not None:
            self._private.close()


EXCLUDES = [".venv", "out", ".git", "build", "*.tar", "*.warc*", ".mypy_cache", ".ruff_cache", ".pytest_cache"]
"""What of the repo is not sent to a cluster: Ray's working_dir is the code and the configs."""

"""`wit run`: the stages of the path, in order, from archives to shards."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Literal

from dataset import usage
from dataset.ledger.damage import DamagedError
from dataset.ledger.lease import Lease
from dataset.query import sql
from dataset.query.views import Dataset
from dataset.stages import names, path
from dataset.store import rate_limit, web
from dataset.store.storage import Storage
from pipeline import programs, submit
from pipeline.config import Config, effective_yaml
from pipeline.config import build as make_config
from pipeline.engine import verify
from pipeline.engine.progress import Reporter, working_dir
from pipeline.engine.run import Run
from pipeline.engine.sources import inputs
from pipeline.engine.sources.plan import checksums
from pipeline.engine.unchanged import NOTHING, Note
from pipeline.workers.executor import Executor, RayExecutor, in_job
from pipeline.workers.local import LocalExecutor
from pipeline.workers.record_limits import RecordLimits

log = logging.getLogger("wit")

_MENDED = 100  # files that a run makes anew before it ends: so many are no accident


def build(
    config: Config,
    *,
    to: str | None = None,
    executor: Executor | None = None,
    quiet: bool = False,
    reread_sources: bool = False,
) -> Run:
    """Build or resume a dataset.

    Args:
        config: the run.
        to: the last stage to run; by default all are.
        executor: where tasks run; by the config's `run` section if not given.
        reread_sources: see `pipeline.engine.sources.plan.checksums`.

    Raises:
        ConfigError: before any work is done.
        LeaseHeldError: another run holds the dataset.
        PhaseFailedError, ConservationError: the run stopped; what was committed stays.
    """
    submit.check_out(config.out)
    web.be_patient(config.run.web_patience_s)
    rate_limit.set_rate(config.commoncrawl.max_requests_per_s)
    programs.check(config)
    for stage in path():
        check = getattr(stage.load(), "check", None)
        if check is not None:
            check(config)
    usage.give_back_memory()  # of the models and lists that were tried: the tasks' processes load their own
    storage = Storage(config.out)
    owns_executor = executor is None
    with Lease(storage) as lease, Reporter(storage, quiet=quiet) as reporter:
        started, before = time.monotonic(), usage.so_far()
        text_of_config = effective_yaml(config).encode()
        if not storage.exists("config.yaml") or storage.read("config.yaml") != text_of_config:
            storage.write("config.yaml", text_of_config)
        sources = checksums(inputs.expand(config, storage), storage, reread=reread_sources)
        executor = executor or make_executor(config, sum(source.size for source in sources))
        try:
            new_run = partial(Run, config, storage, executor, reporter, lease.check, sources, lease.token)
            run = _run_and_mend(storage, lambda: _path(new_run(), to))
            complete = to in (None, names()[-1])
            run.finish(complete=complete)
            if complete:
                from pipeline.reports import datasheet

                datasheet.write(storage, config, sources)
        finally:
            if owns_executor:
                executor.close()
        seconds = time.monotonic() - started
        tasks = sum(run.did.values())
        did = f"{tasks:,} tasks" if tasks else NOTHING
        reporter.say(f"{config.out}: {did}, {seconds:.1f} s")
        reporter.record(
            {
                "run": "done",
                "seconds": round(seconds, 3),
                "tasks": tasks,
                "source_bytes": sum(source.size for source in sources),
                "driver": {kind: round(amount, 3) for kind, amount in usage.since(before).items()},
            }
        )
    return run


def build_with_note(
    raw: Mapping[str, Any],
    path: str,
    out: str | None,
    *,
    to: str,
    retry: Literal["none", "transient"] | None = None,
    reread: bool = False,
) -> tuple[Note, bool]:
    """`build` for `wit run`: what is to be said in the end, and whether the same run again will have nothing to do.

    Args:
        raw: a config that is not checked yet; `path` and `out` as `pipeline.config.build` takes them.
        retry: fetch.retry, if it is not the config's that counts.
    """
    config = make_config(raw, path, out)
    config = with_retry(config, retry) if retry else config
    run = build(config, to=to, reread_sources=reread)
    funnel = [[stage, *(counts[name] for name in ("input", "kept", "dropped"))] for stage, counts in run.funnel.items()]
    failed = Dataset(config.out).sql(sql.load("report/failed_sources")).fetchall()
    is_offline = config.fetch.retry == "none" and "http" not in config.fetch.origins
    return Note(run.said, funnel, [error for _, error in failed]), is_offline or not run.did


def _path(run: Run, to: str | None) -> Run:
    """All stages up to one."""
    for stage in path():
        stage.load().run(run)
        if stage.name == to:
            break
    return run


def _run_and_mend(storage: Storage, go: Callable[[], Run]) -> Run:
    """Go the path; what is found damaged on it is made anew from its inputs, as if it had never been there."""
    mended: set[str] = set()
    while True:
        try:
            return go()
        except DamagedError as error:
            if error.url != storage.url or error.name in mended or len(mended) >= _MENDED:
                raise
            log.warning("%s is damaged: %s; it is made anew", storage.url_of(error.name), error.what)
            mended.add(error.name)
            verify.make_room(storage, error.name)


def make_executor(config: Config, source_bytes: int) -> Executor:
    """Where a run's tasks are done: in child processes if it is small or `run.workers` is 0, else on Ray."""
    run = config.run
    limits = RecordLimits(run.record_cpu_s, run.record_memory_bytes)
    needs_ray = run.address or in_job() or run.gpus_per_model_task or config.fetch.distributor == "ray"
    if run.workers == 0 or (run.workers is None and not needs_ray and source_bytes <= run.small_bytes):
        return LocalExecutor(1 if run.workers == 0 else None, limits)
    return RayExecutor(run.workers, run.address, working_dir=working_dir(), gpus=run.gpus_per_model_task, limits=limits)


def with_retry(config: Config, retry: Literal["none", "transient"]) -> Config:
    """The config with `fetch.retry` set."""
    return replace(config, fetch=replace(config.fetch, retry=retry))

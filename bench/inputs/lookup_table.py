"""The table by which a dataset of `bench.inputs.large_dataset` is looked up, written by pack's own phases."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from functools import partial
from typing import Any

from bench.inputs.pieces import once
from dataset.ledger.commits import Commit, FileRef
from dataset.stages import judging_stages
from dataset.store.storage import Storage
from pipeline.engine.exchanges.exchange import Exchange
from pipeline.engine.execute import execute
from pipeline.engine.phase import Input, Task
from pipeline.stages.pack import lookup
from pipeline.stages.pack.stage import SAMPLES_PER_PART

SAMPLES_A_SHARD = 10_000


def write_lookup(out: str, done: list[Commit], workers: int) -> list[Commit]:
    """Return which partitions have what, as pack writes it."""

    def files(phase: str, role: str) -> dict[int, FileRef]:
        return {one.partition: one.files[role] for one in done if one.phase == phase}

    verdicts = [files(f"{stage}.decide", "verdicts") for stage in (one.name for one in judging_stages("pairs"))]
    images = files("fetch.get", "images")
    pairs = [
        {
            "rows": (Input(file),),
            "verdicts": tuple(Input(some[number]) for some in verdicts),
            "images": (Input(images[number]),),
        }
        for number, file in sorted(files("prebalance.pairs", "pairs").items())
    ]
    packed = [one for one in done if one.phase == "pack.shard"]
    candidates = [file for _, file in sorted(files("extract.candidates", "candidates").items())]
    *work, parts = lookup.tasks(candidates, pairs, packed, SAMPLES_PER_PART // SAMPLES_A_SHARD)
    execute_ = partial(_commit_task, out)
    with ProcessPoolExecutor(workers) if workers > 1 else nullcontext() as pool:
        each: Any = map if pool is None else pool.map
        commits = [commit for some in work for commit in each(execute_, some)]
        exchange = Exchange.of(Storage(out), [commit.files["keys"] for commit in commits])
        reading = [Task(lookup.lookup.name, part, {"keys": exchange.bucket(part)}, {}) for part in range(parts)]
        return [*commits, *each(execute_, reading)]


def _commit_task(out: str, task: Task) -> Commit:
    name = f"{task.phase}-{task.partition:05d}-{task.fingerprint}"
    return once(out, name, lambda: [execute(out, lookup.__name__, task)])[0]

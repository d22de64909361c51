"""The paper's size, planned: the driver of a run of 10 billion candidates, with a stand-in for the tasks' work.

`make bench-scale` has the stages plan their tasks by the real code, as a cluster's driver does: fingerprints, commit
records, ledgers, the exchanges' tables of lines, manifest and views.sql. A task is pickled, as Ray sends it, and is
answered at once by a commit of the files that it would have written, of the sizes that real ones have; the store keeps
their names. What the stand-in and the store take is not the driver's, and is taken off. By default 10 billion
candidates become 800 million pairs that are fetched, and 400 million samples, by configs/cluster.yaml; a tenth of that
is planned first, to see how it grows. Then the memory of the tasks that decide about all is measured, see
`bench.scale_tasks`. That takes some half an hour; with `--keep FOLDER` a
plan that is ended goes on behind the last stage that was whole.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import pickle
import re
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import xxhash
import yaml

from bench import scale_tasks
from bench.inputs.counting_store import Clock, Kept, Names, exchange_end
from bench.record import print_record
from dataset.ids import checksum
from dataset.ledger.commits import Commit, FileRef, Ledger, folder
from dataset.stages import path
from dataset.tables import to_parquet
from pipeline import config as configs
from pipeline.engine.exchanges import exchange
from pipeline.engine.phase import PHASES, Task
from pipeline.engine.progress import Reporter
from pipeline.engine.run import Run
from pipeline.engine.sources.inputs import Source
from pipeline.stages.pack import images as bytes_moved
from pipeline.workers.executor import Show, nobody
from pipeline.workers.failures import Failure

ROOT = Path(__file__).resolve().parents[1]
PIECE_CANDIDATES = 200_000
"""Candidates of 128 MiB of a crawl's WAT: some 20,000 pages with ten images that have a text."""
WAT_BYTES = 250 * 2**20
KEPT = {"text": 0.5, "match": 0.8, "dedup": 0.6, "prebalance": 1 / 3, "fetch": 0.7, "image": 0.9, "neardup": 0.88,
        "decontaminate": 1.0, "balance": 0.9}  # fmt: skip
"""The shares that stages keep: of 10 billion candidates 800 million are fetched, and 400 million are left."""
ROW_BYTES = {"candidates": 180, "pairs": 220, "images": 130, "rows": 300, "samples": 150, "measures": 20, "nodes": 90}
"""Compressed bytes of a row, by role; of others 30."""
IMAGE_BYTES = 15_000
"""The bytes of a stored image."""
MOST_GROWTH = 11
"""Times the driver's seconds for ten times the candidates."""
GOALS = {"rss_bytes": 8e9, "driver_seconds": 1200, "largest_specification_bytes": 256e3, "largest_record_bytes": 1e6}


class Imagined:
    """Answers every task with the commit of what it would have written."""

    def __init__(self, storage: Names, clock: Clock):
        self.storage = storage
        self.clock = clock
        self.run_: Run | None = None
        self.seen: dict[str, dict[str, Any]] = {}
        self._together: dict[str, int] = {}  # pack.images, pack.map -> shards that are a bucket of it
        self._shared_out: dict[str, int] = {}  # a phase -> over how many tasks the rows are shared out

    def run(self, url: str, tasks: Sequence[Task], show: Show = nobody) -> Iterator[tuple[Task, Commit | Failure]]:
        """See `pipeline.workers.executor.Executor`."""
        for task in tasks:
            size = len(pickle.dumps(task, protocol=5))
            seen = self.seen.setdefault(
                task.phase, {"tasks": 0, "specification": 0, "record": 0, "objects": 0, "input": 0}
            )
            commit, record, read = self.clock.off(lambda task=task: self._answer(task))
            seen["tasks"] += 1
            seen["specification"] = max(seen["specification"], size)
            seen["record"] = max(seen["record"], record)
            seen["objects"] += len(commit.files) + 1
            seen["input"] = max(seen["input"], read)
            yield task, commit

    def close(self) -> None:
        """Do nothing: there is nothing to let go of."""

    def _answer(self, task: Task) -> tuple[Commit, int, int]:
        phase = PHASES[task.phase]
        rows, read = self._rows(task)
        counts, facts = self._counts(task, rows), self._facts(task)
        files: dict[str, FileRef] = {}
        kept: list[tuple[str, int, bytes | None]] = []
        for role in phase.contract.gives:
            name = f"{folder(task.phase)}/{role}-{task.partition:05d}-{task.fingerprint}"
            data: bytes | None = None
            count = self._given_rows(task, role, rows)
            if role in phase.exchanges:
                buckets, first = self._buckets(task)
                size = 30 * count + 300 * buckets + len(exchange_end(0, 0, 0)) + buckets * exchange._LINE.itemsize
                name, data = f"{name}.arrows", f"{buckets} {count} {first}".encode()
            elif role == "tar":
                name, size = f"shards/{task.options['shard']}", 50_000 * count
            else:
                name, size = f"{name}.parquet", ROW_BYTES.get(role, 30) * count + 2000
            declared = [t for t in phase.stage.tables if t.phase == task.phase and t.role == role]
            schema = next((t.schema for t in declared if t.schema is not None), phase.contract.gives[role])
            if schema is not None and task.partition == 0 and data is None:  # whose columns the views ask for
                data = to_parquet(schema.empty_table()).to_pybytes()
                size = len(data)
            published = any(t.published for t in declared)
            digest = checksum(data) if published and data else xxhash.xxh3_128_hexdigest(name.encode())
            files[role] = FileRef(name, size, digest, count)
            kept.append((name, size, data))
        commit = Commit(task.phase, task.partition, task.fingerprint, files, counts, facts)
        text = commit.to_json()
        ledger = Ledger(self.storage, task.phase)
        kept.append((ledger.record_name(task.partition, commit.fingerprint), len(text), None))
        self.storage.keep(kept)
        return commit, len(text), read

    def _rows(self, task: Task) -> tuple[int, int]:
        """The rows of a task's input, and the bytes of all it reads."""
        rows = read = 0
        for items in task.inputs.values():
            for item in items:
                if hasattr(item, "file"):
                    read += item.file.bytes
                    rows = max(rows, item.file.rows)
                else:
                    lines = item.exchange.of_bucket(item.number)
                    read += int(lines["length"].sum())
                    rows = max(rows, int(lines["rows"].sum()))
        run = self.run_
        if run is not None and "rows" in task.inputs and task.partition < len(run.partitions):
            partition = run.partitions[task.partition]
            rows = (
                partition.alive
                if partition.number == task.partition and hasattr(task.inputs["rows"], "__len__")
                else rows
            )
        if run is not None and task.phase in self._shared_out:
            rows = _share(run.alive, task.partition, self._shared_out[task.phase])
        if PHASES[task.phase].of:
            rows = sum(item.file.rows for item in task.inputs["files"])
        return rows, read

    def _counts(self, task: Task, rows: int) -> dict[str, int]:
        if task.phase == "extract.candidates":
            return {"input": PIECE_CANDIDATES, "kept": PIECE_CANDIDATES, "dropped": 0}
        stage = PHASES[task.phase].stage
        if task.phase == stage.decision:
            assert self.run_ is not None
            alive = self.run_.partitions[task.partition].alive
            dropped = alive - round(alive * KEPT[stage.name])
            reasons = {f"reason:{next(iter(stage.reasons), 'x')}": dropped}
            return {"input": alive, "kept": alive - dropped, "dropped": dropped, **reasons}
        return {
            "pairs": rows,
            "rows": rows,
            "captions": rows,
            "images": rows,
            "heldout": rows // 1000,
            "nodes": rows,
            "bytes": rows,
            "image_bytes": IMAGE_BYTES * rows,
            "left": 0,
        }

    def _facts(self, task: Task) -> dict[str, Any]:
        assert self.run_ is not None
        facts: dict[str, Any] = {"missed": 0, "buckets": 100, "stopwords": [], "lists": []}
        if task.phase == "prebalance.map":
            self._shared_out["prebalance.pairs"] = task.options["partitions"]
        if task.phase == "fetch.get":
            facts |= {"listed": [], "chunks": []}
        if PHASES[task.phase].reuses:
            facts["method"] = task.method
        return {name: value for name, value in facts.items() if value not in (None,)}

    def _given_rows(self, task: Task, role: str, rows: int) -> int:
        if task.phase == "extract.candidates":
            return PIECE_CANDIDATES if role == "candidates" else 100
        if role == "verdicts":
            return rows // 3
        if role in (
            "spam",
            "lanes",
            "cutoffs",
            "windows",
            "counts",
            "heldout",
            "queries",
            "kept",
            "bridges",
            "chosen",
        ):
            return min(rows // 100, 500_000)
        if task.phase == "dedup.possible_spam":
            return 10_001  # at most: each of them is on more than 0.0001 of all
        if role == "repeated":
            return rows // 100 + 1  # at most: each of them is on more than 100 images
        if role == "copies":
            return rows // 20
        if role == "edges" and task.phase in ("neardup.edges", "pack.bridges"):
            return rows // 100
        if role == "keys" and task.phase.startswith("neardup"):
            return 18 * rows
        return rows

    def _buckets(self, task: Task) -> tuple[int, int]:
        """How many buckets a task's exchange file has, and the first of them."""
        assert self.run_ is not None
        if PHASES[task.phase].of:
            head = self.storage._ask("data", task.inputs["files"][0].name)[0]
            buckets, _, first = head.split()
            return int(buckets), int(first)
        options = task.options
        if "buckets" in options:
            return options["buckets"], 0
        if "shards" in options or "together" in options:  # pack.map, pack.images: by shards, or so many shards together
            shards = self._shared_out.setdefault("pack.shard", sum(options.get("shards", ())))
            self._together[task.phase] = options.get("together", 1)
            return -(-shards // self._together[task.phase]), 0
        if task.phase in ("pack.by_shard", "pack.regrouped"):
            shards = self._shared_out["pack.shard"]
            together = self._together["pack.map" if task.phase == "pack.by_shard" else "pack.images"]
            first = task.partition % -(-shards // together) * together
            return min(together, shards - first), first
        if "parts" in options:
            return options["parts"], 0
        if "partitions" in options:
            return options["partitions"], 0
        if task.phase.endswith(".collect"):
            return 100, 0
        return len(self.run_.partitions), 0


def _share(rows: int, number: int, of: int) -> int:
    """How many rows the task of a number has of all."""
    return rows * (number + 1) // of - rows * number // of


def sources(candidates: int) -> list[Source]:
    """Return a crawl's WAT files that have so many candidates."""
    files = -(-candidates * (128 * 2**20) // (PIECE_CANDIDATES * WAT_BYTES))
    base = "s3://commoncrawl/crawl-data/CC-MAIN-2026-40/segments/1719524843205.0/wat/CC-MAIN-20260601010101-"
    names = [f"{base}{number:08d}.warc.wat.gz" for number in range(files)]
    return [Source(name, name, WAT_BYTES, name, xxhash.xxh3_128_hexdigest(name.encode())) for name in names]


def plan(candidates: int, overrides: Mapping[str, Any] | None = None, keep: Path | None = None) -> dict[str, Any]:
    """Plan a run of so many candidates; prints what each phase took, and answers the sums.

    keep: a folder in which the plan is kept after each stage, and goes on if it is there; nowhere by default.
    """
    clock = Clock()
    began = clock.now()
    with contextlib.ExitStack() as stack:
        out = str(keep) if keep is not None else stack.enter_context(tempfile.TemporaryDirectory())
        raw = yaml.safe_load((ROOT / "configs/cluster.yaml").read_text())
        raw |= {"out": out, **(overrides or {})}
        raw["run"] = {**raw["run"], "address": None, **(overrides or {}).get("run", {})}
        config = configs.build(raw)
        for stage in path():
            stage.load()
        storage = Names(out, clock)
        executor = Imagined(storage, clock)
        in_bucket = mock.patch.object(bytes_moved, "is_worth_it", lambda run, shards, of: True)  # what is imagined
        with Reporter(storage, quiet=True) as reporter, in_bucket:
            run = Run(config, storage, executor, reporter, sources=clock.off(lambda: sources(candidates)))
            executor.run_ = run
            kept = Kept(out)
            clock.off(lambda: kept.restore(run, storage, executor))
            for stage in path():
                if stage.name in kept.stages:
                    continue
                before, known = clock.now(), set(executor.seen)
                stage.load().run(run)
                _show(stage.name, executor.seen, known, clock.now() - before)
                if keep is not None:
                    seconds, began = clock.now() - began, clock.now()
                    clock.off(lambda name=stage.name, s=seconds: kept.add(name, s, run, storage, executor))
            run.finish(complete=True)
    phases = executor.seen.values()
    return {
        "candidates": candidates,
        "samples": run.alive,
        "tasks": sum(phase["tasks"] for phase in phases),
        "objects": storage.written,
        "driver_seconds": round(kept.seconds + clock.now() - began, 1),
        "rss_bytes": max(kept.rss_bytes, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024),
        "largest_specification_bytes": max(phase["specification"] for phase in phases),
        "largest_record_bytes": max(phase["record"] for phase in phases),
        "largest_input_bytes": max(phase["input"] for phase in phases),
    }


def _show(stage: str, seen: Mapping[str, Mapping[str, Any]], known: set[str], seconds: float) -> None:
    rss = int(re.search(r"VmRSS:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1e6  # type: ignore[index]
    print(f"{stage}: {seconds:.1f} s of the driver, {rss:.2f} GB", flush=True)
    for name, phase in seen.items():
        if name not in known:
            print(
                f"  {name:<28} {phase['tasks']:>9,} tasks {phase['specification']:>11,} B specification "
                f"{phase['record']:>9,} B record {phase['input'] / 1e6:>9,.0f} MB input {phase['objects']:>9,} objects",
                flush=True,
            )


def main() -> None:
    """Print what planning takes, and as the last line one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--candidates", type=float, default=10e9, help="how many; by default 10e9")
    parser.add_argument("--keep", type=Path, help="a folder in which plans are kept after each stage, to go on later")
    parser.add_argument("--one", type=float, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.one:
        keep = chosen.keep and chosen.keep.absolute() / f"{chosen.one:.0f}"
        if keep:
            keep.mkdir(parents=True, exist_ok=True)
        print_record(plan(int(chosen.one), keep=keep))
        return
    plans = []
    for candidates in (chosen.candidates / 10, chosen.candidates):  # a process each, for its peak of memory
        print(f"{candidates:,.0f} candidates", flush=True)
        lines = []
        command = [sys.executable, "-m", "bench.scale", "--one", str(candidates)]
        command += ["--keep", str(chosen.keep)] if chosen.keep else []
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            for line in child.stdout or ():
                lines.append(line)
                print(line, end="", flush=True)
        if child.returncode:
            sys.exit(child.returncode)
        plans.append(json.loads(lines[-1]))
    tasks = {size: scale_tasks.measure(size) for size in scale_tasks.SIZES}
    largest_task = max(task["at_400m"] for task in tasks[scale_tasks.SIZES[-1]].values())
    small, large = plans
    grown = {key: round(large[key] / small[key], 1) for key in ("driver_seconds", "rss_bytes")}
    print_record(
        {
            "bench": "scale",
            "ours": large["rss_bytes"],
            "peer": GOALS["rss_bytes"],
            "unit": "bytes of the driver",
            "ratio": round(GOALS["rss_bytes"] / large["rss_bytes"], 2),
            "equal": all(large[key] <= goal for key, goal in GOALS.items())
            and largest_task <= scale_tasks.LIMIT_BYTES
            and grown["driver_seconds"] <= MOST_GROWTH,
            **large,
            "largest_task_bytes": largest_task,
            "ten_times": grown,
        }
    )


if __name__ == "__main__":
    main()

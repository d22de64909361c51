"""How far a dataset is: stages done and left, the funnel so far, who writes it, what failed, how the last run went."""

from __future__ import annotations

import contextlib
import json
import time
from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from dataset import usage
from dataset.ledger.commits import dropped_by_reason
from dataset.ledger.lease import LEASE
from dataset.query import sql, view_script
from dataset.query.views import Dataset
from dataset.stages import path
from dataset.store.storage import Storage
from pipeline.engine.failures.quarantine import lost_by
from pipeline.engine.progress import WORK
from pipeline.reports.format import json_lines
from pipeline.stages.fetch.progress import describe
from pipeline.workers.failures import CRASHED, MEMORY, TIME

DONE, LEFT = "done", "left"
_SLOWEST = 3
_REASONS = 4
_FAILED = 20
_SILENT_S = 60.0  # a run that has not said for so long what it is at is not at work
_LEFT_OUT = {
    CRASHED: "they crashed their worker",
    TIME: "they took more CPU time than run.record_cpu_s",
    MEMORY: "they took more memory than run.record_memory_bytes",
}


@dataclass(frozen=True)
class StageStatus:
    """One stage. The counts are None until it is done; `input` is known once the stage before it is."""

    stage: str
    state: str  # done, left, or what of it is there
    input: int | None
    kept: int | None
    dropped: int | None
    reasons: dict[str, int]  # why rows were dropped, the commonest first


@dataclass(frozen=True)
class Status:
    """A dataset's state, at the moment of asking."""

    out: str
    complete: bool
    stages: tuple[StageStatus, ...]
    lease: str | None  # who holds the dataset, as a sentence
    failed_sources: tuple[tuple[str, str], ...]  # file, why
    left_out: dict[str, int]  # inputs that crashed their worker or exceeded their budget, by reason
    last_run: tuple[str, ...]  # as lines
    fetching: str | None = None  # how far the fetch stage is while it is at work, as a sentence
    working: str | None = None  # how far the phase at work is, and which record it waits for

    def as_rows(self) -> list[dict[str, Any]]:
        """Return a row for each stage of the path, in order."""
        names = ("stage", "input", "kept", "dropped", "state")
        return [{name: getattr(stage, name) for name in names} for stage in self.stages]

    def as_text(self) -> str:
        """Return all of it, for people."""
        done = sum(stage.state == DONE for stage in self.stages)
        state = "complete" if self.complete else f"{done} of {len(self.stages)} stages done"
        lines = [f"{self.out}: {state}", f"{'stage':<14}{'input':>13}{'kept':>13}{'dropped':>13}  state"]
        for stage in self.stages:
            counts = "".join(f"{_number(count):>13}" for count in (stage.input, stage.kept, stage.dropped))
            shown = list(stage.reasons.items())[:_REASONS]
            reasons = ", ".join(f"{reason} {count:,}" for reason, count in shown)
            more = f" and {len(stage.reasons) - len(shown)} more reasons" if len(stage.reasons) > len(shown) else ""
            lines.append(f"{stage.stage:<14}{counts}  {stage.state}{f': {reasons}{more}' if reasons else ''}")
        lines += [line for line in (self.fetching, self.working) if line]
        lines.append(self.lease or "no run holds it")
        for file, error in self.failed_sources[:_FAILED]:
            lines.append(f"source failed: {error if error.startswith(file) else f'{file}: {error}'}")
        if len(self.failed_sources) > _FAILED:
            lines.append(f"and {len(self.failed_sources) - _FAILED} more; `wit audit {self.out} sources_failed`")
        for reason, count in self.left_out.items():
            lines.append(f"{count:,} inputs left out as {reason}: {_LEFT_OUT[reason]}")
        if not self.complete:
            lines.append("`wit run` with the same config goes on from here")
        return "\n".join([*lines, *self.last_run])


def status(out: str) -> Status:
    """Return what is there of a dataset, finished or not. Its views.sql is made up to date, where it can be written.

    Raises:
        FileNotFoundError: there is no dataset.
    """
    dataset = Dataset(out)
    with contextlib.suppress(OSError):  # somebody else's, or on a disk that is only read
        view_script.write(dataset.storage)
    funnel = dataset.manifest.get("funnel", {})
    closed = [entry["phase"] for entry in dataset.manifest["phases"]]
    waiting: int | None = None
    stages = []
    for stage in path():
        counts = funnel.get(stage.name)
        if counts is not None:
            reasons = dropped_by_reason(dataset.commits(stage.decision))
            stages.append(StageStatus(stage.name, DONE, counts["input"], counts["kept"], counts["dropped"], reasons))
            waiting = counts["kept"]
        else:
            stages.append(StageStatus(stage.name, _state(dataset.storage, stage.name, closed), waiting, None, None, {}))
            waiting = None
    failed = dataset.sql(sql.load("report/failed_sources")).fetchall()
    left_out = Counter(lost.reason for phase in closed for commit in dataset.commits(phase) for lost in lost_by(commit))
    complete = bool(dataset.manifest["complete"])
    storage = dataset.storage
    fetching = None if "fetch" in funnel else describe(storage, time.time())
    return Status(
        out,
        complete,
        tuple(stages),
        _lease(storage),
        tuple(failed),
        dict(sorted(left_out.items())),
        _last_run(storage),
        fetching,
        _describe_work(storage),
    )


def _describe_work(storage: Storage) -> str | None:
    """What the run at work has left in its log, as a line."""
    try:
        work = json.loads(storage.read(WORK))
        if time.time() - work["updated"] > _SILENT_S:
            return None
        place = f", {work['at']}" if work["at"] else ""
        return f"{work['phase']}: {work['done']:g} of {work['partitions']:,} partitions{place}"
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _state(storage: Storage, stage: str, closed: list[str]) -> str:
    """How far a stage is that is not done: its closed phases, and the partitions committed in one that is open."""
    begun = [phase for phase in closed if phase.startswith(f"{stage}.")]
    # Commit records of their own exist only until their phase is closed.
    records = (info.name.split("/") for info in storage.list(stage, recursive=True))
    committed = Counter(".".join(parts[:2]) for parts in records if len(parts) == 4 and parts[2] == "commits")
    parts = [f"{phase} done" for phase in begun]
    parts += [f"{phase}: {count:,} partitions committed" for phase, count in sorted(committed.items())]
    return f"in progress ({', '.join(parts)})" if parts else LEFT


def _lease(storage: Storage) -> str | None:
    try:
        held = json.loads(storage.read(LEASE))
        who, left = f"process {held['pid']} on {held['host']}", held["expires"] - time.time()
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, RecursionError):
        return f"{LEASE} cannot be read"
    if left > 0:
        return f"{who} holds it; its lease is renewed while it works and ends in {left:.0f} s"
    return f"{who} held it, and stopped without giving it back; the next run takes over"


def _last_run(storage: Storage) -> tuple[str, ...]:
    """The newest log of a run, as lines."""
    logs = [info.name for info in storage.list("log") if info.name.startswith("log/run-")]
    if not logs:
        return ()
    try:
        return _describe_run(logs[-1], list(json_lines(storage.read(logs[-1]))), is_local=storage.local)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return (f"last run: {logs[-1]} is not as openwit writes it",)


def _describe_run(log: str, lines: list[dict[str, Any]], *, is_local: bool) -> tuple[str, ...]:
    name = log.removeprefix("log/run-").removesuffix(".jsonl")
    began = datetime.strptime(name, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    ends = [line for line in lines if line.get("run") == "done"]
    took = f"{ends[-1]['tasks']:,} tasks in {ends[-1]['seconds']:,.1f} s" if ends else "not finished"
    phases = sorted((line for line in lines if "phase" in line), key=lambda line: -line["seconds"])[:_SLOWEST]
    slow = [f"  {line['phase']:<22}{line['seconds']:>10,.1f} s{_rate(line)}" for line in phases]
    asked = [] if is_local else _describe_requests(lines)
    return (f"last run: {began}, {took}", *(["  longest phases:"] if slow else []), *slow, *asked)


def _describe_requests(lines: list[dict[str, Any]]) -> list[str]:
    """What a run asked of the bucket, by stage."""
    by_stage: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for line in lines:
        stage = str(line.get("phase", "")).partition(".")[0] or "the driver"
        by_stage[stage].update(line.get("spent") or line.get("driver") or {})
    kinds = (*usage.REQUESTS, *usage.BYTES)
    counted = [(stage, amounts) for stage, amounts in by_stage.items() if any(amounts[kind] for kind in kinds)]
    if not counted:
        return []
    heads = ("GET", "PUT", "LIST", "DELETE", "MB read", "MB written")
    return [
        f"  {'requests of the bucket':<24}{''.join(f'{head:>12}' for head in heads)}",
        *(
            f"  {stage:<24}{''.join(f'{amounts[kind]:>12,.0f}' for kind in usage.REQUESTS)}"
            f"{''.join(f'{amounts[kind] / 1e6:>12,.1f}' for kind in usage.BYTES)}"
            for stage, amounts in counted
        ),
    ]


def _rate(line: dict[str, Any]) -> str:
    return f"{line['rows'] / line['seconds']:>12,.0f} rows/s" if line["rows"] and line["seconds"] else ""


def _number(count: int | None) -> str:
    return "" if count is None else f"{count:,}"

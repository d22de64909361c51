"""What a trial has measured: the rates that its log holds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from dataset.ledger.commits import read_manifest
from dataset.stages import names
from dataset.store.storage import Storage
from pipeline.config_errors import ConfigError

_LOGS = "log/run-"


@dataclass(frozen=True)
class PhaseCost:
    """What a phase of the trial took, all tasks together."""

    phase: str
    tasks: int
    rows: int
    megabytes: float  # of sources, where rows are not known yet
    spent: Mapping[str, float]  # see dataset.usage; `first_cpu_s` of it by tasks that were their process's first

    @property
    def stage(self) -> str:
        """The stage that it belongs to."""
        return self.phase.partition(".")[0]

    def of(self, kind: str) -> float:
        """Return an amount of `spent`."""
        return float(self.spent.get(kind, 0))


@dataclass(frozen=True)
class Measured:
    """A trial: what it did and what that took."""

    out: str
    log: str  # the newest that counts
    share: float  # of the sources' pages
    source_bytes: int
    pairs: int  # that it kept
    fetched: int  # images that it asked for, or took from archives
    phases: tuple[PhaseCost, ...]
    driver: Mapping[str, float] = field(default_factory=dict)


def measure_rates(out: str) -> Measured:
    """Return the rates of a dataset that `wit run` has built, by its logs.

    Raises:
        ConfigError: there is no dataset, it is not complete, or its logs are of a version that did not count.
    """
    storage = Storage(out)
    advice = f"build a trial first: `wit run CONFIG --sample 2% --out {out}`"
    manifest = read_manifest(storage)
    if not manifest["phases"]:
        raise ConfigError(f"{out} is no dataset, and what a build costs is told from one; {advice}")
    if not manifest["complete"]:
        raise ConfigError(f"{out} is not complete, so that not all stages are measured; run its command again")
    logs = sorted(info.name for info in storage.list("log") if info.name.startswith(_LOGS))
    phases: dict[str, PhaseCost] = {}
    newest, source_bytes = "", 0
    driver: Mapping[str, float] = {}
    for name in logs:
        for line in _lines(storage.read(name)):
            if isinstance(line.get("spent"), dict) and "phase" in line:
                spent = {str(kind): float(amount) for kind, amount in line["spent"].items()}
                cost = PhaseCost(line["phase"], line["partitions"], line["rows"], line.get("megabytes", 0.0), spent)
                before = phases.get(cost.phase)
                if before is None or cost.of("cpu_s") >= before.of("cpu_s"):  # a resumed run does a part of it
                    phases[cost.phase], newest = cost, name
            elif line.get("run") == "done" and "source_bytes" in line:
                source_bytes = int(line["source_bytes"])
                driver = line["driver"] if line["tasks"] and not driver else driver
    missing = [stage for stage in names() if stage not in {cost.stage for cost in phases.values()}]
    if missing:
        raise ConfigError(f"the log of {out} does not say what {', '.join(missing)} took; {advice}")
    funnel = manifest["funnel"]
    config = yaml.safe_load(storage.read("config.yaml"))
    share = float((config.get("extract") or {}).get("sample", 1.0))
    kept = int(funnel[names()[-1]]["kept"])
    if not kept:
        raise ConfigError(f"{out} kept no pair, so that nothing follows from it; take a larger --sample")
    fetched = int(funnel["fetch"]["input"])
    return Measured(out, newest, share, source_bytes, kept, fetched, tuple(phases.values()), driver)


def _lines(data: bytes) -> list[dict[str, Any]]:
    records = []
    for text in data.decode("utf-8", "replace").splitlines():
        try:
            line = json.loads(text)
        except (ValueError, RecursionError):  # cut off
            continue
        if isinstance(line, dict):
            records.append(line)
    return records

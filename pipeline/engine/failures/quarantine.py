"""The units that are left out, recorded: an observation, like what was fetched.

A later run on the same OUT leaves out the same, whether its machine is faster or slower, so it makes the same bytes.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Mapping

from dataset.ledger.commits import Commit, folder
from dataset.store.storage import Storage
from pipeline.engine.phase import Task
from pipeline.workers.failures import Lost
from pipeline.workers.record_limits import RecordLimits

FOLDER = "quarantine"


def lost_by(commit: Commit) -> list[Lost]:
    """Return the units that a committed task left out. Early versions wrote the numbers alone."""
    items = commit.facts.get("quarantined", ())
    return [Lost(**item) if isinstance(item, Mapping) else Lost(item) for item in items]


class Quarantine:
    """What tasks of one phase left out; a file for each task that did."""

    def __init__(self, storage: Storage, phase: str, limits: RecordLimits):
        self._storage = storage
        self._folder = f"{FOLDER}/{folder(phase)}"
        self._limits = limits

    def load(self) -> dict[tuple[int, str], dict[int, Lost]]:
        """Return (partition, fingerprint) -> the units that were left out, but those that wider limits may let pass."""
        left_out: dict[tuple[int, str], dict[int, Lost]] = {}
        for info in self._storage.list(self._folder):
            name = info.name.rpartition("/")[2].removesuffix(".json")
            partition, _, fingerprint = name.partition("-")
            with contextlib.suppress(
                ValueError, RecursionError
            ):  # a disk that lost power may hold an empty file: it is observed again
                items = [Lost(**item) for item in json.loads(self._storage.read(info.name))]
                kept = [lost for lost in items if not self._limits.exceeds(lost)]
                left_out[int(partition), fingerprint] = {lost.unit: lost for lost in kept}
        return left_out

    def add(self, task: Task, lost: Mapping[int, Lost]) -> None:
        """Record what a task leaves out."""
        body = json.dumps([lost[unit].as_dict() for unit in sorted(lost)], indent=1, sort_keys=True)
        self._storage.write(self._name(task.partition, task.fingerprint), body.encode())

    def is_within_limits(self, commit: Commit) -> bool:
        """Return whether a commit left out nothing that these limits may let pass."""
        return not any(self._limits.exceeds(lost) for lost in lost_by(commit))

    def collect(self, commits: Iterable[Commit]) -> None:
        """Forget what tasks left out that are no more."""
        live = {self._name(commit.partition, commit.fingerprint) for commit in commits}
        there = [info.name for info in self._storage.list(self._folder)]
        self._storage.delete([name for name in there if name not in live])

    def _name(self, partition: int, fingerprint: str) -> str:
        return f"{self._folder}/{partition:06d}-{fingerprint}.json"

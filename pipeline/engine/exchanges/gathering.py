"""Many files become few before a later task reads them: those of an exchange are merged, small tables folded into one.

So no task and no record names more than some hundred files, however many partitions there are. What is merged or
folded is the same rows in the same order; that there are tasks in between changes no later byte.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from dataset.ledger.commits import Commit, FileRef
from dataset.store.faults import patiently
from dataset.store.secrets import public
from pipeline.engine.exchanges.exchange import MERGED_BYTES, MERGED_FILES, Exchange
from pipeline.engine.phase import PHASES, Input, Phase, Task, derived_name

if TYPE_CHECKING:
    from pipeline.engine.run import Run

READ_FILES = 64
"""Up to so many small tables every task of a phase reads itself: 16 KB of its specification."""
FOLDED_FILES = 512
"""So many of them one task makes one of: 130 KB of its specification. Twice over, that is 262,144 partitions."""


def exchange(run: Run, commits: Sequence[Commit], role: str) -> Exchange:
    """Return the exchange of the files that commits have of a role, merged first where they are many."""
    files = [commit.files[role] for commit in commits]
    if len(files) > MERGED_FILES:
        files = []
        for phase, some in groupby(commits, key=lambda commit: commit.phase):
            parts = groups([commit.files[role] for commit in some])
            files += _run_tasks(run, derived_name(phase, role), role, parts)
    return _open_exchange(run, files)


def as_it_is(run: Run, commits: Sequence[Commit], role: str) -> Exchange:
    """Return the exchange of files that are too large, or too few, to be merged."""
    return _open_exchange(run, [commit.files[role] for commit in commits])


def in_two_steps(run: Run, by: Phase, commits: Sequence[Commit], role: str, groups: int, files: int) -> list[Exchange]:
    """Return an exchange in two steps: what was written of each group of buckets, by bucket.

    Where a bucket would have little in each of many files, tasks write by groups of buckets, and others a group's part
    of some files by bucket. With b buckets in √b groups each file is asked √b times, not b times.

    Args:
        by: the phase that writes a group by bucket. It reads and writes `role`.
        commits: with exchanges of groups.
        groups: how many there are.
        files: of how many commits a task reads a group's part.
    """
    parts = [as_it_is(run, commits[first : first + files], role) for first in range(0, len(commits), files)]
    tasks = [
        Task(by.name, number * groups + group, {role: part.bucket(group)}, {})
        for number, part in enumerate(parts)
        for group in part.buckets
    ]
    written: list[list[Commit]] = [[] for _ in range(groups)]
    for commit in run.do(by, tasks, rows=run.alive):
        written[commit.partition % groups].append(commit)
    return [as_it_is(run, some, role) for some in written]


def _open_exchange(run: Run, files: Sequence[FileRef]) -> Exchange:
    return patiently(lambda: Exchange.of(run.storage, files), run.config.run.patience_s, public(run.storage.url))


def fold_tables(run: Run, commits: Sequence[Commit], role: str) -> tuple[Input, ...]:
    """Return the tables that commits of a phase have of a role, as few tables that a task can read all of."""
    files = [commit.files[role] for commit in commits]
    for level in (1, 2):
        if len(files) <= READ_FILES:
            break
        parts = [files[first : first + FOLDED_FILES] for first in range(0, len(files), FOLDED_FILES)]
        files = _run_tasks(run, derived_name(commits[0].phase, role, level), role, parts)
    return tuple(Input(file) for file in files)


def groups(files: Sequence[FileRef]) -> list[list[FileRef]]:
    """Return neighbouring files that are merged into one: MERGED_FILES at most, and no more than MERGED_BYTES unless it
    is one.
    """
    grouped: list[list[FileRef]] = []
    filled = 0
    for file in files:
        if not grouped or len(grouped[-1]) == MERGED_FILES or filled + file.bytes > MERGED_BYTES:
            grouped.append([])
            filled = 0
        grouped[-1].append(file)
        filled += file.bytes
    return grouped


def _run_tasks(run: Run, phase: str, role: str, parts: Sequence[Sequence[FileRef]]) -> list[FileRef]:
    tasks = [Task(phase, number, {"files": tuple(map(Input, part))}, {}) for number, part in enumerate(parts)]
    return [commit.files[role] for commit in run.do(PHASES[phase], tasks)]

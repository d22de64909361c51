"""Phases whose files are in the way once a later phase has read them: they end with it, and the dataset is the same
bytes whether there were any.

They have commit records like others, so that a run that was killed goes on where it was; the manifest does not name
them. Who reads them does so by the hints of its tasks, so that what it writes does not depend on them.
"""

from __future__ import annotations

from dataset.ledger.commits import folder
from dataset.stages import Stage
from dataset.store.storage import Storage
from pipeline.engine.phase import PHASES, Phase


def is_temporary(phase: Phase) -> bool:
    """Return whether a phase's files go once they are read; so do those of a phase that merges them."""
    return (phase.of or phase.name) in phase.stage.temporary


def has_any(storage: Storage, phase: Phase) -> bool:
    """Return whether a temporary phase has left anything: a run was killed before it was read."""
    return bool(storage.list(f"{folder(phase.name)}/commits") or storage.list(folder(phase.name)))


def forget(storage: Storage, stage: Stage) -> None:
    """Delete all that a stage's temporary phases have left; where there is nothing, that is no error."""
    for phase in PHASES.values():
        if phase.stage is stage and is_temporary(phase):
            storage.delete([info.name for info in storage.list(folder(phase.name), recursive=True)])

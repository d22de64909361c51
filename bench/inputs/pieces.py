"""What each piece of a long build has committed, kept until all is done: a build that was ended goes on."""

from __future__ import annotations

from collections.abc import Callable

from dataset.ledger.commits import Commit, read_records, record_table
from dataset.store.storage import Storage
from dataset.tables import to_parquet

KEPT = "made"
"""The folder of a dataset that is being built in which this is; deleted when all is done."""


def once(out: str, name: str, piece: Callable[[], list[Commit]]) -> list[Commit]:
    """Return what a piece of work commits, which is done unless an earlier build has done it."""
    storage, kept = Storage(out), f"{KEPT}/{name}.parquet"
    if storage.exists(kept):
        return read_records(storage, kept)
    commits = piece()
    storage.write(kept, to_parquet(record_table(commits)))
    return commits

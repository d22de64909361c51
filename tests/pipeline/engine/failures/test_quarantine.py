"""What was left out is an observation: it is left out again, until wider limits may let it pass."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from dataset.ledger.commits import Commit
from dataset.store.storage import Storage
from pipeline.engine.failures.quarantine import Quarantine, lost_by
from pipeline.workers.failures import CRASHED, TIME, Lost
from pipeline.workers.record_limits import RecordLimits

SLOW, BROKEN = Lost(3, TIME, used=12.0, limit=10.0), Lost(7, CRASHED, error="ValueError: odd")


def task(partition: int) -> Any:
    return cast(Any, SimpleNamespace(partition=partition, fingerprint="abc"))


def test_what_was_left_out_is_known_to_the_next_run_until_limits_are_wider(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    Quarantine(storage, "text.measure", RecordLimits()).add(task(2), {7: BROKEN, 3: SLOW})
    assert Quarantine(storage, "text.measure", RecordLimits()).load() == {(2, "abc"): {3: SLOW, 7: BROKEN}}
    assert Quarantine(storage, "text.measure", RecordLimits(seconds=20.0)).load() == {(2, "abc"): {7: BROKEN}}
    assert Quarantine(storage, "image.nsfw", RecordLimits()).load() == {}


def test_a_commit_that_left_out_what_may_pass_by_now_is_outgrown(tmp_path: Path) -> None:
    commit = Commit("text.measure", 2, "abc", {}, facts={"quarantined": [SLOW.as_dict(), BROKEN.as_dict(), 9]})
    assert [lost.unit for lost in lost_by(commit)] == [3, 7, 9]  # early versions wrote numbers
    assert Quarantine(Storage(str(tmp_path)), "text.measure", RecordLimits()).is_within_limits(commit)
    assert not Quarantine(Storage(str(tmp_path)), "text.measure", RecordLimits(seconds=20.0)).is_within_limits(commit)


def test_what_no_commit_left_out_is_forgotten_and_a_broken_record_is_observed_again(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    quarantine = Quarantine(storage, "text.measure", RecordLimits())
    quarantine.add(task(1), {3: SLOW})
    quarantine.add(task(2), {7: BROKEN})
    (file,) = (path for path in tmp_path.rglob("000001-abc.json"))
    file.write_bytes(b"")  # as a disk leaves it that lost power
    assert quarantine.load() == {(2, "abc"): {7: BROKEN}}
    quarantine.collect([Commit("text.measure", 1, "abc", {})])
    assert [path.name for path in tmp_path.rglob("*.json")] == ["000001-abc.json"]

"""A full disk is no poison: it is waited out, or ends the run with a sentence; a resume gives the same bytes."""

from __future__ import annotations

import errno
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import dataset
from dataset.store import faults
from dataset.store.storage import Storage
from pipeline.build import build
from pipeline.config import build as make_config
from pipeline.engine.failures import containment
from pipeline.workers.executor import InlineExecutor
from pipeline.workers.failures import PhaseFailedError
from tests.pipeline.prebuilt import Prebuilt


class FullDisk:
    """Lets so many writes of dataset files pass, then refuses so many; leases and logs are none of them."""

    def __init__(self, patch: pytest.MonkeyPatch, passing: int, refused: float = float("inf")):
        self.passing, self.refused = passing, refused
        for name in ("write", "create"):
            patch.setattr(Storage, name, self.guarded(getattr(Storage, name)))

    def guarded(self, real: Any) -> Any:
        def write(storage: Storage, name: str, data: Any) -> Any:
            if not name.startswith(("log/", "lease")):
                self.passing -= 1
                if self.passing < 0 and self.refused > 0:
                    self.refused -= 1
                    raise OSError(errno.ENOSPC, "No space left on device", storage.url_of(name))
            return real(storage, name, data)

        return write


def run(small: Prebuilt, out: Path, patience_s: float = 0.0) -> None:
    """Fetch the images, and decide on them; what comes before is there."""
    config = small.config(out, run={"patience_s": patience_s, "max_quarantined": 0})
    build(make_config(config), to="fetch", executor=InlineExecutor(), quiet=True)


def contents(out: Path) -> dict[str, bytes]:
    found = {str(path.relative_to(out)): path for path in sorted(out.rglob("*")) if path.is_file()}
    return {name: path.read_bytes() for name, path in found.items() if not name.startswith("log/")}


@pytest.fixture(scope="module")
def whole(small: Prebuilt, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, bytes], int]:
    """What an undisturbed run writes, and by how many writes."""
    out = small.copy(tmp_path_factory.mktemp("whole") / "out", "prebalance")
    with pytest.MonkeyPatch.context() as patch:
        disk = FullDisk(patch, 10**6)
        run(small, out)
    return contents(out), 10**6 - disk.passing


@pytest.mark.parametrize("before_the_end", [3, 6, 8, 25])
def test_a_resume_after_a_full_disk_gives_the_same_bytes(
    small: Prebuilt, whole: tuple[dict[str, bytes], int], tmp_path: Path, before_the_end: int
) -> None:
    out = small.copy(tmp_path / "out", "prebalance")
    with pytest.MonkeyPatch.context() as patch:
        FullDisk(patch, whole[1] - before_the_end)
        with pytest.raises((PhaseFailedError, OSError)) as raised:
            run(small, out)
    assert "the disk is full" in str(faults.sentence(raised.value) or raised.value)
    run(small, out)
    assert contents(out) == whole[0]


def test_a_disk_that_is_full_for_a_moment_changes_nothing(
    small: Prebuilt, whole: tuple[dict[str, bytes], int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(containment.time, "sleep", waits.append)
    monkeypatch.setattr(faults, "time", SimpleNamespace(sleep=waits.append))
    out = small.copy(tmp_path / "out", "prebalance")
    with pytest.MonkeyPatch.context() as patch:
        FullDisk(patch, whole[1] - 6, refused=2)
        run(small, out, patience_s=30.0)
    assert waits and contents(out) == whole[0]
    quarantined = dataset.open(str(out)).sql("SELECT count(*) FROM dropped WHERE reason = 'quarantined'").fetchall()
    assert quarantined == [(0,)]

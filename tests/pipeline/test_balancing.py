"""The balance of a run does not depend on how its work is cut, nor on whether a window was wide enough at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import dataset
from filters import balance
from pipeline.build import build
from pipeline.config import build as make_config
from pipeline.stages import balancing
from tests.pipeline import small_archive


def dropped(folder: Path, mode: str = "cap", **run: Any) -> list[tuple[Any, ...]]:
    """What both balances of a build dropped, and why."""
    archive = small_archive.write(folder / "small.warc.gz")
    raw = small_archive.config(
        archive, folder / "out", balance={"cap": 6, "mode": mode}, prebalance={"oversample": 1.5}
    )
    raw["run"] = {**raw.get("run", {}), **run}
    build(make_config(raw), to="balance", quiet=True)
    made = dataset.open(str(folder / "out"))
    query = "SELECT stage, pair_id, evidence FROM dropped WHERE reason = 'query_full' ORDER BY ALL"
    found = made.sql(query).fetchall()
    assert {row[0] for row in found} == {"prebalance", "balance"}
    return found


def test_narrow_windows_and_many_buckets_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").mkdir()
    want = dropped(tmp_path / "a")
    (tmp_path / "b").mkdir()
    monkeypatch.setattr(balance, "_SLACK", -8)  # windows that hold less than half of the cap, nearly always
    monkeypatch.setattr(balance, "_SIGMAS", 2)
    monkeypatch.setattr(balancing, "HASHES_PER_BUCKET", 1)
    assert dropped(tmp_path / "b") == want


@pytest.mark.parametrize("mode", ["cap", "sample"])
def test_partitions_change_nothing(tmp_path: Path, mode: str) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    assert dropped(tmp_path / "a", mode) == dropped(tmp_path / "b", mode, piece_bytes=2**16, pairs_per_partition=20)

"""The bench of the driver plans with the real stages: nothing of it multiplies maps with buckets."""

from __future__ import annotations

import pytest

from bench import scale
from pipeline.engine.exchanges import gathering
from pipeline.stages.pack import images


def test_what_a_task_carries_does_not_grow_with_the_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gathering, "MERGED_FILES", 4)
    monkeypatch.setattr(gathering, "READ_FILES", 4)
    monkeypatch.setattr(gathering, "FOLDED_FILES", 4)
    monkeypatch.setattr(images, "FEW_FILES", 2)
    run = {"pairs_per_partition": 40_000}
    small, large = (scale.plan(candidates, {"run": run}) for candidates in (2_000_000, 6_000_000))
    said = capsys.readouterr().out
    for phase in (
        "dedup.texts_keys",
        "prebalance.map_pairs",
        "pack.split",
        "pack.by_shard",
        "pack.regrouped",
        "pack.index",
    ):
        assert phase in said
    assert large["samples"] > 2.5 * small["samples"] > 0
    assert large["tasks"] > 2 * small["tasks"]
    assert large["largest_record_bytes"] < 1.2 * small["largest_record_bytes"] < 1e6
    assert large["largest_specification_bytes"] < 256e3

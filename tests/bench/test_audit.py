"""The dataset that the bench of asking is measured on is a sound one, and its two sides answer alike."""

from __future__ import annotations

from pathlib import Path

import dataset
from bench.audit import measure
from bench.inputs.large_dataset import Size, build
from pipeline.reports import audits


def test_the_benchs_dataset_is_sound_and_the_peer_answers_alike(tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    build(out, Size(300))
    opened = dataset.open(out)
    assert opened.sql(audits.load("conservation")).fetchall() == []
    ((pairs, candidates),) = opened.sql("SELECT (SELECT count(*) FROM pairs), count(*) FROM candidates").fetchall()
    assert candidates == 900 and 200 < pairs < 400
    ((orphans,),) = opened.sql("SELECT count(*) FROM pairs ANTI JOIN candidates USING (pair_id)").fetchall()
    assert orphans == 0
    assert measure(out)["equal"]

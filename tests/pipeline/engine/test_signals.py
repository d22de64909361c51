"""SIGTERM, by which a scheduler or an operator ends a command, speaks and gives the lease back as Ctrl-C does."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
import yaml

from dataset.ledger.lease import LEASE
from pipeline.cli import main
from tests.pipeline import small_archive


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_the_run_with_a_sentence_and_without_a_lease(
    number: int, status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = small_archive.write(tmp_path / "small.warc.gz", pages=1)
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(small_archive.config(archive, tmp_path / "out")))
    held = []

    def stage(run: object) -> None:
        held.append((tmp_path / "out" / LEASE).exists())
        os.kill(os.getpid(), number)
        time.sleep(60)

    monkeypatch.setattr("pipeline.stages.extract.stage.run", stage)
    before = signal.getsignal(signal.SIGTERM)
    assert main(["run", str(config)]) == status
    assert held == [True]
    assert "stopped; the same command goes on where it was" in capsys.readouterr().err
    assert not (tmp_path / "out" / LEASE).exists()
    assert not list((tmp_path / "out").glob(".tmp-*"))
    assert signal.getsignal(signal.SIGTERM) == before

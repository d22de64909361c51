"""Status answers on any dataset, begun or done, and says what is wrong with it."""

from __future__ import annotations

import json
import os
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from dataset.ledger.commits import Commit, Ledger
from dataset.ledger.lease import Lease
from dataset.stages import names
from dataset.store.storage import Storage
from pipeline.reports.status import status
from tests.pipeline.dataset_fixture import ARCHIVE, HandMade

ROWS: list[dict[str, Any]] = [
    {"url": "http://a.example/1.jpg", "text": "a red rose"},
    {"url": "http://a.example/2.jpg", "text": "x", "drop": ("text", "text_too_short", {})},
]


def test_a_finished_dataset(tmp_path: Path) -> None:
    found = status(HandMade(tmp_path).write(ROWS))
    assert found.complete
    assert [row["stage"] for row in found.as_rows()] == list(names())
    assert {row["state"] for row in found.as_rows()} == {"done"}
    assert found.as_rows()[1] == {"stage": "text", "input": 2, "kept": 1, "dropped": 1, "state": "done"}
    assert "text_too_short 1" in found.as_text()


def test_a_dataset_with_a_config_alone(tmp_path: Path) -> None:
    Storage(str(tmp_path)).write("config.yaml", b"name: x\n")
    found = status(str(tmp_path))
    assert not found.complete
    assert {row["state"] for row in found.as_rows()} == {"left"}
    assert "0 of 11 stages done" in found.as_text()


def test_no_dataset(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="is no dataset"):
        status(str(tmp_path / "nothing"))


def test_a_stage_at_work_shows_its_committed_partitions(tmp_path: Path) -> None:
    made = HandMade(tmp_path)
    out = made.write(ROWS, to="text")
    ledger = Ledger(made.storage, "match.measure")
    for partition in range(3):
        ledger.add(Commit("match.measure", partition, "f", {}))
    rows = {row["stage"]: row for row in status(out).as_rows()}
    assert rows["match"]["state"] == "in progress (match.measure: 3 partitions committed)"
    assert rows["match"]["input"] == 1
    assert rows["dedup"] == {"stage": "dedup", "input": None, "kept": None, "dropped": None, "state": "left"}


def test_failed_sources_are_named(tmp_path: Path) -> None:
    found = status(HandMade(tmp_path).write(ROWS, error="cut off at byte 900"))
    assert found.failed_sources == ((ARCHIVE, "cut off at byte 900"),)
    assert f"{ARCHIVE}: cut off at byte 900" in found.as_text()


def test_who_holds_the_dataset(tmp_path: Path) -> None:
    out = HandMade(tmp_path).write(ROWS)
    assert "no run holds it" in status(out).as_text()
    with Lease(Storage(out)):
        assert f"process {os.getpid()} on {socket.gethostname()} holds it" in status(out).as_text()
    expired = {"token": "x", "host": "far", "pid": 7, "started": "", "expires": time.time() - 5}
    Storage(out).write("lease.json", json.dumps(expired).encode())
    assert "process 7 on far held it, and stopped" in status(out).as_text()


def test_the_last_run_and_its_longest_phases(tmp_path: Path) -> None:
    out = HandMade(tmp_path).write(ROWS)
    lines = [
        {"phase": "match.measure", "partitions": 1, "rows": 1000, "seconds": 2.0},
        {"run": "done", "seconds": 3.5, "tasks": 12},
    ]
    log = "".join(json.dumps(line) + "\n" for line in lines).encode()
    Storage(out).write("log/run-20240501T120000Z.jsonl", log)
    Storage(out).write("log/run-20230501T120000Z.jsonl", b"")
    text = status(out).as_text()
    assert "last run: 2024-05-01 12:00:00 UTC, 12 tasks in 3.5 s" in text
    assert "500 rows/s" in text

"""How often servers of sources are asked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pyarrow import fs

from dataset.store import rate_limit
from pipeline.engine.phase import Task
from pipeline.workers.executor import SOURCE_REQUESTS, pace_task


class Clock:
    """A time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    made = Clock()
    monkeypatch.setattr(rate_limit, "time", made)
    monkeypatch.setattr(rate_limit, "_turns", rate_limit._Turns())
    yield made


def test_requests_wait_for_their_turn_and_what_was_not_used_is_not_saved_up(clock: Clock) -> None:
    rate_limit.set_rate(4)
    times = []
    for _ in range(4):
        rate_limit.wait()
        times.append(clock.now)
    assert times == [100, 100.25, 100.5, 100.75]
    clock.now = 200.0
    for _ in range(2):
        rate_limit.wait()
    assert clock.now == 200.25
    rate_limit.set_rate(0)
    rate_limit.wait()
    assert clock.now == 200.25


def test_each_read_of_a_bucket_s_file_is_a_turn_and_brings_the_same_bytes(clock: Clock, tmp_path: Path) -> None:
    data = bytes(range(256)) * 100_000  # one request opens it, one brings 8 MiB, one the rest
    (tmp_path / "a").write_bytes(data)
    rate_limit.set_rate(1)
    with rate_limit.open_file(fs.LocalFileSystem(), str(tmp_path / "a")) as file:
        assert file.size() == len(data)
        assert bytes(file.read(10)) == data[:10]
        assert bytes(file.read()) == data[10:]
        file.seek(300)
        assert bytes(file.read(5)) == data[300:305]
    assert clock.now == 102.0
    rate_limit.set_rate(0)
    with rate_limit.open_file(fs.LocalFileSystem(), str(tmp_path / "a")) as file:
        assert bytes(file.read()) == data
    assert clock.now == 102.0


@pytest.mark.parametrize(("hints", "at_once", "share"), [({SOURCE_REQUESTS: 50.0}, 20, 2.5), ({}, 20, None)])
def test_a_task_gets_its_share_of_a_run_s_cap(hints: dict[str, Any], at_once: int, share: float | None) -> None:
    task = Task("a.phase", 0, {}, {}, hints=hints)
    assert pace_task(task, at_once).hints.get(SOURCE_REQUESTS) == share

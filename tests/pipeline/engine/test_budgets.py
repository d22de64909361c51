"""One record that takes too long, too much memory, or its worker's life costs itself and seconds, never the run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import dataset
from pipeline.build import build
from pipeline.config import build as make_config
from pipeline.engine.phase import Task
from pipeline.engine.progress import waits_for
from pipeline.reports.status import status
from pipeline.workers.failures import MEMORY, TIME, Working
from pipeline.workers.local import LocalExecutor
from pipeline.workers.record_limits import RecordLimits
from tests.pipeline import pages
from tests.pipeline.engine import hostile_phase

PROVOKES = {TIME, MEMORY}
LIMITS = RecordLimits(seconds=0.3, memory_bytes=150_000_000)
RUN_CPU_S = 1.0
"""What a record may take in a run, of which the honest ones must stay within it on a busy machine."""


@pytest.fixture(scope="module")
def executor() -> Iterator[LocalExecutor]:
    made = LocalExecutor(2, LIMITS)
    yield made
    made.close()


def done(executor: LocalExecutor, out: Path, kind: str, **more: Any) -> Any:
    """The answer of one task that meets something hostile at unit 7."""
    out.mkdir(exist_ok=True)
    task = Task(hostile_phase.meet.name, 0, {}, {"kind": kind, "at": 7}, units=20, **more)
    ((_, answer),) = executor.run(str(out), [task])
    return answer


@pytest.mark.parametrize(
    ("kind", "how", "says"),
    [
        ("slow regex", "time", "row 7 took more than 0.3 s of CPU"),
        ("slow threads", "time", "row 7 took more than 0.3 s of CPU"),
        ("much memory", "memory", "row 7 took more than 150,000,000 bytes of memory"),
        ("segfault", "died", "its worker ended with SIGSEGV at row 7"),
        ("abort", "died", "its worker ended with SIGABRT at row 7"),
        ("exit", "died", "its worker ended with exit status 3 at row 7"),
        ("kill", "died", "the system or a person ended a worker (SIGKILL) that had"),
        ("raise", "raised", "hostile"),
        ("raise oddly", "raised", "OddError: hostile"),
    ],
)
def test_the_watchdog_knows_the_record(executor: LocalExecutor, tmp_path: Path, kind: str, how: str, says: str) -> None:
    answer = done(executor, tmp_path / "out", kind)
    assert (answer.kind, answer.suspects) == (how, ((7, 8),))
    assert says in str(answer.error)
    fine = done(executor, tmp_path / "out", "nothing")
    assert fine.counts == {"units": 20}


def test_waiting_costs_no_cpu_and_is_no_excess(executor: LocalExecutor, tmp_path: Path) -> None:
    assert done(executor, tmp_path / "out", "sleep").counts == {"units": 20}


def test_what_is_at_work_is_shown_by_name(executor: LocalExecutor, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    task = Task(hostile_phase.meet.name, 4, {}, {"kind": "sleep", "at": 7}, units=20)
    shown: list[Working] = []
    list(executor.run(str(tmp_path / "out"), [task], shown.extend))
    assert {(item.partition, item.done, item.total, item.place) for item in shown} == {(4, 7, 20, "row 7")}
    assert waits_for([Working(0, place="row 7", seconds=12.3), Working(1)]) == "for 12 s at row 7"
    assert waits_for([Working(0, place="row 7", seconds=0.1)]) == ""


def test_children_see_the_folder_and_the_environment_of_the_moment(
    executor: LocalExecutor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out").mkdir()
    for word in ("one", "two"):
        monkeypatch.setenv("WIT_TEST_WORD", word)
        monkeypatch.chdir(tmp_path)
        ((_, answer),) = executor.run(str(tmp_path / "out"), [Task(hostile_phase.around.name, 0, {}, {"word": word})])
        assert answer.facts == {"folder": str(tmp_path), "word": word}


def test_children_end_with_their_parent(tmp_path: Path) -> None:
    made = LocalExecutor(1, LIMITS)
    answer = done(made, tmp_path / "out", "nothing")
    pid = Path(f"/proc/{answer.facts['pid']}")
    assert pid.exists()
    made.close()
    assert not pid.exists()


HOSTILE = "a slow kettle"


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty good pairs, and one whose text a filter of the user's own cannot bear."""
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "queries.txt").write_text("kettle\n")
    good = [f'<img src="http://images.test/{n}.jpg" alt="a good kettle of number {n} on a table">' for n in range(20)]
    bad = f'<img src="http://images.test/bad.jpg" alt="{HOSTILE}, which takes all the time">'
    listed = [(f"http://page.test/{n}", f'<html lang="en"><body>{image}') for n, image in enumerate([*good, bad])]
    return pages.write(folder / "hostile.warc.gz", listed)


def run(archive: Path, out: Path, **limits: Any) -> list[tuple[str, str, str]]:
    config = {
        "sources": [str(archive)],
        "out": str(out),
        "match": {"queries": str(archive.parent / "queries.txt")},
        "run": {"record_cpu_s": RUN_CPU_S, **limits},
    }
    made = make_config(config)
    executor = LocalExecutor(2, RecordLimits(made.run.record_cpu_s, made.run.record_memory_bytes))
    try:
        build(made, to="match", executor=executor, quiet=True)
    finally:
        executor.close()
    return dataset.open(str(out)).sql("SELECT text, reason, evidence FROM dropped").fetchall()


def contents(out: Path) -> dict[str, bytes]:
    found = {str(path.relative_to(out)): path for path in sorted(out.rglob("*")) if path.is_file()}
    return {name: path.read_bytes() for name, path in found.items() if not name.startswith("log/")}


def poisoned(archive: Path, out: Path, where: str, kind: str, **limits: Any) -> Any:
    """What a run drops that meets something hostile; all good pairs are there."""
    with pytest.MonkeyPatch.context() as patch:
        hostile_phase.poison(patch, where, kind, HOSTILE)
        dropped = run(archive, out, **limits)
    good = "SELECT count(*) FROM candidates WHERE text LIKE 'a good kettle%'"
    assert dataset.open(str(out)).sql(good).fetchall() == [(20,)]
    return dropped


def test_a_hostile_text_is_dropped_alone_with_its_evidence(archive: Path, tmp_path: Path) -> None:
    ((text, given, evidence),) = poisoned(archive, tmp_path / "out", "text", "slow")
    assert text.startswith(HOSTILE) and given == TIME
    assert json.loads(evidence)["cpu_s"] >= json.loads(evidence)["limit_s"] == RUN_CPU_S
    assert f"1 inputs left out as {TIME}" in status(str(tmp_path / "out")).as_text()


def test_a_hostile_page_is_named_and_what_was_observed_stands(archive: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert poisoned(archive, out, "page", "large", record_memory_bytes=LIMITS.memory_bytes) == []
    ((error,),) = dataset.open(str(out)).sql("SELECT error FROM sources").fetchall()
    assert "the record at byte" in error and MEMORY in error and "150 MB of memory (run.record_memory_bytes)" in error
    before = contents(out)
    (next((out / "extract" / "candidates").glob("candidates-*.parquet"))).unlink()
    run(archive, out, record_memory_bytes=LIMITS.memory_bytes)  # another machine, where nothing is hostile
    assert contents(out) == before
    run(archive, out)  # a wider limit deserves another try
    made = dataset.open(str(out))
    assert made.sql("SELECT error FROM sources").fetchall() == [(None,)]
    assert made.sql("SELECT count(*) FROM candidates").fetchall() == [(21,)]

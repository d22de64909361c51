"""What a run says while it works: how much of how much, how fast, and what it waits for."""

from __future__ import annotations

import io
from pathlib import Path

import pyarrow as pa
import pytest
from rich.console import Console

from dataset import heartbeat
from dataset.query import sql
from dataset.store.storage import Storage
from pipeline.build import build
from pipeline.config import build as make_config
from pipeline.engine import progress
from pipeline.engine.progress import Reporter
from pipeline.training import commands as training
from pipeline.training import examine as examination
from pipeline.workers.executor import InlineExecutor
from pipeline.workers.failures import Working
from tests.pipeline import small_archive


@pytest.mark.parametrize(
    ("rows", "bytes_", "says"), [(1000, 0, "375 of 1,000 rows, "), (0, 80_000_000, "30 of 80 MB, "), (0, 0, "s left")]
)
def test_a_phase_says_how_much_of_how_much_is_done(
    rows: int,
    bytes_: int,
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(progress, "PLAIN_SECONDS", -1.0)
    with Reporter(Storage(str(tmp_path))) as reporter:
        phase = reporter.phase("a.phase", 4, rows, bytes_)
        phase.advance()
        phase.show([Working(1, done=5, total=10, place="a query over 7 rows", seconds=9.2)])
    said = capsys.readouterr().err
    assert "a.phase: 1.5/4 partitions" in said and says in said and "for 9 s at a query over 7 rows" in said


TERMINAL = {"force_terminal": True, "width": 160, "legacy_windows": False}
RECORD = {"loss": 1.0, "logit_scale": 2.0, "samples_per_second": 3.0, "data_wait_share": 0.1, "eta_seconds": 4.0}


def test_on_a_terminal_a_run_a_training_and_an_examination_are_bars(tmp_path: Path) -> None:
    """Names are shown as they are, whatever marks of a terminal's they hold."""
    shown = []
    for made in (training.TrainingProgress, examination.EncodingProgress):
        file = io.StringIO()
        with made(Console(file=file, **TERMINAL)) as bars:
            if isinstance(bars, training.TrainingProgress):
                bars.update({**RECORD, "step": 3, "steps": 10})
            else:
                bars.update("[/a set] of [1]", 3, 10)
        shown.append(file.getvalue())
    file = io.StringIO()
    reporter = Reporter(Storage(str(tmp_path)))
    reporter.bars = progress.Bars(Console(file=file, **TERMINAL))
    with reporter:
        phase = reporter.phase("a.phase", 10, 1000)
        for _ in range(3):
            phase.advance()
        phase.show([Working(1, done=5, total=10, place="[/query]", seconds=9.2)])
    shown.append(file.getvalue())
    for text, words in zip(
        shown, (("train", "loss 1.000"), ("[/a set] of [1]",), ("a.phase", "[/query]")), strict=True
    ):
        assert "3/10" in text
        assert all(word in text for word in words)


def test_in_a_log_the_first_and_the_last_step_have_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with training.TrainingProgress() as bars:
        for step in range(1, 6):
            bars.update({**RECORD, "step": step, "steps": 5})
    assert [line.split()[1] for line in capsys.readouterr().out.splitlines()] == ["1/5", "5/5"]


def test_extraction_and_shards_tell_their_progress(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = small_archive.write(tmp_path / "small.warc.gz", pages=3)
    said: dict[str, list[tuple[int, int]]] = {}
    phase = ""

    def progressed(done: int, total: int) -> None:
        said.setdefault(phase, []).append((done, total))

    class Watched(InlineExecutor):
        def run(self, url, tasks, show=None):  # type: ignore[no-untyped-def]
            nonlocal phase
            for task in tasks:
                phase = task.phase
                yield from super().run(url, [task])

    monkeypatch.setattr(heartbeat, "progress", progressed)
    build(make_config(small_archive.config(archive, tmp_path / "out")), executor=Watched(), quiet=True)
    extract = said["extract.candidates"]
    assert all(done <= total for done, total in extract) and max(done for done, _ in extract) > 1000
    assert said["pack.shard"] and said["pack.index"]


def test_a_query_is_said_to_be_at_work(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = bytearray(heartbeat.SIZE)
    seen: list[str] = []
    real = heartbeat.Heartbeat.doing

    def doing(self: heartbeat.Heartbeat, text: str) -> None:
        real(self, text)
        seen.append(heartbeat.read(memory).doing)

    monkeypatch.setattr(heartbeat.Heartbeat, "doing", doing)
    heartbeat.attach(memory)
    try:
        sql.run("SELECT a FROM t ORDER BY a", {"t": pa.table({"a": [2, 1]})})
    finally:
        heartbeat.attach(None)
    assert seen == ["a query over 2 rows", ""]

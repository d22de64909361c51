"""The demo from beginning to end, on a twentieth of its web."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path

import pytest
from rich.console import Console

import dataset
from dataset.reasons import reasons
from demo import __main__ as demo
from demo.score import UNPROVOKED
from pipeline import cli
from tests.pipeline.inline import tasks_in_this_process


def wit_in_this_process(*words: str, silent: bool = False) -> None:
    """A wit command, without the libraries that a process of its own imports once more."""
    with contextlib.redirect_stdout(io.StringIO()) if silent else contextlib.nullcontext():
        assert cli.main(words) == 0, words


@pytest.mark.slow
@tasks_in_this_process()
def test_the_quick_demo_crawls_builds_trains_and_examines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(demo.ROOT)
    monkeypatch.setattr(demo.Demo, "_wit", staticmethod(lambda *words, **how: wit_in_this_process(*words, **how)))
    out = tmp_path / "demo"
    status = demo.main(["--quick", "--out", str(out)])
    printed = capsys.readouterr()
    assert status == 0, printed.out + printed.err
    made = dataset.open(str(out))
    dropped = {row[0] for row in made.sql("SELECT DISTINCT reason FROM dropped").fetchall()}
    assert dropped == set(reasons()) - UNPROVOKED
    assert (out / "report.html").is_file()
    results = json.loads((out / "runs" / "demo" / "evaluation.json").read_text())
    assert {result["task"] for result in results} == {"zero-shot", "retrieval"}
    assert "Phrases of sites cut off from captions: 36 of 36; no other text was cut" in printed.out
    for words in ("The funnel", "precision", "chance", "report.html", "wit explain"):
        assert words in printed.out


def test_its_commands_are_those_of_a_user_and_one_that_fails_ends_it(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    steps = demo.Demo(tmp_path, demo.QUICK, Console(highlight=False))
    steps._wit("--help")
    with pytest.raises(demo.StepError, match="wit status failed with status 2"):
        steps._wit("status", str(tmp_path / "none"))
    printed = capfd.readouterr()
    assert "$ wit status" in printed.out and "usage: wit" in printed.out and "none" in printed.err

"""The demo from beginning to end, on a twentieth of its web."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import dataset
from dataset.reasons import reasons
from demo.score import UNPROVOKED

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_the_quick_demo_crawls_builds_trains_and_examines(tmp_path: Path) -> None:
    out = tmp_path / "demo"
    command = [sys.executable, "-m", "demo", "--quick", "--out", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    made = dataset.open(str(out))
    dropped = {row[0] for row in made.sql("SELECT DISTINCT reason FROM dropped").fetchall()}
    assert dropped == set(reasons()) - UNPROVOKED
    assert (out / "report.html").is_file()
    results = json.loads((out / "runs" / "demo" / "evaluation.json").read_text())
    assert {result["task"] for result in results} == {"zero-shot", "retrieval"}
    assert "Phrases of sites cut off from captions: 36 of 36; no other text was cut" in done.stdout
    for words in ("The funnel", "precision", "chance", "report.html", "wit explain"):
        assert words in done.stdout

"""What a bench says is strict JSON."""

from __future__ import annotations

import ast
import json
import math
from pathlib import Path

import numpy as np
import pytest

from bench.record import print_record

BENCH = Path(__file__).resolve().parents[2] / "bench"
PRINTING = [
    *BENCH.glob("*.py"),
    *BENCH.glob("inputs/*.py"),
    *BENCH.glob("faults/*.py"),
    BENCH / "processes" / "train_gpu.py",
]


def test_a_figure_that_is_no_number_is_null(capsys: pytest.CaptureFixture[str]) -> None:
    figures = {"apart": math.nan, "ratio": math.inf, "runs": [{"mfu": np.float64("nan"), "s": (1.5, -math.inf)}]}
    print_record({"bench": "any", "ours": 2, "peer": None, "equal": True, **figures})

    def refuse(word: str) -> None:
        raise AssertionError(word)

    said = json.loads(capsys.readouterr().out, parse_constant=refuse)
    assert said == {
        "bench": "any",
        "ours": 2,
        "peer": None,
        "equal": True,
        "apart": None,
        "ratio": None,
        "runs": [{"mfu": None, "s": [1.5, None]}],
    }


@pytest.mark.parametrize("path", sorted(PRINTING), ids=lambda path: path.stem)
def test_every_bench_prints_its_record_there(path: Path) -> None:
    """Peers, and the parts that benches start as processes of their own, say figures to the bench alone."""
    if path.stem == "record":
        return
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    printed = [node for node in calls if ast.unparse(node.func) == "print"]
    dumped = [node for call in printed for node in ast.walk(call) if ast.unparse(node).startswith("json.dumps(")]
    assert not dumped, [ast.unparse(node) for node in dumped]

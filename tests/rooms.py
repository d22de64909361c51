"""Which tests share a process. The longest room is the first, so that none is left alone at the end."""

from __future__ import annotations

from pathlib import Path

TESTS = Path(__file__).resolve().parent

ROOMS: dict[str, list[str]] = {
    "jobs": ["pipeline/test_submit.py", *(f"pipeline/{room}" for room in ("training", "human"))],
    "cluster": ["pipeline/test_cluster.py", "pipeline/workers"],
    "gpu": [f"train/test_{name}.py" for name in ("null_gpu", "memory", "compile", "cuda", "alone")],
    "train": ["train/test_*.py", *(f"train/{room}" for room in ("checkpoints", "diagnosis", "distributed", "logs"))],
    "demo": ["test_*.py", "bench", "demo"],
    "stages": ["pipeline/stages"],
    "keys": [f"pipeline/test_{name}.py" for name in ("config_keys", "languages", "names", "scores", "thresholds")],
    "runs": ["pipeline/test_*.py"],
    "engine": ["pipeline/engine"],
    "questions": [
        f"pipeline/{room}" for room in ("asking", "examining", "experiment", "forecast", "query_list", "reports")
    ],
    "rest": ["filters", "fuzz", "sql"],
    "dataset": ["dataset"],
    "examine": [f"train/{room}" for room in ("data", "evaluate", "models")],
    "crawl": ["crawl"],
}
"""Room -> folders, files and patterns of files under tests/. A file that two name is the first's."""


def paths(room: str) -> list[str]:
    """The files and folders of a room, from the root of the checkout."""
    before = {path for other in list(ROOMS)[: list(ROOMS).index(room)] for path in _found(other)}
    return [str(path.relative_to(TESTS.parent)) for path in _found(room) if path not in before]


def _found(room: str) -> list[Path]:
    return [path for pattern in ROOMS[room] for path in sorted(TESTS.glob(pattern))]

"""`make test` leaves no test out, and fails where one fails."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.rooms import ROOMS, TESTS, paths


def test_every_test_is_in_one_room() -> None:
    told = [TESTS.parent / path for room in ROOMS for path in paths(room)]
    for path in TESTS.rglob("test_*.py"):
        assert sum(path.is_relative_to(room) for room in told) == 1, path


def test_a_room_that_fails_fails_all(tmp_path: Path) -> None:
    (tmp_path / "test_good.py").write_text("def test_good():\n    assert True\n")
    (tmp_path / "test_bad.py").write_text("def test_bad():\n    assert not 'this'\n")
    code = (
        "import sys\nimport tests.__main__ as runner\n"
        "runner.LIBRARIES, runner.ROOMS = (), {'good': [], 'bad': [], 'unwanted': []}\n"
        f"runner.paths = lambda room: [f'{tmp_path}/test_{{room}}.py']\n"
        "sys.exit(runner.main(sys.argv[1:]))\n"
    )
    command = [sys.executable, "-c", code, "--processes", "2", "bad", "good"]
    done = subprocess.run(command, cwd=TESTS.parent, capture_output=True, text=True, check=False)
    lines = done.stdout.splitlines()
    assert done.returncode == 1, done.stderr
    assert any(line.startswith("good: passed in ") for line in lines)
    assert any(line.startswith("bad: failed (exit status 1) in ") for line in lines)
    assert "bad: E       AssertionError: assert not 'this'" in lines
    assert not any(line.startswith("unwanted") for line in lines)
    assert lines[-2] == "bad: E       AssertionError: assert not 'this'"
    assert lines[-1].startswith("bad: FAILED ") and "test_bad.py::test_bad" in lines[-1]

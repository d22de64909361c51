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
    done = rooms(tmp_path, "--processes", "2", "bad", "good")
    lines = done.stdout.splitlines()
    assert done.returncode == 1, done.stderr
    assert any(line.startswith("good: passed in ") for line in lines)
    assert any(line.startswith("bad: failed (exit status 1) in ") for line in lines)
    assert not any(line.startswith("unwanted") for line in lines)
    assert lines[-3:-1] == ["these failed:", "bad: E       AssertionError: assert not 'this'"]
    assert lines[-1].startswith("bad: FAILED ") and "test_bad.py::test_bad" in lines[-1]


def test_what_failed_among_others_is_tried_once_more_alone(tmp_path: Path) -> None:
    done = rooms(tmp_path, "--again", "busy", "good", "bad")
    assert done.returncode == 1 and (tmp_path / "tried").read_text().endswith("busy ")
    assert [done.stdout.count(f"{name}: passed in") for name in ("busy", "good", "bad")] == [1, 1, 0]
    again, last = done.stdout.split("these failed")[1:]
    assert "busy: FAILED" in again and "bad: FAILED" in again
    assert "busy: FAILED" not in last and "bad: FAILED" in last
    assert rooms(tmp_path, "--again", "good").returncode == 0


def rooms(tmp_path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Test rooms of one file each: one passes, one fails, and one has a test that passes the second time."""
    note = f"open({str(tmp_path / 'tried')!r}, 'a')"
    (tmp_path / "test_good.py").write_text(f"def test_good():\n    {note}.write('good ')\n")
    (tmp_path / "test_bad.py").write_text("def test_bad():\n    assert not 'this'\n")
    (tmp_path / "test_busy.py").write_text(
        f"def test_busy():\n    {note}.write('busy ')\n    assert open({note}.name).read().count('busy') == 2\n"
        f"def test_calm():\n    {note}.write('')\n"
    )
    code = (
        "import sys\nimport tests.__main__ as runner\n"
        "runner.LIBRARIES, runner.ROOMS = (), dict.fromkeys(['good', 'bad', 'busy', 'unwanted'], [])\n"
        f"runner.paths = lambda room: [f'{tmp_path}/test_{{room}}.py']\n"
        "sys.exit(runner.main(sys.argv[1:]))\n"
    )
    command = [sys.executable, "-c", code, *words]
    return subprocess.run(command, cwd=TESTS.parent, capture_output=True, text=True, check=False)

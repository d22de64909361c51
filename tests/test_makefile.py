"""What `make setup` begins with."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize(
    ("version", "is_taken"), [((3, 10, 4), False), ((3, 11, 0), True), ((3, 14, 1), True), ((3, 15, 0), False)]
)
def test_a_python_that_is_too_old_or_too_new_is_passed_over(
    tmp_path: Path, version: tuple[int, ...], is_taken: bool
) -> None:
    python = tmp_path / "python3"  # this one, which says that it is of that version
    code = f"import sys; sys.version_info = {version}; exec(sys.argv[1])"
    python.write_text(f"#!/bin/sh\nexec '{sys.executable}' -c '{code}' \"$2\"\n")
    python.chmod(0o755)
    make = subprocess.run(["sh", "-c", "command -v make"], capture_output=True, text=True, check=True).stdout.strip()
    environment = {**os.environ, "PATH": str(tmp_path)}
    environment.pop("PYTHON", None)
    told = subprocess.run(
        [make, "-s", "--eval", "told:;@echo $(PYTHON)", "told"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.strip() == (sys.executable if is_taken else "")

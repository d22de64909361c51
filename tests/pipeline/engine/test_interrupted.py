"""Killed at any moment, the same command ends with the same bytes and leaves nothing behind.

`python -m bench.matrix kill` does the same to whole runs, from outside, on disk and on S3.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import pytest
import yaml

from bench.faults.interrupt import AT, Fault, install
from bench.matrix import contents, differences
from dataset.ledger.lease import LEASE
from dataset.store import local_files
from pipeline.build import build
from pipeline.config import build as make_config
from pipeline.workers.executor import InlineExecutor
from tests.pipeline import small_archive
from tests.pipeline.prebuilt import Prebuilt


class KilledError(BaseException):
    """The end of the process: whatever it still tries to write or to delete fails."""


@pytest.fixture(scope="module")
def archive(small: Prebuilt) -> Path:
    return small.archive


def run(archive: Path, out: Path) -> None:
    build(make_config(small_archive.config(archive, out)), executor=InlineExecutor(), quiet=True)


@pytest.fixture(scope="module")
def whole(small: Prebuilt) -> dict[str, bytes]:
    return contents(str(small.at()))


def killed(archive: Path, out: Path, operation: int, at: str) -> bool:
    """Run until an operation on storage, or to the end; whether it was killed."""

    def dead(*_: object) -> NoReturn:
        raise KilledError

    def end() -> NoReturn:
        local_files.place = local_files.remove = dead
        raise KilledError

    with pytest.MonkeyPatch.context() as patch:
        for name in ("place", "remove"):
            patch.setattr(local_files, name, getattr(local_files, name))
        install(Fault("kill", operation, at, str(out.parent / f"{at}-{operation}")), end)
        try:
            run(archive, out)
        except KilledError:
            held = json.loads((out / LEASE).read_bytes())
            (out / LEASE).write_text(json.dumps({**held, "pid": 2**22 + 1}))  # of a process that is no more
            (out / f".tmp-{held['token']}").mkdir(exist_ok=True)
            (out / f".tmp-{held['token']}" / ".tmp-half").write_bytes(b"ha")
            return True
    return False


def test_killed_again_and_again_the_same_command_ends_with_the_same_bytes(
    archive: Path, whole: dict[str, bytes], tmp_path: Path
) -> None:
    out, kills = tmp_path / "out", 0
    for number, at in enumerate(itertools.cycle(AT)):
        if not killed(archive, out, 1 + 7 * number % 23, at):
            break
        kills += 1
    assert kills > 8
    assert not differences(whole, contents(str(out)))


def test_a_run_that_is_killed_with_its_children_goes_on(archive: Path, whole: dict[str, bytes], tmp_path: Path) -> None:
    out, file = tmp_path / "out", tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(small_archive.config(archive, out)))
    fault = Fault("kill", 17, "half", str(tmp_path / "counter"))
    done = subprocess.run(
        [sys.executable, "-m", "bench.faults.interrupt", str(file)],
        cwd=Path(__file__).resolve().parents[3],
        env={**os.environ, **fault.set()},
        start_new_session=True,
        capture_output=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert list(out.glob(".tmp-*/.tmp-*"))  # half of a file
    run(archive, out)
    assert not differences(whole, contents(str(out)))

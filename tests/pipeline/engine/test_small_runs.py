"""What is small starts no Ray: child processes do its tasks, and the bytes are the same."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pipeline import build as builds
from pipeline.build import build
from pipeline.config import build as make_config
from pipeline.workers.executor import InlineExecutor, RayExecutor
from pipeline.workers.local import LocalExecutor, cpus
from tests.pipeline import small_archive

REPO = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(
    ("run", "source_bytes", "kind", "workers"),
    [
        ({}, 256 * 2**20, LocalExecutor, cpus()),
        ({}, 256 * 2**20 + 1, RayExecutor, None),
        ({"small_bytes": 10}, 11, RayExecutor, None),
        ({"workers": 0}, 2**50, LocalExecutor, 1),
        ({"workers": 2}, 1, RayExecutor, None),
        ({"gpus_per_model_task": 1}, 1, RayExecutor, None),
    ],
)
def test_what_decides(
    monkeypatch: pytest.MonkeyPatch, run: dict[str, float], source_bytes: int, kind: type, workers: int | None
) -> None:
    monkeypatch.setattr(builds, "LocalExecutor", LocalExecutor)
    made = builds.make_executor(make_config({"sources": ["a"], "out": "b", "run": run}), source_bytes)
    assert isinstance(made, kind)
    assert workers is None or (isinstance(made, LocalExecutor) and made._workers == workers)


def test_a_small_run_starts_no_ray_and_makes_the_same_bytes(tmp_path: Path) -> None:
    archive = small_archive.write(tmp_path / "small.warc.gz", pages=3)
    raw = small_archive.config(archive, tmp_path / "children", run={"workers": None})
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(raw))
    code = (
        "import sys; from pipeline.cli import main\n"
        f"status = main(['run', {str(tmp_path / 'config.yaml')!r}])\n"
        "print({'ray', 'torch'} & set(sys.modules))\nsys.exit(status)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPO, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "set()"
    build(make_config({**raw, "out": str(tmp_path / "here")}), executor=InlineExecutor(), quiet=True)
    assert contents(tmp_path / "children") == contents(tmp_path / "here")


def contents(out: Path) -> dict[str, bytes]:
    found = {str(path.relative_to(out)): path for path in sorted(out.rglob("*")) if path.is_file()}
    return {name: path.read_bytes() for name, path in found.items() if not name.startswith("log/")}

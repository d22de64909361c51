"""Commands that ask a question begin at once. Their modules are counted, for seconds depend on the machine."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from dataset.views import Dataset
from pipeline.build import build
from pipeline.config import build as make_config
from tests.pipeline import small_archive

NEVER = {"pipeline.config", "pyarrow.dataset", "aiohttp", "numba", "ray", "sklearn", "scipy", "torch", "transformers"}
"""Each takes 0.2 to 3 CPU seconds to import, or imports what does."""


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("asked")
    archive = small_archive.write(folder / "small.warc.gz", pages=4)
    build(make_config(small_archive.config(archive, folder / "out")), quiet=True)
    return folder / "out"


def imported(*arguments: str) -> set[str]:
    code = (
        "import sys\nfrom pipeline.cli import main\n"
        f"try:\n    status = main({list(arguments)!r})\nexcept SystemExit as end:\n    status = end.code\n"
        "assert not status\nprint('\\n' + ' '.join(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.rpartition("\n\n")[2].split() or done.stdout.split())


def test_help_imports_no_library() -> None:
    assert not imported("--help") & (NEVER | {"duckdb", "pandas", "pydantic"})


@pytest.mark.parametrize("command", ["status", "audit", "sql", "explain"])
def test_a_question_imports_what_it_needs(dataset: Path, command: str) -> None:
    ((url,),) = Dataset(str(dataset)).sql("SELECT url FROM pairs ORDER BY url LIMIT 1").fetchall()
    more = {"audit": ["dropped_by_reason"], "sql": ["SELECT count(*) FROM pairs"], "explain": [url]}
    assert not imported(command, str(dataset), *more.get(command, [])) & NEVER

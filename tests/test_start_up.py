"""Commands that ask a question begin at once. Their modules are counted, for seconds depend on the machine."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from dataset.query.views import Dataset
from pipeline.build import build
from pipeline.config import build as make_config
from pipeline.engine import unchanged
from tests.pipeline import small_archive
from tests.pipeline.inline import tasks_in_this_process

NEVER = {
    "aiohttp",
    "numba",
    "pandas",
    "pipeline.config",
    "pyarrow.dataset",
    "ray",
    "sklearn",
    "scipy",
    "torch",
    "transformers",
}
"""Each takes 0.2 to 3 CPU seconds to import, or imports what does."""


@pytest.fixture(scope="module")
@tasks_in_this_process()
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("asked")
    archive = small_archive.write(folder / "small.warc.gz", pages=4)
    raw = small_archive.config(archive, folder / "out")
    (folder / "config.yaml").write_text(yaml.safe_dump(raw))
    build(make_config(raw), quiet=True)
    return folder / "out"


def imported(*commands: Sequence[str]) -> set[str]:
    """The modules that a process has imported when it has carried out some commands."""
    code = (
        f"import sys\nfrom pipeline.cli import main\nfor command in {[list(command) for command in commands]!r}:\n"
        "    try:\n        status = main(command)\n    except SystemExit as end:\n        status = end.code\n"
        "    assert not status\nprint('\\n' + ' '.join(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.rpartition("\n\n")[2].split() or done.stdout.split())


def test_help_imports_no_library() -> None:
    assert not imported(["--help"]) & (NEVER | {"duckdb", "pydantic", "urllib3", "dataset.store.storage"})


def test_a_question_imports_what_it_needs(dataset: Path) -> None:
    """One process asks all of them: what none of them imports, each does without."""
    ((url,),) = Dataset(str(dataset)).sql("SELECT url FROM pairs ORDER BY url LIMIT 1").fetchall()
    questions = [["status"], ["audit", "dropped_by_reason"], ["sql", "SELECT count(*) FROM pairs"], ["explain", url]]
    assert not imported(*([command, str(dataset), *more] for command, *more in questions)) & (NEVER | {"cv2"})


def test_a_run_that_has_nothing_to_do_imports_nothing_of_the_work(dataset: Path) -> None:
    """It reads what is committed. Its config is checked by rooms that know the web, and aiohttp with it.

    It leaves a note; while nothing has changed, the next run asks neither the config nor a table.
    """
    command = "run", str(dataset.parent / "config.yaml")
    (dataset / unchanged.NOTE).unlink(missing_ok=True)
    assert not imported(command) & (NEVER - {"aiohttp", "pipeline.config"})
    assert not imported(command) & (NEVER | {"cv2", "duckdb", "pipeline.build", "pyarrow.parquet", "pydantic"})


def test_an_option_of_a_training_that_cannot_be_is_told_before_torch_is_imported(tmp_path: Path) -> None:
    config = tmp_path / "train.yaml"
    config.write_text(f"dataset: {tmp_path}\nranks: 4\n", encoding="utf-8")
    wrong = {
        "model=VitB32": "model must be an open_clip model or one of openwit-tiny, not 'VitB32'",
        "model=none.json": "model must be a readable JSON file",
        "batch_size=many": "training.batch_size must be a whole number, such as 256, not many",
        "batch_size=2": "training.batch_size must be at least the number of processes, 4, not 2",
        "precision=int8": "compute.precision must be one of fp32, bf16, fp16, such as fp32, not int8",
    }
    code = (
        "import sys\nfrom pipeline.cli import main\n"
        f"for option in {list(wrong)!r}:\n    assert main(['train', {str(config)!r}, '--set', option]) == 2\n"
        "print(*({'torch', 'open_clip', 'ray'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for sentence, line in zip(wrong.values(), done.stderr.splitlines(), strict=True):
        assert line.startswith(f"wit: {config}: {sentence}")
    assert done.stdout.strip() == ""


def test_code_of_others_has_pandas_as_pyarrow_has_it() -> None:
    """A list is an array without it; a Series, once it is asked for, is one whose NaNs are nulls."""
    code = (
        "import sys\nfrom dataset.query import arrow_alone\nimport pyarrow as pa\narrow_alone.leave_pandas_out()\n"
        "pa.table({'a': [1, None]})\nassert 'pandas' not in sys.modules\narrow_alone.find_pandas()\n"
        "import pandas\nassert pa.array(pandas.Series([1.0, float('nan')])).null_count == 1\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

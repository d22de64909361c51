"""Which partitions have a URL or a host: the same table, whoever writes it and in what order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from bench.matrix import contents, differences
from pipeline.build import build
from pipeline.config import build as make_config
from pipeline.engine.phase import Task
from pipeline.stages.pack import lookup
from pipeline.workers.executor import InlineExecutor
from pipeline.workers.local import LocalExecutor
from tests.pipeline import small_archive
from tests.pipeline.prebuilt import Prebuilt

PHASES = {"pack.candidate_keys", "pack.pair_keys", "pack.sample_keys", "pack.lookup"}


@pytest.fixture
def finished(small: Prebuilt) -> Prebuilt:
    """One that was built before anything was changed for the test."""
    small.at()
    return small


class Backwards(InlineExecutor):
    """Does the last task first."""

    def run(self, url: str, tasks: Sequence[Task], *show: Any) -> Iterator[Any]:
        """See `Executor`."""
        return super().run(url, list(tasks)[::-1], *show)


def written(small: Prebuilt, out: Path, executor: Any) -> tuple[dict[str, int], dict[str, bytes]]:
    """What was done to add the table to a dataset, and all of its files."""
    config = make_config(small_archive.config(small.archive, small.copy(out)))
    try:
        return build(config, executor=executor, quiet=True).did, contents(str(out))
    finally:
        executor.close()


def test_the_table_is_the_same_for_any_number_of_workers_and_any_order(
    finished: Prebuilt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookup, "FEW_FILES", 0)
    monkeypatch.setattr(lookup, "ROWS_PER_PART", 100)
    did, plain = written(finished, tmp_path / "one", InlineExecutor())
    assert did.keys() == PHASES
    assert did["pack.lookup"] > 1
    for number, executor in enumerate((Backwards(), LocalExecutor(3))):
        again, found = written(finished, tmp_path / f"other{number}", executor)
        assert again == did
        assert not differences(plain, found)

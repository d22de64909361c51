"""A run's tasks in the process of the test: for a `with`, or as a decorator."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from pipeline.workers.executor import InlineExecutor


@contextmanager
def tasks_in_this_process() -> Iterator[None]:
    """Where a test can look into them, and nothing is imported anew. What children add is tested in `engine`."""
    with pytest.MonkeyPatch.context() as patch:
        for module in ("pipeline.build", "pipeline.query_list.build"):
            patch.setattr(f"{module}.LocalExecutor", lambda *_: InlineExecutor())
        yield

"""Arrow without pandas: to see whether a list is a Series, pyarrow imports pandas wherever it is installed."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType

import pyarrow as pa


def leave_pandas_out() -> None:
    """Have this process make its arrays without pandas, whose import takes half a CPU second and 60 MB.

    pyarrow looks for pandas once, when the first array is made, and here it finds none. `to_pandas` looks for it again:
    from then on, as after `find_pandas`, all is as pyarrow has it.
    """
    if "pandas" in sys.modules:
        return
    blocker = _Blocker()
    sys.meta_path.insert(0, blocker)
    try:
        pa.array([0])
    finally:
        sys.meta_path.remove(blocker)


def find_pandas() -> None:
    """Have pyarrow know pandas, so that it takes a Series for an array whose NaNs are nulls: for code of others."""
    pa.nulls(0).to_pandas()


class _Blocker:
    """Finds pandas nowhere."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """See `importlib.abc.MetaPathFinder`. Raises ImportError for pandas."""
        if name == "pandas":
            raise ModuleNotFoundError("pandas is left out", name=name)
        return None

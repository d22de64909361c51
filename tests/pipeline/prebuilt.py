"""Datasets of a small archive that many tests begin from: each is built once a process, and copied."""

from __future__ import annotations

import shutil
from functools import cache
from pathlib import Path
from typing import Any

from pipeline.build import build
from pipeline.config import build as make_config
from tests.pipeline import small_archive

_LEVELS = ("match", "prebalance", "fetch", None)


class Prebuilt:
    """A small archive, and datasets of it by its default config, up to a stage; see `tests.pipeline.small_archive`.

    Args:
        folder: where all of it lies.
        pages: of the archive.
    """

    def __init__(self, folder: Path, pages: int):
        self._folder = folder
        self.archive = small_archive.write(folder / "small.warc.gz", pages=pages)
        self.at = cache(self._at)

    def config(self, out: Path | str, **overrides: Any) -> dict[str, Any]:
        """The config of a run over the archive."""
        return small_archive.config(self.archive, out, **overrides)

    def _at(self, to: str | None = None) -> Path:
        """The dataset up to match, prebalance or fetch, or finished; not to be changed."""
        level = _LEVELS.index(to)
        out = self._folder / (to or "finished")
        if level:
            shutil.copytree(self.at(_LEVELS[level - 1]), out)
        build(make_config(self.config(out)), to=to, quiet=True)
        return out

    def copy(self, out: Path, to: str | None = None) -> Path:
        """Such a dataset, to be changed; where."""
        return Path(shutil.copytree(self.at(to) if to else self.at(), out))  # the cache tells at() from at(None)

"""Lists of domains that the config names: one index of all, built by one task and mapped by the others."""

from __future__ import annotations

from collections.abc import Sequence

from dataset.store.mapped import map_file
from dataset.store.storage import Storage
from filters.texts.domains import DomainIndex, build_index
from pipeline.engine.phase import Context, Input, Result, Task
from pipeline.engine.sources.plan import file_checksum


def built_domains(context: Context) -> Result:
    """Return the lists of domains that a task's options name, as one index for all workers."""
    built = build_index(context.options["lists"])
    facts = {"categories": DomainIndex(built).categories}
    return Result(files={"index": (context.phase_file("index", "arrow"), built)}, facts=facts)


def domain_task(name: str, lists: Sequence[str]) -> Task:
    """Return the task of `built_domains`, for a phase of some name."""
    return Task(name, 0, {}, {"lists": list(lists), "checksums": [file_checksum(path) for path in lists]})


def domain_index(storage: Storage, inputs: Sequence[Input]) -> DomainIndex | None:
    """Return the index that a task takes as its one input, mapped; None if it takes none."""
    for item in inputs:
        if item.checksum not in _mapped:
            _mapped.clear()
            _mapped[item.checksum] = DomainIndex(map_file(storage, item.file))
        return _mapped[item.checksum]
    return None


_mapped: dict[str, DomainIndex] = {}  # the last of this process

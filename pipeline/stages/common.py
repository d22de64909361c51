"""What several stages do alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from functools import cache
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

from dataset.store.mapped import mapped
from dataset.store.storage import Storage
from filters.texts.domains import DomainIndex, build_index
from pipeline.engine.contract import ContractError
from pipeline.engine.phase import Context, Input, Result, Task
from pipeline.engine.sources.plan import file_checksum

T = TypeVar("T")

ROWS_PER_BUCKET = 2_000_000
"""Keys that one reduce task of an exchange sorts: some 100 MB."""

LOCATOR_BITS = 32
"""A locator is a partition's number << 32 | the row in it."""


def settings(kind: type[T], values: Mapping[str, Any]) -> T:
    """A config section, or what a phase takes of one, from a task's options.

    Raises:
        ContractError: a key is not the section's; or, when it is read, it was not taken.
    """
    names = [item.name for item in fields(kind)]  # type: ignore[arg-type]
    if unknown := sorted(set(values) - set(names)):
        raise ContractError(f"{kind.__name__} has no key {unknown[0]}")
    given = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
    missing = [name for name in names if name not in given]
    if not missing:
        return kind(**given)
    cls: Any = kind
    part: T = object.__new__(_part(cls, tuple(missing)))
    for name, value in given.items():
        object.__setattr__(part, name, value)
    return part


@cache
def _part(kind: Any, missing: tuple[str, ...]) -> Any:
    """A section of which some keys cannot be read."""

    def untaken(name: str) -> property:
        def read(self: Any) -> None:
            raise ContractError(f"{name} of {kind.__name__} is read, which the phase does not take")

        return property(read)

    return type(kind.__name__, (kind,), {name: untaken(name) for name in missing})


def built_domains(context: Context) -> Result:
    """The lists of domains that a task's options name, as one index for all workers."""
    built = build_index(context.options["lists"])
    facts = {"categories": DomainIndex(built).categories}
    return Result(files={"index": (context.phase_file("index", "arrow"), built)}, facts=facts)


def domain_task(name: str, lists: Sequence[str]) -> Task:
    """The task of `built_domains`, for a phase of some name."""
    return Task(name, 0, {}, {"lists": list(lists), "checksums": [file_checksum(path) for path in lists]})


def domain_index(storage: Storage, inputs: Sequence[Input]) -> DomainIndex | None:
    """The index that a task takes as its one input, mapped; None if it takes none."""
    for item in inputs:
        if item.checksum not in _mapped:
            _mapped.clear()
            _mapped[item.checksum] = DomainIndex(mapped(storage, item.file))
        return _mapped[item.checksum]
    return None


_mapped: dict[str, DomainIndex] = {}  # the last of this process


def locators(partition: int, rows: pa.ChunkedArray) -> pa.Array:
    """The locators of rows of a partition. int64 (n,)."""
    return pa.array((partition << LOCATOR_BITS) | rows.to_numpy().astype(np.int64))


def concat(tables: Sequence[pa.Table]) -> pa.Table | None:
    """Tables of one schema as one, None if there is none."""
    return pa.concat_tables(tables) if tables else None


def matched_queries(context: Context, rows: pa.Table) -> pa.Array:
    """The query ids of alive candidate rows, from the `matches` beside them. list<int32> (n,)."""
    matches = context.table("matches")
    at = np.searchsorted(matches.column("row").to_numpy(), rows.column("row").to_numpy())
    return matches.column("query_ids").combine_chunks().take(pa.array(at))

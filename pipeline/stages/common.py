"""What several stages do alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

from dataset.mapped import mapped
from dataset.storage import Storage
from filters.texts.domains import DomainIndex, build_index
from pipeline.engine.phase import Context, Input, Result, Task
from pipeline.engine.plan import file_checksum

T = TypeVar("T")

ROWS_PER_BUCKET = 2_000_000
"""Keys that one reduce task of an exchange sorts: some 100 MB."""

LOCATOR_BITS = 32
"""A locator is a partition's number << 32 | the row in it."""


def settings(kind: type[T], values: Mapping[str, Any]) -> T:
    """A config section from a task's options; keys that the phase did not take keep their defaults."""
    known = {item.name for item in fields(kind)}  # type: ignore[arg-type]
    return kind(**{key: tuple(v) if isinstance(v, list) else v for key, v in values.items() if key in known})


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

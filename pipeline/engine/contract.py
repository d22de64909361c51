"""What a phase reads, takes, gives and needs: declared where it is defined, and held against every task and result."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cache
from typing import Any, TypeVar

import pyarrow as pa

from dataset.schema import CANDIDATES, PAIRS, VERDICTS

T = TypeVar("T")
Roles = Mapping[str, pa.Schema | None]
"""The role of each file -> the columns that it has, or must have; None where nothing is said of them."""


class ContractError(TypeError):
    """A task or a result is not what the phase declares: a defect of a stage, never of the data."""


def roles(*names: str, **tables: pa.Schema) -> dict[str, pa.Schema | None]:
    """Return roles by name, with the schema of those of which one is given."""
    return {**dict.fromkeys(names), **tables}


CANDIDATE_ROWS = roles(rows=CANDIDATES, verdicts=VERDICTS)
PAIR_ROWS = roles(rows=PAIRS, verdicts=VERDICTS)


@dataclass(frozen=True)
class Resources:
    """What a task of a phase is given while it runs.

    Raises:
        ContractError: it would be given nothing.
    """

    cpus: float = 1
    gpu: bool = False  # whether a model of it runs on a GPU where run.gpus_per_model_task gives it one

    def __post_init__(self) -> None:
        if not 0 < self.cpus < float("inf"):
            raise ContractError(f"a task needs some CPU, not {self.cpus}")


@dataclass(frozen=True, eq=False)  # each is its own: by it what was checked once is known
class Contract:
    """What a phase declares. What it only may read, take or give depends on the config."""

    reads: Roles = field(default_factory=dict)
    may_read: Roles = field(default_factory=dict)
    takes: Sequence[str] = ()  # options
    may_take: Sequence[str] = ()
    gives: Roles = field(default_factory=dict)
    may_give: Roles = field(default_factory=dict)
    needs: Resources = Resources()

    def check_task(self, phase: str, inputs: Iterable[str], options: Iterable[str]) -> None:
        """Raise ContractError where a role or an option is missing or unknown."""
        _check(phase, "reads", set(inputs), self.reads, self.may_read)
        _check(phase, "takes the option", set(options), self.takes, self.may_take)

    def check_result(self, phase: str, schemas: Mapping[str, pa.Schema | None]) -> None:
        """Raise ContractError where a role is missing or unknown, or a table lacks a column."""
        _check(phase, "gives", set(schemas), self.gives, self.may_give)
        for role, schema in schemas.items():
            declared = self.given_columns(role)
            if schema is not None and declared is not None:
                for name in declared.names:
                    if name not in schema.names:
                        raise ContractError(f"{phase} gives no column {name} of {role}, which it declares")

    def check_columns(self, phase: str, role: str, writer: str, written: pa.Schema | None) -> None:
        """Raise ContractError where who wrote a role's files writes no column of a name and type that is read."""
        read = self.reads.get(role, self.may_read.get(role))
        if read is None or written is None:
            return
        for column in read:
            if column.name not in written.names:
                raise ContractError(f"{phase} reads {column.name} of {role}, which {writer} does not write")
            kind = written.field(column.name).type
            if kind != column.type:
                raise ContractError(f"{phase} reads {column.name} of {role} as {column.type}; {writer} writes {kind}")

    def given_columns(self, role: str) -> pa.Schema | None:
        """Return the columns of a role that the phase gives, where it says them."""
        return self.gives.get(role, self.may_give.get(role))


def _check(phase: str, does: str, there: set[str], needed: Iterable[str], possible: Iterable[str]) -> None:
    missing = sorted(set(needed) - there)
    if missing:
        raise ContractError(f"{phase} {does} {missing[0]}, which is missing")
    unknown = sorted(there - set(needed) - set(possible))
    if unknown:
        known = ", ".join(sorted({*needed, *possible})) or "nothing"
        raise ContractError(f"{phase} does not declare that it {does} {unknown[0]}; it declares {known}")


def settings(kind: type[T], values: Mapping[str, Any]) -> T:
    """Return a config section, or what a phase takes of one, from a task's options.

    Raises:
        ContractError: a key is not the section's; or, when it is read, it was not taken.
    """
    names = [item.name for item in fields(kind)]  # type: ignore[arg-type]
    if unknown := sorted(set(values) - set(names)):
        raise ContractError(f"{kind.__name__} has no key {unknown[0]}")
    options = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
    missing = [name for name in names if name not in options]
    if not missing:
        return kind(**options)
    cls: Any = kind
    part: T = object.__new__(_part(cls, tuple(missing)))
    for name, value in options.items():
        object.__setattr__(part, name, value)
    return part


@cache
def _part(kind: Any, missing: tuple[str, ...]) -> Any:
    """A section of which some keys cannot be read."""

    def refusing_property(name: str) -> property:
        def read(self: Any) -> None:
            raise ContractError(f"{name} of {kind.__name__} is read, which the phase does not take")

        return property(read)

    return type(kind.__name__, (kind,), {name: refusing_property(name) for name in missing})

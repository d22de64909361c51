"""What a stage of the path says of itself, once: everybody who must know a stage asks its record.

A record is declared in the stage's own folder and imports nothing heavy; the stage's code is imported when it is run.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field, is_dataclass
from types import ModuleType
from typing import Literal

import pyarrow as pa

PATH = "pipeline.stages"
"""The module whose `PATH` lists the stages in their order. It is found by its name when somebody asks, for this room
knows none of those above it."""

Rows = Literal["candidates", "pairs"]


@dataclass(frozen=True)
class Table:
    """A table that a phase commits and that others read by its name.

    Where several are declared under one name, the last that has been committed counts.
    """

    name: str
    phase: str
    role: str  # of the phase's files
    schema: pa.Schema | None = None  # None: the config names the columns
    is_view: bool = True  # whether a question may name it: as `_name`
    is_public: bool = False  # whether people ask for it: as `name`
    is_numbered: bool = True  # whether its rows are told apart by partition and row
    measured_on: Literal["row", "image"] | None = None  # whose measures `wit explain` tells from it
    published: str = ""  # the name in OUT under which other tools look for a copy

    @property
    def view(self) -> str:
        """The name by which a question asks for it."""
        return self.name if self.is_public else f"_{self.name}"


@dataclass(frozen=True)
class Stage:
    """A stage: the only place that says its phases, reasons, tables and views.

    Raises:
        ValueError: it does not fit together.
    """

    name: str
    code: str  # the module with the phases' functions, `run(run)` and, if the config is to be checked, `check(config)`
    phases: tuple[str, ...]  # in the order in which they begin
    temporary: tuple[str, ...] = ()  # of these; see pipeline.engine.temporary_phases
    judges: Rows | None = None  # which rows its verdicts are on
    passed: str = ""  # what is to be said of a row that it keeps
    sections: tuple[str, ...] = ()  # of the config, which it reads
    config: type | None = None  # the dataclass of a section that the stage brings, which has the stage's name
    reasons: Mapping[str, str] = field(default_factory=dict)  # for which it drops a row, each with a sentence
    tables: tuple[Table, ...] = ()
    views: tuple[str, ...] = ()  # what people ask of it: files that `dataset.query.sql.load` finds

    def __post_init__(self) -> None:
        strange = [name for name in self.phases if name.partition(".")[0] != self.name]
        strange += [table.phase for table in self.tables if table.phase not in self.phases]
        strange += [name for name in self.temporary if name not in self.phases]
        if strange:
            raise ValueError(f"the stage {self.name} has no phase {strange[0]}")
        if self.config is not None and not is_dataclass(self.config):
            raise ValueError(f"the stage {self.name} has a section {self.config}, which is no dataclass")
        if self.judges and (self.decision not in self.phases or not self.passed):
            raise ValueError(
                f"the stage {self.name} judges {self.judges}: it needs a phase {self.decision}, and `passed`"
            )

    @property
    def decision(self) -> str:
        """The phase that gives the stage's verdicts."""
        return f"{self.name}.decide"

    def load(self) -> ModuleType:
        """Return the stage's code, imported."""
        return importlib.import_module(self.code)


def path() -> tuple[Stage, ...]:
    """Return the stages in their order."""
    stages: tuple[Stage, ...] = importlib.import_module(PATH).PATH
    return stages


def names() -> tuple[str, ...]:
    """Return the stages' names in their order."""
    return tuple(stage.name for stage in path())


def judging_stages(rows: Rows) -> tuple[Stage, ...]:
    """Return the stages whose verdicts are on candidates, or on pairs, in their order."""
    return tuple(stage for stage in path() if stage.judges == rows)


def tables(name: str) -> tuple[Table, ...]:
    """Return the tables of a name, in the order of the path. Raises KeyError: no stage gives one."""
    of_name = tuple(table for stage in path() for table in stage.tables if table.name == name)
    if not of_name:
        raise KeyError(f"no stage gives a table {name}; there are {', '.join(table_names())}")
    return of_name


def table_names() -> tuple[str, ...]:
    """Return the names of all tables, each once, in the order of the path."""
    return tuple(dict.fromkeys(table.name for stage in path() for table in stage.tables))

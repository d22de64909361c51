"""A phase says what it reads, takes and gives; what does not fit fails when it is made, in a sentence."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pytest

from dataset.ledger.commits import FileRef, folder
from dataset.schema import MATCHES
from dataset.stages import Stage, Table
from pipeline.engine.contract import ContractError, Resources, roles, settings
from pipeline.engine.execute import execute
from pipeline.engine.phase import PHASES, Context, Input, Phase, Result, Task, phase

LENGTHS = pa.schema([("row", pa.uint32()), ("length", pa.int64())])
ODD = Stage("odd", __name__, ("odd.measure", "odd.judge", "odd.other", "odd.again"))


@phase(ODD, "odd.measure", takes=("least",), may_take=("most",), gives=roles(lengths=LENGTHS), may_give=roles("notes"))
def measure(context: Context) -> Result:
    """Gives what its options say, which may be too much or too little."""
    gives = context.options["least"]
    lengths = pa.table({"row": pa.array([0], pa.uint32()), "length": pa.array([5], pa.int64())})
    tables = {"lengths": lengths, "short": lengths.drop_columns(["length"]), "more": lengths}
    result = Result()
    for role in gives:
        result.table({"short": "lengths"}.get(role, role), tables[role])
    return result


@phase(ODD, "odd.judge", reads=roles(lengths=LENGTHS), may_read=roles(matches=MATCHES))
def judge(context: Context) -> Result:
    """Reads what `measure` gives."""
    return Result(counts={"rows": context.table("lengths").num_rows})


@pytest.fixture(autouse=True)
def _no_phase_is_left_behind() -> object:
    yield
    for name in ("odd.other", "odd.again"):
        PHASES.pop(name, None)


def written(by: Phase, role: str) -> tuple[Input, ...]:
    """A file as a phase names it."""
    return (Input(FileRef(f"{folder(by.name)}/{role}-00000-0123456789abcdef.parquet", 1, "x", 1)),)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "odd.measure takes the option least, which is missing"),
        (
            {"least": [], "lest": 1},
            "odd.measure does not declare that it takes the option lest; it declares least, most",
        ),
    ],
)
def test_an_option_that_is_missing_or_unknown_fails_when_the_task_is_made(options: dict[str, int], says: str) -> None:
    with pytest.raises(ContractError, match=says):
        Task(measure.name, 0, {}, options)
    assert Task(measure.name, 0, {}, {"least": [], "most": 2}).options["most"] == 2


def test_a_role_that_is_missing_or_unknown_fails_when_the_task_is_made() -> None:
    lengths = {"lengths": written(measure, "lengths")}
    with pytest.raises(ContractError, match=r"odd.judge reads lengths, which is missing"):
        Task(judge.name, 0, {}, {})
    with pytest.raises(ContractError, match=r"does not declare that it reads notes; it declares lengths, matches"):
        Task(judge.name, 0, {**lengths, "notes": ()}, {})
    assert Task(judge.name, 0, lengths, {}).inputs == lengths


def test_a_column_that_nobody_wrote_fails_when_the_task_is_made() -> None:
    with pytest.raises(ContractError, match=r"odd.judge reads query_ids of matches, which odd.measure does not write"):
        Task(judge.name, 0, {role: written(measure, "lengths") for role in ("lengths", "matches")}, {})
    wide = pa.schema([("row", pa.uint32()), ("length", pa.string())])
    other = phase(ODD, "odd.other", reads=roles(lengths=wide))(judge.function)
    with pytest.raises(ContractError, match=r"odd.other reads length of lengths as string; odd.measure writes int64"):
        Task(other.name, 0, {"lengths": written(measure, "lengths")}, {})


@pytest.mark.parametrize(
    ("gives", "says"),
    [
        ([], "odd.measure gives lengths, which is missing"),
        (["lengths", "more"], "odd.measure does not declare that it gives more; it declares left_out, lengths, notes"),
        (["short"], "odd.measure gives no column length of lengths, which it declares"),
    ],
)
def test_a_result_that_is_not_what_was_declared_is_not_committed(gives: list[str], says: str, tmp_path: Path) -> None:
    with pytest.raises(ContractError, match=says):
        execute(str(tmp_path), __name__, Task(measure.name, 0, {}, {"least": gives}))
    assert not list(tmp_path.rglob("*.parquet"))
    assert (
        execute(str(tmp_path), __name__, Task(measure.name, 0, {}, {"least": ["lengths"]})).files["lengths"].rows == 1
    )


def test_a_table_that_its_phase_never_gives_fails_when_the_stage_is_imported() -> None:
    stage = Stage("odd", __name__, ("odd.again",), tables=(Table("lengths", "odd.again", "lengths"),))
    with pytest.raises(ValueError, match=r"the stage odd has a table lengths of lengths, which odd.again never gives"):
        phase(stage, "odd.again", gives=roles("length"))(judge.function)


def test_a_tables_column_that_its_phase_does_not_write_fails_when_the_stage_is_imported() -> None:
    wide = pa.schema([*LENGTHS, ("words", pa.int32())])
    stage = Stage("odd", __name__, ("odd.again",), tables=(Table("lengths", "odd.again", "lengths", wide),))
    says = "a table lengths of lengths with words: int32, which odd.again does not write"
    with pytest.raises(ValueError, match=says):
        phase(stage, "odd.again", gives=roles(lengths=LENGTHS))(judge.function)


@dataclass(frozen=True)
class Section:
    """A section of a config."""

    least: int = 1
    words: tuple[str, ...] = ()

    @property
    def twice(self) -> int:
        """What follows from a key."""
        return 2 * self.least


def test_a_section_has_the_keys_that_were_taken_and_no_others() -> None:
    assert settings(Section, {"least": 3, "words": ["a"]}) == Section(3, ("a",))
    with pytest.raises(ContractError, match="Section has no key lest"):
        settings(Section, {"least": 3, "words": [], "lest": 1})


def test_a_key_that_was_not_taken_has_no_value_when_it_is_read() -> None:
    part = settings(Section, {"words": ["a"]})
    assert part.words == ("a",) and isinstance(part, Section)
    with pytest.raises(ContractError, match="least of Section is read, which the phase does not take"):
        _ = part.twice


def test_what_a_task_needs_is_declared_with_the_rest() -> None:
    heavy = phase(ODD, "odd.again", cpus=2, gpu=True)(judge.function)
    assert (heavy.contract.needs, judge.contract.needs) == (Resources(2, True), Resources(1, False))
    with pytest.raises(ContractError, match="a task needs some CPU, not 0"):
        phase(ODD, "odd.again", cpus=0)

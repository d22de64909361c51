"""What a stage leaves is there for later ones, once, under its name."""

from __future__ import annotations

import pyarrow as pa
import pytest

from dataset.ledger.commits import Commit, FileRef
from dataset.stages import Stage
from pipeline.engine.artifacts import Artifact, Artifacts, Partition, RowTable
from pipeline.engine.contract import ContractError, roles
from pipeline.engine.phase import PHASES, Result, phase

SHEETS = Artifact[int]("the count of sheets")


def test_what_was_left_is_taken_as_often_as_it_is_wanted() -> None:
    left = Artifacts()
    left.leave(SHEETS, 3)
    assert left.take(SHEETS) + left.take(SHEETS) == 6


def test_what_nobody_left_is_named() -> None:
    with pytest.raises(ContractError, match="no stage before this one leaves the count of sheets"):
        Artifacts().take(SHEETS)


def test_two_stages_do_not_leave_the_same() -> None:
    left = Artifacts()
    left.leave(SHEETS, 3)
    with pytest.raises(ContractError, match="two stages leave the count of sheets"):
        left.leave(Artifact[int]("the count of sheets"), 4)


LENGTHS = pa.schema([("row", pa.uint32()), ("length", pa.int64())])
LENGTHS_TABLE = RowTable("lengths", LENGTHS)
PARTITION = Partition(3, FileRef("rows.parquet", 1, "x", 1))


def commit_of(phase: str, role: str) -> Commit:
    return Commit(phase, 3, "f", {role: FileRef(f"{role}.parquet", 1, "y", 1)}, {}, {})


def test_a_table_beside_the_rows_is_read_under_its_role_and_the_last_one_left_counts() -> None:
    first = PARTITION.leave(LENGTHS_TABLE, commit_of("other.measure", "measures"), "measures")
    second = first.leave(LENGTHS_TABLE, commit_of("other.again", "lengths"), "lengths")
    (item,) = second.inputs(LENGTHS_TABLE)["lengths"]
    assert item.file.name == "lengths.parquet" and set(second.inputs()) == {"rows", "verdicts"}


def test_a_table_that_nobody_left_is_named() -> None:
    with pytest.raises(ContractError, match="no stage before this one leaves lengths beside the rows"):
        PARTITION.inputs(LENGTHS_TABLE)


def test_a_table_without_its_columns_is_not_left(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage("ruler", __name__, ("ruler.measure",))
    with monkeypatch.context() as patch:
        patch.setattr("pipeline.engine.phase.PHASES", {})
        made = phase(stage, "ruler.measure", gives=roles("notes", lengths=LENGTHS))(lambda context: Result())
    monkeypatch.setitem(PHASES, made.name, made)
    assert PARTITION.leave(LENGTHS_TABLE, commit_of(made.name, "lengths"), "lengths").tables
    wider = RowTable("lengths", LENGTHS.append(pa.field("width", pa.int64())))
    with pytest.raises(
        ContractError, match=r"ruler\.measure leaves lengths as lengths, whose columns it does not have"
    ):
        PARTITION.leave(wider, commit_of(made.name, "lengths"), "lengths")

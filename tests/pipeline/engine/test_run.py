"""A run does what is missing, gives each task what its phase declares, carries verdicts on, and loses no row."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from dataset.ids import checksum
from dataset.ledger.commits import FileRef
from dataset.schema import VERDICTS
from dataset.stages import Stage
from dataset.store.storage import Storage
from dataset.tables import to_parquet
from pipeline.config import build as make_config
from pipeline.engine.artifacts import Partition, RowTable
from pipeline.engine.contract import ContractError, roles
from pipeline.engine.phase import PHASES, Context, Result, files_of_each, phase
from pipeline.engine.progress import Reporter
from pipeline.engine.run import Run
from pipeline.engine.verdicts import ConservationError
from pipeline.workers.executor import InlineExecutor

NUMBERS = pa.schema([("number", pa.int64())])
DOUBLES = pa.schema([("row", pa.uint32()), ("double", pa.int64())])
DOUBLES_TABLE = RowTable("doubles", DOUBLES)
REASONS = {"large": "it is"}
STAGE = Stage(
    "toy", __name__, ("toy.double", "toy.look", "toy.decide"), judges="pairs", passed="it is small", reasons=REASONS
)
ROWS = roles("verdicts", rows=NUMBERS)


@phase(STAGE, "toy.double", reads=ROWS, gives=roles(doubles=DOUBLES))
def double(context: Context) -> Result:
    """Twice each number."""
    numbers = context.table("rows")["number"].to_pylist()
    table = pa.table([range(len(numbers)), [2 * number for number in numbers]], schema=DOUBLES)
    return Result().table("doubles", table, DOUBLES)


@phase(STAGE, "toy.look", reads=roles(doubles=DOUBLES))
def look(context: Context) -> Result:
    """What it was given."""
    return Result(facts={"roles": sorted(context.task.inputs)})


@phase(STAGE, "toy.decide", reads=ROWS | roles(doubles=DOUBLES), takes=("most", "lost"), gives=roles(verdicts=VERDICTS))
def judge(context: Context) -> Result:
    """Drops what is too large; what it counts may be wrong by `lost`."""
    doubles = context.table("doubles")
    large = [row for row, value in zip(*doubles.to_pydict().values(), strict=True) if value > context.options["most"]]
    verdicts = pa.table([large, ["large"] * len(large), ["{}"] * len(large)], schema=VERDICTS)
    kept = doubles.num_rows - len(large) - context.options["lost"]
    counts = {"input": doubles.num_rows, "kept": kept, "dropped": len(large), "reason:large": len(large)}
    return Result(counts=counts).table("verdicts", verdicts, VERDICTS)


@pytest.fixture(scope="module", autouse=True)
def _no_phase_is_left_behind() -> Iterator[None]:
    yield
    for made in (double, look, judge):
        PHASES.pop(made.name, None)


def begun(out: Path) -> Run:
    """A run over two partitions of numbers."""
    storage = Storage(str(out))
    run = Run(
        make_config({"sources": ["none"], "out": str(out)}), storage, InlineExecutor(), Reporter(storage, quiet=True)
    )
    for number, values in enumerate(([1, 2, 3], [10, 20])):
        data, name = to_parquet(pa.table([values], schema=NUMBERS)), f"numbers/rows-{number}.parquet"
        storage.write(name, data)
        rows = FileRef(name, len(memoryview(data)), checksum(data), len(values))
        run.partitions.append(Partition(number, rows, alive=len(values)))
    return run


def decide(run: Run, most: int, lost: int = 0) -> None:
    doubled = run.map(double, {})
    run.decide(judge, {"most": most, "lost": lost}, each=files_of_each(doubled, "doubles"))


def test_what_is_done_is_not_done_again_and_a_changed_option_does_its_phase_alone(tmp_path: Path) -> None:
    runs = []
    for most in (5, 5, 30):
        run = begun(tmp_path)
        decide(run, most)
        runs.append((run.did, run.funnel["toy"], [partition.alive for partition in run.partitions]))
    assert runs[0] == ({"toy.double": 2, "toy.decide": 2}, {"input": 5, "kept": 2, "dropped": 3}, [2, 0])
    assert runs[1] == ({}, *runs[0][1:])
    assert runs[2] == ({"toy.decide": 2}, {"input": 5, "kept": 4, "dropped": 1}, [3, 1])


def test_a_lost_file_is_made_again_alone(tmp_path: Path) -> None:
    decide(begun(tmp_path), 5)
    next((tmp_path / "toy" / "double").glob("doubles-00001-*")).unlink()
    again = begun(tmp_path)
    decide(again, 5)
    assert again.did == {"toy.double": 1}


def test_a_task_has_the_rows_only_where_its_phase_declares_them(tmp_path: Path) -> None:
    run = begun(tmp_path)
    with pytest.raises(ContractError, match="no stage before this one leaves doubles beside the rows"):
        run.map(look, {}, DOUBLES_TABLE)
    run.leave(DOUBLES_TABLE, run.map(double, {}), "doubles")
    assert [commit.facts["roles"] for commit in run.map(look, {}, DOUBLES_TABLE)] == [["doubles"], ["doubles"]]


def test_a_row_that_is_neither_kept_nor_dropped_ends_the_run(tmp_path: Path) -> None:
    says = r"toy: partition 0 got 3 rows of 3 and answered 1 kept and 1 dropped"
    with pytest.raises(ConservationError, match=says):
        decide(begun(tmp_path), 5, lost=1)

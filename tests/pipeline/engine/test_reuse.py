"""Copies of one image are measured once."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataset.ledger.commits import Commit, FileRef
from dataset.store.storage import Storage
from pipeline.engine import reuse
from pipeline.engine.phase import Context, Result, Task
from pipeline.engine.reuse import image_contents, image_keys, reuse_measures, what_is_missing, with_earlier_measures
from pipeline.engine.verdicts import take_units

FILES = st.lists(st.integers(0, 4), min_size=1, max_size=12)


def images(files: list[int], stored: list[int] | None = None) -> pa.Table:
    """Images at places of their own, each of one of some files; `stored` tells how."""
    return pa.table(
        {
            "row": pa.array(range(len(files)), pa.uint32()),
            "sha256": pa.array([bytes([file]) * 32 for file in files], pa.binary(32)),
            "blob": ["b"] * len(files),
            "blob_offset": pa.array(range(0, 10 * len(files), 10), pa.int64()),
            "blob_checksum": pa.array(stored or files, pa.uint64()),
        }
    )


def context(share: tuple[int, int] | None = None, only: tuple[int, int] | None = None, **without: Any) -> Context:
    task = SimpleNamespace(options={}, hints={}, only=only, without=without, share=share)
    return Context(cast(Storage, None), cast(Any, task))


@given(files=FILES)
def test_each_content_is_measured_once_and_said_of_all_its_rows(files: list[int]) -> None:
    asked: list[int] = []

    def measure(rows: pa.Table) -> pa.Table:
        asked.extend(value[0] for value in rows.column("sha256").to_pylist())
        return pa.table([rows.column("row"), asked[-rows.num_rows :]], ["row", "file"])

    rows = images(files)
    table = reuse_measures(context(), Result(), "measures", rows, image_keys(rows), measure, image_contents(rows))
    assert table.to_pylist() == [{"row": row, "file": file} for row, file in enumerate(files)]
    assert asked == list(dict.fromkeys(files))


@given(files=FILES, of=st.integers(1, 4), data=st.data())
def test_shares_have_each_row_once_and_copies_together(files: list[int], of: int, data: st.DataObject) -> None:
    rows = images(files)
    found = [take_units(context((number, of)), rows) for number in range(of)]
    assert sorted(row for share in found for row in share.column("row").to_pylist()) == list(range(len(files)))
    of_each = [set(share.column("sha256").to_pylist()) for share in found]
    assert sum(map(len, of_each)) == len(set(files))
    first = data.draw(st.integers(0, len(files) - 1))
    probe = take_units(context(only=(first, first + 1)), rows)
    assert probe.column("row").to_pylist() == [first]


def test_a_file_that_was_stored_in_two_ways_is_two_contents() -> None:
    assert len(set(image_contents(images([1, 1, 1], stored=[7, 8, 7])).to_pylist())) == 2


def committed(partition: int, method: str, rows: int = 1) -> Commit:
    name = f"toy/measure/measures-{partition}-{method}.parquet"
    return Commit("toy.measure", partition, method, {"measures": FileRef(name, 1, "x", rows)}, facts={"method": method})


def earlier(partitions: int, known: list[Commit], partition: int = 1) -> list[str]:
    task = Task("toy.measure", partition, {}, {})
    (answer,) = with_earlier_measures([task], partitions, known)
    return [files["measures"].name for files in answer.hints["earlier"] if "measures" in files]


def test_a_task_is_reminded_of_what_the_same_method_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Task, "method", property(lambda task: "now"))
    known = [committed(0, "now"), committed(1, "now"), committed(1, "once"), committed(2, "now", rows=0)]
    assert earlier(3, known) == ["toy/measure/measures-1-now.parquet"]  # as many partitions: each has its own rows
    moved = earlier(2, known)
    assert moved == [f"toy/measure/measures-{partition}-now.parquet" for partition in (0, 1)]  # they may be anywhere
    monkeypatch.setattr(reuse, "MOST_ROWS", 1)
    assert earlier(2, known) == []  # too many to look through
    assert earlier(3, known) == ["toy/measure/measures-1-now.parquet"]


def test_only_what_is_not_committed_or_not_usable_is_missing() -> None:
    tasks = [cast(Task, SimpleNamespace(partition=number, fingerprint=f"f{number}")) for number in range(4)]
    known = {(number, f"f{number}"): Commit("toy.measure", number, f"f{number}", {}) for number in (1, 2, 3)}
    known[0, "of other options"] = Commit("toy.measure", 0, "of other options", {})
    looked_at: list[int] = []

    def is_whole(commit: Commit) -> bool:
        looked_at.append(commit.partition)
        return commit.partition != 3

    commits, missing = what_is_missing(tasks, known, lambda commit: commit.partition != 1, is_whole)
    assert sorted(commits) == [2]
    assert missing == [tasks[0], tasks[1], tasks[3]]
    assert looked_at == [2, 3]  # what reads files comes last, and is not asked in vain

"""What a commit record promises: its files are there, whole, and it is the same bytes whoever wrote it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataset.ids import checksum
from dataset.ledger.commits import (
    Commit,
    FileRef,
    Ledger,
    RecordError,
    fingerprint,
    folder,
    read_manifest,
    read_records,
    write_manifest,
)
from dataset.store.storage import Storage

PHASE = "text.measure"


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(str(tmp_path))


def done(storage: Storage, partition: int, mark: str = "aa", data: bytes = b"rows") -> Commit:
    """Do a partition's work: its file is written, its record is not."""
    name = f"text/measure/part-{partition:06d}-{mark}.parquet"
    storage.write(name, data)
    return Commit(PHASE, partition, mark, {"rows": FileRef(name, len(data), checksum(data), 4)}, {"input": 4}, {"x": 1})


names = st.text(max_size=12)
counts = st.integers(0, 2**53)
files = st.builds(
    FileRef,
    name=st.from_regex(r"[0-9A-Za-z_][0-9A-Za-z_.+=-]{0,9}(/[0-9A-Za-z_][0-9A-Za-z_.+=-]{0,9}){1,3}", fullmatch=True),
    bytes=counts,
    checksum=names,
    rows=counts,
)
commits = st.builds(
    Commit,
    phase=names,
    partition=st.integers(0, 2**31 - 1),
    fingerprint=names,
    files=st.dictionaries(names, files, max_size=3),
    counts=st.dictionaries(names, counts, max_size=3),
    facts=st.dictionaries(names, st.one_of(counts, names, st.lists(counts, max_size=3)), max_size=3),
)


@given(commits)
def test_a_record_survives_its_writing(commit: Commit) -> None:
    assert Commit.from_json(commit.to_json()) == commit
    assert "\n" not in commit.to_json()


@given(st.dictionaries(names, counts, max_size=6))
def test_equal_records_are_equal_bytes(values: dict[str, int]) -> None:
    backwards = dict(reversed(values.items()))
    assert Commit("p", 0, "f", {}, values).to_json() == Commit("p", 0, "f", {}, backwards).to_json()


def test_a_fingerprint_depends_on_everything_and_on_no_order_of_keys() -> None:
    base = fingerprint(PHASE, 1, {"a": 1, "b": 2}, ["x", "y"])
    assert base == fingerprint(PHASE, 1, {"b": 2, "a": 1}, ["x", "y"])
    others = [
        fingerprint("text.decide", 1, {"a": 1, "b": 2}, ["x", "y"]),
        fingerprint(PHASE, 2, {"a": 1, "b": 2}, ["x", "y"]),
        fingerprint(PHASE, 1, {"a": 1, "b": 3}, ["x", "y"]),
        fingerprint(PHASE, 1, {"a": 1, "b": 2}, ["y", "x"]),
        fingerprint(PHASE, 1, {"a": 1, "b": 2}, ["xy"]),
    ]
    assert len({base, *others}) == 6


def test_a_partition_is_committed_by_its_record(storage: Storage) -> None:
    ledger = Ledger(storage, PHASE)
    commit = done(storage, 3)
    assert ledger.load() == {}  # the file alone is nothing
    ledger.add(commit)
    ledger.add(commit)
    assert ledger.load() == {(3, "aa"): commit}
    assert ledger.loose == 1


def test_the_newest_attempt_is_the_one_that_counts(storage: Storage) -> None:
    ledger = Ledger(storage, PHASE)
    ledger.add(done(storage, 0, data=b"first"))
    second = done(storage, 0, data=b"the second")
    ledger.add(second)
    assert ledger.load() == {(0, "aa"): second}


@pytest.mark.parametrize("damage", ["gone", "short", "empty record", "half a record"])
def test_what_is_not_whole_is_not_committed(storage: Storage, tmp_path: Path, damage: str) -> None:
    ledger = Ledger(storage, PHASE)
    kept, lost = done(storage, 0), done(storage, 1)
    ledger.add(kept)
    ledger.add(lost)
    record = ledger.record_name(1, "aa")
    name = lost.files["rows"].name
    if damage == "gone":
        storage.delete([name])
    elif damage == "short":
        storage.write(name, b"row")
    else:
        storage.write(record, b"" if damage == "empty record" else lost.to_json().encode()[:40])
    assert ledger.load() == {(0, "aa"): kept}


def test_files_elsewhere_are_looked_for_there(storage: Storage) -> None:
    storage.write("shards/train-00000.tar", b"tar")
    commit = Commit("pack.shard", 0, "aa", {"tar": FileRef("shards/train-00000.tar", 3, "c")})
    ledger = Ledger(storage, "pack.shard")
    ledger.add(commit)
    assert ledger.load() == {(0, "aa"): commit}
    storage.delete(["shards/train-00000.tar"])
    assert ledger.load() == {}


def test_closing_makes_one_file_whatever_the_order(storage: Storage) -> None:
    ledger = Ledger(storage, PHASE)
    made = [ledger.add(done(storage, number)) for number in range(5)]
    digest = ledger.close(made)
    assert ledger.close(list(reversed(made))) == digest
    assert read_records(storage, ledger.closed_name) == made
    assert ledger.collect(made) == 5  # the records of single partitions
    assert ledger.load() == {(commit.partition, "aa"): commit for commit in made}
    assert ledger.loose == 0


def test_what_no_record_names_is_collected_and_nothing_else(storage: Storage) -> None:
    ledger = Ledger(storage, PHASE)
    done(storage, 0, "stale")
    made = [ledger.add(done(storage, 0))]
    storage.write("text/decide/verdicts.parquet", b"another phase's")
    ledger.close(made)
    ledger.collect(made)
    left = [info.name for info in storage.list(recursive=True)]
    assert left == ["text/decide/verdicts.parquet", "text/measure/commits.parquet", made[0].files["rows"].name]


def test_a_damaged_closed_file_commits_nothing(storage: Storage) -> None:
    ledger = Ledger(storage, PHASE)
    ledger.close([done(storage, 0)])
    storage.write(ledger.closed_name, storage.read(ledger.closed_name)[:100])
    assert ledger.load() == {}


def test_a_phase_keeps_to_its_folder() -> None:
    assert folder("text.measure") == "text/measure"


def test_the_manifest_is_empty_before_and_touched_only_by_a_change(storage: Storage, tmp_path: Path) -> None:
    assert read_manifest(storage)["phases"] == []
    phase = {"phase": PHASE, "records": "text/measure/commits.parquet", "checksum": "c", "partitions": 1}
    write_manifest(storage, {"complete": True, "phases": [phase]})
    before = (tmp_path / "manifest.json").stat().st_mtime_ns
    write_manifest(storage, {"phases": [phase], "complete": True})
    assert (tmp_path / "manifest.json").stat().st_mtime_ns == before
    assert read_manifest(storage) == {"complete": True, "phases": [phase]}


@pytest.mark.parametrize(
    "name",
    ["../x/y.parquet", "/etc/passwd", "a/../../b", "x.parquet", "a//b", "a/.ssh", "-a/b", "a/b'c", "a/*", "a/b\n",
     "a/ü", "a\\b/c", "s3://a/b", "a/b/", "", ".", "a/\0"],
)  # fmt: skip
def test_a_record_names_files_below_the_dataset_and_no_others(name: str) -> None:
    text = Commit(PHASE, 0, "aa", {"rows": FileRef(name, 1, "c")}).to_json()
    with pytest.raises(RecordError, match="is no file's name in a dataset"):
        Commit.from_json(text)


@pytest.mark.parametrize(
    "change",
    [{"partition": -1}, {"partition": 2**70}, {"partition": "0; DROP"}, {"partition": True}, {"counts": {"input": -1}},
     {"files": []}, {"files": {"rows": {"name": "a/b"}}}, {"phase": 3}, {"facts": None}, {"fingerprint": ["x"]}],
)  # fmt: skip
def test_a_record_of_another_form_is_refused(change: dict[str, Any]) -> None:
    good = json.loads(Commit(PHASE, 0, "aa", {"rows": FileRef("a/b", 1, "c")}).to_json())
    for text in (json.dumps({**good, **change}), json.dumps([good]), "null", "{", "[" * 100_000):
        with pytest.raises(RecordError):
            Commit.from_json(text)


@pytest.mark.parametrize(
    "phase",
    [{"phase": "text.measure", "records": "../../x.parquet"}, {"phase": "a'b.c", "records": "a'b/c/commits.parquet"},
     {"phase": "text.measure"}, "text", {"phase": "..", "records": "///commits.parquet"}],
)  # fmt: skip
def test_a_manifest_of_another_form_is_refused(storage: Storage, phase: object) -> None:
    write_manifest(storage, {"complete": True, "phases": [phase]})
    with pytest.raises(RecordError, match=r"manifest\.json is not as openwit writes it"):
        read_manifest(storage)


def test_a_manifest_without_bounds_is_refused(storage: Storage) -> None:
    phases = [{"phase": f"text.a{n}", "records": f"text/a{n}/commits.parquet", "checksum": "c"} for n in range(60_000)]
    write_manifest(storage, {"complete": True, "phases": phases})
    with pytest.raises(RecordError, match=r"it has [\d,]+ bytes, and 4,194,304 are the most"):
        read_manifest(storage)


def test_a_phase_may_be_in_a_manifest_twice(storage: Storage) -> None:
    """A balance that widens its windows does a phase again."""
    phase = {"phase": PHASE, "records": "text/measure/commits.parquet", "checksum": "c"}
    write_manifest(storage, {"complete": True, "phases": [phase, phase]})
    assert len(read_manifest(storage)["phases"]) == 2


@pytest.mark.parametrize("counts", [{}, {"input": 1, "kept": 1}, {"input": 1, "kept": 2, "dropped": -1}, [1, 1, 0]])
def test_a_stage_that_a_manifest_counts_has_all_three_counts(storage: Storage, counts: object) -> None:
    write_manifest(storage, {"complete": True, "phases": [], "funnel": {"text": counts}})
    with pytest.raises(RecordError, match=r"manifest\.json is not as openwit writes it"):
        read_manifest(storage)


def test_a_record_of_another_phase_commits_nothing(storage: Storage) -> None:
    ledger = Ledger(storage, PHASE)
    ledger.close([replace(done(storage, 0), phase="dedup.decide")])
    assert ledger.load() == {}

"""An exchange brings every row to its bucket, in the order of the maps, whatever is merged on the way."""

from __future__ import annotations

import pickle
import tracemalloc
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from dataset.ids import checksum
from dataset.ledger.commits import Commit, FileRef
from dataset.ledger.damage import DamagedError
from dataset.store.storage import Storage
from pipeline.engine.exchanges import exchange, gathering
from pipeline.engine.exchanges.exchange import Buckets, Exchange, merge_files, write_buckets

ROWS = pa.schema([("n", pa.int64()), ("text", pa.string()), ("ids", pa.list_(pa.int32()))])
Maps = list[list[tuple[int, str | None, list[int]]]]  # a map's rows: the bucket, and what is in the row


def table(rows: Sequence[tuple[int, str | None, list[int]]], first: int) -> pa.Table:
    columns = [range(first, first + len(rows)), [row[1] for row in rows], [row[2] for row in rows]]
    return pa.table([pa.array(column, field.type) for column, field in zip(columns, ROWS, strict=True)], schema=ROWS)


def put(storage: Storage, name: str, written: Buckets) -> FileRef:
    storage.write(name, written.data)
    return FileRef(name, written.data.size, checksum(written.data), written.rows)


def mapped(storage: Storage, maps: Maps) -> list[FileRef]:
    files, first = [], 0
    for number, rows in enumerate(maps):
        written = write_buckets(table(rows, first), np.array([row[0] for row in rows], np.int64))
        files.append(put(storage, f"x/{number}.arrows", written))
        first += len(rows)
    return files


def read(storage: Storage, known: Exchange, number: int) -> pa.Table:
    """Read as a worker does, who is sent a bucket."""
    sent = pickle.loads(pickle.dumps(known.bucket(number)))
    tables: Iterator[pa.Table] = (part for bucket in sent for part in bucket.read(storage))
    return pa.concat_tables([ROWS.empty_table(), *tables])


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Storage:
    return Storage(str(tmp_path_factory.mktemp("exchange")))


rows = st.tuples(st.integers(0, 9), st.none() | st.text(max_size=5), st.lists(st.integers(0, 9), max_size=3))


@settings(max_examples=25)
@given(st.lists(st.lists(rows, max_size=12), min_size=1, max_size=6), st.integers(1, 4))
def test_each_bucket_has_its_rows_in_the_order_of_the_maps(storage: Storage, maps: Maps, together: int) -> None:
    files = mapped(storage, maps)
    few = [
        put(storage, f"x/merged{first}.arrows", merge_files(storage, files[first : first + together]))
        for first in range(0, len(files), together)
    ]
    every = table([row for rows in maps for row in rows], 0)
    bucket = pa.array([row[0] for rows in maps for row in rows], pa.int64())
    for known in (Exchange.of(storage, files), Exchange.of(storage, few)):
        assert known.buckets == sorted(set(bucket.to_pylist()))
        for number in range(10):
            assert read(storage, known, number).equals(every.filter(pa.compute.equal(bucket, number)))


def test_a_task_depends_on_its_own_bucket_alone(storage: Storage) -> None:
    one = Exchange.of(storage, mapped(storage, [[(0, "a", []), (1, "b", [])], [(1, "c", [])]]))
    other = Exchange.of(storage, mapped(storage, [[(0, "a", []), (1, "b", [])], [(1, "d", [])]]))
    sums = [[known.bucket(number)[0].checksum for number in (0, 1)] for known in (one, other)]
    assert sums[0][0] == sums[1][0] and sums[0][1] != sums[1][1]


def test_what_a_task_is_sent_does_not_grow_with_the_buckets(storage: Storage) -> None:
    maps: Maps = [[(bucket, "x", []) for bucket in range(count)] for count in (4000, 4000)]
    known = Exchange.of(storage, mapped(storage, maps))
    assert len(pickle.dumps(known.bucket(7))) < 1500


def test_a_bucket_is_found_without_touching_all_lines() -> None:
    lines = np.zeros(100_000, exchange._KNOWN)
    lines["bucket"] = np.repeat(np.arange(50_000), 2)
    known = Exchange(("a", "b"), b"", lines)
    assert len(known.of_bucket(0)) == 2
    tracemalloc.start()
    assert known.of_bucket(41_000)["bucket"].tolist() == [41_000, 41_000]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100_000  # a copy of the numbers alone would be 400,000 bytes; other threads may take some, too


def test_more_lines_than_are_read_at_once(storage: Storage) -> None:
    files = mapped(storage, [[(bucket, "x", []) for bucket in range(2 * exchange._TAIL_BYTES // 32)]])
    known = Exchange.of(storage, files)
    assert len(known.buckets) == 2 * exchange._TAIL_BYTES // 32 and read(storage, known, 8000).num_rows == 1


@pytest.mark.parametrize("place", [0, -100, -12, -3], ids=["a bucket", "the lines", "their checksum", "the end"])
def test_damage_is_named(storage: Storage, place: int) -> None:
    (file,) = mapped(storage, [[(0, "a" * 300, [1, 2, 3])]])
    data = bytearray(storage.read(file.name))
    data[place or int(Exchange.of(storage, [file]).lines["offset"][0]) + 20] ^= 1
    storage.write(file.name, bytes(data))
    with pytest.raises(DamagedError, match=r"x/0\.arrows is damaged"):
        read(storage, Exchange.of(storage, [file]), 0)


def test_a_file_that_is_cut_off_or_no_exchanges_is_named(storage: Storage) -> None:
    (file,) = mapped(storage, [[(0, "a", [])]])
    storage.write(file.name, storage.read(file.name)[:-9])
    with pytest.raises(DamagedError, match="it is shorter than"):
        Exchange.of(storage, [file])
    storage.write("x/old.arrows", b"ARROW" * 99)
    with pytest.raises(DamagedError, match="does not end as a file of an exchange does"):
        Exchange.of(storage, [FileRef("x/old.arrows", 495, "", 1)])


@pytest.mark.parametrize("buckets", [[1, 1], [2, 1], [0, 2**31]])
def test_buckets_that_no_exchange_has_are_damage(storage: Storage, buckets: list[int]) -> None:
    lines = np.zeros(2, exchange._LINE)
    lines["bucket"] = buckets
    tail = lines.tobytes() + ROWS.serialize().to_pybytes()
    end = exchange._END.pack(2, len(tail) - lines.nbytes, xxhash.xxh3_64_intdigest(tail), exchange._SIGNATURE)
    storage.write("x/made-up.arrows", tail + end)
    with pytest.raises(DamagedError, match=r"made-up\.arrows"):
        Exchange.of(storage, [FileRef("x/made-up.arrows", len(tail + end), "", 0)])


def test_neighbours_are_merged_up_to_a_number_and_a_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathering, "MERGED_FILES", 3)
    monkeypatch.setattr(gathering, "MERGED_BYTES", 100)
    files = [FileRef(f"x/{n}", size, "") for n, size in enumerate([10, 10, 10, 10, 90, 200, 1])]
    assert [[file.bytes for file in group] for group in gathering.groups(files)] == [[10] * 3, [10, 90], [200], [1]]


def test_a_record_of_before_is_read_and_its_phase_done_again() -> None:
    """Ranges stood in the record; the files had no lines."""
    record = Commit("dedup.texts", 0, "f", {"keys": FileRef("dedup/texts/keys-0.arrows", 9, "c", 1)}).to_json()
    ranges = '"ranges":{"0":{"checksum":"c","length":9,"offset":0,"rows":1}},"rows"'
    assert Commit.from_json(record.replace('"rows"', ranges)) == Commit.from_json(record)
    from pipeline.engine.phase import PHASES
    from pipeline.stages.dedup import stage as dedup

    assert dedup.texts.version > exchange.LAYOUT and PHASES["dedup.texts_keys"].of == "dedup.texts"

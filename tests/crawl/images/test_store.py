from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawl.images.observations import Ingested, Observation, RefusedBody, observe
from crawl.images.store import (
    FOLDER,
    discard,
    find_damaged,
    newest,
    read_chunk,
    read_images,
    restore,
    trim,
    write_chunk,
)
from dataset.ids import checksum
from dataset.ledger.damage import DamagedError
from dataset.schema import OBSERVATIONS
from dataset.store.storage import Storage

TIME = "2026-01-02T03:04:05Z"


def image(body: bytes) -> Ingested:
    return Ingested(bytes(16), bytes(32), "image/jpeg", 20, 10, 20, 10, bytes(32), 50, b"\1\2\3", bytes(16), body)


def ok(url: str, body: bytes = b"pixels", fetched_at: str = TIME) -> Observation:
    return observe(url, image(body), origin="http", fetched_at=fetched_at, status=200, final_url=url, fetched_bytes=9)


def failed(url: str, outcome: str = "timeout", fetched_at: str = TIME) -> Observation:
    return observe(url, RefusedBody(outcome, "why"), origin="http", fetched_at=fetched_at)


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(str(tmp_path))


def test_what_is_written_is_read_in_the_order_of_urls(storage: Storage) -> None:
    blob, parquet = write_chunk(storage, "a", [ok("http://b/", b"two"), failed("http://c/"), ok("http://a/", b"one")])
    assert parquet == f"{FOLDER}/a-{checksum(storage.read(parquet))[:16]}.parquet"
    table = read_chunk(storage, "a")
    assert table.schema.equals(OBSERVATIONS)
    assert table["url"].to_pylist() == ["http://a/", "http://b/", "http://c/"]
    assert table["outcome"].to_pylist() == ["ok", "ok", "timeout"]
    assert table["detail"].to_pylist() == [None, None, "why"]
    assert table["blob"].to_pylist() == [blob, blob, None]
    assert table["mean_rgb"].to_pylist() == [b"\1\2\3", b"\1\2\3", None]
    assert storage.read(blob) == b"onetwo"


def test_images_are_read_by_place_in_the_order_asked(storage: Storage) -> None:
    write_chunk(storage, "a", [ok("http://a/", b"one"), ok("http://b/", b"two"), failed("http://c/")])
    write_chunk(storage, "b", [ok("http://d/", b"three")])
    table = pa.concat_tables([read_chunk(storage, "b"), read_chunk(storage, "a")]).take([3, 1, 0, 2, 1])
    assert read_images(storage, table) == [b"", b"one", b"three", b"two", b"one"]
    assert read_images(storage, table.slice(0, 0)) == []


def test_equal_bytes_are_stored_once(storage: Storage) -> None:
    blob, _ = write_chunk(storage, "a", [ok("http://a/", b"same"), ok("http://b/", b"same")])
    assert storage.read(blob) == b"same"
    assert read_images(storage, read_chunk(storage, "a")) == [b"same", b"same"]


def test_a_chunk_without_images_has_no_blob(storage: Storage) -> None:
    assert len(write_chunk(storage, "a", [failed("http://a/")])) == len(write_chunk(storage, "b", [])) == 1
    assert len(read_chunk(storage, "b")) == 0


def test_the_same_observations_give_the_same_bytes(tmp_path: Path) -> None:
    rows = [ok("http://b/", b"two"), failed("http://c/"), ok("http://a/", b"one")]
    files: list[dict[str, bytes]] = []
    for name, order in (("x", rows), ("y", rows[::-1])):
        storage = Storage(str(tmp_path / name))
        files.append({file: storage.read(file) for file in write_chunk(storage, "a", order)})
    assert files[0] == files[1]


def test_a_chunk_is_written_once(storage: Storage) -> None:
    write_chunk(storage, "a", [ok("http://a/", b"first")])
    with pytest.raises(FileExistsError):
        write_chunk(storage, "a", [ok("http://a/", b"other")])
    assert read_images(storage, read_chunk(storage, "a")) == [b"first"]


def test_a_writer_that_comes_too_late_harms_nothing(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    first = ok("http://a/", b"first")
    write_chunk(storage, "a", [first])
    monkeypatch.setattr(storage, "list", lambda folder, recursive=False: [])  # it looked before the other had written
    with pytest.raises(FileExistsError):
        write_chunk(storage, "a", [first])
    write_chunk(storage, "a", [replace(ok("http://a/", b"other"), fetched_at="9999")])
    monkeypatch.undo()
    assert read_images(storage, newest(read_chunk(storage, "a"))) == [b"other"]


@pytest.mark.parametrize("how", ["flipped", "cut", "empty", "anothers"])
def test_a_chunk_that_is_not_what_was_written_is_named(storage: Storage, how: str) -> None:
    _, file = write_chunk(storage, "a", [ok("http://a/", b"first")])
    (another,) = write_chunk(storage, "b", [failed("http://b/")])
    data = bytearray(storage.read(file))
    data[len(data) // 2] ^= 1
    storage.write(file, {"cut": data[:-9], "empty": b"", "anothers": storage.read(another)}.get(how, data))
    with pytest.raises(DamagedError, match=rf"{file} is damaged: its bytes are not those that its name stands for"):
        read_chunk(storage, "a")


def test_a_discarded_chunk_leaves_what_another_of_its_name_needs(storage: Storage) -> None:
    blob, file = write_chunk(storage, "a", [ok("http://a/", b"first")])
    again, new = write_chunk(storage, "a", [ok("http://a/", b"first"), failed("http://b/")], instead_of=[file])
    _, gone = write_chunk(storage, "b", [ok("http://c/", b"other")])
    discard(storage, [file, gone])
    assert blob == again
    assert {info.name for info in storage.list(FOLDER)} == {new, again}
    assert read_images(storage, read_chunk(storage, "a")) == [b"first", b""]


def count(storage: Storage, rows: Sequence[Observation], name: str = "n") -> list[tuple[str, str, str]]:
    write_chunk(storage, name, rows)
    table = newest(read_chunk(storage, name))
    return list(zip(*(table[column].to_pylist() for column in ("url", "outcome", "fetched_at")), strict=True))


def test_an_image_counts_more_than_a_failure_and_the_latest_of_equals(storage: Storage) -> None:
    rows = [
        ok("http://a/", fetched_at="2026-01-01"),
        failed("http://a/", fetched_at="2026-01-02"),
        failed("http://b/", "dns_failed", "2026-01-01"),
        failed("http://b/", "timeout", "2026-01-03"),
        failed("http://b/", "dns_failed", "2026-01-02"),
        ok("http://c/", b"old", "2026-01-01"),
        ok("http://c/", b"new", "2026-01-02"),
        ok("http://d/", b"old", "2026-01-01"),
        failed("http://d/", "hash_list_match", "2026-01-02"),  # what is on a list now is not kept for having been ok
    ]
    assert count(storage, rows) == [
        ("http://a/", "ok", "2026-01-01"),
        ("http://b/", "timeout", "2026-01-03"),
        ("http://c/", "ok", "2026-01-02"),
        ("http://d/", "hash_list_match", "2026-01-02"),
    ]
    assert len(newest(OBSERVATIONS.empty_table())) == 0


@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.sampled_from(["ok", "timeout"]), st.integers(0, 9)),
        unique=True,
        min_size=1,
    ),
    st.randoms(),
)
def test_the_order_of_observations_does_not_matter(rows, random) -> None:
    columns = {
        "url": [url for url, _, _ in rows],
        "outcome": [outcome for _, outcome, _ in rows],
        "fetched_at": [str(time) for _, _, time in rows],
        "origin": ["http"] * len(rows),
    }
    fields = {field.name: columns.get(field.name, [None] * len(rows)) for field in OBSERVATIONS}
    table = pa.table({field.name: pa.array(fields[field.name], field.type) for field in OBSERVATIONS})
    shuffled = list(range(len(rows)))
    random.shuffle(shuffled)
    result = newest(table.take(shuffled))
    assert result.equals(newest(table))
    for url, outcome, time in zip(
        *(result[name].to_pylist() for name in ("url", "outcome", "fetched_at")), strict=True
    ):
        of_url = [(kind == "ok", at) for where, kind, at in rows if where == url]
        assert (outcome == "ok", int(time)) == max(of_url)


def test_rows_of_both_origins_of_one_url_may_stand_in_a_chunk(storage: Storage) -> None:
    rows = [failed("http://a/"), replace(ok("http://a/"), origin="archive")]
    assert count(storage, rows) == [("http://a/", "ok", TIME)]


@pytest.mark.parametrize(
    "found", [b"", b"on", b"another blob, which is longer", b"one\0\0\0", b"xxxtwo, a longer one", b"onetwo and more"]
)
def test_a_blob_that_is_lost_is_made_anew_byte_for_byte(storage: Storage, found: bytes) -> None:
    observations = [ok("http://a/", b"one"), ok("http://b/", b"two")]
    blob, _ = write_chunk(storage, "a", observations)
    storage.write(blob, found)
    table = read_chunk(storage, "a")
    lost = table.filter(pa.array(find_damaged(storage, table)))
    assert restore(storage, lost, [*observations, failed("http://c/")]) == [
        *(item for item in observations if item.url not in lost["url"].to_pylist()),
        failed("http://c/"),
    ]
    trim(storage, table.slice(0, 1))
    assert storage.read(blob) == b"onetwo"

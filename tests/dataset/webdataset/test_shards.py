"""Shards are plain tars, the same bytes for the same samples; damage is an error that names the sample."""

from __future__ import annotations

import io
import json
import re
import tarfile
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pytest
import webdataset
from hypothesis import given
from hypothesis import strategies as st

from dataset.schema import SHARD_INDEX
from dataset.store.storage import Storage
from dataset.tables import to_parquet
from dataset.webdataset.shards import (
    DamagedSampleError,
    Entry,
    Index,
    build_index,
    key_and_part,
    parse_sample,
    read_index,
    read_raw_samples,
    read_sample,
    read_samples,
    sample_size,
    to_index,
    write_shard,
)
from dataset.webdataset.tar import DamagedTarError

Sample = tuple[str, dict[str, bytes]]

SAMPLES: list[Sample] = [
    ("00", {"json": b"{}", "txt": "Ein Äpfelchen".encode(), "jpg": b"\xff\xd8" + bytes(700)}),
    ("0a", {"webp": b"RIFF" * 128, "txt": b"", "json": b'{"a": 1}'}),
    ("ff", {"txt": b"no image"}),
]


def written(samples: list[Sample]) -> tuple[bytes, list[Entry]]:
    file = io.BytesIO()
    entries = write_shard(samples, file)
    return file.getvalue(), entries


def rows_of(shard: str, entries: list[Entry], split: str = "train") -> pa.Table:
    rows = [
        {"shard": shard, "split": split, "pair_id": bytes([number] * 16), **entry._asdict()}
        for number, entry in enumerate(entries)
    ]
    return pa.Table.from_pylist(rows, SHARD_INDEX)


def stored(root: Path, samples: list[Sample], shard: str = "train-00000.tar") -> tuple[Storage, Index]:
    storage = Storage(str(root))
    data, entries = written(samples)
    storage.write(f"shards/{shard}", data)
    return storage, to_index(rows_of(shard, entries), "train")


NOT_UTF8 = pa.Array.from_buffers(pa.string(), 1, [None, pa.py_buffer(b"\0\0\0\0\2\0\0\0"), pa.py_buffer(b"\xff\xfe")])


@pytest.mark.parametrize(
    ("column", "value"),
    [
        *(("offset", pa.array([number], pa.int64())) for number in (-1, -(2**63), 2**63 - 1, None)),
        *(("size", pa.array([number], pa.int64())) for number in (-512, 2**62, None)),
        *((name, value) for name in ("key", "shard") for value in (NOT_UTF8, pa.array([None], pa.string()))),
        ("pair_id", pa.array([None], SHARD_INDEX.field("pair_id").type)),
    ],
)
def test_an_index_of_what_cannot_be_is_a_sentence(tmp_path: Path, column: str, value: pa.Array) -> None:
    table = rows_of("train-00000.tar", [Entry("00", 0, 1024, 1)])
    table = table.set_column(table.column_names.index(column), SHARD_INDEX.field(column), value)
    storage = Storage(str(tmp_path))
    storage.write("shards/index.parquet", to_parquet(table, SHARD_INDEX))
    with pytest.raises(
        ValueError, match=r"shards/index.parquet is no index of shards as openwit writes it .*" + column
    ):
        read_index(storage, "train")


def test_memory_is_not_taken_for_what_an_index_only_claims(tmp_path: Path) -> None:
    storage, _ = stored(tmp_path, SAMPLES)
    huge = to_index(rows_of("train-00000.tar", [Entry("00", 512, 2**60, 0), Entry("0a", 2**50, 2**60, 0)]), "train")
    first, second = read_raw_samples(storage, huge, [0, 1])
    assert (len(first) + 512, second) == (len(storage.read("shards/train-00000.tar")), b"")
    with pytest.raises(ValueError, match="negative"):
        storage.read_ranges("shards/train-00000.tar", [(0, 5), (-5, 5)])


def test_members_are_adjacent_ordered_and_without_time_or_owner() -> None:
    data, _ = written(SAMPLES)
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        members = archive.getmembers()
    names = ["00.jpg", "00.txt", "00.json", "0a.webp", "0a.txt", "0a.json", "ff.txt"]
    assert [member.name for member in members] == names
    assert {(m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode) for m in members} == {(0, 0, 0, "", "", 0o644)}
    assert data[257:265] == b"ustar\x0000"


def test_equal_samples_are_equal_bytes() -> None:
    assert written(SAMPLES) == written([(key, dict(reversed(parts.items()))) for key, parts in SAMPLES])


def test_webdataset_reads_them(tmp_path: Path) -> None:
    (tmp_path / "train-00000.tar").write_bytes(written(SAMPLES)[0])
    read = list(webdataset.WebDataset(str(tmp_path / "train-00000.tar"), shardshuffle=False))
    assert [sample["__key__"] for sample in read] == ["00", "0a", "ff"]
    assert [{part: sample[part] for part in parts} for sample, (_, parts) in zip(read, SAMPLES, strict=True)] == [
        parts for _, parts in SAMPLES
    ]


@given(st.text("aB._/-\n", min_size=1, max_size=12))
def test_names_are_told_apart_as_webdataset_does(name: str) -> None:
    key, part = webdataset.tariterators.base_plus_ext(name)
    is_meta = re.match(webdataset.tariterators.tar_file_iterator.__defaults__[0], name)
    if key is None or is_meta:
        assert key_and_part(name) is None
    elif not name.rpartition("/")[2].startswith("."):  # it takes a hidden file in a folder for a sample
        assert key_and_part(name) == (key, part.lower())
    else:
        assert key_and_part(name) is None


def test_the_loader_of_open_clip_train_reads_them(tmp_path: Path) -> None:
    from open_clip_train.data import tarfile_to_samples_nothrow

    (tmp_path / "train-00000.tar").write_bytes(written(SAMPLES)[0])
    read = tarfile_to_samples_nothrow([{"url": str(tmp_path / "train-00000.tar")}] * 2)
    assert [sample["__key__"] for sample in read] == ["00", "0a", "ff"] * 2


@given(
    st.lists(
        st.tuples(
            st.text("0123456789abcdef", min_size=1, max_size=64),
            st.dictionaries(st.sampled_from(["jpg", "webp", "txt", "json"]), st.binary(max_size=1100), min_size=1),
        ),
        max_size=6,
        unique_by=lambda sample: sample[0],
    )
)
def test_entries_lead_to_the_samples(samples: list[Sample]) -> None:
    data, entries = written(samples)
    assert [entry.key for entry in entries] == [key for key, _ in samples]
    assert data.endswith(bytes(1024)) and len(data) == sum(entry.size for entry in entries) + 1024
    position = 0
    for (key, parts), entry in zip(samples, entries, strict=True):
        assert (entry.offset, entry.size) == (position, sample_size(parts))
        assert parse_sample(data[entry.offset : entry.offset + entry.size], key) == parts
        position += entry.size


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ([("a.b", {"txt": b""})], "hexadecimal digits, not 'a.b'"),
        ([("../a", {"txt": b""})], "hexadecimal digits"),
        ([("", {"txt": b""})], "hexadecimal digits"),
        ([("a" * 65, {"txt": b""})], "hexadecimal digits"),
        ([("aa", {"txt": b""}), ("aa", {"txt": b""})], "key aa occurs twice"),
        ([("aa", {})], "sample aa must have parts"),
        ([("aa", {"png": b""})], r"not \['png'\]"),
    ],
)
def test_a_sample_that_no_shard_may_hold(samples: list[Sample], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        written(samples)


def test_samples_are_read_in_the_order_asked_across_shards(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    tables = []
    for number in (1, 0):
        shard = f"train-0000{number}.tar"
        data, entries = written([(key, {**parts, "txt": f"{key} {number}".encode()}) for key, parts in SAMPLES])
        storage.write(f"shards/{shard}", data)
        tables.append(rows_of(shard, entries))
    index = to_index(pa.concat_tables(tables), "train")
    assert [index.name(row) for row in (0, 5)] == ["train-00001.tar/00", "train-00000.tar/ff"]
    read = read_samples(storage, index, [5, 0, 3, 0, 2])
    assert [parts["txt"] for parts in read] == [b"ff 0", b"00 1", b"00 0", b"00 1", b"ff 1"]


def test_an_index_holds_one_split_and_its_fingerprint_says_which_samples(tmp_path: Path) -> None:
    _, entries = written(SAMPLES)
    table = pa.concat_tables(
        [rows_of("train-00000.tar", entries), rows_of("heldout-00000.tar", entries[:1], "heldout")]
    )
    storage = Storage(str(tmp_path))
    storage.write("shards/index.parquet", to_parquet(table))
    train, heldout = read_index(storage, "train"), read_index(storage, "heldout")
    assert (len(train), train.shards, train.split) == (3, ("train-00000.tar",), "train")
    assert (len(heldout), heldout.shards, heldout.split) == (1, ("heldout-00000.tar",), "heldout")
    assert train.pair_id.tolist() == [[n * 0x0101010101010101] * 2 for n in range(3)]
    assert len(read_index(storage, "other")) == 0
    others = [
        to_index(table.slice(0, 2), "train"),
        to_index(table.take([1, 0, 2]), "train"),
        to_index(rows_of("train-00001.tar", entries), "train"),
        heldout,
    ]
    assert len({index.fingerprint for index in [train, *others]}) == 5
    assert to_index(pa.concat_tables([table.slice(0, 1), table.slice(1)]), "train").fingerprint == train.fingerprint


def test_a_dataset_without_shards_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_index(Storage(str(tmp_path)), "train")


def test_another_samples_bytes_are_damage_that_names_the_sample(tmp_path: Path) -> None:
    storage, _ = stored(tmp_path, SAMPLES)
    _, entries = written(SAMPLES)
    shifted = [entry._replace(offset=after.offset, checksum=0) for entry, after in pairwise(entries)]
    index = to_index(rows_of("train-00000.tar", shifted), "train")
    with pytest.raises(DamagedSampleError, match=r"sample 00: found '0a\.webp'"):
        read_sample(storage, index, 0)
    beyond = to_index(rows_of("train-00000.tar", [Entry("00", 10**6, 1024, 0)]), "train")
    with pytest.raises(DamagedSampleError, match="sample 00: its shard is missing, or cut off before it"):
        read_sample(storage, beyond, 0)


@given(st.data())
def test_a_flipped_bit_anywhere_is_damage_that_names_the_place(data: st.DataObject) -> None:
    shard, entries = written(SAMPLES)
    index = to_index(rows_of("train-00000.tar", entries), "train")
    row = data.draw(st.sampled_from(range(len(entries))))
    start, size = entries[row].offset, entries[row].size
    raw = bytearray(shard[start : start + size])
    assert index.sample(row, bytes(raw)) == SAMPLES[row][1]
    bit = data.draw(st.integers(0, 8 * len(raw) - 1))
    raw[bit // 8] ^= 1 << bit % 8
    with pytest.raises(
        DamagedSampleError, match=rf"bytes {start:,} to {start + size:,} of shards/train-00000\.tar are"
    ):
        index.sample(row, bytes(raw))


def test_an_index_of_before_there_were_checksums_is_read(tmp_path: Path) -> None:
    storage, _ = stored(tmp_path, SAMPLES)
    table = rows_of("train-00000.tar", written(SAMPLES)[1])
    storage.write("shards/index.parquet", to_parquet(table.drop_columns(["checksum"])))
    index = read_index(storage, "train")
    assert index.fingerprint == to_index(table, "train").fingerprint  # a run goes on when its dataset gets them
    assert [read_sample(storage, index, row) for row in range(3)] == [parts for _, parts in SAMPLES]


@given(st.data())
def test_damaged_bytes_are_an_error_or_the_right_key(data: st.DataObject) -> None:
    shard, entries = written(SAMPLES)
    entry = entries[0]
    raw = bytearray(shard[entry.offset : entry.offset + entry.size])
    for _ in range(data.draw(st.integers(0, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(raw[: data.draw(st.integers(0, len(raw)))])
    try:
        assert parse_sample(cut, "00")
    except DamagedSampleError as error:
        assert "00" in str(error)


@given(st.binary(max_size=2048))
def test_bytes_of_no_tar_at_all_are_damage(data: bytes) -> None:
    with pytest.raises(DamagedSampleError):
        parse_sample(data, "00")


def foreign(path: Path, names: list[str], format_: int = tarfile.PAX_FORMAT) -> None:
    """A shard as others write them: times, owners, folders, long names."""
    with tarfile.open(path, "w", format=format_) as archive:
        for name in names:
            member = tarfile.TarInfo(name)
            content = json.dumps({"pair_id": "ab" * 16}).encode() if name.endswith("json") else name.encode()
            member.size, member.mtime, member.uname = len(content), 1_600_000_000.25, "someone"
            archive.addfile(member, io.BytesIO(content))


@pytest.mark.parametrize("format_", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_anyones_shard_can_be_indexed_and_read_at_random(tmp_path: Path, format_: int) -> None:
    (tmp_path / "shards").mkdir()
    long = "part/" + "x" * 120
    names = ["part/000.PNG", "part/000.txt", "readme", "part/001.jpg", "part/001.txt", f"{long}.txt", f"{long}.json"]
    foreign(tmp_path / "shards" / "others.tar", names, format_)
    table, damage = build_index(str(tmp_path / "shards" / "others.tar"), split="train")
    assert not damage
    assert table.column("key").to_pylist() == ["part/000", "part/001", long]
    index = to_index(table, "train")
    storage = Storage(str(tmp_path))
    assert read_sample(storage, index, 1) == {"jpg": b"part/001.jpg", "txt": b"part/001.txt"}
    assert set(read_sample(storage, index, 2)) == {"txt", "json"}
    ids = table.column("pair_id").to_pylist()
    assert ids[2] == bytes.fromhex("ab" * 16)
    assert len(set(ids)) == 3


def test_the_index_of_our_own_shard_is_what_its_writer_said(tmp_path: Path) -> None:
    data, entries = written(SAMPLES)
    (tmp_path / "train-00000.tar").write_bytes(data)
    table, _ = build_index(str(tmp_path / "train-00000.tar"))
    assert [row["checksum"] for row in table.to_pylist()] == [None] * len(entries)  # of which nobody has said it
    found = [Entry(row["key"], row["offset"], row["size"], 0) for row in table.to_pylist()]
    assert found == [entry._replace(checksum=0) for entry in entries]
    assert set(table.column("shard").to_pylist()) == {"train-00000.tar"}


def test_a_file_that_is_no_tar_has_no_index(tmp_path: Path) -> None:
    (tmp_path / "page.tar").write_bytes(b"<html>" * 1000)
    with pytest.raises(DamagedTarError, match="no tar header"):
        build_index(str(tmp_path / "page.tar"))

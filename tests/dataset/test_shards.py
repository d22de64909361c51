"""Shards: others can read ours, we can read others', and the same samples are the same bytes."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import webdataset
from hypothesis import given, settings
from hypothesis import strategies as st

from dataset.ids import pair_id
from dataset.schema import SHARD_INDEX
from dataset.shards import (
    DamagedSampleError,
    build_index,
    parse_sample,
    read_index,
    read_sample,
    read_samples,
    sample_size,
    shard_size,
    to_index,
    write_shard,
)
from dataset.storage import Storage
from dataset.tables import to_parquet

Samples = list[tuple[str, dict[str, bytes]]]
SAMPLES: Samples = [
    ("00ff", {"jpg": b"picture", "txt": "a naïve caption".encode(), "json": b"{}"}),
    ("0a", {"webp": bytes(range(256)) * 4, "txt": b""}),
    ("7", {"txt": b"x" * 512}),
]


def shard(samples: Samples) -> bytes:
    file = io.BytesIO()
    write_shard(samples, file)
    return file.getvalue()


def dataset(root: Path, samples: Samples, split: str = "train") -> Storage:
    """A dataset of one shard."""
    file = io.BytesIO()
    entries = write_shard(samples, file)
    storage = Storage(str(root))
    storage.write("shards/train-00000.tar", file.getvalue())
    rows = [
        {"shard": "train-00000.tar", "split": split, "pair_id": pair_id("u", entry.key), **entry._asdict()}
        for entry in entries
    ]
    storage.write("shards/index.parquet", to_parquet(pa.Table.from_pylist(rows, SHARD_INDEX)))
    return storage


def test_webdataset_reads_what_we_wrote(tmp_path: Path) -> None:
    path = tmp_path / "train-00000.tar"
    path.write_bytes(shard(SAMPLES))
    read = [
        (sample["__key__"], {part: data for part, data in sample.items() if not part.startswith("__")})
        for sample in webdataset.WebDataset(str(path), shardshuffle=False)
    ]
    assert read == SAMPLES


def test_members_are_plain_ustar_in_a_fixed_order() -> None:
    data = shard([("ab", {"json": b"{}", "txt": b"t", "jpg": b"j"})])
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        members = archive.getmembers()
    assert [member.name for member in members] == ["ab.jpg", "ab.txt", "ab.json"]
    assert {(member.mtime, member.uid, member.gid, member.mode, member.uname) for member in members} == {
        (0, 0, 0, 0o644, "")
    }
    assert data[257:265] == b"ustar\x0000"


parts = st.dictionaries(st.sampled_from(["jpg", "webp", "txt", "json"]), st.binary(max_size=1100), min_size=1)
samples = st.dictionaries(st.text("0123456789abcdef", min_size=1, max_size=64), parts, max_size=6)


@settings(max_examples=60, deadline=None)
@given(samples)
def test_same_samples_give_same_bytes_that_the_entries_address(given: dict[str, dict[str, bytes]]) -> None:
    file = io.BytesIO()
    entries = write_shard(given.items(), file)
    data = file.getvalue()
    reordered = [(key, dict(reversed(list(parts.items())))) for key, parts in given.items()]
    assert shard(reordered) == data
    assert len(data) == shard_size(sum(map(sample_size, given.values())))
    assert [entry.key for entry in entries] == list(given)
    for key, offset, size in entries:
        assert parse_sample(data[offset : offset + size], key) == given[key]
        with tarfile.open(fileobj=io.BytesIO(data[offset : offset + size])) as archive:
            assert {member.name for member in archive} == {f"{key}.{part}" for part in given[key]}


@pytest.mark.parametrize("key", ["", "a.b", "AB", "../a", "g", "a" * 65, "a/b", "a\n"])
def test_an_unsafe_key_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match="hexadecimal"):
        shard([(key, {"txt": b""})])


def test_a_key_twice_and_unknown_or_absent_parts_are_refused() -> None:
    with pytest.raises(ValueError, match="twice"):
        shard([("a", {"txt": b""}), ("a", {"txt": b""})])
    for wrong in ({}, {"exe": b""}, {"txt": b"", "../x": b""}):
        with pytest.raises(ValueError, match="parts of"):
            shard([("a", wrong)])


def test_samples_are_read_at_random_through_the_index(tmp_path: Path) -> None:
    storage = dataset(tmp_path, SAMPLES)
    index = read_index(storage, "train")
    assert (len(index), index.name(1)) == (3, "train-00000.tar/0a")
    assert index.pair_id[1].tobytes() == np.frombuffer(pair_id("u", "0a"), ">u8").astype(np.uint64).tobytes()
    assert read_samples(storage, index, [2, 0, 2]) == [SAMPLES[2][1], SAMPLES[0][1], SAMPLES[2][1]]
    assert len(read_index(storage, "heldout")) == 0


def test_the_fingerprint_is_of_the_samples_and_their_order() -> None:
    rows = [
        {"shard": f"{split}-00000.tar", "key": f"{n:x}", "split": split, "offset": 0, "size": 9, "pair_id": bytes([n] * 16)}
        for n, split in enumerate(["train", "train", "heldout"])
    ]
    fingerprints = [
        to_index(pa.Table.from_pylist(table, SHARD_INDEX), "train").fingerprint
        for table in (rows, rows[:2], rows[1::-1], rows[:1])
    ]
    assert fingerprints[0] == fingerprints[1]
    assert len(set(fingerprints[1:])) == 3


@pytest.mark.parametrize(
    ("place", "damage"), [(0, b"\xff" * 512), (0, b"other.jpg"), (124, b"zzzzzzzzzzz"), (156, b"x"), (0, b"..\x00")]
)
def test_damaged_bytes_are_told_from_a_sample(tmp_path: Path, place: int, damage: bytes) -> None:
    storage = dataset(tmp_path, SAMPLES)
    data = bytearray(storage.read("shards/train-00000.tar"))
    data[place : place + len(damage)] = damage
    storage.write("shards/train-00000.tar", bytes(data))
    index = read_index(storage, "train")
    with pytest.raises(DamagedSampleError, match="00ff"):
        read_sample(storage, index, 0)
    assert read_sample(storage, index, 1) == SAMPLES[1][1]


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=1600), st.integers(0, 2000))
def test_any_bytes_are_a_sample_or_damaged(data: bytes, cut: int) -> None:
    for hostile in (data, shard(SAMPLES)[:cut], shard(SAMPLES)[:512] + data):
        try:
            assert parse_sample(hostile, "00ff")
        except DamagedSampleError as error:
            assert "00ff" in str(error)


def test_a_shard_that_ends_early_is_damage(tmp_path: Path) -> None:
    storage = dataset(tmp_path, SAMPLES)
    storage.write("shards/train-00000.tar", storage.read("shards/train-00000.tar")[:600])
    index = read_index(storage, "train")
    for row in range(3):
        with pytest.raises(DamagedSampleError):
            read_sample(storage, index, row)


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_anybodys_tar_gets_an_index(tmp_path: Path, form: int) -> None:
    """Folders, long and foreign names, other suffixes and other people's json."""
    long = "photos/" + "é" * 60
    theirs = [
        ("photos/one", {"jpeg": b"1" * 700, "cls": b"3"}),
        (long, {"png": b"2", "txt": b"two"}),
        ("three", {"JPG": b"3", "seg.png": b"s", "json": json.dumps({"pair_id": "ab" * 16}).encode()}),
        ("four", {"txt": b"4", "json": b'{"pair_id": 5}'}),
    ]
    path = tmp_path / "shards" / "theirs.tar"
    path.parent.mkdir()
    with tarfile.open(path, "w", format=form) as archive:
        folder = tarfile.TarInfo("photos")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for key, members in theirs:
            for part, data in members.items():
                member = tarfile.TarInfo(f"{key}.{part}")
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
    table = build_index(str(path))
    assert table.schema == SHARD_INDEX
    assert table.column("key").to_pylist() == [key for key, _ in theirs]
    ids = table.column("pair_id").to_pylist()
    assert ids[2] == b"\xab" * 16
    assert len(set(ids)) == 4
    assert build_index(str(path)).equals(table)
    index = to_index(table, "train")
    read = read_samples(Storage(str(tmp_path)), index, range(4))
    assert read == [{part.lower(): data for part, data in members.items()} for _, members in theirs]


def test_the_index_of_our_own_shard_is_the_one_written_with_it(tmp_path: Path) -> None:
    storage = dataset(tmp_path, SAMPLES)
    built = to_index(build_index(storage.url_of("shards/train-00000.tar")), "train")
    written = read_index(storage, "train")
    assert built.keys.to_pylist() == written.keys.to_pylist()
    assert built.offset.tolist() == written.offset.tolist()
    assert built.size.tolist() == written.size.tolist()


def test_what_is_no_tar_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(b"no tar at all" * 100)
    with pytest.raises(tarfile.TarError):
        build_index(str(path))
    with pytest.raises(FileNotFoundError):
        build_index(str(tmp_path / "none.tar"))

"""Copies of shards are whole, bounded, downloaded once, and never believed when they are spoiled."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataset.store.storage import Storage
from dataset.webdataset.shards import read_index, read_raw_samples
from tests import s3_server
from tests.train import tiny
from train.data.shard_cache import Copy, ShardCache
from train.data.shard_reader import ShardReader

KIB = 2**10


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Storage:
    """Six files of 100 KiB."""
    storage = Storage(str(tmp_path_factory.mktemp("remote")))
    for number in range(6):
        storage.write(f"{number}.tar", content(number))
    return storage


def content(number: int) -> bytes:
    return np.random.default_rng(number).bytes(100 * KIB)


def read(cache: ShardCache, storage: Storage, number: int) -> bytes:
    copy = cache.open(storage, f"{number}.tar", "v1")
    try:
        return copy.read(10**6, 0)
    finally:
        copy.close()


@pytest.fixture
def downloads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that were opened in their storage."""
    names: list[str] = []
    opened = Storage.open
    monkeypatch.setattr(Storage, "open", lambda self, name: names.append(name) or opened(self, name))
    return names


@settings(max_examples=50)
@given(st.integers(0, 110 * KIB), st.integers(0, 110 * KIB))
def test_any_part_of_a_copy_is_that_of_the_shard(shards: Storage, offset: int, size: int) -> None:
    cache = ShardCache(f"{shards.url}/cache", 10**6)
    copy = cache.open(shards, "1.tar", "v1")
    assert copy.read(size, offset) == content(1)[offset : offset + size]
    copy.close()


def test_a_shard_is_downloaded_once_and_another_version_again(
    shards: Storage, tmp_path: Path, downloads: list[str]
) -> None:
    for _ in range(3):
        assert read(ShardCache(str(tmp_path), 10**6), shards, 1) == content(1)
    assert downloads == ["1.tar"]
    ShardCache(str(tmp_path), 10**6).open(shards, "1.tar", "v2").close()
    assert downloads == ["1.tar", "1.tar"]


def test_the_least_recently_used_copies_leave_first(shards: Storage, tmp_path: Path, downloads: list[str]) -> None:
    cache = ShardCache(str(tmp_path), 310 * KIB)
    for turn, number in enumerate([0, 1, 2, 0, 3]):
        assert read(cache, shards, number) == content(number)
        for path in tmp_path.glob("*.shard"):  # file systems' clocks are coarse
            if path.stat().st_mtime > 10**6:
                os.utime(path, (turn + 1, turn + 1))
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 310 * KIB
    downloads.clear()
    for number in (0, 2, 3):
        read(cache, shards, number)
    assert downloads == []
    read(cache, shards, 1)
    assert downloads == ["1.tar"]


def test_a_copy_that_was_removed_can_be_read_on(shards: Storage, tmp_path: Path) -> None:
    cache = ShardCache(str(tmp_path), 150 * KIB)
    first = cache.open(shards, "0.tar", "v1")
    read(cache, shards, 1)
    assert not first.path.exists()
    assert first.read(10**6, 0) == content(0)
    first.close()


def test_a_shard_larger_than_the_cache_is_refused(shards: Storage, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^cache_bytes must be at least \d+ to hold .*0\.tar, not 1000$"):
        read(ShardCache(str(tmp_path), 1000), shards, 0)


@pytest.mark.parametrize("damage", ["flipped", "cut", "empty", "sums", "longer"])
def test_a_spoiled_copy_is_named_and_read_again(
    shards: Storage, tmp_path: Path, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = ShardCache(str(tmp_path), 10**6)
    read(cache, shards, 2)
    (path,) = tmp_path.glob("*.shard")
    data = bytearray(path.read_bytes())
    if damage == "flipped":
        data[70_000] ^= 1
    elif damage == "sums":
        data[100 * KIB + 3] ^= 1
    path.write_bytes({"cut": data[:-40], "empty": b"", "longer": data + b"x"}.get(damage, data))
    index = read_index(Storage(tiny.write_dataset(tmp_path / "any", tiny.CAPTIONS[:1])), "train")
    place = {"offset": np.array([65_000]), "size": np.array([9_000]), "checksum": np.zeros(1, np.uint64)}
    index = replace(index, shards=("2.tar",), folder="", fingerprint="v1", **place)
    (found,) = ShardReader(shards, index, cache).read(np.array([0]))
    assert found == content(2)[65_000:74_000]
    assert f"{path} is damaged and was removed" in capsys.readouterr().err
    assert read(cache, shards, 2) == content(2)


def in_processes(work: Callable[[int], None], count: int) -> list[int | None]:
    context = multiprocessing.get_context("fork")
    processes: list[Any] = [context.Process(target=work, args=(number,)) for number in range(count)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    return [process.exitcode for process in processes]


def test_many_processes_download_a_shard_once(shards: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = Storage.open

    def counting(self: Storage, name: str) -> Any:
        with (tmp_path / "log").open("a") as log:
            log.write(f"{name}\n")
        return opened(self, name)

    monkeypatch.setattr(Storage, "open", counting)

    def work(number: int) -> None:
        cache = ShardCache(str(tmp_path / "cache"), 10**6)
        for turn in range(6):
            shard = (number + turn) % 6
            assert read(cache, shards, shard) == content(shard)

    assert in_processes(work, 4) == [0] * 4
    assert sorted((tmp_path / "log").read_text().split()) == [f"{number}.tar" for number in range(6)]


def test_a_download_that_was_killed_leaves_no_copy_and_no_room_taken(shards: Storage, tmp_path: Path) -> None:
    def die(number: int) -> None:
        class Killed(ShardCache):
            def _make_room(self, size: int) -> None:
                super()._make_room(size)
                (part,) = self.folder.glob("*.part")
                part.write_bytes(bytes(90 * KIB))
                os.kill(os.getpid(), signal.SIGKILL)

        read(Killed(str(tmp_path), 150 * KIB), shards, 4)

    assert in_processes(die, 1) == [-signal.SIGKILL]
    cache = ShardCache(str(tmp_path), 150 * KIB)
    assert read(cache, shards, 5) == content(5)  # though 90 KiB were left
    assert read(cache, shards, 4) == content(4)
    assert len(list(tmp_path.glob("*.part"))) == 0


def test_what_is_announced_is_downloaded_in_the_background(shards: Storage, tmp_path: Path) -> None:
    cache = ShardCache(str(tmp_path), 10**6)
    cache.prefetch([(shards, f"{number}.tar", "v1") for number in (0, 1)] + [(shards, "none.tar", "v1")])
    assert cache._prefetching is not None
    cache._prefetching.join()
    copies = sorted(tmp_path.glob("*.shard"))
    assert sorted(Copy(path).read(10**6, 0) for path in copies) == sorted([content(0), content(1)])


@pytest.mark.slow
def test_shards_on_s3_are_read_by_ranges_or_through_the_cache(tmp_path: Path) -> None:
    local = Storage(tiny.write_dataset(tmp_path / "local", shard_sizes=[30, 4, 30]))
    index = read_index(local, "train")
    rows = np.array([5, 63, 31, 5, 0])
    expected = read_raw_samples(local, index, rows)
    with s3_server.running() as bucket:
        remote = Storage(f"{bucket}/data")
        for info in local.list("shards"):
            remote.write(info.name, local.read(info.name))
        cache = ShardCache(str(tmp_path / "cache"), 10**7)
        assert ShardReader(remote, index).read(rows) == expected
        assert ShardReader(remote, index, cache).read(rows) == expected
        remote.write("shards/train-00000.tar", local.read("shards/train-00000.tar")[:512])
        remote.delete(["shards/train-00001.tar"])
        spoiled = ShardReader(remote, index).read(np.array([31, 5, 40]))
        assert (len(spoiled[0]), len(spoiled[1])) == (0, 0)
        assert spoiled[2] == read_raw_samples(local, index, [40])[0]
        assert ShardReader(remote, index, cache).read(rows) == expected

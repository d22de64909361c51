"""A mapped file has the bytes that its reference says, wherever it lies."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

import fsspec
import pytest

from dataset.ids import checksum
from dataset.ledger.commits import FileRef
from dataset.store.mapped import UNUSED_DAYS, map_file
from dataset.store.storage import Storage

DATA = bytes(range(256)) * 100


def reference() -> FileRef:
    return FileRef("phase/file.arrow", len(DATA), checksum(DATA), 0)


@pytest.fixture
def remote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Storage:
    """A storage that is not on this machine's disk, and a temporary folder of the test's own."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    fsspec.filesystem("memory").store.clear()
    storage = Storage("memory://bucket/out")
    storage.write(reference().name, DATA)
    return storage


def test_a_local_file_is_mapped_where_it_is(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    storage.write(reference().name, DATA)
    assert map_file(storage, reference()).to_pybytes() == DATA
    assert [path.name for path in tmp_path.iterdir()] == ["phase"]


def test_a_remote_file_is_read_once_a_machine(remote: Storage, tmp_path: Path) -> None:
    assert map_file(remote, reference()).to_pybytes() == DATA
    remote.delete([reference().name])
    assert map_file(remote, reference()).to_pybytes() == DATA
    (folder,) = tmp_path.iterdir()
    assert folder.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("damaged", [b"", b"other bytes"])
def test_a_damaged_copy_is_replaced(remote: Storage, tmp_path: Path, damaged: bytes) -> None:
    map_file(remote, reference())
    (copy,) = tmp_path.glob("*/*")
    copy.write_bytes(damaged)
    assert map_file(remote, reference()).to_pybytes() == DATA


def test_a_folder_that_another_laid_out_is_not_used(remote: Storage, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / f"openwit-{os.getuid()}").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="set TMPDIR"):
        map_file(remote, reference())


def age(path: Path, days: float) -> None:
    then = time.time() - days * 24 * 3600
    os.utime(path, (then, then))


def test_files_that_nobody_uses_are_deleted_and_their_readers_read_on(remote: Storage, tmp_path: Path) -> None:
    held = map_file(remote, reference())
    (copy,) = tmp_path.glob("*/*")
    part = copy.with_name("tmp-half-written")
    part.write_bytes(b"half")
    other = FileRef("phase/other.arrow", 3, checksum(b"new"), 0)
    remote.write(other.name, b"new")
    for path in (copy, part):
        age(path, UNUSED_DAYS - 1)
    map_file(remote, other)
    assert copy.exists()
    assert part.exists()
    age(copy.with_name(other.checksum), 2 * UNUSED_DAYS)
    for path in (copy, part):
        age(path, UNUSED_DAYS + 1)
    map_file(
        remote, FileRef("phase/other.arrow", 3, checksum(b"new"), 0)
    )  # used again: it stays, and nothing is kept anew
    assert copy.exists()
    copy.with_name(other.checksum).unlink()
    map_file(remote, other)
    assert [path.name for path in copy.parent.iterdir()] == [other.checksum]
    assert held.to_pybytes() == DATA
    assert map_file(remote, reference()).to_pybytes() == DATA

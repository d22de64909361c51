"""A mapped file has the bytes that its reference says, wherever it lies."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import fsspec
import pytest

from dataset.commits import FileRef
from dataset.ids import checksum
from dataset.mapped import mapped
from dataset.storage import Storage

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
    assert mapped(storage, reference()).to_pybytes() == DATA
    assert [path.name for path in tmp_path.iterdir()] == ["phase"]


def test_a_remote_file_is_read_once_a_machine(remote: Storage, tmp_path: Path) -> None:
    assert mapped(remote, reference()).to_pybytes() == DATA
    remote.delete([reference().name])
    assert mapped(remote, reference()).to_pybytes() == DATA
    (folder,) = tmp_path.iterdir()
    assert folder.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("damaged", [b"", b"other bytes"])
def test_a_damaged_copy_is_replaced(remote: Storage, tmp_path: Path, damaged: bytes) -> None:
    mapped(remote, reference())
    (copy,) = tmp_path.glob("*/*")
    copy.write_bytes(damaged)
    assert mapped(remote, reference()).to_pybytes() == DATA


def test_a_folder_that_another_laid_out_is_not_used(remote: Storage, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / f"openwit-{os.getuid()}").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="set TMPDIR"):
        mapped(remote, reference())

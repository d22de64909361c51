"""Which encoder a name means is known by the content of its files, which may be larger than the memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from dataset.ids import checksum
from dataset.store.storage import Storage
from pipeline.stages.image.encoder import identity
from train.checkpoints import checkpoint

FILES = {"checkpoint.json": b"{}", "model/0.distcp": bytes(range(256)) * 40_000, "model/.metadata": b""}


def test_a_checkpoint_is_known_by_its_content_and_is_not_read_into_memory_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Storage(str(tmp_path))
    for name, data in FILES.items():
        run.write(f"checkpoints/7/{name}", data)
    monkeypatch.setattr(checkpoint, "find", lambda name: (run, "checkpoints/7"))
    listed = sorted(file.name for file in run.list("checkpoints/7"))
    whole = checksum("\n".join(f"{name} {checksum(run.read(name))}" for name in listed).encode())
    with monkeypatch.context() as patch:
        patch.setattr(Storage, "read", lambda self, name: pytest.fail(f"{name} is read whole"))
        assert identity(str(tmp_path)) == whole
    run.write("checkpoints/7/checkpoint.json", b"{ }")
    assert identity(str(tmp_path)) != whole

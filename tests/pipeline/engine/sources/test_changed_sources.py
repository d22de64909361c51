"""A source that was rewritten and has its size and time of change still: `--checksum` notices it, and what was taken
from it is taken anew."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dataset.query.views import Dataset
from pipeline.build import build
from pipeline.cli import main
from pipeline.config import build as make_config
from pipeline.config import effective_yaml
from tests.pipeline import small_archive
from tests.pipeline.engine.test_verify import contents


def repaint(archive: Path, url: str) -> None:
    """Change an image's pixels in an uncompressed archive: every second byte of its quantisation table."""
    data, times = bytearray(archive.read_bytes()), archive.stat()
    start = data.index(b"WARC-Target-URI: " + url.encode())
    table = data.index(b"\xff\xdb", start) + 5
    data[table : table + 64 : 2] = bytes(min(255, value + 40) for value in data[table : table + 64 : 2])
    archive.write_bytes(data)
    os.utime(archive, ns=(times.st_atime_ns, times.st_mtime_ns))


def test_a_rewritten_source_gives_what_a_fresh_run_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    archive = small_archive.write(tmp_path / "a.warc", pages=4)
    config = make_config(small_archive.config(archive, tmp_path / "out", run={"workers": 0}))
    build(config, quiet=True)
    before = contents(tmp_path / "out")
    ((url,),) = Dataset(str(tmp_path / "out")).sql("SELECT min(url) FROM pairs WHERE split = 'train'").fetchall()
    repaint(archive, url)

    build(config, quiet=True)
    assert contents(tmp_path / "out") == before  # its size and time of change are believed

    Path("again.yaml").write_text(effective_yaml(config))
    assert main(["run", "again.yaml", "--out", "out", "--checksum"]) == 0
    capsys.readouterr()
    fresh = make_config(small_archive.config(archive, tmp_path / "fresh", run={"workers": 0}))
    build(fresh, quiet=True)
    after = contents(tmp_path / "out")
    assert after == contents(tmp_path / "fresh")
    assert {name for name in before if name.endswith(".tar")} <= set(after)
    assert any(after[name] != before[name] for name in before if name.endswith(".tar"))

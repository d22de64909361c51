"""Damage is named and mended, never passed on: whatever is done to a file of a finished dataset, a run gives the same
bytes again, and `wit verify` says what is not whole.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from crawl.images import store
from dataset.ledger.commits import RecordError
from dataset.ledger.damage import DamagedError
from dataset.query.views import Dataset
from dataset.store.storage import Storage
from pipeline.build import build
from pipeline.cli import main
from pipeline.config import build as make_config
from pipeline.engine.verify import verify
from tests.pipeline import small_archive

Hurt = Callable[[bytearray], None]


def flip(data: bytearray) -> None:
    data[len(data) // 2] ^= 4


def cut(data: bytearray) -> None:
    del data[len(data) // 2 :]


def zeros(data: bytearray) -> None:
    data[len(data) // 3 :] = bytes(len(data) - len(data) // 3)


def run(archive: Path, out: Path) -> None:
    """Build, in partitions that each hold images which are kept: damage is where it is met."""
    pieces = {"piece_bytes": 2**17, "pairs_per_partition": 30}
    build(make_config(small_archive.config(archive, out, run=pieces)), quiet=True)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """An archive, and a finished dataset of it."""
    folder = tmp_path_factory.mktemp("made")
    archive = small_archive.write(folder / "small.warc.gz", pages=8)
    run(archive, folder / "out")
    return archive, folder / "out"


def contents(out: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(out)): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file() and path.relative_to(out).parts[0] != "log"
    }


def copied(made: tuple[Path, Path], tmp_path: Path) -> Path:
    shutil.copytree(made[1], tmp_path / "out")
    return tmp_path / "out"


def hurt(out: Path, pattern: str, how: Hurt) -> str:
    """Damage the largest file of a pattern; its name."""
    path = max(out.glob(pattern), key=lambda path: path.stat().st_size)
    data = bytearray(path.read_bytes())
    how(data)
    path.write_bytes(data)
    return str(path.relative_to(out))


FILES = [
    "fetch/store/*/*.blob",
    "shards/*.tar",
    "image/decide/verdicts-*.parquet",
    "extract/candidates/candid*.parquet",
]


def test_a_whole_dataset_is_said_to_be(made: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(made[1]), "--deep"]) == 0
    assert "all whole" in capsys.readouterr().out
    assert verify(str(made[1]), deep=True).files > 100


@pytest.mark.parametrize("how", [flip, cut, zeros])
def test_what_is_damaged_is_named_and_a_run_gives_the_same_bytes(
    made: tuple[Path, Path], tmp_path: Path, how: Hurt, caplog: pytest.LogCaptureFixture
) -> None:
    archive, out = made[0], copied(made, tmp_path)
    records = ("match/measure/commits.parquet", "records.parquet")
    names = {hurt(out, pattern, how) for pattern in (*FILES, "dedup/texts/keys-*.arrows", *records)}
    assert {damage.file for damage in verify(str(out), deep=True).damages} == names
    run(archive, out)
    assert contents(out) == contents(made[1])
    assert any("is damaged" in record.getMessage() for record in caplog.records)


def test_what_is_found_while_it_is_read_is_mended_within_the_run(
    made: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there is too much to be read again beforehand."""
    monkeypatch.setattr("pipeline.engine.verify.REREAD_BYTES", 0)
    archive, out = made[0], copied(made, tmp_path)
    for pattern in ("fetch/store/*/*.blob", "prebalance/map/pairs-*.arrows", "prebalance/pairs/pairs-*.parquet"):
        hurt(out, pattern, flip)
    for gone in ("pack", "neardup", "fetch/decide"):  # what reads them is done again
        shutil.rmtree(out / gone)
    run(archive, out)
    assert contents(out) == contents(made[1])


def test_repair_makes_room_and_a_run_fills_it(
    made: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.engine.verify.REREAD_BYTES", 0)
    archive, out = made[0], copied(made, tmp_path)
    names = {hurt(out, pattern, flip) for pattern in FILES}
    assert main(["verify", str(out)]) == 0  # the lengths are right
    assert main(["verify", str(out), "--deep", "--format", "json"]) == 1
    said = json.loads(capsys.readouterr().out.partition("\n")[2])
    assert {item["file"] for item in said} == names
    assert any("bytes" in item["what"] for item in said if item["file"].endswith(".blob"))
    assert main(["verify", str(out), "--deep", "--repair"]) == 0
    run(archive, out)
    assert contents(out) == contents(made[1])
    assert main(["verify", str(out), "--deep"]) == 0


def test_a_reader_is_told_the_file_and_the_place(made: tuple[Path, Path], tmp_path: Path) -> None:
    out = copied(made, tmp_path)
    name = hurt(out, "fetch/store/*/*.blob", zeros)
    images = Dataset(str(out)).sql("SELECT * FROM _images WHERE blob IS NOT NULL ORDER BY blob, blob_offset")
    table: pa.Table = images.to_arrow_table()
    with pytest.raises(DamagedError, match=rf"{name} is damaged: the image at bytes [0-9,]+ to [0-9,]+"):
        store.read_images(Storage(str(out)), table)
    shown = store.read_images(Storage(str(out)), table, lenient=True)
    assert any(shown)
    assert not all(shown)


def test_a_manifest_that_is_lost_is_said_to_be_and_a_run_writes_it_anew(
    made: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive, out = made[0], copied(made, tmp_path)
    before = contents(out)
    (out / "manifest.json").unlink()
    assert [damage.file for damage in verify(str(out)).damages] == ["manifest.json"]
    assert main(["sql", str(out), "SELECT count(*) FROM pairs"]) == 1
    assert "manifest.json is gone" in capsys.readouterr().err
    run(archive, out)
    assert contents(out) == before


def test_what_is_no_dataset_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="is no dataset"):
        verify(str(tmp_path))


@pytest.mark.parametrize("how", [flip, cut, zeros])
@pytest.mark.parametrize(
    ("pattern", "query"),
    [
        ("pack/shard/samples-*.parquet", "SELECT count(*) FROM pairs"),
        ("extract/candidates/candid*.parquet", "SELECT text FROM dropped"),  # a view behind the view
        ("text/context/commits.parquet", "SELECT 1"),
        ("manifest.json", "SELECT kept FROM funnel"),
    ],
)
def test_a_question_is_answered_from_what_was_committed_or_not_at_all(
    made: tuple[Path, Path], tmp_path: Path, pattern: str, query: str, how: Hurt
) -> None:
    out = copied(made, tmp_path)
    assert Dataset(str(out)).sql(query).fetchall()
    name = hurt(out, pattern, how)
    with pytest.raises((DamagedError, RecordError), match=re.escape(name)):
        Dataset(str(out)).sql(query).fetchall()


def test_what_no_question_reads_is_not_looked_at(made: tuple[Path, Path], tmp_path: Path) -> None:
    out = copied(made, tmp_path)
    hurt(out, "pack/shard/samples-*.parquet", flip)
    dataset = Dataset(str(out))
    assert dataset.sql("SELECT count(*) FROM candidates").fetchall()
    with pytest.raises(DamagedError):
        dataset.ask("SELECT count(*) FROM pairs")

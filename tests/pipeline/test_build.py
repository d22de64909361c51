"""A whole run on a small archive: what it must keep, whatever happens to it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import webdataset

import dataset
import pipeline.stages.neardup.stage
import pipeline.stages.pack.split
from dataset.ledger.commits import Ledger
from dataset.ledger.lease import LeaseHeldError
from dataset.query.view_script import script
from dataset.stages import names
from dataset.store.storage import Storage
from pipeline.build import build
from pipeline.config import build as make_config
from pipeline.engine.exchanges import gathering
from tests.pipeline import small_archive
from tests.pipeline.prebuilt import Prebuilt


@pytest.fixture(scope="module")
def archive(large: Prebuilt) -> Path:
    return large.archive


@pytest.fixture(scope="module")
def built(large: Prebuilt) -> Path:
    """A finished dataset, to be read only."""
    return large.at()


@pytest.fixture
def copy(built: Path, tmp_path: Path) -> Path:
    """A copy of it, to be changed."""
    return Path(shutil.copytree(built, tmp_path / "out"))


def run(archive: Path, out: Path, to: str | None = None, **overrides: Any) -> dict[str, int]:
    """Build, up to a stage; the tasks done, by phase."""
    return build(make_config(small_archive.config(archive, out, **overrides)), to=to, quiet=True).did


def contents(out: Path) -> dict[str, bytes]:
    """Every file whose bytes must not vary: all but the log of times."""
    return {
        str(path.relative_to(out)): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file() and not str(path.relative_to(out)).startswith("log/")
    }


def test_nothing_disappears(built: Path) -> None:
    made = dataset.open(str(built))
    funnel = made.sql("SELECT stage, input, kept, dropped FROM funnel").fetchall()
    assert [row[0] for row in funnel] == list(names())
    for (_, entered, kept, dropped), following in zip(funnel, [*funnel[1:], None], strict=True):
        assert entered == kept + dropped
        assert following is None or following[1] == kept
    candidates, gone, packed = made.sql(
        "SELECT (SELECT count(*) FROM candidates), (SELECT count(*) FROM dropped), (SELECT count(*) FROM pairs)"
    ).fetchall()[0]
    assert candidates == gone + packed
    both = made.sql("SELECT DISTINCT reason FROM dropped WHERE pair_id IN (SELECT pair_id FROM pairs)").fetchall()
    assert both in ([], [("duplicate_pair",)])  # an occurrence may repeat a pair that is kept; no pair has two fates


def test_every_kind_of_dirt_is_dropped_for_its_reason(built: Path) -> None:
    reasons = {row[0] for row in dataset.open(str(built)).sql("SELECT DISTINCT reason FROM dropped").fetchall()}
    assert reasons >= small_archive.PROVOKES


def test_shards_open_with_webdataset_and_carry_their_lineage(built: Path) -> None:
    shards = sorted((built / "shards").glob("*.tar"))
    assert any(path.name.startswith("train") for path in shards)
    assert any(path.name.startswith("heldout") for path in shards)
    known = {row[0] for row in dataset.open(str(built)).sql("SELECT pair_id FROM pairs").fetchall()}
    seen = set()
    for path in shards:
        for sample in webdataset.WebDataset(str(path), shardshuffle=False):
            about = json.loads(sample["json"])
            assert {"pair_id", "url", "page_url", "archive", "offset"} <= set(about)
            assert about["uid"] == about["pair_id"]  # by which DataComp's resharder chooses
            assert sample["jpg"] and sample["txt"].decode() == about["text"]
            seen.add(about["pair_id"])
    assert seen == known


def test_no_image_and_no_caption_is_in_both_splits(built: Path) -> None:
    made = dataset.open(str(built))
    for key in ("sha256", "lower(text)"):
        both = made.sql(f"SELECT {key} FROM pairs GROUP BY 1 HAVING count(DISTINCT split) > 1").fetchall()
        assert both == []


def test_a_second_run_does_no_work(archive: Path, copy: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in copy.rglob("*.parquet")}
    assert run(archive, copy) == {}
    assert before == {path: path.stat().st_mtime_ns for path in copy.rglob("*.parquet")}


@pytest.mark.parametrize("stage", ["extract/candidates", "text/measure", "dedup/urls", "fetch/get", "neardup/edges"])
def test_a_lost_partition_is_made_again_and_the_change_stops_there(archive: Path, copy: Path, stage: str) -> None:
    before = contents(copy)
    chunks = {path.name for path in (copy / "fetch" / "store").rglob("*")}
    victim = sorted(path for path in (copy / stage).glob("*-0000*") if path.suffix in (".parquet", ".arrows"))[0]
    victim.unlink()
    assert run(archive, copy) == {stage.replace("/", "."): 1}
    assert contents(copy) == before
    assert {path.name for path in (copy / "fetch" / "store").rglob("*")} == chunks  # nothing was fetched twice


def test_a_lost_shard_is_made_again(archive: Path, copy: Path) -> None:
    before = contents(copy)
    (copy / "shards" / "train-00000.tar").unlink()
    assert run(archive, copy) == {"pack.shard": 1}
    assert contents(copy) == before


def test_a_changed_threshold_reruns_the_decision_and_not_the_measure(archive: Path, copy: Path) -> None:
    did = run(archive, copy, "image", text={"min_characters": 12})
    assert "text.decide" in did
    assert "text.measure" not in did
    assert "extract.candidates" not in did
    did = run(archive, copy, "image", text={"min_characters": 12}, image={"min_side": 65})
    assert "image.decide" in did
    assert not {"match.measure", "fetch.get"} & set(did)


def test_the_same_inputs_make_the_same_bytes(small: Prebuilt, tmp_path: Path) -> None:
    """Whether in one go or, as the prebuilt ones, in several."""
    run(small.archive, tmp_path / "other")
    assert contents(tmp_path / "other") == contents(small.at())


def test_files_that_are_merged_and_folded_and_buckets_of_three_rows_change_no_byte_of_the_dataset(
    small: Prebuilt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gathering, "MERGED_FILES", 2)
    monkeypatch.setattr(gathering, "READ_FILES", 1)
    monkeypatch.setattr(gathering, "FOLDED_FILES", 2)
    for stage in (pipeline.stages.neardup.stage, pipeline.stages.pack.split):
        monkeypatch.setattr(stage, "ROWS_PER_BUCKET", 3)
    did = run(small.archive, tmp_path / "other", run={"piece_bytes": 2**17, "pairs_per_partition": 15})
    assert {"neardup.large_star", "neardup.members", "pack.roots"} <= did.keys()
    assert {"dedup.texts_keys", "dedup.urls_keys", "prebalance.map_pairs", "pack.by_shard"} <= did.keys()
    made, plain = contents(tmp_path / "other"), contents(small.at())
    final = [name for name in plain if name.startswith(("shards/", "queries.", "datasheet"))]
    assert [made.get(name) for name in final] == [plain[name] for name in final]


def test_partitioning_does_not_change_the_dataset(small: Prebuilt, tmp_path: Path) -> None:
    run(small.archive, tmp_path / "one", run={"piece_bytes": 2**30, "pairs_per_partition": 10_000})
    one, many = dataset.open(str(tmp_path / "one")), dataset.open(str(small.at()))
    for query in (
        "SELECT pair_id, split FROM pairs ORDER BY ALL",
        "SELECT reason, count(*) FROM dropped GROUP BY 1 ORDER BY 1",
    ):
        assert one.sql(query).fetchall() == many.sql(query).fetchall() != []


def test_stopping_at_a_stage_leaves_the_later_views_empty(small: Prebuilt) -> None:
    made = dataset.open(str(small.at("match")))
    assert [row[0] for row in made.sql("SELECT stage FROM funnel").fetchall()] == ["extract", "text", "match"]
    for view in ("pairs", "images"):
        assert made.sql(f"SELECT count(*) FROM {view}").fetchall() == [(0,)]
    assert made.sql("SELECT count(*) FROM candidates").fetchall()[0][0] > 0


def test_damaged_inputs_are_named_and_do_not_stop_the_run(small: Prebuilt, tmp_path: Path) -> None:
    archive = small.archive
    (tmp_path / "empty.warc.gz").write_bytes(b"")
    (tmp_path / "text.warc.gz").write_bytes(b"this is no archive\n" * 50)
    (tmp_path / "cut.warc.gz").write_bytes(archive.read_bytes()[:20_000])
    (tmp_path / "mislabelled.warc").write_bytes(archive.read_bytes()[:60_000])
    names = [
        str(archive),
        *(str(tmp_path / n) for n in ("empty.warc.gz", "text.warc.gz", "cut.warc.gz", "mislabelled.warc")),
    ]
    run(archive, tmp_path / "out", "fetch", sources=names)  # the last that reads the sources
    made = dataset.open(str(tmp_path / "out"))
    failed = {Path(file).name: error for file, error in made.sql("SELECT file, error FROM sources").fetchall()}
    assert failed["small.warc.gz"] is None
    assert failed["text.warc.gz"] and failed["cut.warc.gz"] and failed["empty.warc.gz"]


def test_two_runs_do_not_write_one_dataset(archive: Path, tmp_path: Path) -> None:
    from dataset.ledger.lease import Lease

    with Lease(Storage(str(tmp_path / "out"))), pytest.raises(LeaseHeldError, match="is being written by"):
        run(archive, tmp_path / "out")


def test_records_of_lost_files_are_not_trusted(copy: Path) -> None:
    ledger = Ledger(Storage(str(copy)), "text.decide")
    whole = ledger.load()
    next((copy / "text" / "decide").glob("verdicts-*")).write_bytes(b"")
    assert len(ledger.load()) == len(whole) - 1


def test_views_sql_is_as_current_as_the_last_stage(small: Prebuilt, tmp_path: Path) -> None:
    storage = Storage(str(small.copy(tmp_path / "out", "match")))
    begun = storage.read("views.sql").decode()
    assert begun == script(storage)
    build(make_config(small.config(tmp_path / "out")), to="dedup", quiet=True)
    assert storage.read("views.sql").decode() == script(storage) != begun

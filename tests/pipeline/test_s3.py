"""A dataset in a bucket is the dataset on disk, byte for byte."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import dataset
from dataset.ledger.lease import Lease, LeaseHeldError
from dataset.stages import names
from dataset.store.storage import Storage
from pipeline.build import build
from pipeline.cli import main
from pipeline.config import build as make_config
from pipeline.forecast.rates import measure_rates
from tests import s3_server
from tests.pipeline import pages, small_archive
from tests.pipeline.prebuilt import Prebuilt


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with s3_server.running() as url:
        yield url


@pytest.fixture(scope="module")
def archive(small: Prebuilt) -> Path:
    return small.archive


@pytest.fixture(scope="module")
def local(small: Prebuilt) -> str:
    return str(small.at())


@pytest.fixture(scope="module")
def local_contents(local: str) -> dict[str, bytes]:
    return contents(local)


@pytest.fixture(scope="module")
def remote(archive: Path, bucket: str) -> str:
    return run(archive, f"{bucket}/datasets/small")


def run(archive: Path | str, out: str, **overrides: Any) -> str:
    build(make_config(small_archive.config(archive, out, **overrides)), quiet=True)
    return out


def contents(out: str) -> dict[str, bytes]:
    """Every file whose bytes must not vary, by name."""
    storage = Storage(out)
    names = [info.name for info in storage.list(recursive=True)]
    names = [name for name in names if not name.startswith(("log/", "fetch/store/"))]
    return dict(zip(names, storage.read_all(names), strict=True))


@pytest.mark.slow
def test_a_bucket_holds_the_same_bytes_as_a_disk(local_contents: dict[str, bytes], remote: str) -> None:
    held = contents(remote)
    assert sorted(held) == sorted(local_contents)
    assert held == local_contents


def test_status_and_plan_have_what_a_run_asked_of_a_bucket(remote: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", remote]) == 0
    heads, *lines = capsys.readouterr().out.partition("requests of the bucket")[2].splitlines()
    assert heads.split() == ["GET", "PUT", "LIST", "DELETE", "MB", "read", "MB", "written"]
    said = {stage.strip(): [float(n.replace(",", "")) for n in line.split()[-6:]] for line in lines
            for stage in [line[:26]] if line.startswith("  ")}  # fmt: skip
    planned = measure_rates(remote)
    for stage in names():
        by_phase = [cost for cost in planned.phases if cost.stage == stage]
        told = [sum(cost.of(kind) for cost in by_phase) for kind in ("get", "put", "list")]
        assert said[stage][:3] == told, stage
        assert told[0] > 0 < told[1], stage


def test_a_second_run_over_s3_does_no_work(archive: Path, remote: str) -> None:
    again = build(make_config(small_archive.config(archive, remote)), quiet=True)
    assert again.did == {}


def test_a_partition_lost_from_a_bucket_is_made_again(
    archive: Path, remote: str, local_contents: dict[str, bytes]
) -> None:
    storage = Storage(remote)
    victim = next(
        info.name for info in storage.list("text/measure") if "-0000" in info.name and info.name.endswith(".parquet")
    )
    storage.delete([victim])
    assert build(make_config(small_archive.config(archive, remote)), quiet=True).did == {"text.measure": 1}
    assert contents(remote) == local_contents


def test_sources_in_a_bucket_give_the_same_pairs(archive: Path, bucket: str, local: str, tmp_path: Path) -> None:
    Storage(f"{bucket}/crawls/2024").write("small.warc.gz", archive.read_bytes())
    out = str(tmp_path / "out")
    config = small_archive.config(f"{bucket}/crawls/*/small.warc.gz", out, beside=archive.parent)
    build(make_config(config), to="fetch", quiet=True)  # the last that reads the sources
    for found in ("SELECT pair_id, text FROM candidates ORDER BY ALL", "SELECT url, sha256 FROM images ORDER BY ALL"):
        assert dataset.open(out).sql(found).fetchall() == dataset.open(local).sql(found).fetchall() != []
    assert dataset.open(out).sql("SELECT file FROM sources").fetchall() == [(f"{bucket}/crawls/2024/small.warc.gz",)]


def test_status_and_sql_answer_over_s3(remote: str, local: str, capsys: pytest.CaptureFixture[str]) -> None:
    query = "SELECT stage, reason, count(*) AS dropped FROM dropped GROUP BY ALL ORDER BY ALL"
    answers = []
    for out in (remote, local):
        assert main(["sql", out, query, "--format", "json"]) == 0
        assert main(["status", out, "--format", "json"]) == 0
        answers.append([json.loads(line) for line in capsys.readouterr().out.splitlines()])
    assert answers[0] == answers[1]
    assert all(answers[0])
    assert main(["sql", f"{remote}-not-there", query]) == 2
    assert "is no dataset" in capsys.readouterr().err


def test_sets_and_older_datasets_in_a_bucket_are_compared_with(bucket: str, tmp_path: Path) -> None:
    def image(seed: int, quality: int = 90) -> bytes:
        return pages.encoded(pages.texture(seed), quality=quality)

    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as archive:
        info = tarfile.TarInfo("s0.jpg")
        info.size = len(image(1))
        archive.addfile(info, io.BytesIO(image(1)))
    Storage(f"{bucket}/wds/test").write("0.tar", tar.getvalue())
    old = f"{bucket}/datasets/castles"
    pages.crawl(tmp_path, "old", {"a.jpg": ("An old castle", image(2))}, out=old)
    new = {
        "b.jpg": ("A castle that examines", image(1, 70)),
        "c.jpg": ("A castle once more", image(2, 70)),
        "d.jpg": ("A new castle", image(3)),
    }
    sets = {"folders": [f"{bucket}/wds"]}
    pages.crawl(tmp_path, "new", new, to="decontaminate", out=f"{bucket}/new", against=[old], decontaminate=sets)
    reasons = dataset.open(f"{bucket}/new").sql("SELECT reason, evidence FROM dropped ORDER BY ALL").fetchall()
    assert [reason for reason, _ in reasons] == ["in_evaluation_set", "near_duplicate_image"]
    assert json.loads(reasons[0][1])["evaluation_image"] == "wds/test/0.tar/s0.jpg"
    assert json.loads(reasons[1][1])["duplicate_of_dataset"] == old
    assert main(["sheet", f"{bucket}/new"]) == 0


def test_two_runs_do_not_write_one_dataset_in_a_bucket(archive: Path, bucket: str) -> None:
    out = f"{bucket}/held"
    with Lease(Storage(out)), pytest.raises(LeaseHeldError, match="is being written by"):
        run(archive, out)
    assert not Storage(out).exists("lease.json")


@pytest.mark.parametrize(
    ("variable", "value", "out", "says"),
    [
        ("AWS_SECRET_ACCESS_KEY", "wrong", "s3://openwit/refused", "AWS_SECRET_ACCESS_KEY"),
        ("AWS_ACCESS_KEY_ID", "nobody", "s3://openwit/refused", "AWS_ACCESS_KEY_ID"),
        ("AWS_REGION", "us-east-1", "s3://no-such-bucket/out", "there is no bucket no-such-bucket"),
    ],
)
def test_a_bucket_that_cannot_be_written_ends_the_run_with_one_sentence(
    variable: str,
    value: str,
    out: str,
    says: str,
    archive: Path,
    bucket: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(small_archive.config(archive, out)))
    with monkeypatch.context() as patched:
        patched.setenv(variable, value)
        s3_server.forget_clients()
        assert main(["run", str(config)]) != 0
    s3_server.forget_clients()
    message = capsys.readouterr().err.strip()
    assert says in message
    assert message.startswith("wit: ")
    assert "Traceback" not in message

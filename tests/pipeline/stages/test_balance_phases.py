"""The balance of a run does not depend on how its work is cut, nor on whether a window was wide enough at once."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import dataset
from filters.queries import balance
from pipeline.build import build
from pipeline.cli import main
from pipeline.config import build as make_config
from pipeline.config_errors import ConfigError
from pipeline.reports import cap_curve
from pipeline.stages import balance_phases
from tests.pipeline import small_archive
from tests.pipeline.prebuilt import Prebuilt


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_archive.write(tmp_path_factory.mktemp("archive") / "small.warc.gz", pages=24)


@pytest.fixture(scope="module")
def built(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A dataset up to its balance, by its mode and the config's `run`; not to be changed. Till dedup modes are one."""

    @cache
    def up_to_dedup(**run: int) -> Path:
        return build_at(tmp_path_factory.mktemp("dedup") / "out", archive, "cap", "dedup", **run)

    @cache
    def of_mode(mode: str, **run: int) -> Path:
        shutil.copytree(up_to_dedup(**run), out := tmp_path_factory.mktemp(mode) / "out")
        return build_at(out, archive, mode, **run)

    return of_mode


def build_at(out: Path, archive: Path, mode: str, to: str = "balance", **run: Any) -> Path:
    balance = {"cap": 4, "mode": mode}
    raw = small_archive.config(archive, out, balance=balance, prebalance={"oversample": 1.5}, run=run)
    build(make_config(raw), to=to, quiet=True)
    return out


def dropped(out: Path) -> list[tuple[Any, ...]]:
    """What both balances of a build dropped, and why."""
    query = "SELECT stage, pair_id, evidence FROM dropped WHERE reason = 'query_full' ORDER BY ALL"
    found = dataset.open(str(out)).sql(query).fetchall()
    assert {row[0] for row in found} == {"prebalance", "balance"}
    return found


Built = Callable[..., Path]


def test_narrow_windows_and_many_buckets_change_nothing(
    built: Built, archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before_balances = shutil.ignore_patterns("prebalance", "balance")
    shutil.copytree(built("cap"), out := tmp_path / "out", ignore=before_balances)
    monkeypatch.setattr(balance, "_SLACK", -8)  # windows that hold less than half of the cap, nearly always
    monkeypatch.setattr(balance, "_SIGMAS", 2)
    monkeypatch.setattr(balance_phases, "HASHES_PER_BUCKET", 1)
    assert dropped(build_at(out, archive, "cap")) == dropped(built("cap"))


@pytest.mark.parametrize("mode", ["cap", "sample"])
def test_partitions_change_nothing(built: Built, mode: str) -> None:
    otherwise = built(mode, piece_bytes=2**17, pairs_per_partition=30)
    assert dropped(otherwise) == dropped(built(mode))


@pytest.mark.parametrize("mode", ["cap", "sample"])
def test_the_curve_says_what_a_run_with_that_cap_keeps(built: Built, mode: str) -> None:
    out = str(built(mode))
    funnel = {
        stage: (count, kept)
        for stage, count, kept in dataset.open(out).sql("SELECT stage, input, kept FROM funnel").fetchall()
    }
    before = cap_curve.curve(out, [1_000_000, 6, 3], "prebalance").to_pylist()  # 6: the cap of 4, oversampled
    assert [(row["pairs"], row["kept"]) for row in before[:2]] == [
        (funnel["prebalance"][0], funnel["prebalance"][0]),
        funnel["prebalance"],
    ]
    assert before[0]["percent_of_matches_in_tail"] == 100
    assert before[0]["full_queries"] == 0 < before[1]["full_queries"] <= before[2]["full_queries"]
    assert before[1]["kept"] > before[2]["kept"]
    (after,) = cap_curve.curve(out, [4]).to_pylist()
    assert (after["pairs"], after["kept"]) == funnel["balance"]
    ((largest,),) = (
        dataset.open(out)
        .sql(
            "SELECT max(n) FROM (SELECT count(*) AS n FROM (SELECT unnest(query_ids) AS q, pair_id FROM _pairs) "
            "WHERE hex(pair_id) NOT IN (SELECT upper(pair_id) FROM dropped) GROUP BY q)"
        )
        .fetchall()
    )
    assert after["largest_query_kept"] == largest


def test_the_curve_of_narrow_windows(built: Built, monkeypatch: pytest.MonkeyPatch) -> None:
    out = str(built("cap"))
    want = cap_curve.curve(out, [2, 6])
    monkeypatch.setattr(balance, "_SLACK", -8)
    monkeypatch.setattr(balance, "_SIGMAS", 2)
    assert cap_curve.curve(out, [2, 6]).equals(want)


def test_wit_balance(small: Prebuilt, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small.copy(tmp_path / "out", "match")
    with pytest.raises(ConfigError, match="has not come to prebalance yet"):
        cap_curve.curve(str(tmp_path / "out"), [3])
    build(make_config(small.config(tmp_path / "out")), to="dedup", quiet=True)
    capsys.readouterr()
    assert main(["balance", str(tmp_path / "out"), "--caps", "2,8", "--format", "csv"]) == 0
    header, two, eight = capsys.readouterr().out.splitlines()
    assert header == ",".join(cap_curve.CURVE.names)
    assert (two.split(",")[0], eight.split(",")[0]) == ("2", "8")
    assert main(["balance", str(tmp_path / "out"), "--caps", "0"]) == 2
    with pytest.raises(SystemExit) as usage:
        main(["balance", str(tmp_path / "out"), "--caps", "few"])
    assert usage.value.code == 2

"""Differences are told from noise answer by answer, and nothing is compared that was not asked alike."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pipeline.cli import main
from train.evaluate.results.compare import compare, holm, mcnemar
from train.evaluate.results.row import Row, bits, share


def row(right: np.ndarray, name: str = "set", asked: str = "x") -> Row:
    return Row(name, "zero_shot", {"acc1": share(right, 0.1)}, "acc1", asked=asked, right=bits(right))


def test_mcnemars_test_is_the_binomial() -> None:
    stats = pytest.importorskip("scipy.stats")
    for first, second in ((0, 0), (1, 0), (3, 9), (40, 12), (900, 1000)):
        expected = stats.binomtest(first, first + second).pvalue if first + second else 1.0
        assert mcnemar(first, second) == pytest.approx(expected, rel=1e-6)


def test_a_clear_difference_is_more_than_noise_and_a_small_one_is_not() -> None:
    one = np.arange(200) < 100
    clear, small = one | (np.arange(200) < 150), one.copy()
    small[100:102] = True
    found, notes = compare([("a", [row(one), row(one, "other")]), ("b", [row(clear), row(small, "other")])])
    assert [each.is_more_than_noise for each in found] == [True, False]
    assert found[0].difference == 0.25 and found[0].low <= 0.25 <= found[0].high
    assert (found[0].only_first, found[0].only_second) == (0, 50)
    assert not notes


def test_holms_correction_never_lets_a_larger_p_pass_before_a_smaller_one() -> None:
    one = np.zeros(60, bool)
    rows = [one | (np.arange(60) < count) for count in (3, 6, 9)]
    found, _ = compare([("a", [row(one)]), *((str(n), [row(each)]) for n, each in enumerate(rows))])
    assert [each.p_holm for each in found] == sorted((each.p_holm for each in found), reverse=True)
    assert all(each.p_holm >= each.p_value for each in found) and holm([]) == []


def test_what_was_not_asked_alike_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    right = np.ones(5, bool)
    for name, rows in (("a", [row(right), row(right, "only")]), ("b", [row(right, asked="y")])):
        (tmp_path / f"{name}.json").write_text(json.dumps([each.to_dict() for each in rows]))
    assert main(["compare", str(tmp_path / "a.json"), str(tmp_path / "b.json")]) == 0
    told = capsys.readouterr().out
    assert "were not asked the same images or classes" in told and "only one of" in told
    assert main(["compare", str(tmp_path / "a.json")]) == 2
    (tmp_path / "b.json").write_text("[1]")
    assert main(["compare", str(tmp_path / "a.json"), str(tmp_path / "b.json")]) == 2
    assert "cannot be compared" in capsys.readouterr().err

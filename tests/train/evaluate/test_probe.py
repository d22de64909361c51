"""Linear and few-shot probes: the least is scikit-learn's, λ is found as the paper does, splits are kept apart."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest

from tests.train.evaluate import helpers
from train.evaluate import probe
from train.evaluate.evaluators import _splits, few_shot
from train.evaluate.probe import STEPS, fit, lambda_of, sweep, validation_rows
from train.evaluate.sets import SetError
from train.evaluate.sets.open import open_set


def clouds(seed: int, each: int = 40, classes: int = 4, width: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Features of classes that overlap."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), each)
    middles = np.random.default_rng(99).normal(size=(classes, width))
    return (middles[labels] + 1.5 * rng.normal(size=(len(labels), width))).astype(np.float32), labels


@pytest.fixture(params=["scipy", "torch"])
def solver(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Probes are fitted by scipy, as on a CPU, or by torch, as on a GPU."""
    if request.param == "torch":
        monkeypatch.setattr(probe, "_fit_by_scipy", partial(probe._fit_by_torch, device="cpu"))
    return str(request.param)


@pytest.mark.parametrize("strength", [0.01, 1.0, 100.0])
def test_ours_and_scikit_learn_find_the_same_least(solver: str, strength: float) -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    features, labels = clouds(0)
    asked, answers = clouds(1)
    elsewhere = fit(features, labels, 4, 10 * strength)
    ours = fit(features, labels, 4, strength, elsewhere)
    theirs = linear_model.LogisticRegression(C=1 / strength, max_iter=1000, tol=1e-8).fit(
        features.astype(float), labels
    )
    entropy = -np.log(theirs.predict_proba(features.astype(float))[np.arange(len(labels)), labels]).sum()
    least = entropy + 0.5 * strength * (theirs.coef_**2).sum()
    assert ours.loss == pytest.approx(least, rel=1e-5)
    assert ours.weights == pytest.approx(theirs.coef_, abs=1e-2)
    accuracy = (ours.scores(asked).argmax(1) == answers).mean()
    assert accuracy == pytest.approx(theirs.score(asked.astype(float), answers), abs=1e-3)


def test_lambda_is_looked_for_coarse_to_fine() -> None:
    assert (lambda_of(0), lambda_of(STEPS)) == pytest.approx((1e-6, 1e6))
    assert lambda_of(8) / lambda_of(0) == pytest.approx(10)
    for peak in (0, 1, 37, 50, 95, 96):
        asked: list[float] = []

        def score(strength: float, peak: int = peak, asked: list[float] = asked) -> tuple[float, float]:
            asked.append(strength)
            return -abs(np.log10(strength) - np.log10(lambda_of(peak))), 0.0

        step, tried = sweep(score)
        assert step == peak
        assert len(asked) == len(set(asked)) == len(tried) <= 7 + 2 * 4


def test_every_class_trains_and_a_class_of_several_validates() -> None:
    labels = np.array([0] * 10 + [1] * 3 + [2])
    chosen = validation_rows(labels)
    assert [int(chosen[labels == label].sum()) for label in range(3)] == [2, 1, 0]


def test_a_probe_learns_from_the_training_part_alone(tmp_path: Path) -> None:
    for split, each in (("train", 6), ("test", 3)):
        helpers.class_folders(tmp_path / "set" / split, each=each)
    what = open_set(tmp_path / "set")
    found = helpers.run("linear_probe", what)
    assert found.figures["acc1"].n == 18
    assert found.metrics["acc1"] == 1.0  # two colours are told apart by any features
    assert 1e-6 <= (found.metrics["lambda"] or 0) <= 1e6
    few = helpers.run("few_shot", what, shots=[1, 4, 16], seeds=2)
    assert few.metrics["acc1@16"] is None and any("16 shots are more than the 6" in note for note in few.notes)
    assert few.metrics["acc1@4"] is not None and few.metrics["shots_to_match_zero_shot"] is not None


def test_a_set_without_a_training_part_is_halved_and_says_so(tmp_path: Path) -> None:
    what = open_set(helpers.class_folders(tmp_path / "set", each=6))
    found = helpers.run("linear_probe", what)
    assert found.figures["acc1"].n == 18
    assert any("half of each class" in note for note in found.notes)
    assert what.test.labels is not None
    learns = _splits.half(what.test, np.arange(36), what.test.labels)
    assert [int(learns[what.test.labels == label].sum()) for label in range(6)] == [3] * 6
    single = open_set(helpers.class_folders(tmp_path / "few", each=1))
    with pytest.raises(SetError, match="too few test images"):
        helpers.run("linear_probe", single)


def test_shots_are_of_a_seed_and_nested() -> None:
    labels = np.repeat(np.arange(3), 20)
    one, four = few_shot.draw_shots(labels, 1, 7), few_shot.draw_shots(labels, 4, 7)
    assert set(one) < set(four) and len(four) == 12
    assert set(few_shot.draw_shots(labels, 4, 8)) != set(four)


def test_where_a_curve_meets_zero_shot() -> None:
    curve = [(1, 0.2), (2, 0.4), (4, 0.6)]
    assert few_shot.shots_to_reach(curve, 0.1) == 1
    assert few_shot.shots_to_reach(curve, 0.5) == pytest.approx(2**1.5)
    assert few_shot.shots_to_reach(curve, 0.7) is None

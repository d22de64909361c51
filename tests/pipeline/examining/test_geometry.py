"""What is told of how features lie is what its definition says."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from pipeline.examining import geometry


def test_alignment_is_0_of_equals_and_2_of_what_is_unrelated() -> None:
    eye = np.eye(4, dtype=np.float32)
    assert geometry.alignment(eye, eye) == pytest.approx(0)
    assert geometry.alignment(eye, np.roll(eye, 1, 0)) == pytest.approx(2)
    assert math.isnan(geometry.alignment(eye[:0], eye[:0]))


def test_uniformity_is_0_of_one_point_and_falls_as_features_spread() -> None:
    same = np.repeat(np.eye(3, dtype=np.float32)[:1], 5, 0)
    ends = np.array([[1, 0], [-1, 0]], np.float32)  # one pair at a squared distance of 4
    assert geometry.uniformity(same) == pytest.approx(0)
    assert geometry.uniformity(ends) == pytest.approx(-8)
    sphere = geometry.unit(np.random.default_rng(0).normal(size=(1000, 64)))
    assert geometry.uniformity(sphere) == pytest.approx(-4, abs=0.15)  # exp(-4), and a little for the variance


def test_the_gap_is_between_means() -> None:
    assert geometry.modality_gap(np.array([[1.0, 0]]), np.array([[0.0, 1], [0, -1]])) == pytest.approx(1)


def test_classes_are_told_by_their_centroids_and_one_without_images_by_nothing() -> None:
    images = geometry.unit(np.array([[1, 0.1, 0], [1, -0.1, 0], [0, 1, 0.1], [0, 1, -0.1]], float))
    prompts = np.eye(3, dtype=np.float32)
    found = geometry.classes(images, np.array([0, 0, 1, 1]), prompts)
    assert found.centroids[:2] == pytest.approx(np.eye(3)[:2], abs=1e-6)
    assert found.nearest[:2].tolist() == [1, 0] and math.isnan(found.spread[2]) and math.isnan(found.least[2])
    assert found.prompt_margin[:2] == pytest.approx([1, 1]) and math.isnan(found.prompt_margin[2])
    assert 0.98 < found.between < 1
    alone = geometry.classes(images[:1], np.array([0]), prompts)
    assert alone.spread[0] == pytest.approx(1) and math.isnan(alone.nearest_cosine[0]) and math.isnan(alone.between)


def test_the_plane_holds_what_differs_most() -> None:
    points = np.zeros((5, 6))
    points[:, 3], points[:, 1] = [-2, -1, 0, 1, 2], [0.1, -0.1, 0, -0.1, 0.1]
    plane = geometry.plane(points)
    assert plane.explained == pytest.approx(1)
    assert plane(points)[:, 0] == pytest.approx([-2, -1, 0, 1, 2])
    assert geometry.plane(points[:1]).explained == 0 and geometry.plane(points[:1])(points[:1]).shape == (1, 2)


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(-3, 3), st.integers(-3, 3)), min_size=0, max_size=12))
def test_a_rank_correlation_is_scipys_within_its_interval(values: list[tuple[int, int]]) -> None:
    one, other = np.array(values, float).reshape(-1, 2).T
    found = geometry.rank_correlation(one, other)
    if len(values) < 3 or len(set(one)) < 2 or len(set(other)) < 2:
        assert found.rho is None and not found.is_shown
        return
    assert found.rho == pytest.approx(spearmanr(one, other).statistic)
    if found.low is not None and found.high is not None:
        assert len(values) >= 5 and -1 < found.low < found.rho < found.high < 1
        assert found.is_shown == (found.low > 0 or found.high < 0)


def test_classes_without_a_number_are_left_out_and_an_interval_needs_five() -> None:
    found = geometry.rank_correlation(np.array([1, 2, 3, np.nan, 5]), np.array([1, 3, 2, 4, np.nan]))
    assert found == geometry.Correlation(0.5, None, None, 3) and not found.is_shown
    perfect = geometry.rank_correlation(np.arange(6.0), np.arange(6.0))
    assert perfect.rho == pytest.approx(1) and perfect.is_shown


def test_bonett_and_wrights_interval_holds_19_of_20() -> None:
    rng, held = np.random.default_rng(0), 0
    truth = 6 / math.pi * math.asin(0.6 / 2)  # Spearman's of a normal pair whose correlation is 0.6
    for _ in range(400):
        one = rng.normal(size=25)
        found = geometry.rank_correlation(one, 0.6 * one + 0.8 * rng.normal(size=25))
        assert found.low is not None and found.high is not None
        held += found.low <= truth <= found.high
    assert 0.92 < held / 400 < 0.98

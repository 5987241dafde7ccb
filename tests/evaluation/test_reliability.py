"""Bins hold what they say, and their gaps make the calibration error."""

from __future__ import annotations

import numpy as np
import pytest

from corpuscle.errors import UsageError
from corpuscle.evaluation.metrics import calibration_error
from corpuscle.evaluation.reliability import reliability_bins, set_coverage


def rows(n: int, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet([0.5, 0.5, 0.5], size=n)
    return rng.integers(0, 3, n), probabilities


def test_the_gaps_of_the_bins_make_the_calibration_error():
    labels, probabilities = rows(400)
    bins = reliability_bins(labels, probabilities)
    gap = sum(item.n * abs(item.accuracy - item.confidence) for item in bins) / 400
    assert gap == pytest.approx(calibration_error(labels, probabilities))
    assert sum(item.n for item in bins) == 400


def test_each_bin_holds_the_pictures_between_its_ends():
    labels, probabilities = rows(300, seed=1)
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    for item in reliability_bins(labels, probabilities, bins=7):
        inside = (confidence > item.low) & (confidence <= item.high)
        assert item.n == inside.sum()
        assert item.confidence == pytest.approx(confidence[inside].mean())
        assert item.accuracy == pytest.approx(right[inside].mean())
        assert item.interval.low <= item.accuracy <= item.interval.high


def test_a_sure_answer_is_in_the_last_bin():
    (only,) = reliability_bins(np.asarray([1]), np.asarray([[0.0, 1.0]]))
    assert (only.low, only.high, only.accuracy) == (pytest.approx(14 / 15), 1.0, 1.0)
    assert reliability_bins(np.zeros(0, np.int64), np.zeros((0, 2))) == ()


def test_coverage_is_counted_class_by_class():
    labels = ["a", "a", "b", "a"]
    sets = [("a",), ("b", "a"), ("a",), ("b",)]
    first, second = set_coverage(labels, sets)
    assert (first.class_name, first.n, first.coverage) == ("a", 3, pytest.approx(2 / 3))
    assert first.size == pytest.approx(4 / 3)
    assert (second.class_name, second.n, second.coverage) == ("b", 1, 0.0)
    assert second.to_dict()["interval"]["high"] == second.interval.high


def test_what_does_not_go_together_is_refused():
    labels, probabilities = rows(5)
    with pytest.raises(UsageError):
        reliability_bins(labels[:4], probabilities)
    with pytest.raises(UsageError):
        reliability_bins(labels, probabilities, bins=0)
    with pytest.raises(UsageError):
        set_coverage(["a"], [])

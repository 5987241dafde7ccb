"""What holds for any predictions: order means nothing, perfection is 1, nothing is dropped in silence."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpuscle.evaluation.metrics import evaluate_predictions

CLASSES = ("basophil", "eosinophil", "lymphocyte", "monocyte", "neutrophil")
SOME = settings(max_examples=30, deadline=None)


@st.composite
def predictions(draw):
    """Labels, probabilities without a tie in a row, classes and groups; classes may well be absent."""
    k = draw(st.integers(2, 5))
    n = draw(st.integers(1, 25))
    labels = np.array(draw(st.lists(st.integers(0, k - 1), min_size=n, max_size=n)))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    weights = np.stack([rng.permutation(k) + 1.0 for _ in range(n)]) ** draw(st.sampled_from([0.5, 1.0, 3.0]))
    groups = draw(st.none() | st.lists(st.sampled_from(["", "a", "b", "c"]), min_size=n, max_size=n))
    return labels, weights / weights.sum(axis=1, keepdims=True), CLASSES[:k], groups


def numbers_of(evaluation):
    """Every number by name, whatever the order of the classes."""
    told = evaluation.to_dict()
    per_class = {entry["class"]: entry for entry in told.pop("per_class")}
    confusion = {
        (row, column): told["confusion"][i][j]
        for i, row in enumerate(told["classes"])
        for j, column in enumerate(told["classes"])
    }
    del told["confusion"], told["classes"]
    told["notes"] = sorted(told["notes"])
    return told, per_class, confusion


def assert_same(found, expected):
    """Compare nested numbers up to rounding."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key in expected:
            assert_same(found[key], expected[key])
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, abs=1e-12)
    else:
        assert found == expected


@SOME
@given(predictions(), st.randoms(use_true_random=False))
def test_the_order_of_classes_changes_nothing(case, random):
    labels, probabilities, classes, groups = case
    order = random.sample(range(len(classes)), len(classes))
    place = np.argsort(order)
    found = evaluate_predictions(
        place[labels], probabilities[:, order], [classes[k] for k in order], groups=groups, resamples=100
    )
    expected = evaluate_predictions(labels, probabilities, classes, groups=groups, resamples=100)
    for one, other in zip(numbers_of(found), numbers_of(expected), strict=True):
        assert_same(one, other)


@SOME
@given(predictions(), st.randoms(use_true_random=False))
def test_the_order_of_rows_changes_nothing(case, random):
    labels, probabilities, classes, groups = case
    order = random.sample(range(len(labels)), len(labels))
    moved = None if groups is None else [groups[row] for row in order]
    found = evaluate_predictions(labels[order], probabilities[order], classes, groups=moved, resamples=100)
    expected = evaluate_predictions(labels, probabilities, classes, groups=groups, resamples=100)
    for one, other in zip(numbers_of(found), numbers_of(expected), strict=True):
        assert_same(one, other)


@SOME
@given(predictions())
def test_perfect_predictions_give_one(case):
    labels, _, classes, groups = case
    found = evaluate_predictions(labels, np.eye(len(classes))[labels], classes, groups=groups, resamples=100)
    assert found.accuracy == found.balanced_accuracy == 1.0
    for averages in (found.macro, found.weighted):
        assert (averages.precision, averages.recall, averages.f1) == pytest.approx((1.0, 1.0, 1.0))
    assert found.macro_auc in (None, 1.0)
    assert found.calibration_error == found.brier_score == found.negative_log_likelihood == 0.0
    assert found.accuracy_interval.high == 1.0


@SOME
@given(predictions())
def test_what_is_not_measured_is_noted_and_nothing_is_nan(case):
    labels, probabilities, classes, groups = case
    found = evaluate_predictions(labels, probabilities, classes, groups=groups, resamples=100)
    json.dumps(found.to_dict(), allow_nan=False)
    assert [entry.class_name for entry in found.per_class] == list(classes)
    for entry in found.per_class:
        absent = entry.support == 0
        assert (entry.recall is None) == (entry.f1 is None) == (entry.recall_interval is None) == absent
        assert (entry.auc is None) == (entry.support in (0, found.n))
        assert any(f"labeled {entry.class_name}:" in note for note in found.notes) == (entry.auc is None)
        if not absent:
            assert entry.recall_interval.low <= entry.recall <= entry.recall_interval.high
    measured = [entry.recall for entry in found.per_class if entry.recall is not None]
    assert found.macro.recall == pytest.approx(sum(measured) / len(measured))
    assert found.balanced_accuracy == pytest.approx(found.macro.recall)
    assert found.weighted.recall == pytest.approx(found.accuracy)
    assert found.confusion.sum() == found.n
    assert found.accuracy_interval.low <= found.accuracy <= found.accuracy_interval.high

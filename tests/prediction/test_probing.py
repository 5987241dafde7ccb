from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from corpuscle.errors import DataError
from corpuscle.models.attribute_probe import AttributeProbe
from corpuscle.prediction import probing
from corpuscle.prediction.probing import Annotated, choose_certain, fit_probe, usual_shares


def planted(n: int, seed: int) -> Annotated:
    """The first attribute follows the first two numbers, the second one the third number; both with noise."""
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(n, 6)) * [5, 1, 0.2, 1, 1, 1] + 10
    noisy = points + rng.normal(size=points.shape) * [1, 0.3, 0.05, 0, 0, 0]
    first = (noisy[:, 0] > 10).astype(int) + (noisy[:, 1] > 10.5)
    return Annotated(points.astype(np.float32), np.stack([first, noisy[:, 2] > 10], axis=1).astype(np.int64))


def softmax(logits):
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def test_the_fit_is_that_of_scikit_learn_at_the_chosen_penalty():
    train, val = planted(400, 0), planted(200, 1)
    weights, bias, penalties = fit_probe(train, val, (3, 2))
    assert weights.shape == (6, 5)
    mean, scale = train.embedding.mean(0), train.embedding.std(0)
    start = 0
    for column, size in enumerate((3, 2)):
        assert penalties[column] in probing.PENALTIES
        # With two values scikit-learn has one vector where the softmax has two of half its length.
        strength = 1 / (len(train.values) * penalties[column]) * (1 if size > 2 else 2)
        other = LogisticRegression(C=strength, tol=1e-8, max_iter=5000)
        other.fit((train.embedding - mean) / scale, train.values[:, column])
        expected = other.predict_proba((val.embedding - mean) / scale)
        found = softmax(val.embedding @ weights[:, start : start + size] + bias[start : start + size])
        assert np.abs(found - expected).max() < 0.01
        assert (found.argmax(1) == val.values[:, column]).mean() > 0.65
        start += size


def test_an_attribute_that_is_noise_gets_a_strong_penalty():
    train, val = planted(120, 0), planted(120, 1)
    rng = np.random.default_rng(5)
    noise = [Annotated(part.embedding, rng.integers(0, 2, (120, 1))) for part in (train, val)]
    _, _, (penalty,) = fit_probe(*noise, (2,))
    assert penalty == probing.PENALTIES[0]


def test_without_cells_there_is_no_fit():
    empty = Annotated(np.zeros((0, 6), np.float32), np.zeros((0, 2), np.int64))
    with pytest.raises(DataError, match="annotated cells"):
        fit_probe(planted(10, 0), empty, (3, 2))


def test_usual_shares_are_those_of_each_class():
    values = np.asarray([[0, 1], [0, 0], [1, 1], [2, 1]])
    shares = usual_shares(values, np.asarray([0, 0, 1, 1]), (3, 2), 3)
    assert shares.tolist() == [[1, 0, 0, 0.5, 0.5], [0, 0.5, 0.5, 0, 1], [0, 0, 0, 0, 0]]


def test_rare_values_are_remarked_on_only_as_surely_as_keeps_remarks_rare():
    """One of ten cells has a rare value at 0.75; from a threshold of 0.8 on it is not remarked on."""
    weights = np.asarray([[0, np.log(3)]], np.float32)
    probe = AttributeProbe({"shape": ("a", "b")}, ("neutrophil",), weights, np.zeros(2, np.float32),
                           np.asarray([[1, 0]], np.float32), 1.0, 0.05)  # fmt: skip
    cells = Annotated(np.asarray([[1.0]] + [[-1.0]] * 9, np.float32), np.zeros((10, 1), np.int64))
    assert choose_certain(probe, cells, np.zeros(10, np.int64)).certain == 0.8

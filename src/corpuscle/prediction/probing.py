"""Fits linear probes on embeddings: what of a cell, beside its class, can be read off the network's feature vector."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from corpuscle.errors import DataError

__all__ = ["PENALTIES", "Annotated", "fit_probe", "usual_shares"]

Floats = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]

PENALTIES = (1.0, 0.1, 0.03, 0.01, 3e-3, 1e-3, 3e-4, 1e-4)
"""Weights of the squared coefficients, relative to the mean loss a cell; tried from the largest to the least."""
_STEPS = 400
_ENOUGH = 1e-5
"""Largest entry of the gradient at which a fit stands still."""


@dataclass(frozen=True, slots=True)
class Annotated:
    """Embeddings with the place of each attribute's value.

    Attributes:
        embedding: NxD float32.
        values: NxA int64, for each attribute the place of the value.
    """

    embedding: npt.NDArray[np.float32]
    values: Places


def fit_probe(
    train: Annotated, val: Annotated, sizes: Sequence[int]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], tuple[float, ...]]:
    """Fit a multinomial logistic model for each attribute and choose its penalty on `val`.

    The embedding is brought to unit spread for the fit, and the scaling then folded into the weights.

    Args:
        train: Cells to fit on.
        val: Cells to choose the penalty by: that of the least negative log-likelihood.
        sizes: Number of values of each of the A attributes.

    Returns:
        Weights (DxV float32) and bias (V float32), V being the sum of `sizes`, and the penalty of each attribute.

    Raises:
        DataError: One of the sets is empty.
    """
    if not len(train.values) or not len(val.values):
        raise DataError("A probe needs annotated cells to fit and others to choose by. Check the data set.")
    mean = train.embedding.mean(axis=0, dtype=np.float64)
    scale = train.embedding.std(axis=0, dtype=np.float64) + 1e-6
    points, checks = ((part.embedding - mean) / scale for part in (train, val))
    weights, biases, chosen = [], [], []
    for column, size in enumerate(sizes):
        weight, bias, penalty = _chosen(
            (points, train.values[:, column]), (checks, val.values[:, column]), size
        )  # fmt: skip
        weights.append(weight)
        biases.append(bias)
        chosen.append(penalty)
    stacked = np.concatenate(weights, axis=1) / scale[:, None]
    bias = np.concatenate(biases) - mean @ stacked
    return stacked.astype(np.float32), bias.astype(np.float32), tuple(chosen)


def _chosen(train: tuple[Floats, Places], val: tuple[Floats, Places], size: int) -> tuple[Floats, Floats, float]:
    """Walk down the penalties, each fit starting from the one before, and keep the best on `val`."""
    points, labels = train
    weight, bias = np.zeros((points.shape[1], size)), np.zeros(size)
    best: tuple[float, Floats, Floats, float] | None = None
    # The curvature of a softmax is at most half that of the points.
    spread = float(np.linalg.eigvalsh(points.T @ points)[-1]) / len(points)
    for penalty in PENALTIES:
        weight, bias = _fitted(points, np.eye(size)[labels], (weight, bias), penalty, 0.5 * (spread + 1) + penalty)
        found = _softmax(val[0] @ weight + bias)[np.arange(len(val[1])), val[1]]
        loss = -float(np.log(np.maximum(found, 1e-300)).mean())
        if best is None or loss < best[0]:
            best = (loss, weight, bias, penalty)
    if best is None:
        raise DataError("There is no penalty to try.")
    return best[1:]


def _fitted(
    points: Floats, truth: Floats, start: tuple[Floats, Floats], penalty: float, curvature: float
) -> tuple[Floats, Floats]:
    """Minimize the mean loss plus half the penalty times the squared weights; the bias is free.

    Accelerated gradient descent (Nesterov 1983) that starts anew whenever it runs uphill (O'Donoghue and Candes 2015,
    doi 10.1007/s10208-013-9150-3).
    """
    weight, bias = start
    ahead_weight, ahead_bias, pace = weight, bias, 1.0
    for _ in range(_STEPS):
        rest = (_softmax(points @ ahead_weight + ahead_bias) - truth) / len(points)
        slope, slope_bias = points.T @ rest + penalty * ahead_weight, rest.sum(axis=0)
        if max(float(np.abs(slope).max()), float(np.abs(slope_bias).max())) < _ENOUGH:
            return ahead_weight, ahead_bias
        new_weight, new_bias = ahead_weight - slope / curvature, ahead_bias - slope_bias / curvature
        moved, moved_bias = new_weight - weight, new_bias - bias
        if float((slope * moved).sum() + (slope_bias * moved_bias).sum()) > 0:
            pace, ahead_weight, ahead_bias = 1.0, new_weight, new_bias
        else:
            next_pace = (1 + (1 + 4 * pace**2) ** 0.5) / 2
            share = (pace - 1) / next_pace
            ahead_weight, ahead_bias, pace = new_weight + share * moved, new_bias + share * moved_bias, next_pace
        weight, bias = new_weight, new_bias
    return weight, bias


def _softmax(logits: Floats) -> Floats:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def usual_shares(values: Places, labels: Places, sizes: Sequence[int], n_classes: int) -> npt.NDArray[np.float32]:
    """Return which share of each class's annotated cells has each value.

    Args:
        values: NxA places of values.
        labels: N places of classes.
        sizes: Number of values of each attribute.
        n_classes: C.

    Returns:
        CxV float32; a class without cells has 0 everywhere.
    """
    shares = np.zeros((n_classes, sum(sizes)), np.float64)
    starts = np.cumsum([0, *sizes[:-1]])
    np.add.at(shares, (labels[:, None], values + starts), 1)
    count = np.bincount(labels, minlength=n_classes)[:, None]
    return np.asarray(shares / np.maximum(count, 1), np.float32)

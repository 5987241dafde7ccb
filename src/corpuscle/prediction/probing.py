"""Fits linear probes on embeddings: what of a cell, beside its class, can be read off the network's feature vector."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from corpuscle.errors import DataError
from corpuscle.models.attribute_probe import AttributeProbe

__all__ = ["PENALTIES", "Annotated", "choose_certain", "fit_probe", "usual_shares"]

Floats = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]

PENALTIES = (0.3, 0.1, 0.03, 0.01, 3e-3, 1e-3, 3e-4)
"""Weights of the squared coefficients, relative to the mean loss a cell; tried from the largest to the least."""
_CERTAIN = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
_MOST_UNUSUAL = 0.01
_STEPS = 300
_ENOUGH = 1e-8
"""Square of the gradient, measured by the inverse of the curvature, at which a fit stands still."""


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
    points, checks = (
        np.concatenate([(part.embedding - mean) / scale, np.ones((len(part.embedding), 1))], axis=1)
        for part in (train, val)
    )
    tables, chosen = [], []
    for column, size in enumerate(sizes):
        table, penalty = _chosen((points, train.values[:, column]), (checks, val.values[:, column]), size)
        tables.append(table)
        chosen.append(penalty)
    table = np.concatenate(tables, axis=1)
    weights = table[:-1] / scale[:, None]
    return weights.astype(np.float32), (table[-1] - mean @ weights).astype(np.float32), tuple(chosen)


def _chosen(train: tuple[Floats, Places], val: tuple[Floats, Places], size: int) -> tuple[Floats, float]:
    """Walk down the penalties, each fit starting from the one before, and keep the best on `val`."""
    points, labels = train
    table = np.zeros((points.shape[1], size))
    best, kept = np.inf, (table, PENALTIES[0])
    for penalty in PENALTIES:
        table = _fitted(points, np.eye(size)[labels], table, penalty)
        found = _softmax(val[0] @ table)[np.arange(len(val[1])), val[1]]
        loss = -float(np.log(np.maximum(found, 1e-300)).mean())
        if loss < best:
            best, kept = loss, (table, penalty)
    return kept


def _fitted(points: Floats, truth: Floats, table: Floats, penalty: float) -> Floats:
    """Minimize the mean loss plus half the penalty times the squared weights; the last row, the bias, is free.

    Each step divides by a bound of the curvature (Boehning 1992, doi 10.1007/BF00048682). Steps are accelerated
    (Nesterov 1983), and start anew whenever they run uphill (O'Donoghue and Candes 2015, doi
    10.1007/s10208-013-9150-3).
    """
    weighed = np.full((len(table), 1), penalty)
    weighed[-1] = 0
    bound = 0.5 * points.T @ points / len(points) + np.diag(weighed[:, 0] + 1e-9)
    inverse = np.linalg.inv(bound)
    ahead, pace = table, 1.0
    for _ in range(_STEPS):
        slope = points.T @ (_softmax(points @ ahead) - truth) / len(points) + weighed * ahead
        step = inverse @ slope
        if float((slope * step).sum()) < _ENOUGH:
            return ahead
        new = ahead - step
        moved = new - table
        if float((slope * moved).sum()) > 0:
            pace, ahead = 1.0, new
        else:
            next_pace = (1 + (1 + 4 * pace**2) ** 0.5) / 2
            pace, ahead = next_pace, new + (pace - 1) / next_pace * moved
        table = new
    return table


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


def choose_certain(probe: AttributeProbe, val: Annotated, labels: Places) -> AttributeProbe:
    """Choose how sure a rare value must be to be remarked on: at most 1 % of the cells of `val` get a remark.

    Args:
        probe: Fitted.
        val: Annotated cells.
        labels: N places of their classes in the probe's.
    """
    shares = probe.probabilities(val.embedding)
    for certain in _CERTAIN:
        probe = replace(probe, certain=certain)
        if float(probe.unusual(shares, labels).any(axis=1).mean()) <= _MOST_UNUSUAL:
            break
    return probe

"""Makes probabilities honest and decides when to refuse; every number is fitted on `val`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from corpuscle.errors import DataError
from corpuscle.models.bundle import Reference, RefusalRule

__all__ = ["energy", "fit_reference", "fit_refusal", "fit_temperature", "prediction_set", "softmax"]

Floats = npt.NDArray[np.float64]
_COVERAGE = 0.99
_CONFIDENCE = 0.95
_KEPT_ACCURACY = 0.999
_MOST_REFUSED = 0.03
_KNOWN_SHARE = 0.99
_STAINED_SHARE = 0.995


def softmax(logits: npt.NDArray[np.floating], temperature: float = 1.0) -> Floats:
    """Return probabilities (NxK float64, rows sum to 1) of logits (NxK) divided by the temperature."""
    scaled = logits.astype(np.float64) / temperature
    scaled -= scaled.max(axis=1, keepdims=True)
    powers = np.exp(scaled)
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def energy(logits: npt.NDArray[np.floating], temperature: float = 1.0) -> Floats:
    """Return the free energy (N float64) of logits (NxK) divided by the temperature: high where no class answers.

    After Liu et al. 2020, "Energy-based out-of-distribution detection".
    """
    scaled = logits.astype(np.float64) / temperature
    most = scaled.max(axis=1)
    return np.asarray(-(most + np.log(np.exp(scaled - most[:, None]).sum(axis=1))))


def fit_temperature(logits: npt.NDArray[np.floating], labels: npt.NDArray[np.int64]) -> float:
    """Find the temperature with the least negative log-likelihood.

    Temperature scaling (Guo et al. 2017, "On calibration of modern neural networks") keeps the arg-max. The loss has
    one minimum in the inverse temperature, so a golden-section search over [0.05, 20] finds it.

    Args:
        logits: NxK.
        labels: N places of the true classes.
    """

    def loss(log_temperature: float) -> float:
        probabilities = softmax(logits, float(np.exp(log_temperature)))
        return -float(np.log(np.maximum(probabilities[np.arange(len(labels)), labels], 1e-300)).mean())

    low, high, ratio = np.log(0.05), np.log(20.0), (5**0.5 - 1) / 2
    inner, outer = high - ratio * (high - low), low + ratio * (high - low)
    loss_inner, loss_outer = loss(inner), loss(outer)
    for _ in range(60):
        if loss_inner < loss_outer:
            high, outer, loss_outer = outer, inner, loss_inner
            inner = high - ratio * (high - low)
            loss_inner = loss(inner)
        else:
            low, inner, loss_inner = inner, outer, loss_outer
            outer = low + ratio * (high - low)
            loss_outer = loss(outer)
    return float(np.exp((low + high) / 2))


def fit_reference(embedding: npt.NDArray[np.float32], labels: npt.NDArray[np.int64], n_classes: int) -> Reference:
    """Describe where the known cells lie: class means and the whitening of the spread inside the classes.

    Args:
        embedding: NxD float32 of training cells.
        labels: N places of their classes.
        n_classes: K.

    Raises:
        DataError: A class has no cell.
    """
    if set(range(n_classes)) - set(labels.tolist()):
        raise DataError("Every class needs training cells before a bundle can know where they lie.")
    values = embedding.astype(np.float64)
    means = np.stack([values[labels == place].mean(axis=0) for place in range(n_classes)])
    inside = values - means[labels]
    covariance = inside.T @ inside / max(1, len(values) - n_classes)
    # A little of the mean variance on the diagonal keeps directions that hardly vary from dominating the distance.
    covariance += np.eye(len(covariance)) * (0.02 * np.trace(covariance) / len(covariance) + 1e-12)
    spread, axes = np.linalg.eigh(covariance)
    return Reference(means.astype(np.float32), (axes / np.sqrt(spread)).astype(np.float32))


def fit_refusal(
    probabilities: Floats,
    labels: npt.NDArray[np.int64],
    distances: npt.NDArray[np.floating],
    classes: Sequence[str],
    *,
    energies: npt.NDArray[np.floating] | None = None,
    stains: npt.NDArray[np.floating] | None = None,
) -> RefusalRule:
    """Choose the thresholds of a bundle on `val`.

    The least confidence is the lowest one that leaves at least 99.9 % of the accepted cells right, as long as it
    refuses no more than 3 % of the cells. Distance and energy are each measured from their median in units of what 99 %
    of the cells stay under; the largest sum of both keeps 99 % of the cells. The least stain is half of what 99.5 % of
    the cells exceed, since another laboratory's stain is weaker without being wrong. A class leaves the
    prediction set below a probability that 99 % of its cells exceed with a confidence of 95 % (class-conditional and
    training-conditional conformal prediction: Vovk 2012, "Conditional validity of inductive conformal predictors"):
    one validation set that happens to be easy must not make the promise hollow. A class with fewer than 299 cells takes
    the least of them, which promises less.

    Args:
        probabilities: NxK calibrated.
        labels: N places of the true classes.
        distances: N distances of the embeddings from the known cells.
        classes: The K keys.
        energies: N energies of the calibrated logits; without them distance alone decides.
        stains: N values of `Framing.stain`; without them the rule does not look at the stain.

    Raises:
        DataError: A class has no cell.
    """
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    order = np.argsort(confidence)[::-1]
    accuracy = np.cumsum(right[order]) / np.arange(1, len(order) + 1)
    good = np.flatnonzero(accuracy >= _KEPT_ACCURACY)
    kept = max(int(good[-1]) + 1 if len(good) else 0, int(np.ceil((1 - _MOST_REFUSED) * len(order))))
    minimum = float(confidence[order[kept - 1]])
    thresholds = {}
    for place, key in enumerate(classes):
        own = np.sort(probabilities[labels == place, place])
        if not len(own):
            raise DataError(f"The validation split has no {key}, so its prediction set cannot be fitted.")
        thresholds[key] = float(own[_missed(len(own))])
    stain = 0.5 * float(np.quantile(stains, 1 - _STAINED_SHARE)) if stains is not None else 0.0
    middle, far = _unit(distances)
    rule = RefusalRule(minimum, far, _COVERAGE, thresholds, max(stain, 0.0), typical_distance=max(middle, 0.0))
    if energies is not None:
        middle, far = _unit(energies)
        rule = replace(rule, typical_energy=middle, energy_span=far - middle)
    found = rule.strangeness(distances, np.zeros(len(distances)) if energies is None else energies)
    return replace(rule, maximum_strangeness=max(float(np.quantile(found, _KNOWN_SHARE)), 1e-6))


def _unit(values: npt.NDArray[np.floating]) -> tuple[float, float]:
    """Return the median of the values of known cells, and what 99 % of them stay under, which is more."""
    middle, far = (float(value) for value in np.quantile(values.astype(np.float64), [0.5, _KNOWN_SHARE]))
    return middle, max(far, middle + 1e-6)


def _missed(n: int) -> int:
    """Return how many of n cells a prediction set may miss and still hold 99 % of all cells with a confidence of 95 %.

    With the (k + 1)-th least of n probabilities as limit, the share that is missed follows a beta distribution, and
    exceeds 1 % as often as a binomial of n and 1 % gives k or fewer.
    """
    miss = 1 - _COVERAGE
    chance = _COVERAGE**n
    total, k = chance, 0
    while total <= 1 - _CONFIDENCE and k + 1 < n:
        chance *= (n - k) / (k + 1) * miss / _COVERAGE
        total += chance
        k += 1
    return max(k - 1, 0)


def prediction_set(probabilities: Floats, classes: Sequence[str], rule: RefusalRule) -> tuple[str, ...]:
    """Return the classes of one cell that cannot be ruled out, most probable first; never empty.

    Args:
        probabilities: K calibrated probabilities.
        classes: The K keys.
        rule: The bundle's thresholds.
    """
    order = np.argsort(-probabilities, kind="stable")
    held = [classes[place] for place in order if probabilities[place] >= rule.set_thresholds[classes[place]]]
    return tuple(held) or (classes[int(order[0])],)

"""Whether probabilities mean what they say, bin by bin; and whether prediction sets hold what they promise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from corpuscle.errors import UsageError
from corpuscle.evaluation.intervals import Interval, wilson_interval

__all__ = ["ReliabilityBin", "SetCoverage", "reliability_bins", "set_coverage"]

_BINS = 15


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Pictures of nearly the same confidence.

    Attributes:
        low: Lower end of the bin, not in it.
        high: Upper end, in it.
        n: Number of pictures, 1 or more.
        confidence: Their mean confidence, in [0, 1].
        accuracy: Share of them that is right, in [0, 1].
        interval: Its 95 % Wilson interval.
    """

    low: float
    high: float
    n: int
    confidence: float
    accuracy: float
    interval: Interval

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {**asdict(self), "interval": self.interval.to_dict()}


def reliability_bins(
    labels: NDArray[np.int64], probabilities: NDArray[np.float64], *, bins: int = _BINS
) -> tuple[ReliabilityBin, ...]:
    """Sort pictures by confidence into bins of equal width; empty bins are left out.

    The bins are those of `metrics.calibration_error`, whose value is the mean gap between confidence and accuracy over
    the pictures of these bins.

    Args:
        labels: N places of the true classes.
        probabilities: NxK, rows sum to 1.
        bins: Number of bins over [0, 1].

    Raises:
        UsageError: There are not as many labels as rows, or no bin was asked for.
    """
    if bins < 1 or len(labels) != len(probabilities):
        raise UsageError(f"{len(labels)} labels, {len(probabilities)} rows and {bins} bins do not go together.")
    if not len(labels):
        return ()
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    place = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    found = []
    for number in np.unique(place):
        inside = place == number
        n, n_right = int(inside.sum()), int(right[inside].sum())
        found.append(
            ReliabilityBin(
                low=float(number / bins),
                high=float((number + 1) / bins),
                n=n,
                confidence=float(confidence[inside].mean()),
                accuracy=n_right / n,
                interval=wilson_interval(n_right, n),
            )
        )
    return tuple(found)


@dataclass(frozen=True, slots=True)
class SetCoverage:
    """How often the prediction sets of one class's cells hold that class.

    Attributes:
        class_name: The class.
        n: Number of cells.
        coverage: Share of them whose set holds it, in [0, 1].
        interval: Its 95 % Wilson interval.
        size: Mean number of classes in a set.
    """

    class_name: str
    n: int
    coverage: float
    interval: Interval
    size: float

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {**asdict(self), "interval": self.interval.to_dict()}


def set_coverage(labels: Sequence[str], sets: Sequence[Sequence[str]]) -> tuple[SetCoverage, ...]:
    """Measure the coverage of prediction sets, class by class, in the order of the names.

    Args:
        labels: The true class of each cell.
        sets: The prediction set of each cell.

    Raises:
        UsageError: There are not as many labels as sets.
    """
    if len(labels) != len(sets):
        raise UsageError(f"There are {len(labels)} labels and {len(sets)} prediction sets. Give as many.")
    found = []
    for key in sorted(set(labels)):
        own = [names for label, names in zip(labels, sets, strict=True) if label == key]
        held = sum(key in names for names in own)
        size = sum(len(names) for names in own) / len(own)
        found.append(SetCoverage(key, len(own), held / len(own), wilson_interval(held, len(own)), size))
    return tuple(found)

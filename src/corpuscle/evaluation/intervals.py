"""Intervals around a measured number: Wilson's for proportions, the bootstrap for everything else."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from corpuscle.data.groups import group_codes
from corpuscle.errors import UsageError

__all__ = ["Interval", "bootstrap_interval", "wilson_interval"]

_LEAST_RESAMPLES = 100


@dataclass(frozen=True, slots=True)
class Interval:
    """A confidence interval.

    Attributes:
        low: Lower end, in the unit of the statistic.
        high: Upper end, not below `low`.
        confidence: Confidence level, between 0 and 1.
        method: How it was computed, for a person to read.
    """

    low: float
    high: float
    confidence: float
    method: str

    def __post_init__(self) -> None:
        """Refuse ends that are no numbers or stand the wrong way round."""
        if not self.low <= self.high:
            raise UsageError(f"An interval cannot run from {self.low} to {self.high}. Give the lower end first.")
        _check_confidence(self.confidence)

    def to_dict(self) -> dict[str, float | str]:
        """Return the interval as a dictionary that JSON can hold."""
        return {"low": self.low, "high": self.high, "confidence": self.confidence, "method": self.method}


def wilson_interval(successes: int, n: int, confidence: float = 0.95) -> Interval:
    """Compute Wilson's score interval for a proportion.

    It stays inside [0, 1], and unlike the textbook interval it keeps its width when all answers are right or wrong.
    It takes the n answers to be independent. Source: Wilson 1927, Journal of the American Statistical Association 22,
    209-212; recommended by Newcombe 1998, Statistics in Medicine 17, 857-872 (method 3).

    Args:
        successes: Number of successes, in [0, n].
        n: Number of trials, 1 or more.
        confidence: Confidence level, between 0 and 1.

    Raises:
        UsageError: The numbers are out of range.
    """
    _check_confidence(confidence)
    if n < 1 or not 0 <= successes <= n:
        raise UsageError(
            f"{successes} of {n} is no proportion. Give 1 trial or more and no more successes than trials."
        )
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    middle = (successes + z * z / 2) / (n + z * z)
    half = z / (n + z * z) * math.sqrt(successes * (n - successes) / n + z * z / 4)
    # At the ends the formula gives 0 and 1 exactly; rounding must not.
    low = 0.0 if successes == 0 else max(0.0, middle - half)
    high = 1.0 if successes == n else min(1.0, middle + half)
    return Interval(low, high, confidence, "Wilson score")


def bootstrap_interval(
    statistic: Callable[[NDArray[np.int64]], float],
    n: int,
    *,
    groups: Sequence[str] | None = None,
    resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Compute a percentile bootstrap interval by drawing rows, or whole groups, with replacement.

    Rows of one group (a patient, a source photograph) tend to be right or wrong together; drawing rows would take
    them for as many independent answers and give an interval that is too narrow. Source: Efron and Tibshirani 1993,
    "An Introduction to the Bootstrap", chapter 13; for groups, Davison and Hinkley 1997, "Bootstrap Methods and their
    Application", section 3.8 (the groups alone are drawn, each comes with all its rows). With few groups, or a
    statistic at the end of its range, the interval is too narrow.

    Args:
        statistic: Takes row numbers, shape (m,), int64, in [0, n), with repeats, and returns a finite number.
        n: Number of rows, 2 or more.
        groups: Group of each row, two different ones at least; a blank one is a group of its own.
        resamples: Number of draws, 100 or more.
        confidence: Confidence level, between 0 and 1.
        seed: Start of the random generator, 0 or more.

    Raises:
        UsageError: A number is out of range, there are fewer than two rows or groups, or the statistic of a draw is
            not finite.
    """
    _check_confidence(confidence)
    if resamples < _LEAST_RESAMPLES or seed < 0:
        raise UsageError(
            f"A bootstrap needs {_LEAST_RESAMPLES} resamples or more and a seed of 0 or more, "
            f"not {resamples} and {seed}."
        )
    if groups is not None and len(groups) != n:
        raise UsageError(f"There are {n} rows and {len(groups)} groups. Give one group a row.")
    codes = group_codes(groups) if groups is not None else np.arange(n)
    count = int(codes.max()) + 1 if n > 0 else 0
    if count < 2:
        what = "rows" if groups is None else "groups"
        raise UsageError(f"A bootstrap needs two {what} or more to draw from, not {count}. Give more data.")
    rng = np.random.default_rng(seed)
    values = np.empty(resamples)
    for draw in range(resamples):
        drawn = rng.integers(0, count, size=count)
        rows = drawn if groups is None else np.repeat(np.arange(n), np.bincount(drawn, minlength=count)[codes])
        values[draw] = statistic(rows)
    if not np.isfinite(values).all():
        raise UsageError("The statistic of a resample is not finite. Bootstrap one that every subset of rows has.")
    low, high = np.quantile(values, [0.5 - confidence / 2, 0.5 + confidence / 2])
    drawn_from = "rows" if groups is None else f"{count} groups"
    return Interval(float(low), float(high), confidence, f"bootstrap of {drawn_from}, {resamples} resamples")


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise UsageError(f"A confidence level lies between 0 and 1, not at {confidence}. Give 0.95 for 95 %.")

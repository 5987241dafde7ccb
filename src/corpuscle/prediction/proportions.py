"""Intervals around counted proportions, with numpy and the standard library alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from corpuscle.errors import UnknownNameError, UsageError

__all__ = [
    "INTERVALS",
    "Interval",
    "check_confidence",
    "exact_interval",
    "incomplete_beta",
    "proportion_intervals",
    "simultaneous_intervals",
    "sison_glaz_intervals",
    "wilson_interval",
]

INTERVALS = ("wilson", "exact", "simultaneous", "sison-glaz")
"""The kinds of interval that a differential can have."""

_FINEST = 1e-13
_MOST_TERMS = 10_000


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
        check_confidence(self.confidence)

    def to_dict(self) -> dict[str, float | str]:
        """Return the interval as a dictionary that JSON can hold."""
        return {"low": self.low, "high": self.high, "confidence": self.confidence, "method": self.method}


def check_confidence(confidence: float) -> None:
    """Refuse a confidence level that is none.

    Raises:
        UsageError: It does not lie between 0 and 1.
    """
    if not 0 < confidence < 1:
        raise UsageError(f"A confidence level lies between 0 and 1, not at {confidence}. Give 0.95 for 95 %.")


def _check_counts(successes: int, n: int, confidence: float) -> None:
    check_confidence(confidence)
    if n < 1 or not 0 <= successes <= n:
        raise UsageError(
            f"{successes} of {n} is no proportion. Give 1 trial or more and no more successes than trials."
        )


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
    _check_counts(successes, n, confidence)
    low, high = _score_ends(successes, n, NormalDist().inv_cdf(0.5 + confidence / 2))
    return Interval(low, high, confidence, "Wilson score")


def _score_ends(successes: int, n: int, z: float) -> tuple[float, float]:
    middle = (successes + z * z / 2) / (n + z * z)
    half = z / (n + z * z) * math.sqrt(successes * (n - successes) / n + z * z / 4)
    # At the ends the formula gives 0 and 1 exactly; rounding must not.
    low = 0.0 if successes == 0 else max(0.0, middle - half)
    high = 1.0 if successes == n else min(1.0, middle + half)
    return low, high


def exact_interval(successes: int, n: int, confidence: float = 0.95) -> Interval:
    """Compute the exact interval of Clopper and Pearson for a proportion.

    Its coverage is never below the stated one, so it is wider than Wilson's. The ends are quantiles of beta
    distributions. Source: Clopper and Pearson 1934, Biometrika 26, 404-413. Arguments and errors as in
    `wilson_interval`.
    """
    _check_counts(successes, n, confidence)
    tail = (1 - confidence) / 2
    low = 0.0 if successes == 0 else _beta_quantile(tail, successes, n - successes + 1)
    high = 1.0 if successes == n else _beta_quantile(1 - tail, successes + 1, n - successes)
    return Interval(low, high, confidence, "exact (Clopper-Pearson)")


def _checked_sum(counts: Sequence[int], confidence: float) -> int:
    """Add the counts of a multinomial up; refuse those, and levels, for which there are no intervals."""
    check_confidence(confidence)
    n = sum(counts)
    if n < 1 or min(counts) < 0:
        raise UsageError("Simultaneous intervals need counts of 0 or more that add up to 1 or more.")
    return n


def simultaneous_intervals(counts: Sequence[int], confidence: float = 0.95) -> tuple[Interval, ...]:
    """Compute intervals for the classes of a multinomial that hold all at once at the stated level.

    Twelve intervals of 95 % are not all right in 95 % of smears; these are, at the price of width. Source: Goodman
    1965, Technometrics 7, 247-254: score intervals with the level shared among the classes.

    Args:
        counts: How many cells are of each class, 0 or more, adding up to 1 or more.
        confidence: Level at which all intervals hold together.

    Raises:
        UsageError: The numbers are out of range.
    """
    n = _checked_sum(counts, confidence)
    z = NormalDist().inv_cdf(1 - (1 - confidence) / (2 * len(counts)))
    ends = [_score_ends(value, n, z) for value in counts]
    return tuple(Interval(low, high, confidence, "simultaneous (Goodman)") for low, high in ends)


def sison_glaz_intervals(counts: Sequence[int], confidence: float = 0.95) -> tuple[Interval, ...]:
    """Compute intervals for the classes of a multinomial that hold all at once, of one width for all classes.

    All counts of a repetition lie within c of those observed with some probability, which grows with c; the width is
    where it reaches the level, between two whole c by a straight line, and the upper ends are moved up by what lies
    between, as small shares are skewed. Where many classes are of like size these are narrower than Goodman's; for rare
    classes they are much wider, and where all cells are of one class its interval has no width. Source: Sison and Glaz
    1995, Journal of the American Statistical Association 90, 366-369. They approximate the probability by an Edgeworth
    series; here it is summed exactly, as truncated Poisson variables given their sum (Levin 1981, Annals of Statistics
    9, 1123-1126).

    Args:
        counts: How many cells are of each class, 0 or more, adding up to 1 or more.
        confidence: Level at which all intervals hold together.

    Raises:
        UsageError: The numbers are out of range.
    """
    n = _checked_sum(counts, confidence)
    below, above = -1, 1
    while _all_within(counts, above) < confidence:
        below, above = above, 2 * above
    while above - below > 1:
        middle = (below + above) // 2
        below, above = (middle, above) if _all_within(counts, middle) < confidence else (below, middle)
    reached = _all_within(counts, above)
    missed = _all_within(counts, below) if below >= 0 else 0.0
    part = (confidence - missed) / (reached - missed)
    steps = max(below, 0)
    return tuple(
        Interval(
            max(0.0, (value - steps) / n), min(1.0, (value + steps + 2 * part) / n), confidence,
            "simultaneous (Sison-Glaz)",
        )
        for value in counts
    )  # fmt: skip


def _all_within(counts: Sequence[int], steps: int) -> float:
    """Return the probability that all counts of a repetition lie within some steps of these, given their sum."""
    n = sum(counts)
    ways: npt.NDArray[np.float64] = np.ones(1)
    first = 0
    for value in counts:
        low, high = max(0, value - steps), min(n, value + steps)
        ways = np.convolve(ways, [_poisson(count, value) for count in range(low, high + 1)])
        first += low
    if not first <= n < first + len(ways):
        return 0.0
    return min(1.0, float(ways[n - first]) / _poisson(n, n))


def _poisson(count: int, mean: int) -> float:
    """Return the probability of a count where a mean is expected."""
    if mean == 0:
        return float(count == 0)
    return math.exp(count * math.log(mean) - mean - math.lgamma(count + 1))


def proportion_intervals(counts: Sequence[int], kind: str, confidence: float = 0.95) -> tuple[Interval | None, ...]:
    """Compute the interval of each class of a differential; None for all where nothing was counted.

    Raises:
        UnknownNameError: `kind` is not one of `INTERVALS`.
    """
    if kind not in INTERVALS:
        raise UnknownNameError("interval", kind, INTERVALS)
    n = sum(counts)
    if n == 0:
        return tuple(None for _ in counts)
    if kind == "simultaneous":
        return simultaneous_intervals(counts, confidence)
    if kind == "sison-glaz":
        return sison_glaz_intervals(counts, confidence)
    one = wilson_interval if kind == "wilson" else exact_interval
    return tuple(one(value, n, confidence) for value in counts)


def incomplete_beta(x: float, a: float, b: float) -> float:
    """Return the regularized incomplete beta function, the distribution function of Beta(a, b) at x in [0, 1].

    By the continued fraction 8.17.22 of the NIST Digital Library of Mathematical Functions, evaluated after Lentz.
    """
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):
        return 1 - incomplete_beta(1 - x, b, a)
    front = a * math.log(x) + b * math.log1p(-x) + math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    tiny = 1e-300
    upper, lower, value = 1.0, 0.0, 1.0
    for term in range(_MOST_TERMS):
        half = term // 2
        if term == 0:
            step = 1.0
        elif term % 2 == 0:
            step = half * (b - half) * x / ((a + 2 * half - 1) * (a + 2 * half))
        else:
            step = -(a + half) * (a + b + half) * x / ((a + 2 * half) * (a + 2 * half + 1))
        lower = 1 / (1 + step * lower or tiny)
        upper = 1 + step / upper or tiny
        value *= upper * lower
        if abs(1 - upper * lower) < _FINEST:
            break
    return math.exp(front) * (value - 1) / a


def _beta_quantile(share: float, a: float, b: float) -> float:
    """Invert the distribution function of Beta(a, b) by halving; 60 steps are finer than a float."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if incomplete_beta(middle, a, b) < share else (low, middle)
    return (low + high) / 2

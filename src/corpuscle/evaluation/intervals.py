"""Intervals around a measured number: Wilson's for proportions (from `prediction`), the bootstrap for all else."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from corpuscle.data.groups import group_codes
from corpuscle.errors import UsageError
from corpuscle.prediction.proportions import Interval, check_confidence, wilson_interval

__all__ = ["Interval", "bootstrap_interval", "wilson_interval"]

_LEAST_RESAMPLES = 100


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
    check_confidence(confidence)
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

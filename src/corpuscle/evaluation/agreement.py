"""How far two ways of counting agree: two runs, two observers, a program and a person. Numpy alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from corpuscle.errors import UsageError
from corpuscle.prediction.proportions import Interval, check_confidence, incomplete_beta

__all__ = [
    "BlandAltman",
    "Line",
    "bland_altman",
    "cohen_kappa",
    "deming",
    "lin_concordance",
    "passing_bablok",
    "student_quantile",
]

Floats = NDArray[np.float64]
_WEIGHTS = ("none", "linear", "quadratic")


@dataclass(frozen=True, slots=True)
class BlandAltman:
    """Differences of the second method from the first.

    Attributes:
        n: Number of pairs.
        bias: Mean difference, first less second.
        bias_interval: Its confidence interval.
        deviation: Standard deviation of the differences.
        lower: Lower limit of agreement, bias less 1.96 deviations.
        lower_interval: Its confidence interval.
        upper: Upper limit of agreement.
        upper_interval: Its confidence interval.
    """

    n: int
    bias: float
    bias_interval: Interval
    deviation: float
    lower: float
    lower_interval: Interval
    upper: float
    upper_interval: Interval


@dataclass(frozen=True, slots=True)
class Line:
    """A line second = intercept + slope * first, with confidence intervals of both."""

    slope: float
    slope_interval: Interval
    intercept: float
    intercept_interval: Interval


def bland_altman(first: ArrayLike, second: ArrayLike, *, confidence: float = 0.95) -> BlandAltman:
    """Compute bias and limits of agreement.

    Source: Bland and Altman 1986, The Lancet 327, 307-310, with the standard error of a limit, sqrt(3 s^2 / n).

    Args:
        first: Values of one method, shape (n,), n 2 or more.
        second: Values of the other on the same samples.
        confidence: Level of the intervals.

    Raises:
        UsageError: The values are no finite pairs, or fewer than two.
    """
    x, y = _pairs(first, second, least=2)
    check_confidence(confidence)
    difference = x - y
    n, bias, deviation = len(x), float(difference.mean()), float(difference.std(ddof=1))
    quantile = student_quantile(0.5 + confidence / 2, n - 1)
    of_bias, of_limit = quantile * deviation / math.sqrt(n), quantile * deviation * math.sqrt(3 / n)
    lower, upper = bias - 1.96 * deviation, bias + 1.96 * deviation
    method = "Student, Bland and Altman 1986"
    ends = [
        Interval(value - half, value + half, confidence, method)
        for value, half in ((bias, of_bias), (lower, of_limit), (upper, of_limit))
    ]
    return BlandAltman(n, bias, ends[0], deviation, lower, ends[1], upper, ends[2])


def passing_bablok(first: ArrayLike, second: ArrayLike, *, confidence: float = 0.95) -> Line:
    """Fit a line that neither method's outliers bend: the shifted median of all slopes between two points.

    Source: Passing and Bablok 1983, Journal of Clinical Chemistry and Clinical Biochemistry 21, 709-720. Slopes of
    exactly -1 are left out and those below it shift the median, so that swapping the methods inverts the line.

    Args:
        first: Values of one method, shape (n,), n 3 or more.
        second: Values of the other on the same samples.
        confidence: Level of the intervals.

    Raises:
        UsageError: The values are no finite pairs, fewer than three, or all slopes are undefined.
    """
    x, y = _pairs(first, second, least=3)
    check_confidence(confidence)
    n = len(x)
    upper = np.triu_indices(n, 1)
    run, rise = (x[None, :] - x[:, None])[upper], (y[None, :] - y[:, None])[upper]
    known = (run != 0) | (rise != 0)
    with np.errstate(divide="ignore"):
        slopes = np.where(run[known] == 0, np.copysign(np.inf, rise[known]), rise[known] / run[known])
    slopes = np.sort(slopes[slopes != -1])
    count = len(slopes)
    if count == 0:
        raise UsageError(
            "All points lie on each other or on a falling line, so no line can be fitted. Give more values."
        )
    shift = int((slopes < -1).sum())
    slope = _shifted_median(slopes, shift)
    width = NormalDist().inv_cdf(0.5 + confidence / 2) * math.sqrt(n * (n - 1) * (2 * n + 5) / 18)
    low_rank = max(1, round((count - width) / 2))
    high_rank = count - low_rank + 1
    low, high = (float(slopes[min(max(rank + shift, 1), count) - 1]) for rank in (low_rank, high_rank))
    if not all(map(math.isfinite, (slope, low, high))):
        raise UsageError("The first method gives too many equal values, so no line can be fitted. Give more values.")
    intercept = float(np.median(y - slope * x))
    ends = sorted(float(np.median(y - value * x)) for value in (low, high))
    method = "Passing and Bablok 1983"
    return Line(
        slope, Interval(low, high, confidence, method), intercept, Interval(ends[0], ends[1], confidence, method)
    )


def _shifted_median(slopes: Floats, shift: int) -> float:
    count = len(slopes)
    if count % 2:
        return float(slopes[min((count + 1) // 2 + shift, count) - 1])
    low, high = (min(place + shift, count) - 1 for place in (count // 2, count // 2 + 1))
    return float((slopes[low] + slopes[high]) / 2)


def deming(first: ArrayLike, second: ArrayLike, *, variance_ratio: float = 1.0, confidence: float = 0.95) -> Line:
    """Fit a line where both methods err, with jackknife intervals.

    Source: Deming 1943, "Statistical Adjustment of Data"; the intervals after Linnet 1993, Clinical Chemistry 39,
    424-432.

    Args:
        first: Values of one method, shape (n,), n 3 or more, not all equal.
        second: Values of the other on the same samples.
        variance_ratio: Variance of the second method's error over that of the first one's.
        confidence: Level of the intervals.

    Raises:
        UsageError: The values are no finite pairs, fewer than three or unrelated, or the ratio is not above 0.
    """
    x, y = _pairs(first, second, least=3)
    check_confidence(confidence)
    if not (math.isfinite(variance_ratio) and variance_ratio > 0):
        raise UsageError(f"The ratio of the variances must be above 0, not {variance_ratio}.")
    slope, intercept = _deming_line(x, y, variance_ratio)
    n = len(x)
    places = np.arange(n)
    without = np.array([_deming_line(x[places != out], y[places != out], variance_ratio) for out in range(n)])
    pseudo = n * np.array([slope, intercept]) - (n - 1) * without
    half = student_quantile(0.5 + confidence / 2, n - 2) * pseudo.std(axis=0, ddof=1) / math.sqrt(n)
    method = "jackknife"
    return Line(
        slope, Interval(slope - float(half[0]), slope + float(half[0]), confidence, method),
        intercept, Interval(intercept - float(half[1]), intercept + float(half[1]), confidence, method),
    )  # fmt: skip


def _deming_line(x: Floats, y: Floats, ratio: float) -> tuple[float, float]:
    sxx, syy = float(x.var()), float(y.var())
    sxy = float(((x - x.mean()) * (y - y.mean())).mean())
    if sxy == 0:
        raise UsageError("The two methods have no relation on these values, so no line can be fitted.")
    part = syy - ratio * sxx
    slope = (part + math.sqrt(part**2 + 4 * ratio * sxy**2)) / (2 * sxy)
    return slope, float(y.mean() - slope * x.mean())


def cohen_kappa(
    first: ArrayLike, second: ArrayLike, class_count: int, *, weights: str = "none", confidence: float = 0.95
) -> tuple[float, Interval]:
    """Compute kappa: agreement beyond chance of two observers who name the same cells.

    Source: Cohen 1960, Educational and Psychological Measurement 20, 37-46; weighted: Cohen 1968, Psychological
    Bulletin 70, 213-220. The interval takes the large-sample standard error of Fleiss, Cohen and Everitt 1969,
    Psychological Bulletin 72, 323-327.

    Args:
        first: Class numbers that one observer gave, shape (n,), integers in [0, class_count).
        second: Class numbers of the other.
        class_count: Number of classes.
        weights: `none`, `linear` or `quadratic`: how much a near miss counts where classes have an order.
        confidence: Level of the interval.

    Returns:
        Kappa and its interval; both 1 where all agree on several classes, and kappa 0 where both know one class only.

    Raises:
        UsageError: The numbers are no classes, or there is no pair.
    """
    check_confidence(confidence)
    if weights not in _WEIGHTS:
        raise UsageError(f"The weights of a kappa are one of {', '.join(_WEIGHTS)}, not {weights!r}.")
    rows, columns = np.asarray(first), np.asarray(second)
    if rows.shape != columns.shape or rows.ndim != 1 or not len(rows) or rows.dtype.kind + columns.dtype.kind != "ii":
        raise UsageError("A kappa needs two rows of class numbers of one length, 1 or more.")
    if min(rows.min(), columns.min()) < 0 or max(rows.max(), columns.max()) >= class_count:
        raise UsageError(f"A class number lies outside of 0 to {class_count - 1}.")
    n = len(rows)
    table = np.bincount(rows * class_count + columns, minlength=class_count**2).reshape(class_count, -1) / n
    apart = np.abs(np.subtract.outer(np.arange(class_count), np.arange(class_count)))
    if weights == "none":
        weight = (apart == 0).astype(np.float64)
    else:
        weight = 1 - (apart / max(class_count - 1, 1)) ** (1 if weights == "linear" else 2)
    of_rows, of_columns = table.sum(axis=1), table.sum(axis=0)
    observed, expected = float((weight * table).sum()), float(of_rows @ weight @ of_columns)
    if expected >= 1:
        return 0.0, Interval(0.0, 0.0, confidence, "one class only")
    kappa = min(1.0, max(-1.0, (observed - expected) / (1 - expected)))  # rounding may step over the ends
    mean = (weight @ of_columns)[:, None] + (of_rows @ weight)[None, :]
    spread = float((table * (weight - mean * (1 - kappa)) ** 2).sum()) - (kappa - expected * (1 - kappa)) ** 2
    half = NormalDist().inv_cdf(0.5 + confidence / 2) * math.sqrt(max(spread, 0.0) / n) / (1 - expected)
    return kappa, Interval(max(-1.0, kappa - half), min(1.0, kappa + half), confidence, "large sample")


def lin_concordance(first: ArrayLike, second: ArrayLike, *, confidence: float = 0.95) -> tuple[float, Interval]:
    """Compute Lin's concordance correlation: 1 only where both methods give the same numbers.

    Source: Lin 1989, Biometrics 45, 255-268, with the correction of Lin 2000, Biometrics 56, 324-325; the interval by
    the inverse hyperbolic tangent.

    Args:
        first: Values of one method, shape (n,), n 3 or more, not all equal.
        second: Values of the other on the same samples.
        confidence: Level of the interval.

    Raises:
        UsageError: The values are no finite pairs, fewer than three, or all equal.
    """
    x, y = _pairs(first, second, least=3)
    check_confidence(confidence)
    sxx, syy = float(x.var()), float(y.var())
    sxy = float(((x - x.mean()) * (y - y.mean())).mean())
    gap = float(x.mean() - y.mean())
    if sxx + syy + gap**2 == 0:
        raise UsageError("All values are equal, so there is no concordance to measure. Give values that differ.")
    concordance = 2 * sxy / (sxx + syy + gap**2)
    if sxx == 0 or syy == 0 or abs(concordance) >= 1 - 1e-12:
        return concordance, Interval(concordance, concordance, confidence, "no spread")
    r = sxy / math.sqrt(sxx * syy)
    shift = gap**2 / math.sqrt(sxx * syy)
    if r == 0:
        return 0.0, Interval(-1.0, 1.0, confidence, "no relation")
    square, rest = concordance**2, 1 - concordance**2
    variance = (
        (1 - r**2) * square / (rest * r**2)
        + 2 * concordance**3 * (1 - concordance) * shift / (r * rest**2)
        - concordance**4 * shift**2 / (2 * r**2 * rest**2)
    ) / (len(x) - 2)
    half = NormalDist().inv_cdf(0.5 + confidence / 2) * math.sqrt(max(variance, 0.0))
    middle = math.atanh(concordance)
    ends = math.tanh(middle - half), math.tanh(middle + half)
    return concordance, Interval(ends[0], ends[1], confidence, "Fisher's z, Lin 1989")


def student_quantile(share: float, freedom: int) -> float:
    """Return the quantile of Student's distribution for a share in [0.5, 1) and 1 or more degrees of freedom."""
    if share <= 0.5:
        return 0.0
    # The distribution function is an incomplete beta function (NIST Digital Library of Mathematical Functions 8.17).
    low, high = 0.0, 1.0
    while _student_above(high, freedom) > 1 - share:
        high *= 2
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if _student_above(middle, freedom) > 1 - share else (low, middle)
    return (low + high) / 2


def _student_above(value: float, freedom: int) -> float:
    return incomplete_beta(freedom / (freedom + value * value), freedom / 2, 0.5) / 2


def _pairs(first: ArrayLike, second: ArrayLike, *, least: int) -> tuple[Floats, Floats]:
    x, y = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if x.ndim != 1 or x.shape != y.shape or len(x) < least or not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise UsageError(f"Two methods are compared on {least} or more pairs of finite numbers. Check the two rows.")
    return x, y

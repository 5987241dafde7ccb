"""Paired tests: did two models that judged the same pictures differ by more than chance?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from corpuscle.errors import UsageError

__all__ = ["McNemar", "holm", "mcnemar"]


@dataclass(frozen=True, slots=True)
class McNemar:
    """What McNemar's test found.

    Attributes:
        n: Number of pictures that both judged.
        b: Pictures that only the first got right.
        c: Pictures that only the second got right.
        p: Two-sided exact p-value, in (0, 1], or 0 where it is below the least float.
    """

    n: int
    b: int
    c: int
    p: float


def mcnemar(right_a: ArrayLike, right_b: ArrayLike) -> McNemar:
    """Test whether two models are right equally often on the same pictures.

    Only the pictures on which they disagree tell them apart. If both are equally good, each of these is a fair coin:
    b of the n = b + c follow the binomial distribution with one half. The p-value is twice the tail up to the smaller
    of both, 1 at most, and exact for any number: the terms are summed in logarithms, so none of them overflows.
    The pictures are taken to be independent. Source: McNemar 1947, "Note on the sampling error of the difference
    between correlated proportions or percentages", Psychometrika 12, 153-157, in its exact binomial form.

    Args:
        right_a: Whether the first model was right on each picture, shape (n,), bool, n of 1 or more.
        right_b: The same of the second, on the same pictures in the same order.

    Raises:
        UsageError: The arrays are not of that form.
    """
    first, second = np.asarray(right_a), np.asarray(right_b)
    if first.dtype != np.bool_ or second.dtype != np.bool_ or first.ndim != 1 or first.shape != second.shape:
        raise UsageError("A paired test needs true or false of both models for each picture. Give two rows of bool.")
    if not first.size:
        raise UsageError("A paired test needs 1 picture or more that both models judged. Judge the same pictures.")
    b, c = int((first & ~second).sum()), int((second & ~first).sum())
    return McNemar(len(first), b, c, _coin_p_value(min(b, c), b + c))


def _coin_p_value(fewer: int, n: int) -> float:
    """Return the two-sided p-value of `fewer` heads or tails, whichever is rarer, in n throws of a fair coin."""
    if 2 * fewer == n:
        return 1.0
    whole = math.lgamma(n + 1) - n * math.log(2)
    logs = [whole - math.lgamma(k + 1) - math.lgamma(n - k + 1) for k in range(fewer + 1)]
    # The last term is the largest, as `fewer` lies below the middle.
    tail = math.fsum(math.exp(value - logs[-1]) for value in logs)
    return min(1.0, math.exp(math.log(2) + logs[-1] + math.log(tail)))


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Correct p-values for having made several tests, so that one false alarm among all stays as rare as stated.

    The smallest of m is multiplied by m, the next by m - 1 and so on; none may fall below the one before, and 1 is
    the most. Source: Holm 1979, Scandinavian Journal of Statistics 6, 65-70.

    Args:
        p_values: Each in [0, 1]; none at all is allowed.

    Returns:
        The corrected values in the order given.

    Raises:
        UsageError: A value is not in [0, 1].
    """
    if not all(0 <= value <= 1 for value in p_values):
        raise UsageError("A p-value lies in [0, 1]. Check how these were made.")
    corrected = [0.0] * len(p_values)
    largest = 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = largest
    return tuple(corrected)

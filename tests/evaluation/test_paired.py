"""Paired tests agree with a reference and with what can be counted by hand."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from corpuscle.errors import UsageError
from corpuscle.evaluation.paired import holm, mcnemar


def rights(b: int, c: int, both: int = 0, neither: int = 0) -> tuple[np.ndarray, np.ndarray]:
    first = np.repeat([True, False, True, False], [b, c, both, neither])
    second = np.repeat([False, True, True, False], [b, c, both, neither])
    return first, second


def test_the_four_cells_are_counted():
    found = mcnemar(*rights(3, 5, both=7, neither=2))
    assert (found.n, found.b, found.c) == (17, 3, 5)


@pytest.mark.parametrize(("b", "c", "p"), [(0, 0, 1.0), (1, 0, 1.0), (4, 4, 1.0), (0, 5, 2 / 32), (1, 7, 18 / 256)])
def test_small_numbers_are_those_of_a_coin(b, c, p):
    assert mcnemar(*rights(b, c, both=2)).p == pytest.approx(p, rel=1e-12)


@given(st.integers(0, 60), st.integers(0, 60))
def test_it_agrees_with_scipy(b, c):
    expected = binomtest(b, b + c, 0.5).pvalue if b + c else 1.0
    assert mcnemar(*rights(b, c, both=1)).p == pytest.approx(expected, rel=1e-9)
    assert mcnemar(*rights(c, b, both=1)).p == mcnemar(*rights(b, c, both=1)).p


@pytest.mark.parametrize(("b", "c"), [(5000, 5200), (20000, 20000), (20001, 20000), (49000, 51000), (3, 900)])
def test_large_numbers_are_exact_too(b, c):
    assert mcnemar(*rights(b, c)).p == pytest.approx(binomtest(b, b + c, 0.5).pvalue, rel=1e-7)


def test_a_tail_below_the_least_float_is_zero_and_no_error():
    assert mcnemar(*rights(0, 3000)).p == 0.0


def test_agreement_of_both_says_nothing():
    assert mcnemar(*rights(2, 9)).p == mcnemar(*rights(2, 9, both=1000, neither=50)).p


@pytest.mark.parametrize(
    ("first", "second"),
    [([1, 0], [True, False]), ([True], [True, False]), ([[True]], [[True]]), ([], [])],
)
def test_what_is_no_pair_of_answers_is_refused(first, second):
    with pytest.raises(UsageError, match=r"needs .*\. (Give|Judge)"):
        mcnemar(np.array(first), np.array(second))


def test_nothing_in_common_is_refused():
    with pytest.raises(UsageError, match="1 picture or more"):
        mcnemar(np.zeros(0, bool), np.zeros(0, bool))


def test_holm_by_hand():
    assert holm([0.04, 0.01, 0.03]) == pytest.approx((0.06, 0.03, 0.06))
    assert holm([]) == ()
    assert holm([0.2]) == (0.2,)
    assert holm([0.9, 0.8]) == (1.0, 1.0)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_keeps_the_order_and_never_helps(values):
    corrected = holm(values)
    assert all(after >= before for before, after in zip(values, corrected, strict=True))
    assert max(corrected) <= 1
    order = np.argsort(values, kind="stable")
    assert all(corrected[a] <= corrected[b] for a, b in itertools.pairwise(order))


@pytest.mark.parametrize("value", [-0.1, 1.1, math.nan])
def test_holm_refuses_what_is_no_p_value(value):
    with pytest.raises(UsageError, match="lies in"):
        holm([0.5, value])

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta

from corpuscle.errors import UnknownNameError, UsageError
from corpuscle.prediction.proportions import (
    _all_within,
    exact_interval,
    incomplete_beta,
    proportion_intervals,
    simultaneous_intervals,
    sison_glaz_intervals,
    wilson_interval,
)


def test_nine_of_a_hundred():
    ends = wilson_interval(9, 100)
    assert (round(100 * ends.low, 1), round(100 * ends.high, 1)) == (4.8, 16.2)


@given(st.integers(1, 3000), st.floats(0, 1), st.sampled_from([0.9, 0.95, 0.99]))
def test_exact_ends_are_quantiles_of_the_beta_distribution(n, share, confidence):
    k = round(share * n)
    ends = exact_interval(k, n, confidence)
    tail = (1 - confidence) / 2
    assert ends.low == pytest.approx(beta.ppf(tail, k, n - k + 1) if k else 0, abs=1e-9)
    assert ends.high == pytest.approx(beta.ppf(1 - tail, k + 1, n - k) if k < n else 1, abs=1e-9)


def test_exact_is_never_narrower_than_stated():
    """For a few shares the chance that the interval holds the share is summed up over all outcomes."""
    from scipy.stats import binom

    for share in (0.01, 0.09, 0.5):
        outcomes = np.arange(101)
        held = [exact_interval(int(k), 100).low <= share <= exact_interval(int(k), 100).high for k in outcomes]
        assert binom.pmf(outcomes[held], 100, share).sum() >= 0.95


def test_simultaneous_intervals_are_wilsons_at_a_stricter_level():
    ends = simultaneous_intervals([60, 30, 10])
    assert ends[1].low == pytest.approx(wilson_interval(30, 100, 1 - 0.05 / 3).low)
    assert all(
        e.high - e.low > w.high - w.low
        for e, w in zip(ends, (wilson_interval(k, 100) for k in (60, 30, 10)), strict=True)
    )


def test_simultaneous_intervals_hold_together():
    rng = np.random.default_rng(0)
    shares = np.array([0.55, 0.3, 0.08, 0.05, 0.02])
    held = 0
    for counts in rng.multinomial(200, shares, size=1000):
        ends = simultaneous_intervals(counts.tolist())
        held += all(e.low <= share <= e.high for e, share in zip(ends, shares, strict=True))
    assert held / 1000 >= 0.935


def test_the_incomplete_beta_function_has_its_symmetry_and_ends():
    assert incomplete_beta(0.0, 2, 3) == 0
    assert incomplete_beta(1.0, 2, 3) == 1
    assert incomplete_beta(0.3, 2, 5) + incomplete_beta(0.7, 5, 2) == pytest.approx(1)


def test_nothing_counted_has_no_interval():
    assert proportion_intervals([0, 0], "wilson") == (None, None)


@pytest.mark.parametrize("wrong", [(-1, 10), (11, 10), (0, 0)])
def test_what_is_no_proportion_is_refused(wrong):
    for interval in (wilson_interval, exact_interval):
        with pytest.raises(UsageError, match="no proportion"):
            interval(*wrong)


def test_an_unknown_interval_is_named():
    with pytest.raises(UnknownNameError, match="wilson, exact, simultaneous"):
        proportion_intervals([1], "wald")
    with pytest.raises(UsageError, match="add up"):
        simultaneous_intervals([0, 0])


def test_sison_glaz_has_the_width_of_the_published_method():
    """Counts 23, 12 and 44: c is 8, so the lower ends lie 8 of 79 below the shares (May and Johnson 2000)."""
    ends = sison_glaz_intervals([23, 12, 44])
    assert [end.low for end in ends] == pytest.approx([15 / 79, 4 / 79, 36 / 79])
    assert len({round(end.high - count / 79, 12) for end, count in zip(ends, (23, 12, 44), strict=True)}) == 1
    assert 31 / 79 < ends[0].high < 33 / 79


def test_all_counts_within_a_step_are_summed_exactly():
    """Against the sum over all outcomes of a multinomial."""
    from scipy.stats import multinomial

    counts = (3, 1, 4)
    law = multinomial(8, np.array(counts) / 8)
    outcomes = [(a, b, 8 - a - b) for a in range(9) for b in range(9 - a)]
    for steps in range(4):
        close = [row for row in outcomes if max(abs(x - y) for x, y in zip(row, counts, strict=True)) <= steps]
        assert _all_within(counts, steps) == pytest.approx(law.pmf(close).sum())


def test_sison_glaz_intervals_hold_together():
    rng = np.random.default_rng(0)
    shares = np.array([0.3, 0.3, 0.25, 0.15])
    held = 0
    for _ in range(300):
        ends = sison_glaz_intervals(rng.multinomial(100, shares).tolist())
        held += all(end.low <= share <= end.high for end, share in zip(ends, shares, strict=True))
    assert held / 300 > 0.91


@given(st.lists(st.integers(0, 400), min_size=1, max_size=8).filter(any))
def test_sison_glaz_intervals_hold_their_own_shares(counts):
    for count, end in zip(counts, sison_glaz_intervals(counts), strict=True):
        assert 0 <= end.low <= count / sum(counts) <= end.high <= 1


def test_sison_glaz_needs_counts():
    with pytest.raises(UsageError, match="add up to 1"):
        sison_glaz_intervals([0, 0])
    assert proportion_intervals([0, 0], "sison-glaz") == (None, None)

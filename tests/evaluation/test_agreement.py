from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import cohen_kappa_score

from corpuscle.errors import UsageError
from corpuscle.evaluation.agreement import (
    bland_altman,
    cohen_kappa,
    deming,
    lin_concordance,
    passing_bablok,
    student_quantile,
)

# Peak flow of 17 people with two meters, first readings: table 1 of Bland and Altman 1986.
LARGE = [494, 395, 516, 434, 476, 557, 413, 442, 650, 433, 417, 656, 267, 478, 178, 423, 427]
MINI = [512, 430, 520, 428, 500, 600, 364, 380, 658, 445, 432, 626, 260, 477, 259, 350, 451]


def test_bland_and_altmans_own_example():
    result = bland_altman(LARGE, MINI)
    assert result.n == 17
    assert result.bias == pytest.approx(-2.1, abs=0.05)
    assert result.deviation == pytest.approx(38.8, abs=0.05)
    assert result.lower == pytest.approx(-78.1, abs=0.2)
    assert result.upper == pytest.approx(73.9, abs=0.2)
    # The paper: bias -22.0 to 17.8, lower limit -114.3 to -45.1 (with 2 deviations), upper 40.9 to 110.1.
    assert (result.bias_interval.low, result.bias_interval.high) == pytest.approx((-22.0, 17.8), abs=0.1)
    assert result.lower_interval.high - result.lower_interval.low == pytest.approx(69.2, abs=0.5)


def test_swapping_the_methods_turns_the_bias():
    assert bland_altman(MINI, LARGE).bias == -bland_altman(LARGE, MINI).bias


@pytest.mark.parametrize("fit", [passing_bablok, deming])
def test_points_on_a_line_give_the_line(fit):
    x = np.array([1.0, 2, 4, 7, 9, 15])
    line = fit(x, 3 + 1.5 * x)
    assert (line.slope, line.intercept) == pytest.approx((1.5, 3))
    assert line.slope_interval.low == pytest.approx(1.5)
    assert line.slope_interval.high == pytest.approx(1.5)


def slow_passing_bablok(x, y):
    """The published procedure, step by step."""
    slopes = []
    for i in range(len(x)):
        for j in range(i + 1, len(x)):
            if x[i] == x[j] and y[i] == y[j]:
                continue
            s = (y[i] - y[j]) / (x[i] - x[j]) if x[i] != x[j] else float("inf") * np.sign(y[i] - y[j])
            if s != -1:
                slopes.append(s)
    slopes.sort()
    k, n = sum(s < -1 for s in slopes), len(slopes)
    b = slopes[(n + 1) // 2 + k - 1] if n % 2 else (slopes[n // 2 + k - 1] + slopes[n // 2 + k]) / 2
    return b, float(np.median([yi - b * xi for xi, yi in zip(x, y, strict=True)]))


@pytest.mark.parametrize("seed", range(5))
def test_passing_and_bablok_step_by_step(seed):
    rng = np.random.default_rng(seed)
    truth = rng.uniform(0, 100, 30)
    x, y = truth + rng.normal(0, 4, 30), 2 + 1.1 * truth + rng.normal(0, 4, 30)
    y[3] = 400
    line = passing_bablok(x, y)
    assert (line.slope, line.intercept) == pytest.approx(slow_passing_bablok(x, y))
    assert line.slope_interval.low < line.slope < line.slope_interval.high
    assert line.slope_interval.low < 1.1 < line.slope_interval.high


def test_swapping_the_methods_inverts_the_lines():
    for fit in (passing_bablok, deming):
        assert fit(MINI, LARGE).slope == pytest.approx(1 / fit(LARGE, MINI).slope, rel=1e-6)


def test_deming_is_the_principal_axis_when_both_err_alike():
    _, axes = np.linalg.eigh(np.cov(LARGE, MINI))
    assert deming(LARGE, MINI).slope == pytest.approx(axes[1, -1] / axes[0, -1])


def test_deming_becomes_the_regression_when_the_first_method_is_exact():
    assert deming(LARGE, MINI, variance_ratio=1e9).slope == pytest.approx(np.polyfit(LARGE, MINI, 1)[0], rel=1e-4)


def test_demings_interval_covers():
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(200):
        truth = rng.uniform(0, 10, 25)
        ends = deming(truth + rng.normal(0, 0.5, 25), truth + rng.normal(0, 0.5, 25)).slope_interval
        held += ends.low <= 1 <= ends.high
    assert held >= 180


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=2, max_size=60))
@example([(0, 2), (2, 0)])
def test_kappa_is_that_of_scikit_learn(pairs):
    first, second = np.array(pairs).T
    if len(set(first.tolist()) | set(second.tolist())) == 1:
        assert cohen_kappa(first, second, 4)[0] == 0
        return
    for weights, name in (("none", None), ("linear", "linear"), ("quadratic", "quadratic")):
        expected = cohen_kappa_score(first, second, labels=range(4), weights=name)
        kappa, ends = cohen_kappa(first, second, 4, weights=weights)
        assert kappa == pytest.approx(expected, abs=1e-9)
        assert ends.low <= kappa <= ends.high


def test_the_interval_of_a_kappa_known_from_textbooks():
    """Fleiss, Levin, Paik 2003, table 18.1: two raters, 100 subjects, kappa 0.68 with standard error 0.087."""
    table = np.array([[75, 1, 4], [5, 4, 1], [0, 0, 10]])
    first, second = np.repeat(np.indices((3, 3)).reshape(2, -1), table.ravel(), axis=1)
    kappa, ends = cohen_kappa(first, second, 3)
    assert kappa == pytest.approx(0.676, abs=0.001)
    assert (ends.high - ends.low) / 2 / 1.96 == pytest.approx(0.088, abs=0.002)


def test_concordance_by_its_definition():
    x, y = np.array(LARGE, float), np.array(MINI, float)
    expected = 2 * np.cov(x, y, ddof=0)[0, 1] / (x.var() + y.var() + (x.mean() - y.mean()) ** 2)
    concordance, ends = lin_concordance(x, y)
    assert concordance == pytest.approx(expected)
    assert concordance == pytest.approx(0.943, abs=0.001)
    assert ends.low < concordance < ends.high < 1


def test_concordance_is_one_for_equal_and_falls_with_a_shift():
    x = np.arange(10.0)
    assert lin_concordance(x, x)[0] == 1
    assert lin_concordance(x, x + 3)[0] < 0.7
    assert lin_concordance(x, -x)[0] < 0


def test_the_interval_of_concordance_covers():
    rng = np.random.default_rng(0)
    cov = np.array([[4.0, 3.2], [3.2, 4.0]])
    truth = 2 * 3.2 / (8 + 1)
    held = 0
    for _ in range(300):
        x, y = rng.multivariate_normal([0, 1], cov, 60).T
        ends = lin_concordance(x, y)[1]
        held += ends.low <= truth <= ends.high
    assert 270 <= held <= 297


@given(st.floats(0.51, 0.999), st.integers(1, 200))
def test_quantiles_of_student(share, freedom):
    assert student_quantile(share, freedom) == pytest.approx(stats.t.ppf(share, freedom), rel=1e-6)


@pytest.mark.parametrize("measure", [bland_altman, passing_bablok, deming, lin_concordance])
def test_what_is_no_pair_of_rows_is_refused(measure):
    for first, second in (([1.0, 2], [1.0]), ([1.0], [1.0]), ([1.0, 2, np.nan], [1.0, 2, 3])):
        with pytest.raises(UsageError, match="pairs of finite numbers"):
            measure(first, second)


def test_what_has_no_answer_is_refused():
    with pytest.raises(UsageError, match="no line"):
        passing_bablok([1.0, 1, 1], [1.0, 1, 1])
    with pytest.raises(UsageError, match="no relation"):
        deming([1.0, 1, 1], [1.0, 2, 3])
    with pytest.raises(UsageError, match="above 0"):
        deming(LARGE, MINI, variance_ratio=0)
    with pytest.raises(UsageError, match="All values are equal"):
        lin_concordance([1.0, 1, 1], [1.0, 1, 1])
    with pytest.raises(UsageError, match="class number"):
        cohen_kappa([0, 5], [0, 1], 3)
    with pytest.raises(UsageError, match="linear"):
        cohen_kappa([0], [0], 2, weights="cubic")

import numpy as np
import pytest
from scipy.stats import binomtest

from corpuscle.errors import UsageError
from corpuscle.evaluation.intervals import Interval, bootstrap_interval, wilson_interval


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0000, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_equals_the_worked_examples_of_newcombe_1998(successes, n, low, high):
    found = wilson_interval(successes, n)
    assert (round(found.low, 4), round(found.high, 4)) == (low, high)


@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
@pytest.mark.parametrize(("successes", "n"), [(0, 1), (1, 1), (3, 7), (1700, 1709), (1709, 1709), (0, 50)])
def test_wilson_equals_scipy(successes, n, confidence):
    found = wilson_interval(successes, n, confidence)
    expected = binomtest(successes, n).proportion_ci(confidence_level=confidence, method="wilson")
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert found.confidence == confidence


def test_wilson_keeps_its_width_when_all_are_right():
    found = wilson_interval(100, 100)
    assert found.high == 1.0
    assert 0.95 < found.low < 0.97
    assert wilson_interval(0, 100).low == 0.0


@pytest.mark.parametrize(("successes", "n", "confidence"), [(1, 0, 0.95), (3, 2, 0.95), (-1, 2, 0.95), (1, 2, 1.0)])
def test_wilson_refuses_what_is_no_proportion(successes, n, confidence):
    with pytest.raises(UsageError):
        wilson_interval(successes, n, confidence)


def test_bootstrap_of_a_mean_agrees_with_the_normal_interval():
    values = np.random.default_rng(0).normal(size=400)
    found = bootstrap_interval(lambda rows: float(values[rows].mean()), 400, resamples=4000)
    half = 1.96 * values.std() / 20
    assert found.low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert found.high == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_a_lower_confidence_gives_a_narrower_bootstrap():
    values = np.random.default_rng(0).normal(size=100)

    def width(confidence):
        found = bootstrap_interval(lambda rows: float(values[rows].mean()), 100, confidence=confidence, resamples=500)
        return found.high - found.low

    assert width(0.5) < 0.6 * width(0.95)


def test_groups_are_drawn_whole():
    groups = ["a", "b", "", "a", "b", ""]
    drawn = []

    def statistic(rows):
        drawn.append(np.bincount(rows, minlength=6))
        return 0.0

    bootstrap_interval(statistic, 6, groups=groups, resamples=200)
    counts = np.array(drawn)
    assert (counts[:, 0] == counts[:, 3]).all()
    assert (counts[:, 1] == counts[:, 4]).all()
    assert (counts[:, 2] != counts[:, 5]).any()
    # Four groups are drawn each time: a, b and the two rows on their own.
    assert (counts[:, [0, 1, 2, 5]].sum(axis=1) == 4).all()


def test_bootstrap_of_groups_is_wider_when_a_group_is_alike_inside():
    right = np.repeat(np.random.default_rng(1).random(50) < 0.7, 16).astype(float)
    groups = [str(row // 16) for row in range(800)]

    def width(**options):
        found = bootstrap_interval(lambda rows: float(right[rows].mean()), 800, resamples=500, **options)
        return found.high - found.low

    # 800 rows are worth 50: wider by sqrt(16) = 4.
    assert width(groups=groups) == pytest.approx(4 * width(), rel=0.25)


def test_bootstrap_depends_on_nothing_but_its_seed():
    values = np.random.default_rng(2).normal(size=30)

    def found(seed):
        return bootstrap_interval(lambda rows: float(values[rows].mean()), 30, seed=seed, resamples=200)

    assert found(1) == found(1)
    assert found(1) != found(2)


@pytest.mark.parametrize(
    ("n", "options", "words"),
    [
        (5, {"resamples": 99}, "resamples"),
        (5, {"seed": -1}, "seed"),
        (5, {"confidence": 0.0}, "between 0 and 1"),
        (5, {"groups": ["a"] * 4}, "5 rows and 4 groups"),
        (5, {"groups": ["a"] * 5}, "two groups"),
        (1, {}, "two rows"),
        (0, {}, "two rows"),
        (0, {"groups": []}, "two groups"),
    ],
)
def test_bootstrap_refuses_wrong_requests(n, options, words):
    with pytest.raises(UsageError, match=words):
        bootstrap_interval(lambda rows: 0.0, n, **options)


def test_bootstrap_refuses_a_statistic_without_a_value():
    with pytest.raises(UsageError, match="not finite"):
        bootstrap_interval(lambda rows: float("nan"), 5, resamples=100)


def test_an_interval_refuses_ends_the_wrong_way_round():
    with pytest.raises(UsageError, match="lower end first"):
        Interval(0.9, 0.1, 0.95, "made up")
    with pytest.raises(UsageError, match="lower end first"):
        Interval(float("nan"), 0.1, 0.95, "made up")

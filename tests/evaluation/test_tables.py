from __future__ import annotations

import pytest

from corpuscle.errors import UsageError
from corpuscle.evaluation.tables import aligned, duration, p_value, short_amount


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (7, "7"), (999, "999"), (999.7, "1 k"), (1000, "1 k"), (1_523_456, "1.52 M"), (310e6, "310 M"),
     (999_999, "1 M"), (19.6e9, "19.6 G"), (5e15, "5 P"), (5e18, "5000 P")],
)  # fmt: skip
def test_amounts_have_three_figures(value, text):
    assert short_amount(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "0 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (725, "12 min 05 s"), (3599.6, "1 h 00 min"),
     (3725.5, "1 h 02 min"), (11_220, "3 h 07 min")],
)  # fmt: skip
def test_times_have_two_units(seconds, text):
    assert duration(seconds) == text


def test_a_p_value_never_becomes_zero():
    assert [p_value(value) for value in (1.0, 0.0312, 0.0001, 0.00009, 0.0)] == [
        "1.0000", "0.0312", "0.0001", "<0.0001", "<0.0001",
    ]  # fmt: skip


def test_columns_are_set_below_each_other():
    assert aligned([["run", "n"], ["a", "1709"]]) == ["run     n", "a    1709"]
    with pytest.raises(UsageError, match="one length"):
        aligned([["a"], ["a", "b"]])

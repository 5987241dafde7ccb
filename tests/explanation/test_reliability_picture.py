"""The reliability diagram shows its bins where they belong."""

from __future__ import annotations

import numpy as np
import pytest

from corpuscle.errors import UsageError
from corpuscle.evaluation.intervals import wilson_interval
from corpuscle.evaluation.reliability import ReliabilityBin
from corpuscle.explanation.drawing import draw_reliability
from corpuscle.explanation.palette import CAUTION, POINT


def a_bin(confidence: float, right: int, n: int) -> ReliabilityBin:
    low = np.floor(confidence * 15) / 15
    return ReliabilityBin(float(low), float(low + 1 / 15), n, confidence, right / n, wilson_interval(right, n))


def places(picture: np.ndarray, color: tuple[int, int, int]) -> np.ndarray:
    return np.argwhere((picture == color).all(axis=2))


def test_a_higher_accuracy_stands_higher_and_a_higher_confidence_to_the_right():
    low = places(draw_reliability([a_bin(0.35, 30, 100)], title="t", subtitle="s"), POINT).mean(axis=0)
    high = places(draw_reliability([a_bin(0.75, 80, 100)], title="t", subtitle="s"), POINT).mean(axis=0)
    assert high[0] < low[0] - 100
    assert high[1] - low[1] == pytest.approx(0.4 * 420, abs=4)


def test_too_much_promised_is_drawn_in_the_color_of_caution():
    honest, boasting = a_bin(0.75, 76, 100), a_bin(0.95, 50, 100)
    picture = draw_reliability([honest, boasting], title="t", subtitle="s")
    assert len(places(picture, POINT)) > 20
    assert len(places(picture, CAUTION)) > 20
    assert len(places(draw_reliability([honest], title="t", subtitle="s"), CAUTION)) == 0


def test_it_is_the_same_each_time_and_long_titles_fit():
    bins = [a_bin(0.5, 5, 10), a_bin(0.99, 1000, 1001)]
    first, again = (draw_reliability(bins, title="long " * 40, subtitle="below " * 40) for _ in range(2))
    assert first.dtype == np.uint8
    assert (first == again).all()
    assert first.shape[0] > draw_reliability(bins, title="t", subtitle="s").shape[0]


def test_nothing_cannot_be_drawn():
    with pytest.raises(UsageError, match="at least one bin"):
        draw_reliability([], title="t", subtitle="s")

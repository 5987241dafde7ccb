from __future__ import annotations

import numpy as np
import pytest

from corpuscle.prediction import neighbors
from corpuscle.prediction.neighbors import pairs_up_to


def listed(starts, ends) -> list[tuple[int, int]]:
    return [
        (int(one), int(other))
        for first, second in pairs_up_to(np.asarray(starts, float), np.asarray(ends, float))
        for one, other in zip(first, second, strict=True)
    ]


@pytest.mark.parametrize("at_once", [1, 7, 2**20])
def test_every_pair_that_meets_comes_once_whatever_the_size_of_the_blocks(at_once, monkeypatch):
    monkeypatch.setattr(neighbors, "_MOST_AT_ONCE", at_once)
    rng = np.random.default_rng(0)
    starts = rng.integers(0, 40, 50).astype(float)
    ends = starts + rng.integers(0, 6, 50)
    pairs = listed(starts, ends)
    meeting = {
        (one, other)
        for one in range(50)
        for other in range(one + 1, 50)
        if max(starts[one], starts[other]) <= min(ends[one], ends[other])
    }
    assert len(pairs) == len(meeting)
    assert {(min(pair), max(pair)) for pair in pairs} == meeting
    assert all(starts[one] <= starts[other] for one, other in pairs)


def test_touching_counts_as_meeting():
    assert listed([5, 0], [9, 5]) == [(1, 0)]


@pytest.mark.parametrize("number", [0, 1])
def test_without_two_there_is_no_pair(number):
    assert listed(np.zeros(number), np.ones(number)) == []

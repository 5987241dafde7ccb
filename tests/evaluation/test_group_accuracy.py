from __future__ import annotations

import numpy as np
import pytest

from corpuscle.evaluation.group_accuracy import group_accuracy


def answer(*rows: tuple[str, int, list[float]]):
    groups, labels, probabilities = zip(*rows, strict=True)
    return group_accuracy(list(groups), np.asarray(labels), np.asarray(probabilities, float))


def test_a_group_is_named_by_the_mean_of_its_pictures():
    found = answer(
        ("a", 0, [0.9, 0.1]), ("a", 0, [0.4, 0.6]), ("b", 1, [0.9, 0.1]), ("b", 1, [0.45, 0.55]), ("c", 1, [0.2, 0.8])
    )
    assert (found.n, found.right) == (3, 2)
    assert found.accuracy == pytest.approx(2 / 3)
    assert found.interval.low < 2 / 3 < found.interval.high
    assert found.summary().startswith("2 of 3 groups right (0.6667")


def test_thirty_pictures_of_one_photograph_are_one_answer():
    rows = [("one", 0, [0.1, 0.9])] * 30 + [("two", 0, [0.8, 0.2])]
    assert answer(*rows).n == 2
    assert answer(*rows).right == 1


def test_pictures_of_unknown_groups_are_left_out():
    found = answer(("a", 0, [0.9, 0.1]), ("a", 0, [0.9, 0.1]), ("", 1, [0.9, 0.1]))
    assert (found.n, found.right) == (1, 1)


@pytest.mark.parametrize("groups", [("", ""), ("a", "b"), ("a", "a", "", "", "")])
def test_without_groups_of_several_there_is_nothing_to_say(groups):
    assert answer(*((group, 0, [0.9, 0.1]) for group in groups)) is None

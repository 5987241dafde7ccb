from __future__ import annotations

import numpy as np
import pytest

from corpuscle.errors import DataError
from corpuscle.evaluation.counting_errors import counting_errors


def counts(*rows: tuple[int, int, int]) -> np.ndarray:
    return np.array(rows, np.int64).reshape(-1, 3)


def test_errors_by_hand():
    found, drawn = counts((9, 1, 0), (12, 1, 2), (30, 2, 1)), counts((10, 1, 0), (10, 1, 1), (20, 1, 1))
    errors = counting_errors(found, drawn, np.ones((3, 3), bool)).by_kind
    assert errors["leukocyte"].exact == pytest.approx(2 / 3)
    assert errors["leukocyte"].exact_interval.low < 2 / 3 < errors["leukocyte"].exact_interval.high
    assert errors["erythrocyte"].percentage == pytest.approx((10 + 20 + 50) / 3)
    assert errors["erythrocyte"].bias == pytest.approx((-1 + 2 + 10) / 3)
    assert errors["platelet"].absolute == pytest.approx(1 / 3)
    assert errors["platelet"].percentage == pytest.approx(50)  # the field without platelets has no percentage
    assert errors["platelet"].absolute_interval is None  # three fields say too little


def test_what_nobody_annotated_does_not_count():
    annotated = np.ones((2, 3), bool)
    annotated[0, 0] = False
    errors = counting_errors(counts((30, 1, 0), (8, 1, 0)), counts((0, 1, 0), (10, 1, 0)), annotated).by_kind
    assert (errors["erythrocyte"].fields, errors["erythrocyte"].percentage) == (1, pytest.approx(20))
    assert errors["leukocyte"].fields == 2
    annotated[:, 0] = False
    assert (
        "erythrocyte"
        not in counting_errors(counts((1, 1, 1), (1, 1, 1)), counts((1, 1, 1), (1, 1, 1)), annotated).by_kind
    )


def test_intervals_and_plain_values():
    found = counts(*((10 + number % 3, 1, 0) for number in range(8)))
    errors = counting_errors(found, counts(*([(11, 1, 0)] * 8)), np.ones((8, 3), bool))
    part = errors.by_kind["erythrocyte"]
    assert part.absolute_interval.low <= part.absolute <= part.absolute_interval.high
    assert errors.to_dict()["platelet"]["percentage"] is None
    assert errors.to_dict()["leukocyte"]["exact_interval"]["high"] == 1.0


def test_counts_that_do_not_fit_are_refused():
    with pytest.raises(DataError, match="cannot be compared"):
        counting_errors(counts((1, 1, 1)), counts((1, 1, 1), (1, 1, 1)), np.ones((1, 3), bool))
    with pytest.raises(DataError, match="No field is annotated"):
        counting_errors(counts((1, 1, 1)), counts((1, 1, 1)), np.zeros((1, 3), bool))

from __future__ import annotations

import numpy as np
import pytest

from corpuscle.prediction.cell_sizes import LEAST_LEUKOCYTE_UM, small_leukocytes_as_platelets
from corpuscle.records import CELL_KINDS, Detections

E, L, P = (CELL_KINDS.index(kind) for kind in ("erythrocyte", "leukocyte", "platelet"))


def square(side_px: float, kind: int, *, left: float = 50) -> Detections:
    box = np.array([[left, 40, left + side_px, 40 + side_px]], np.float32)
    return Detections(box, np.array([0.7], np.float32), np.array([kind]))


def kind_of(found: Detections, um_per_px: float) -> int:
    return int(small_leukocytes_as_platelets(found, um_per_px, 200, 200).kinds[0])


@pytest.mark.parametrize(("size_um", "kind"), [(3.0, P), (5.9, P), (6.1, L), (12.0, L)])
def test_what_is_too_small_for_a_leukocyte_is_a_platelet(size_um, kind):
    assert kind_of(square(size_um / 0.2, L), 0.2) == kind


def test_the_limit_lies_between_large_platelets_and_small_lymphocytes():
    assert 4 < LEAST_LEUKOCYTE_UM < 7


def test_without_a_ruler_nothing_is_known():
    assert kind_of(square(15, L), 0.0) == L


def test_a_cell_that_the_edge_cuts_may_be_larger_than_what_shows():
    assert kind_of(square(15, L, left=0), 0.2) == L
    assert kind_of(square(15, L, left=184.5), 0.2) == L


def test_other_kinds_and_all_else_stay():
    found = square(15, E)
    assert kind_of(found, 0.2) == E
    mixed = Detections(
        np.array([[50, 40, 65, 55], [100, 40, 160, 100], [10, 90, 40, 120]], np.float32),
        np.array([0.7, 0.9, 0.8], np.float32),
        np.array([L, L, E]),
    )
    changed = small_leukocytes_as_platelets(mixed, 0.2, 200, 200)
    assert changed.kinds.tolist() == [P, L, E]
    assert np.array_equal(changed.boxes, mixed.boxes)
    assert np.array_equal(changed.scores, mixed.scores)
    assert mixed.kinds.tolist() == [L, L, E]


def test_nothing_found_stays_nothing():
    assert len(small_leukocytes_as_platelets(Detections.none(), 0.2, 200, 200)) == 0

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpuscle.prediction.clumps import find_clumps
from corpuscle.prediction.numbering import clean_detections, overlap_table, reading_order
from corpuscle.records import CELL_KINDS, Detections

E, L, P = range(3)


def found(*rows):
    """Detections from rows of kind, score and box."""
    boxes = np.array([row[2:] for row in rows], np.float32).reshape(-1, 4)
    return Detections(boxes, np.array([r[1] for r in rows], np.float32), np.array([r[0] for r in rows], np.int64))


def test_overlap_is_shared_area_over_all_area_and_over_the_own_one():
    union, inside = overlap_table(
        np.array([[0, 0, 10, 10.0]]), np.array([[5, 0, 15, 10.0], [20, 0, 30, 10], [0, 0, 20, 20]])
    )
    assert union[0] == pytest.approx([1 / 3, 0, 0.25])
    assert inside[0] == pytest.approx([0.5, 0, 1])


def test_a_second_box_of_a_cell_goes_and_the_better_one_stays():
    cells, _ = clean_detections(found((E, 0.5, 10, 10, 50, 50), (E, 0.9, 12, 11, 52, 51)), 200, 200)
    assert cells.scores.tolist() == pytest.approx([0.9])


def test_a_fragment_inside_a_better_box_of_its_kind_goes():
    cells, _ = clean_detections(found((E, 0.9, 10, 10, 50, 50), (E, 0.4, 15, 15, 35, 35)), 200, 200)
    assert len(cells) == 1


def test_overlapping_neighbors_both_stay():
    cells, _ = clean_detections(found((E, 0.9, 10, 10, 50, 50), (E, 0.8, 35, 10, 75, 50)), 200, 200)
    assert len(cells) == 2


@pytest.mark.parametrize(("kind", "left"), [(E, 1), (P, 1)])
def test_what_lies_deep_on_a_leukocyte_is_part_of_it(kind, left):
    cells, _ = clean_detections(found((L, 0.5, 50, 50, 120, 120), (kind, 0.9, 60, 60, 100, 100)), 200, 200)
    assert cells.kinds.tolist() == [L]
    assert len(cells) == left


def test_a_platelet_in_the_corner_of_a_leukocytes_box_is_a_platelet():
    cells, _ = clean_detections(found((L, 0.9, 50, 50, 120, 120), (P, 0.9, 50, 50, 64, 64)), 200, 200)
    assert len(cells) == 2


def test_a_platelet_on_an_erythrocyte_is_a_platelet():
    cells, _ = clean_detections(found((E, 0.9, 50, 50, 90, 90), (P, 0.6, 60, 60, 74, 74)), 200, 200)
    assert sorted(cells.kinds.tolist()) == [E, P]


def test_one_cell_with_two_names_has_the_surer_one():
    cells, _ = clean_detections(found((E, 0.4, 10, 10, 50, 50), (L, 0.9, 11, 11, 51, 51)), 200, 200)
    assert cells.kinds.tolist() == [L]


def test_boxes_are_cut_at_the_border_and_flagged():
    cells, border = clean_detections(
        found((E, 0.9, -8, 20, 30, 60), (E, 0.8, 60, 60, 100, 100), (E, 0.7, 170, 60, 200, 100)), 200, 200
    )
    assert border.tolist() == [True, False, True]
    assert cells.boxes[0].tolist() == [0, 20, 30, 60]


def test_what_lies_outside_or_is_no_number_goes():
    cells, border = clean_detections(found((E, 0.9, -50, 0, -10, 40), (E, 0.9, np.nan, 0, 40, 40)), 200, 200)
    assert len(cells) == len(border) == 0


@given(st.permutations(range(6)))
def test_numbers_do_not_depend_on_the_order_of_the_input(order):
    boxes = np.array([[x, y, x + 30, y + 30] for y in (0, 60, 118) for x in (10, 100)], float)
    boxes[3, 1::2] += 2
    shuffled = boxes[list(order)]
    assert np.array_equal(shuffled[reading_order(shuffled, 40)], boxes)


def test_reading_goes_by_rows_and_from_left_to_right():
    boxes = np.array([[100, 5, 120, 25], [10, 8, 30, 28], [5, 90, 25, 110], [200, 2, 220, 22]], float)
    assert reading_order(boxes, 40).tolist() == [1, 0, 3, 2]


def test_a_cell_that_goes_does_not_reorder_the_others():
    rng = np.random.default_rng(0)
    corner = rng.uniform(0, 900, (60, 2))
    boxes = np.concatenate([corner, corner + 30], axis=1)
    order = reading_order(boxes, 40)
    fewer = np.delete(boxes, order[7], axis=0)
    assert np.array_equal(fewer[reading_order(fewer, 40)], np.delete(boxes[order], 7, axis=0))


def test_a_chain_of_erythrocytes_is_a_clump_and_a_pair_touches():
    boxes = np.array(
        [[x, 0, x + 40, 40] for x in (0, 30, 60)] + [[200, 0, 240, 40], [230, 0, 270, 40], [400, 0, 440, 40]]
    )
    touching, clump = find_clumps(boxes, np.zeros(6, np.int64))
    assert touching.tolist() == [True] * 5 + [False]
    assert clump.tolist() == [1, 1, 1, 0, 0, 0]


def test_cells_of_different_kinds_make_no_clump_and_platelets_lie_together_loosely():
    boxes = np.array([[0, 0, 40, 40], [20, 0, 60, 40], [30, 0, 70, 40]])
    assert not find_clumps(boxes, np.array([E, L, P]))[0].any()
    loose = np.array([[x, 0, x + 12, 12] for x in (0, 15, 30)])
    assert find_clumps(loose, np.full(3, CELL_KINDS.index("platelet")))[1].tolist() == [1, 1, 1]
    assert find_clumps(loose, np.zeros(3, np.int64))[1].tolist() == [0, 0, 0]


def test_nothing_has_no_clump():
    touching, clump = find_clumps(np.zeros((0, 4)), np.zeros(0, np.int64))
    assert len(touching) == len(clump) == 0

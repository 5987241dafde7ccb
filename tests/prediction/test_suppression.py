from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpuscle.prediction.suppression import box_overlaps, decode_maps, keep_best

RULES = {"least_scores": (0.5,) * 3, "overlap_limits": (0.5,) * 3, "step_px": 4}


def maps(height: int = 12, width: int = 16) -> tuple[np.ndarray, np.ndarray]:
    return np.zeros((3, height, width), np.float32), np.full((4, height, width), 5.0, np.float32)


def test_overlaps_by_hand():
    found = box_overlaps(np.array([[0, 0, 10, 10], [20, 20, 20, 20]]), np.array([[0, 0, 10, 10], [5, 0, 15, 10.0]]))
    assert found == pytest.approx(np.array([[1, 1 / 3], [0, 0]]))


def test_of_boxes_that_overlap_the_best_is_kept():
    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [20, 0, 30, 10]], np.float32)
    assert keep_best(boxes, np.array([0.6, 0.9, 0.3], np.float32), 0.5).tolist() == [1, 2]
    assert keep_best(boxes, np.array([0.6, 0.9, 0.3], np.float32), 0.9).tolist() == [1, 0, 2]
    assert keep_best(boxes[:0], np.zeros(0, np.float32), 0.5).tolist() == []


def test_a_box_left_out_does_not_leave_out_others():
    boxes = np.array([[0, 0, 10, 10], [4, 0, 14, 10], [8, 0, 18, 10]], np.float32)
    assert keep_best(boxes, np.array([0.9, 0.8, 0.7], np.float32), 0.4).tolist() == [0, 2]


def test_a_peak_becomes_a_box_around_its_place():
    scores, reaches = maps()
    scores[1, 5, 7], scores[1, 5, 8] = 0.9, 0.8
    reaches[:, 5, 7] = (3, 4, 5, 6)
    found = decode_maps(scores, reaches, **RULES)
    assert found.kinds.tolist() == [1]
    assert found.scores == pytest.approx([0.9])
    assert found.boxes.tolist() == [[30 - 3, 22 - 4, 30 + 5, 22 + 6]]


def test_kinds_do_not_suppress_each_other_and_each_has_its_own_limit():
    scores, reaches = maps()
    scores[:, 5, 7] = (0.6, 0.4, 0.3)
    found = decode_maps(scores, reaches, least_scores=(0.5, 0.5, 0.2), overlap_limits=(0.5,) * 3, step_px=4)
    assert found.kinds.tolist() == [0, 2]


def test_an_empty_map_gives_nothing():
    assert len(decode_maps(*maps(), **RULES)) == 0


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40), st.integers(1, 20)), max_size=12), st.data())
def test_what_is_kept_never_overlaps_more_than_allowed_and_what_is_not_does(cells, data):
    boxes = np.array([[x, y, x + side, y + side] for x, y, side in cells], np.float32).reshape(-1, 4)
    scores = np.array(data.draw(st.lists(st.floats(0, 1, width=32), min_size=len(cells), max_size=len(cells))))
    kept = keep_best(boxes, scores.astype(np.float32), 0.4)
    overlaps = box_overlaps(boxes, boxes)
    for place, row in enumerate(kept):
        assert (overlaps[row, kept[:place]] <= 0.4).all()
    for row in set(range(len(boxes))) - set(kept.tolist()):
        assert (overlaps[row, kept] > 0.4).any()

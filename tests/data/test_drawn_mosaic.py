from __future__ import annotations

import numpy as np
import pytest

from corpuscle.data.drawn_mosaic import DrawnMosaic
from corpuscle.errors import UsageError
from corpuscle.records import CELL_KINDS


@pytest.fixture(scope="module")
def mosaic():
    return DrawnMosaic(700, 600)


def test_parts_are_what_the_whole_shows(mosaic):
    whole = mosaic.read(0, 0, 700, 600)
    assert whole.shape == (600, 700, 3)
    for x, y, width, height in ((0, 0, 10, 10), (123, 45, 200, 99), (690, 1, 10, 599)):
        assert np.array_equal(mosaic.read(x, y, width, height), whole[y : y + height, x : x + width])


def test_every_cell_lies_inside_and_is_stained(mosaic):
    assert mosaic.boxes.min() >= 0
    assert (mosaic.boxes[:, 2:] <= (700, 600)).all()
    assert {CELL_KINDS[kind] for kind in mosaic.kinds} == set(CELL_KINDS)
    green = mosaic.read(0, 0, 700, 600)[..., 1].astype(int)
    outside = np.ones(green.shape, bool)
    for left, top, right, bottom in np.round(mosaic.boxes).astype(int):
        assert green[top:bottom, left:right].mean() < 215
        outside[max(0, top - 3) : bottom + 3, max(0, left - 3) : right + 3] = False
    assert green[outside].min() > 205


def test_no_two_cells_touch(mosaic):
    low = np.maximum(mosaic.boxes[:, None, :2], mosaic.boxes[None, :, :2])
    high = np.minimum(mosaic.boxes[:, None, 2:], mosaic.boxes[None, :, 2:])
    shared = (high > low).all(axis=2)
    assert shared.sum() == len(mosaic.boxes)


def test_a_seed_is_one_field():
    one, two, other = (DrawnMosaic(300, 300, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(one.read(0, 0, 300, 300), two.read(0, 0, 300, 300))
    assert not np.array_equal(one.boxes, other.boxes)


@pytest.mark.parametrize("facts", [{"width_px": 10}, {"height_px": 50_000}, {"erythrocyte_px": 3}, {"seed": -1}])
def test_an_impossible_mosaic_is_refused(facts):
    with pytest.raises(UsageError, match="mosaic"):
        DrawnMosaic(**{"width_px": 300, "height_px": 300, **facts})

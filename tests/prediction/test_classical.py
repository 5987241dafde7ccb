from __future__ import annotations

import numpy as np
import pytest

from corpuscle.data.drawn_fields import draw_field
from corpuscle.errors import UsageError
from corpuscle.prediction.detection import open_detector
from corpuscle.prediction.suppression import box_overlaps

pytest.importorskip("skimage")

DRAWN_PX = 38.0


@pytest.fixture(scope="module")
def finder():
    return open_detector("classical")


def test_it_finds_the_cells_of_drawn_fields(finder):
    hits, drawn_cells, found_cells = 0, 0, 0
    for seed in range(3):
        image, boxes, kinds = draw_field(seed)
        found = finder.detect(image, scale=finder.erythrocyte_px / DRAWN_PX)
        drawn_cells, found_cells = drawn_cells + len(kinds), found_cells + len(found)
        for kind in range(3):
            overlaps = box_overlaps(boxes[kinds == kind], found.boxes[found.kinds == kind])
            hits += int((overlaps.max(axis=1, initial=0) > 0.4).sum())
    assert hits > 0.6 * drawn_cells
    assert found_cells < 1.25 * drawn_cells


def test_an_empty_slide_has_no_cells(finder):
    rng = np.random.default_rng(0)
    blank = np.clip(rng.normal(230, 2, (120, 160, 3)), 0, 255).astype(np.uint8)
    assert len(finder.detect(blank)) == 0
    assert len(finder.detect(np.full((50, 50, 3), 255, np.uint8))) == 0


def test_boxes_are_in_pixels_of_the_picture_whatever_the_scale(finder):
    image, boxes, _ = draw_field(1)
    for factor in (1, 2):
        large = np.repeat(np.repeat(image, factor, 0), factor, 1)
        found = finder.detect(large, scale=finder.erythrocyte_px / (DRAWN_PX * factor))
        assert found.boxes.max() <= 208 * factor
        assert box_overlaps(boxes * factor, found.boxes).max(axis=1).mean() > 0.6


def test_a_scale_of_nothing_is_refused(finder):
    with pytest.raises(UsageError, match="above 0"):
        finder.detect(np.zeros((10, 10, 3), np.uint8), scale=0.0)

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from corpuscle.data.fields import LabeledField
from corpuscle.evaluation.completeness import boxed_share, completely_boxed


@pytest.fixture
def boxed(disc_field):
    image, truth = disc_field(480, 480, erythrocyte_px=40)
    boxes = np.array([(x - w / 2, y - w / 2, x + w / 2, y + w / 2) for _, (x, y), w in truth], np.float32)
    kinds = np.zeros(len(boxes), np.int64)
    return LabeledField("f", Path("f"), "a", "val", "f", boxes, kinds, pixels=image)


def test_all_boxes_hold_all_that_is_stained(boxed):
    assert boxed_share(boxed.read(), boxed.boxes) > 0.9
    assert completely_boxed(boxed, boxed.read())


def test_a_field_with_boxes_left_out_is_not_complete(boxed):
    half = dataclasses.replace(boxed, boxes=boxed.boxes[::2], kinds=boxed.kinds[::2])
    assert 0.3 < boxed_share(half.read(), half.boxes) < 0.7
    assert not completely_boxed(half, half.read())
    assert not completely_boxed(dataclasses.replace(boxed, erythrocytes_unlabeled=True), boxed.read())


def test_an_empty_slide_lacks_no_box():
    assert boxed_share(np.full((100, 100, 3), 240, np.uint8), np.zeros((0, 4))) == 1

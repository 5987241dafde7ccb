from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from corpuscle.preprocessing.field_scaling import FieldSpec
from corpuscle.records import CELL_KINDS
from corpuscle.training.detection_recipe import FieldAugmentation
from corpuscle.training.field_samples import CachedField, cached_fields, collated, draw_sample

NONE = np.zeros((0, 4), np.float32)
ERYTHROCYTE = CELL_KINDS.index("erythrocyte")
KEYS = {0: (250, 0, 0), 1: (0, 250, 0), 2: (0, 0, 250)}


def marked(*, unlabeled: np.ndarray = NONE, ignore: np.ndarray = NONE) -> CachedField:
    """A field in which every box is a rectangle of the color of its kind, so that pixels tell where boxes must be."""
    picture = np.full((150, 200, 3), 240, np.uint8)
    boxes = np.array([[20, 30, 80, 70], [110, 20, 180, 100], [60, 100, 90, 140]], np.float32)
    for box, color in zip(boxes.astype(int), KEYS.values(), strict=True):
        picture[box[1] : box[3], box[0] : box[2]] = color
    return CachedField(picture, boxes, np.arange(3), ignore, unlabeled, np.array([1, 0.7, 1], np.float32))


def painted(picture: np.ndarray, kind: int) -> np.ndarray:
    """The box around all pixels of a kind's color, or NaN."""
    channel = picture[..., kind].astype(int) - picture[..., (kind + 1) % 3]
    rows, columns = np.nonzero(channel > 125)
    if not len(rows):
        return np.full(4, np.nan)
    return np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])


@pytest.mark.parametrize("seed", range(12))
def test_boxes_follow_the_pixels_through_scale_turn_and_cut(seed):
    plan = FieldAugmentation(canvas_px=128, mosaic=0.0)
    sample = draw_sample([marked()], 0, plan, np.random.default_rng(seed))
    assert sample.picture.shape == (128, 128, 3)
    for box, kind in zip(sample.boxes, sample.kinds, strict=True):
        assert np.abs(painted(sample.picture, int(kind)) - box).max() < 2.0


def test_a_mosaic_shows_four_fields_and_the_same_seed_the_same():
    plan = FieldAugmentation(canvas_px=256, mosaic=1.0, smallest=0.6, largest=1.0)
    samples = [draw_sample([marked()] * 3, 1, plan, np.random.default_rng(4)) for _ in range(2)]
    assert (samples[0].kinds == 0).sum() >= 2
    assert np.array_equal(samples[0].picture, samples[1].picture)
    assert np.array_equal(samples[0].boxes, samples[1].boxes)
    assert samples[0].boxes.min() >= 0
    assert samples[0].boxes.max() <= 256


def test_a_cell_of_which_little_is_left_is_ignored_and_not_learned():
    plan = FieldAugmentation(canvas_px=64, mosaic=0.0, smallest=1.0, largest=1.6)
    shares = []
    for seed in range(60):
        sample = draw_sample([marked()], 0, plan, np.random.default_rng(seed))
        shares.append(len(sample.ignore))
        sides = sample.boxes[:, 2:] - sample.boxes[:, :2]
        assert (sides >= 3).all()
    assert sum(shares) > 5


def test_where_erythrocytes_have_no_boxes_only_their_kind_is_not_judged():
    plan = FieldAugmentation(canvas_px=128, mosaic=0.0)
    field = marked(unlabeled=np.array([[0, 0, 200, 150]], np.float32))
    sample = draw_sample([field], 0, plan, np.random.default_rng(0))
    _, targets = collated([sample])
    known = targets.known[0].numpy()
    assert (known[ERYTHROCYTE] == 0).any()
    others = np.delete(known, ERYTHROCYTE, axis=0)
    assert (others == 1).mean() > 0.9


@pytest.mark.parametrize("seed", range(6))
def test_places_left_open_follow_the_pixels(seed):
    plan = FieldAugmentation(canvas_px=128, mosaic=0.0)
    field = marked(unlabeled=np.array([[20, 30, 80, 70]], np.float32))  # where the first box is
    sample = draw_sample([field], 0, plan, np.random.default_rng(seed))
    there = painted(sample.picture, 0)
    if np.isnan(there).any():
        assert not len(sample.ignore_erythrocytes)
    else:
        assert np.abs(sample.ignore_erythrocytes[0] - there).max() < 2.0


def test_a_field_without_erythrocyte_boxes_is_open_all_over(few_fields):
    bare = dataclasses.replace(few_fields[0], erythrocytes_unlabeled=True)
    cached = cached_fields([bare], FieldSpec(erythrocyte_px=20.0))[0]
    assert np.allclose(cached.ignore_erythrocytes, [[0, 0, *cached.picture.shape[1::-1]]])


def test_a_place_to_ignore_is_unknown_for_all_kinds():
    plan = FieldAugmentation(canvas_px=128, mosaic=0.0, smallest=0.6, largest=1.0)
    field = marked(ignore=np.array([[0, 0, 200, 150]], np.float32))
    pictures, targets = collated([draw_sample([field], 0, plan, np.random.default_rng(0))])
    assert pictures.shape == (1, 3, 128, 128)
    assert 0 <= pictures.min() <= pictures.max() <= 1
    lost = (targets.known[0].numpy() == 0).all(axis=0)
    assert lost.any()


def test_fields_of_a_set_are_brought_to_one_scale(few_fields):
    spec = FieldSpec(erythrocyte_px=20.0)
    cached = cached_fields(few_fields, spec)
    sides = np.concatenate([item.boxes[item.kinds == 0, 2:] - item.boxes[item.kinds == 0, :2] for item in cached])
    assert np.median(sides) == pytest.approx(28.0, rel=0.1)


def test_cells_of_the_second_reading_may_be_wanted_with_a_lower_score(few_fields):
    added = np.zeros(len(few_fields[0].boxes), bool)
    added[1] = True
    field = dataclasses.replace(few_fields[0], added=added)
    wanted = cached_fields([field], FieldSpec(erythrocyte_px=20.0), added_score=0.5)[0].wanted
    assert wanted[1] == 0.5
    assert (np.delete(wanted, 1) == 1).all()
    plan = FieldAugmentation(canvas_px=128, mosaic=0.0, smallest=0.6, largest=0.6, whole=0.0)
    sample = draw_sample([marked()], 0, plan, np.random.default_rng(1))
    assert len(sample.wanted) == len(sample.boxes) > 0
    assert (sample.wanted == np.where(sample.kinds == 1, np.float32(0.7), 1)).all()
    _, targets = collated([sample])
    assert np.array_equal(targets.wanted[0].numpy(), sample.wanted)

"""What makes a picture unfit to be judged is measured, and what is fit is left alone."""

from __future__ import annotations

import math

import numpy as np
import pytest
from PIL import Image, ImageFilter

from corpuscle.data.examples import CLASSES, draw_cell
from corpuscle.preprocessing.quality import LIMITS, Quality, faults, measure_quality, remarks
from corpuscle.preprocessing.transforms import PreprocessingSpec, prepare
from corpuscle.records import Framing

SPEC = PreprocessingSpec(input_px=160)


def quality(image: np.ndarray) -> Quality:
    return measure_quality(*prepare(image, SPEC))


@pytest.fixture(scope="module")
def cells() -> list[np.ndarray]:
    return [draw_cell(key, 7, size_px=224) for key in CLASSES]


def blurred(image: np.ndarray, radius: float) -> np.ndarray:
    return np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(radius)))


def test_good_pictures_are_left_alone(cells):
    assert [faults(quality(image)) for image in cells] == [()] * len(cells)


def test_focus_falls_with_blur_until_the_picture_is_refused(cells):
    for image in cells:
        values = [quality(blurred(image, radius)).focus for radius in (0.5, 1, 2, 4)]
        assert values == sorted(values, reverse=True)
    leukocytes = [image for key, image in zip(CLASSES, cells, strict=True) if key != "platelet"]
    assert all("too blurred" in faults(quality(blurred(image, 16))) for image in leukocytes)


def test_focus_does_not_depend_on_the_strength_of_the_stain(cells):
    image = cells[0]
    pale = (255 - 0.5 * (255 - image.astype(float))).astype(np.uint8)
    strong, weak = measure_quality(image, frame()), measure_quality(pale, frame())
    assert weak.contrast == pytest.approx(0.5 * strong.contrast, rel=0.02)
    assert weak.focus == pytest.approx(strong.focus, rel=0.03)


def frame(**changes: float) -> Framing:
    return Framing("cell", 0, 0, 100, **changes)


def test_darkness_noise_and_emptiness_are_named(cells):
    dark = (cells[0] * 0.1).astype(np.uint8)
    assert "too dark" in faults(quality(dark))
    noise = np.random.default_rng(0).integers(0, 256, (160, 160, 3), dtype=np.uint8)
    assert faults(measure_quality(noise, frame())) == ("too grainy",)
    assert faults(measure_quality(np.full((160, 160, 3), 200, np.uint8), frame())) == ("nothing stained here",)


def test_a_cell_at_the_border_is_first_remarked_on_then_refused(cells):
    image = cells[CLASSES.index("lymphocyte")]
    assert quality(image).reach > LIMITS.whole_reach
    values = [quality(image[:, cut:]).reach for cut in (0, 60, 90, 105)]
    assert values == sorted(values, reverse=True)
    assert remarks(measure_quality(image, frame(reach=0.2))) == ("the cell may reach beyond the picture",)
    assert faults(measure_quality(image, frame(reach=0.1))) == ("the cell is cut off by the border of the picture",)


def test_a_burnt_picture_is_remarked_on(cells):
    bright = np.clip(cells[0].astype(float) * 1.4, 0, 255).astype(np.uint8)
    assert "overexposed: parts are pure white" in remarks(quality(bright))
    assert remarks(quality(cells[0])) == ()


def test_small_crops_have_no_measure_of_focus():
    noise = np.random.default_rng(0).integers(0, 256, (28, 28, 3), dtype=np.uint8)
    found = measure_quality(noise, frame())
    assert (found.focus, found.grain) == (None, None)
    assert faults(found) == remarks(found) == ()
    for side in (8, 9, 128, 131):
        assert measure_quality(np.full((side, side, 3), 9, np.uint8), frame()).contrast == 0


def test_light_and_reach_come_with_the_frame():
    image = np.full((100, 200, 3), (210, 230, 220), np.uint8)
    _, framing = prepare(image, SPEC)
    assert framing.light == 210
    assert framing.reach == math.inf
    rows, columns = np.mgrid[0:100, 0:200]
    image[np.hypot(rows - 50, columns - 90) < 20] = (90, 50, 150)
    _, framing = prepare(image, SPEC)
    assert framing.reach == pytest.approx(50 / framing.side_px, rel=0.02)

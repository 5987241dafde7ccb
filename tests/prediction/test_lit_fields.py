from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from corpuscle.prediction.classification import CellReader
from corpuscle.prediction.fields import FieldReader
from corpuscle.prediction.lit_fields import UnlitPlaces, light_up
from corpuscle.prediction.tiling import ArraySource
from corpuscle.records import CELL_KINDS

SLIDE = (228, 224, 220)


@pytest.fixture
def field() -> np.ndarray:
    """An empty slide with one cell, as red and as dark as they come."""
    image = np.full((480, 640, 3), SLIDE, np.uint8)
    image[200:240, 300:340] = (190, 110, 120)
    return image


def stopped(image: np.ndarray, *, blur_px: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """Show a field through a round stop; and where it is black."""
    height, width = image.shape[:2]
    y, x = np.mgrid[:height, :width]
    outside = np.hypot(x - width / 2, y - height / 2) - 0.45 * height
    light = 1 / (1 + np.exp(np.clip(outside / blur_px, -50, 50)))
    return (image * light[..., None] + 4 * (1 - light[..., None])).astype(np.uint8), outside > 0


def test_a_field_that_is_lit_stays_the_same_object(field):
    source = ArraySource(field)
    assert light_up(source) == (source, None)


@pytest.mark.parametrize("blur_px", [0.5, 4.0])
@pytest.mark.parametrize("times", [1, 3])
def test_the_black_around_a_round_stop_becomes_empty_slide(field, blur_px, times):
    dark, outside = stopped(field, blur_px=blur_px)
    larger = Image.fromarray(dark).resize((640 * times, 480 * times), Image.Resampling.BICUBIC)
    lit, unlit = light_up(ArraySource(larger))
    pixels = np.asarray(lit.picture.resize((640, 480), Image.Resampling.BOX)).astype(int)
    assert unlit is not None
    assert np.abs(pixels[outside] - SLIDE).max() <= 4
    assert np.abs(pixels[205:235, 305:335] - (190, 110, 120)).max() <= 2
    assert pixels.min() > 0.4 * min(SLIDE)
    assert np.asarray(larger).min() < 10  # what was given is unchanged


def test_a_box_that_reaches_into_the_black_is_cut():
    mask = np.zeros((10, 20), bool)
    mask[:, 15:] = True
    places = UnlitPlaces(mask, 4)
    boxes = np.array([[0, 0, 20, 20], [40, 5, 50, 15], [48, 5, 59, 15], [70, 30, 90, 50], [-5, -5, 3, 3]], np.float32)
    assert places.cut(boxes).tolist() == [False, False, True, True, False]
    assert places.cut(np.zeros((0, 4), np.float32)).tolist() == []


def test_cells_inside_a_round_stop_are_counted_as_without_it(disc_detector, disc_field):
    reader = FieldReader(CellReader(), detector=disc_detector)
    image, _ = disc_field(900, 900, seed=3)
    plain = reader.read(image)
    dark, _ = stopped(image)
    reading = reader.read(dark)

    def whole(cells):
        return np.array([(CELL_KINDS.index(cell.kind) * 1e4, *cell.box) for cell in cells if not cell.on_border])

    def inside(cells):
        """Cells so far inside that the rim does not reach them."""
        boxes = np.abs(whole(cells)[:, 1:] - 450).reshape(-1, 2, 2).max(axis=1)
        return whole(cells)[np.hypot(*boxes.T) < 0.45 * 900 - 25]

    def apart(some, others):
        return np.abs(some[:, None] - others[None]).max(axis=2).min(axis=1)

    assert len(inside(plain.cells)) >= 10
    assert apart(inside(plain.cells), whole(reading.cells)).max() < 3
    assert np.mean(apart(whole(reading.cells), whole(plain.cells)) < 3) > 0.9
    assert len(reading.cells) < len(plain.cells)
    assert reading.ruler.um_per_px == pytest.approx(plain.ruler.um_per_px, rel=0.05)


def test_a_part_of_a_slide_is_left_as_it_is():
    class Part:
        width_px = height_px = 100

        def read(self, x, y, width, height):
            raise AssertionError("a slide is read in parts, and not for this")

    part = Part()
    assert light_up(part) == (part, None)

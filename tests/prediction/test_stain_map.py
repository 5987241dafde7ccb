from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from corpuscle.prediction.stain_map import StainMap, _filled, _stained, find_stain, stained_diameter


def paint(side: int, erythrocyte_px: float, *, pale: float = 0.0) -> np.ndarray:
    """Paint discs on a lattice, with pale middles if asked."""
    rows, columns = np.mgrid[:side, :side]
    step = 1.6 * erythrocyte_px
    away = np.hypot(rows % step - step / 2, columns % step - step / 2)
    image = np.full((side, side, 3), 230, np.uint8)
    image[(away < erythrocyte_px / 2) & (away >= pale * erythrocyte_px / 2)] = (210, 140, 150)
    return image


@pytest.mark.parametrize("erythrocyte_px", [12, 28, 40, 100, 300])
def test_the_width_of_discs_is_guessed(erythrocyte_px):
    diameter, _ = stained_diameter(paint(max(400, 12 * erythrocyte_px), erythrocyte_px))
    assert diameter == pytest.approx(erythrocyte_px, rel=0.2)


def test_pale_centers_are_part_of_their_cells():
    full, _ = stained_diameter(paint(480, 60))
    assert stained_diameter(paint(480, 60, pale=0.5))[0] == pytest.approx(full, rel=0.05)


@pytest.mark.parametrize("value", [0, 128, 255])
def test_an_even_picture_has_no_cells(value):
    diameter, stain = stained_diameter(np.full((300, 400, 3), value, np.uint8))
    assert (diameter, stain.contrast) == (0, 0)


def test_small_cells_in_a_large_field_are_looked_at_more_finely(disc_field):
    _, stain = stained_diameter(disc_field(1600, 1600, erythrocyte_px=14)[0])
    assert stain.factor < find_stain(np.zeros((1600, 1600, 3), np.uint8)).factor


def test_agreement_is_shared_area_over_all_area():
    mask = np.zeros((10, 10), bool)
    mask[:, :4] = True
    stain = StainMap(mask, 10, 50.0)
    assert stain.agreement(np.array([[0, 0, 40, 100]])) == 1
    assert stain.agreement(np.array([[20, 0, 60, 100]])) == pytest.approx(20 / 60)
    assert stain.agreement(np.zeros((0, 4))) == 0


def test_what_the_border_cannot_reach_is_filled():
    rings = find_stain(paint(400, 60, pale=0.5), factor=2).mask
    assert np.array_equal(_filled(rings), ndimage.binary_fill_holes(rings))
    rings[:, 50] = False  # a way in
    assert np.array_equal(_filled(rings), ndimage.binary_fill_holes(rings))


def test_pale_erythrocytes_beside_dark_nuclei_are_stained_too():
    green = np.full((200, 200), 225, np.float32)
    green[20:60, 20:60] = 195
    green[100:140, 100:160] = 195
    green[110:130, 20:50] = 60
    assert np.count_nonzero(_stained(green)) == 40 * 40 + 40 * 60 + 20 * 30
    # Without anything pale, grain of the empty slide is no cell.
    green[green == 195] = 225
    green += np.random.default_rng(0).normal(0, 1, green.shape).astype(np.float32)
    assert np.count_nonzero(_stained(green)) == 20 * 30

"""Corruptions keep the picture's form, grow with their severity, and are the same each time."""

from __future__ import annotations

import colorsys
from itertools import pairwise

import numpy as np
import pytest

from corpuscle.data.examples import draw_cell
from corpuscle.errors import UnknownNameError, UsageError
from corpuscle.evaluation.corruptions import CORRUPTIONS, SEVERITIES, corrupt

RANDOM = ("motion_blur", "stain_deposit", "bubble")


@pytest.fixture(scope="module")
def cells() -> list[np.ndarray]:
    return [draw_cell(key, 5, size_px=224) for key in ("neutrophil", "lymphocyte", "platelet", "eosinophil")]


def change(image: np.ndarray, name: str, severity: int) -> float:
    """Root mean square change of a picture."""
    return float(np.sqrt(((corrupt(image, name, severity).astype(float) - image) ** 2).mean()))


def test_there_are_eleven_kinds_of_five_severities():
    assert len(CORRUPTIONS) == 11
    assert {len(item.levels) for item in CORRUPTIONS.values()} == {5}
    assert all(name == item.name and item.about for name, item in CORRUPTIONS.items())


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_form_is_kept_and_the_given_picture_is_not_touched(name, cells):
    before = cells[0].copy()
    for image in (cells[0], cells[0][:97, :140], cells[0][:1, :1], cells[0][:3, :50]):
        spoilt = corrupt(image, name, 5)
        assert (spoilt.shape, spoilt.dtype) == (image.shape, np.uint8)
    assert (cells[0] == before).all()


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_higher_severity_changes_more(name, cells):
    means = [float(np.mean([change(image, name, severity) for image in cells])) for severity in SEVERITIES]
    assert means[0] > 0.3
    assert all(later >= earlier for earlier, later in pairwise(means)), means
    assert means[-1] > 1.15 * means[0]


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_the_same_seed_gives_the_same_picture(name, cells):
    assert (corrupt(cells[1], name, 3, seed=4) == corrupt(cells[1].copy(), name, 3, seed=4)).all()
    other = (corrupt(cells[1], name, 3, seed=5) != corrupt(cells[1], name, 3, seed=4)).any()
    assert bool(other) == (name in RANDOM)


@pytest.mark.parametrize("name", RANDOM)
def test_two_pictures_are_not_spoilt_at_the_same_places(name):
    first, second = np.full((64, 64, 3), 150, np.uint8), np.full((64, 64, 3), 150, np.uint8)
    first[32, 30:34], second[32, 30:34] = 20, 21
    assert (corrupt(first, name, 4) != corrupt(second, name, 4)).sum() > 50


def test_defocus_spreads_a_point_into_a_disk_of_that_radius():
    image = np.zeros((224, 224, 3), np.uint8)
    image[112, 112] = 255
    for severity, radius in zip(SEVERITIES, (2, 3, 4, 5, 6), strict=True):
        lit = np.argwhere(corrupt(image, "defocus_blur", severity)[..., 0] > 0)
        assert np.hypot(*(lit - 112).T).max() == pytest.approx(radius, abs=0.01)
        assert lit.mean(axis=0) == pytest.approx([112, 112])


def test_blurs_leave_an_even_picture_as_it_is():
    image = np.full((60, 80, 3), 130, np.uint8)
    for name in ("defocus_blur", "motion_blur", "pixelate", "contrast_up", "contrast_down"):
        assert (np.abs(corrupt(image, name, 5).astype(int) - 130) <= 1).all(), name


def test_lengths_grow_with_the_picture():
    small, large = np.zeros((112, 112, 3), np.uint8), np.zeros((448, 448, 3), np.uint8)
    small[56, 56] = large[222:226, 222:226] = 255
    reach = [
        np.ptp(np.argwhere(corrupt(image, "defocus_blur", 5)[..., 0] > 0)[:, 0]) / len(image)
        for image in (small, large)
    ]
    assert reach[0] == pytest.approx(reach[1], abs=0.012)


def test_saturation_is_that_of_hsv():
    colors = np.asarray([[200, 150, 180], [90, 90, 90], [10, 200, 40], [255, 0, 0], [0, 0, 0]], np.uint8)
    spoilt = corrupt(colors[None], "saturate", 5)[0]
    for before, after in zip(colors, spoilt, strict=True):
        hue, saturation, value = colorsys.rgb_to_hsv(*(before / 255))
        expected = np.asarray(colorsys.hsv_to_rgb(hue, min(1.0, saturation + 0.2), value)) * 255
        assert after == pytest.approx(expected, abs=1)


def test_stain_only_darkens_and_bubbles_only_lighten(cells):
    for image in cells:
        assert (corrupt(image, "stain_deposit", 5) <= image).all()
        assert (corrupt(image, "bubble", 5) >= image).all()


def test_what_cannot_be_spoilt_is_refused(cells):
    with pytest.raises(UnknownNameError, match="no corruption named 'rain'"):
        corrupt(cells[0], "rain", 1)
    for severity in (0, 6):
        with pytest.raises(UsageError, match="from 1 to 5"):
            corrupt(cells[0], "bubble", severity)
    with pytest.raises(UsageError, match="HxWx3"):
        corrupt(cells[0][..., 0], "bubble", 1)

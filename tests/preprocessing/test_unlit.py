"""Pictures with black corners are judged as if the slide went on."""

from __future__ import annotations

import numpy as np
import pytest

from corpuscle.data.examples import CLASSES, draw_cell
from corpuscle.preprocessing.framing import FramingSpec, background_color
from corpuscle.preprocessing.transforms import WHITE, PreprocessingSpec, prepare
from corpuscle.preprocessing.unlit import find_unlit, with_light

SPEC = PreprocessingSpec(input_px=96)


def stopped(image: np.ndarray, share: float, noise: int = 0) -> np.ndarray:
    """Show a picture through a round stop; compression leaves what is black not quite black."""
    height, width = image.shape[:2]
    rows, columns = np.mgrid[:height, :width]
    away = np.hypot(rows - (height - 1) / 2, columns - (width - 1) / 2)
    dark = np.random.default_rng(4).integers(0, noise + 1, image.shape, np.uint8)
    return np.where((away > share * min(height, width) / 2)[..., None], dark, image)


@pytest.mark.parametrize("key", CLASSES)
def test_no_drawn_cell_is_unlit(key):
    image = draw_cell(key, 3)
    background = background_color(image)
    assert find_unlit(image, background) is None
    assert with_light(image, background) is image


@pytest.mark.parametrize("noise", [0, 20])
@pytest.mark.parametrize("key", CLASSES)
def test_a_round_stop_does_not_show(key, noise):
    image = draw_cell(key, 3)
    seen = stopped(image, 1.1, noise)
    whole, framing = prepare(image, SPEC)
    crop, found = prepare(seen, SPEC)
    assert (crop.max(axis=2) < 40).mean() <= (whole.max(axis=2) < 40).mean() + 0.01, "nothing black is left"
    assert abs(found.side_px - framing.side_px) < 0.1 * framing.side_px
    middle = np.s_[32:64, 32:64]
    assert np.abs(crop[middle].astype(int) - whole[middle]).mean() < 6


def test_what_is_unlit_becomes_empty_slide():
    image = np.full((80, 80, 3), (220, 210, 230), np.uint8)
    image[:30, :30] = 5
    image[60, 60] = 0  # a speck of dust is left alone
    background = background_color(image)
    unlit = find_unlit(image, background)
    assert unlit is not None
    assert unlit[:32, :32].all()
    assert not unlit[33:, :].any()
    assert (with_light(image, background)[:32, :32] == (220, 210, 230)).all()
    assert (image[:30, :30] == 5).all(), "the picture of the user stays"
    crop, _ = prepare(image, PreprocessingSpec(input_px=80, framing=FramingSpec(method="whole")))
    assert np.abs(crop[:30, :30].astype(int) - WHITE).max() <= 1


@pytest.mark.parametrize("value", [0, 20, 255])
def test_one_gray_is_neither(value):
    image = np.full((40, 40, 3), value, np.uint8)
    assert find_unlit(image, background_color(image)) is None

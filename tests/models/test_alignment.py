from __future__ import annotations

import numpy as np
import pytest

from corpuscle.models.alignment import align, measure_shift
from corpuscle.preprocessing.transforms import WHITE, PreprocessingSpec

SPEC = PreprocessingSpec(input_px=80)


def looking(down: int, right: int):
    """A made-up network: its features show the ink of 4x4 blocks, moved by some pixels."""

    def run(batch: np.ndarray) -> np.ndarray:
        ink = (WHITE / 255 - 0.5) / 0.25 - batch
        return np.roll(ink, (down, right), axis=(2, 3)).reshape(len(batch), 3, 20, 4, 20, 4).mean((3, 5))

    return run


@pytest.mark.parametrize(("down", "right"), [(0, 0), (4, 0), (0, -3), (2, 5)])
def test_a_known_shift_is_measured(down, right):
    assert np.allclose(measure_shift(looking(down, right), SPEC), (down / 80, right / 80), atol=0.005)


def test_a_network_that_sees_nothing_has_no_shift():
    assert measure_shift(lambda batch: np.ones((len(batch), 4, 5, 5), np.float32), SPEC) == (0.0, 0.0)


def test_a_shift_without_bounds_is_not_believed():
    assert max(measure_shift(looking(20, 20), SPEC)) <= 0.1


def test_align_moves_maps_back():
    maps = np.zeros((1, 10, 10), np.float32)
    maps[0, 5, 6] = 1
    assert np.unravel_index(align(maps, (0.1, 0.2)).argmax(), (1, 10, 10)) == (0, 4, 4)
    half = align(maps, (0.05, 0.0))[0, :, 6]
    assert np.allclose(half[[4, 5]], 0.5)
    assert np.array_equal(align(maps, (0.0, 0.0)), maps)
    assert align(np.ones((2, 1, 1), np.float32), (0.05, 0.05)).shape == (2, 1, 1)

from __future__ import annotations

import numpy as np
import pytest

from corpuscle.errors import UsageError
from corpuscle.preprocessing.field_scaling import STRIDE_PX, FieldSpec, field_batch, scaled_field

SPEC = FieldSpec()


def field(height: int = 60, width: int = 90, shade: tuple[int, int, int] = (200, 180, 220)) -> np.ndarray:
    image = np.empty((height, width, 3), np.uint8)
    image[:] = shade
    image[20:40, 30:50] = (90, 40, 120)
    return image


def test_the_empty_slide_becomes_a_light_grey_and_the_size_is_scaled():
    picture = scaled_field(field(), 0.5, SPEC)
    assert picture.shape == (30, 45, 3)
    assert picture[0, 0].tolist() == [240, 240, 240]


def test_without_white_balance_colors_stay():
    spec = FieldSpec(white_balance=False)
    assert np.array_equal(scaled_field(field(), 1.0, spec), field())


def test_nothing_vanishes_at_a_tiny_scale():
    assert scaled_field(field(), 0.001, SPEC).shape == (1, 1, 3)


def test_the_batch_is_padded_with_empty_slide_to_whole_strides():
    picture = scaled_field(field(), 1.0, SPEC)
    batch = field_batch(picture, SPEC)
    assert batch.shape == (1, 3, 64, 96)
    assert batch.shape[2] % STRIDE_PX == batch.shape[3] % STRIDE_PX == 0
    assert np.allclose(batch[0, :, :60, :90].transpose(1, 2, 0), (picture / 255 - 0.5) / 0.25, atol=1e-5)
    assert np.allclose(batch[0, :, 60:], (240 / 255 - 0.5) / 0.25, atol=1e-5)


def test_a_specification_survives_json():
    spec = FieldSpec(erythrocyte_px=30.0, white_balance=False, mean=(0.1, 0.2, 0.3))
    assert FieldSpec.from_dict(spec.to_dict()) == spec


@pytest.mark.parametrize(
    "values",
    [
        {"erythrocyte_px": 0.0}, {"erythrocyte_px": float("nan")}, {"white_balance": 1}, {"std": (0.0, 1.0, 1.0)},
        {"mean": (0.5, 0.5)}, {"unknown": 1}, {"mean": ("a", "b", "c")},
    ],
)  # fmt: skip
def test_impossible_specifications_are_refused(values):
    with pytest.raises(UsageError):
        FieldSpec.from_dict(values)


def test_a_specification_is_a_table():
    with pytest.raises(UsageError, match="table"):
        FieldSpec.from_dict([1, 2])

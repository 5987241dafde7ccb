"""The one crop, resize and scaling."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpuscle.data.examples import draw_cell
from corpuscle.errors import UnknownNameError, UsageError
from corpuscle.preprocessing.framing import FramingSpec
from corpuscle.preprocessing.transforms import WHITE, PreprocessingSpec, cut, prepare, to_batch
from corpuscle.records import Framing

FILL = np.array([250.0, 20.0, 130.0], np.float32)


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    """A smooth picture 40 high and 60 wide, different at every place and far from the fill's color."""
    y, x = np.mgrid[:40, :60]
    return np.stack([x * 3, 100 + y * 3, (x + y) * 2], axis=2).astype(np.uint8)


@pytest.fixture(scope="module")
def cell() -> np.ndarray:
    return draw_cell("lymphocyte", 1)


def whole(x: float, y: float, side: float) -> Framing:
    return Framing("whole", x, y, side)


def test_a_square_on_whole_pixels_is_copied(picture):
    assert np.array_equal(cut(picture, whole(7, 5, 24), 24, background=FILL), picture[5:29, 7:31])


def test_the_square_at_the_far_corner_is_copied(picture):
    assert np.array_equal(cut(picture, whole(36, 16, 24), 24, background=FILL), picture[16:40, 36:60])


def test_what_lies_outside_the_picture_is_background(picture):
    crop = cut(picture, whole(-6, -9, 24), 24, background=FILL)
    assert np.array_equal(crop[9:, 6:], picture[:15, :18])
    assert (crop[:9] == FILL.astype(np.uint8)).all()
    assert (crop[:, :6] == FILL.astype(np.uint8)).all()
    crop = cut(picture, whole(50, 30, 24), 24, background=FILL)
    assert np.array_equal(crop[:10, :10], picture[30:, 50:])
    assert (crop[10:] == FILL.astype(np.uint8)).all()
    assert (crop[:, 10:] == FILL.astype(np.uint8)).all()


@pytest.mark.parametrize("place", [(-100, 5), (5, -100), (100, 5), (5, 100), (-100.5, 200.25)])
def test_a_square_beside_the_picture_is_all_background(picture, place):
    assert (cut(picture, whole(*place, 24), 10, background=FILL) == FILL.astype(np.uint8)).all()


def test_a_square_between_pixels_takes_from_both(picture):
    crop = cut(picture, whole(10.5, 8, 16), 16, background=FILL).astype(float)
    both = (picture[8:24, 10:26].astype(float) + picture[8:24, 11:27]) / 2
    assert np.abs(crop - both)[:, 1:-1].max() <= 1


@pytest.mark.parametrize("size_px", [8, 12, 48])
def test_resizing_keeps_the_mean_and_the_direction(picture, size_px):
    crop = cut(picture, whole(4, 4, 32), size_px, background=FILL).astype(float)
    assert np.abs(crop.mean((0, 1)) - picture[4:36, 4:36].mean((0, 1))).max() < 1.5
    assert (np.diff(crop[..., 0], axis=1) >= 0).all()
    assert (np.diff(crop[..., 1], axis=0) >= 0).all()


def test_shrinking_does_not_alias():
    """Stripes narrower than a pixel of the answer become grey; picking single pixels would keep them."""
    stripes = np.zeros((120, 120, 3), np.uint8)
    stripes[:, ::2] = 255
    crop = cut(stripes, whole(0, 0, 120), 12, background=FILL)
    assert np.abs(crop.astype(int) - 127).max() < 12


def test_a_square_far_wider_than_the_picture_needs_no_memory_of_its_size(picture):
    crop = cut(picture, whole(-200_000, -200_000, 400_000), 32, background=FILL)
    assert (crop[0] == FILL.astype(np.uint8)).all()
    assert crop.shape == (32, 32, 3)


@pytest.mark.parametrize("shape", [(2, 60_000), (60_000, 2)])
def test_a_very_long_picture_is_judged_whole_without_the_memory_of_its_square(shape):
    image = np.full((*shape, 3), 200, np.uint8)
    crop, found = prepare(image, PreprocessingSpec(input_px=32), framing="whole")
    assert crop.shape == (32, 32, 3)
    assert found.side_px == 60_000


def test_a_large_picture_is_shrunk_to_the_same_crop_as_a_small_one(picture):
    """Above a size the cut works on a shrunk copy; the answer must not show it."""
    tall = np.repeat(np.repeat(picture, 100, axis=0), 100, axis=1)
    large = cut(tall, whole(-1000, -1000, 6000), 30, background=FILL).astype(float)
    small = cut(picture, whole(-10, -10, 60), 30, background=FILL).astype(float)
    assert np.abs(large - small).mean() < 3


def test_the_empty_slide_becomes_a_light_grey(cell):
    crop, _ = prepare(cell, PreprocessingSpec(input_px=64), framing="whole")
    brightest = np.sort(crop.sum(axis=2).ravel())[-400:]
    assert brightest.mean() / 3 == pytest.approx(WHITE, abs=6)


def test_the_color_of_the_lamp_does_not_matter(cell):
    spec = PreprocessingSpec(input_px=48)
    plain = prepare(cell, spec)[0].astype(int)
    tinted = (cell * np.array([0.75, 0.9, 0.6])).round().astype(np.uint8)
    assert np.abs(prepare(tinted, spec)[0].astype(int) - plain).mean() < 2.5
    kept = PreprocessingSpec(input_px=48, white_balance=False)
    assert np.abs(prepare(tinted, kept)[0].astype(int) - prepare(cell, kept)[0].astype(int)).mean() > 20


def test_a_wider_crop_shows_the_same_cell_in_its_middle(cell):
    spec = PreprocessingSpec(input_px=48)
    plain, framing = prepare(cell, spec)
    wide, framing_wide = prepare(cell, spec, widen=1.5, size_px=72)
    assert framing_wide == framing
    assert wide.shape == (72, 72, 3)
    assert np.abs(wide[12:60, 12:60].astype(int) - plain.astype(int)).mean() < 2


@settings(max_examples=40, deadline=None)
@given(
    x=st.floats(-200, 200), y=st.floats(-200, 200), side=st.floats(0.01, 300), size_px=st.integers(8, 40),
    height=st.integers(1, 30), width=st.integers(1, 30),
)  # fmt: skip
def test_any_square_of_an_even_picture_mixes_nothing_but_picture_and_background(x, y, side, size_px, height, width):  # noqa: PLR0917
    image = np.full((height, width, 3), 100, np.uint8)
    crop = cut(image, whole(x, y, side), size_px, background=np.float32([200, 200, 200]))
    assert crop.shape == (size_px, size_px, 3)
    assert crop.min() >= 99
    assert crop.max() <= 201


def test_a_batch_holds_the_scaled_channels():
    spec = PreprocessingSpec(mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 2.0))
    crops = np.random.default_rng(0).integers(0, 256, (3, 8, 9, 3), dtype=np.uint8)
    batch = to_batch(crops, spec)
    assert batch.shape == (3, 3, 8, 9)
    assert batch.dtype == np.float32
    assert batch.flags.c_contiguous
    expected = (crops / 255 - np.array(spec.mean)) / np.array(spec.std)
    assert np.allclose(batch, expected.transpose(0, 3, 1, 2), atol=1e-6)


numbers = st.floats(-2, 2)
positives = st.floats(0.01, 4)
specs = st.builds(
    PreprocessingSpec,
    input_px=st.integers(8, 1024),
    framing=st.builds(FramingSpec, margin=positives, center_fraction=positives, minimum_density=positives),
    white_balance=st.booleans(),
    mean=st.tuples(numbers, numbers, numbers),
    std=st.tuples(positives, positives, positives),
)


@given(spec=specs)
def test_a_specification_survives_json(spec):
    assert PreprocessingSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


@pytest.mark.parametrize(
    "values",
    [
        {"input_px": 7}, {"input_px": 1025}, {"input_px": "128"}, {"input_px": None}, {"input_px": 64.5},
        {"mean": [0.5, 0.5]}, {"std": [1, 1, 0]}, {"std": [1, 1, -1]}, {"mean": ["a", "b", "c"]}, {"mean": 0.5},
        {"size": 128}, {"framing": {"margins": 2}}, {"framing": 5}, {"framing": {"margin": "wide"}},
        {"framing": {"margin": 0}}, {"framing": {"center_fraction": -1}}, {"framing": {"margin": float("nan")}},
        {"std": [1, 1, float("nan")]}, {"mean": [0, 0, float("inf")]}, {"white_balance": "yes"},
    ],
    ids=str,
)  # fmt: skip
def test_a_wrong_specification_is_refused(values):
    with pytest.raises(UsageError):
        PreprocessingSpec.from_dict(values)


@pytest.mark.parametrize("values", [None, [], "spec", 5, [["input_px", 32]]], ids=str)
def test_what_is_no_table_is_no_specification(values):
    with pytest.raises(UsageError):
        PreprocessingSpec.from_dict(values)


def test_an_unknown_framing_is_refused(cell):
    with pytest.raises(UnknownNameError):
        prepare(cell, PreprocessingSpec(), framing="middle")

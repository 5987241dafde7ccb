from __future__ import annotations

import math
import tracemalloc
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from corpuscle.errors import UsageError
from corpuscle.prediction.tiling import ArraySource, detect_everywhere, lay_tiles, picture_of
from corpuscle.records import CELL_KINDS, Detections


@given(
    st.integers(1, 3000), st.integers(1, 3000), st.integers(60, 700), st.floats(0, 0.45)
)  # fmt: skip
def test_cores_cover_the_field_once_and_tiles_fit(width, height, side, share):
    margin = int(share * side)
    if side <= 2 * margin:
        return
    tiles = lay_tiles(width, height, side_px=side, margin_px=margin)
    area = 0
    for tile in tiles:
        x_min, y_min, x_max, y_max = tile.area
        assert 0 <= x_min < x_max <= width
        assert 0 <= y_min < y_max <= height
        assert max(x_max - x_min, y_max - y_min) <= side
        left, top = max(0, tile.core[0]), max(0, tile.core[1])
        right, bottom = min(width, tile.core[2]), min(height, tile.core[3])
        assert left - x_min in (0, margin) or x_min == 0
        assert x_max == width or x_max - right == margin
        area += (right - left) * (bottom - top)
    assert area == width * height


def test_margins_without_a_core_are_refused():
    with pytest.raises(UsageError, match="hold nothing"):
        lay_tiles(1000, 1000, side_px=100, margin_px=50)


@pytest.mark.parametrize("size", [(1700, 1300), (513, 2000), (700, 700)])
def test_no_cell_is_lost_or_counted_twice_at_a_seam(disc_detector, disc_field, size):
    image, truth = disc_field(*size, seed=size[0])
    found = detect_everywhere(disc_detector, ArraySource(image), scale=1.0)
    assert Counter(CELL_KINDS[kind] for kind in found.kinds) == Counter(kind for kind, _, _ in truth)
    middles = (found.boxes[:, :2] + found.boxes[:, 2:]) / 2
    for kind, middle, _ in truth:
        apart = np.hypot(*(middles - middle).T)
        nearest = int(apart.argmin())
        assert apart[nearest] < 1.5
        assert CELL_KINDS[found.kinds[nearest]] == kind


def test_tiles_find_what_one_look_finds(disc_detector, disc_field):
    image, _ = disc_field(1500, 1100, seed=5)
    whole = disc_detector.detect(image)
    tiled = detect_everywhere(disc_detector, ArraySource(image), scale=1.0)
    assert sorted(map(tuple, tiled.boxes.tolist())) == sorted(map(tuple, whole.boxes.tolist()))


class Shaky:
    """A field and its detector, which sees every cell a little elsewhere in every other tile."""

    width_px, height_px = 1600, 1000
    erythrocyte_px, max_side_px = 40.0, 400

    def __init__(self, cells, shift_px):
        self.cells, self.shift_px = cells, shift_px
        self.corners = []

    def read(self, x, y, width, height):
        self.corners.append((x, y))
        return np.zeros((height, width, 3), np.uint8)

    def detect(self, image, *, scale=1.0):
        shift = self.shift_px * (1 if len(self.corners) % 2 else -1)
        boxes = np.concatenate([self.cells - 20, self.cells + 20], axis=1) + shift - np.tile(self.corners[-1], 2)
        inside = (boxes[:, :2] >= 0).all(1) & (boxes[:, 2] <= image.shape[1]) & (boxes[:, 3] <= image.shape[0])
        n = int(inside.sum())
        return Detections(boxes[inside].astype(np.float32), np.ones(n, np.float32), np.zeros(n, np.int64))


@pytest.mark.parametrize("shift", [0.0, 0.6, 3.0])
def test_a_cell_that_wavers_across_a_seam_is_one_cell(shift):
    tiles = lay_tiles(1600, 1000, side_px=400, margin_px=100)
    seams = sorted({edge for tile in tiles for edge in tile.core[::2] if math.isfinite(edge)})
    assert len(seams) > 3
    cells = np.array([(x + d, y) for x in seams for y, d in ((150, 0), (300, -1.5), (450, 1.5), (600, 0.2), (850, 3))])
    both = Shaky(cells, shift)
    assert len(detect_everywhere(both, both, scale=1.0)) == len(cells)


def test_two_different_cells_across_a_seam_stay_two(disc_detector):
    image = np.full((500, 1400, 3), 240, np.uint8)
    columns = range(20, 1380, 22)  # small discs, each against the next
    for x in columns:
        image[240:260, x : x + 20] = (150, 70, 210)
    found = detect_everywhere(disc_detector, ArraySource(image), scale=1.0)
    assert len(found) == len(columns)


class Endless:
    """A huge field of squares that is never held in memory."""

    width_px = height_px = 10_000

    def read(self, x, y, width, height):
        part = np.full((height, width, 3), 240, np.uint8)
        for column in range(x - x % 400, x + width, 400):
            for row in range(y - y % 400, y + height, 400):
                left, top = max(column + 120 - x, 0), max(row + 120 - y, 0)
                part[top : max(row + 280 - y, 0), left : max(column + 280 - x, 0)] = (222, 150, 150)
        return part


def test_memory_stays_bounded_on_ten_thousand_pixels_squared(disc_detector):
    tracemalloc.start()
    found = detect_everywhere(disc_detector, Endless(), scale=0.25)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(found) == 25 * 25
    assert peak < 60e6


def test_an_empty_field_gives_no_cell(disc_detector):
    image = np.full((900, 900, 3), 240, np.uint8)
    assert len(detect_everywhere(disc_detector, ArraySource(image), scale=1.0)) == 0


def test_a_field_is_the_same_whichever_form_it_is_held_in():
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    for source in (ArraySource(pixels), ArraySource(Image.fromarray(pixels))):
        assert (source.width_px, source.height_px) == (60, 40)
        assert np.array_equal(source.read(5, 3, 20, 10), pixels[3:13, 5:25])
        assert np.array_equal(source.part(5, 3, 20, 10).image, pixels[3:13, 5:25])
        assert np.array_equal(np.asarray(picture_of(source, 5, 3, 20, 10)), pixels[3:13, 5:25])
        assert np.array_equal(source.image, pixels)
        assert np.array_equal(np.asarray(source.picture), pixels)
        assert source.part(0, 0, 60, 40) is source


@pytest.mark.parametrize("takes", [True, False])
def test_a_detector_is_given_pictures_only_if_it_says_so(takes):
    seen = []

    class Watched:
        erythrocyte_px, max_side_px, takes_pictures = 40.0, 64, takes

        def detect(self, image, *, scale=1.0):
            seen.append(isinstance(image, Image.Image))
            return Detections.none()

    for scale in (1.0, 4.0):  # one look, and tiles
        detect_everywhere(Watched(), ArraySource(np.zeros((48, 60, 3), np.uint8)), scale=scale)
    assert len(seen) > 2
    assert set(seen) == {takes}

from __future__ import annotations

import numpy as np
import pytest

from corpuscle.errors import UsageError
from corpuscle.prediction.ruler import ERYTHROCYTE_UM, measure_field, usual_size
from corpuscle.prediction.tiling import ArraySource
from corpuscle.records import Detections


@pytest.mark.parametrize("erythrocyte_px", [16, 28, 40, 77, 150, 300])
def test_the_magnification_is_found(disc_detector, disc_field, erythrocyte_px):
    side = max(400, 12 * erythrocyte_px)
    image, truth = disc_field(side, side, erythrocyte_px=erythrocyte_px)
    measured = measure_field(disc_detector, ArraySource(image))
    assert measured.ruler.method == "erythrocytes"
    assert measured.ruler.um_per_px == pytest.approx(ERYTHROCYTE_UM / erythrocyte_px, rel=0.06)
    assert measured.ruler.scale == pytest.approx(40 / erythrocyte_px, rel=0.2)
    assert len(measured.detections) == len(truth)


class Overlapping:
    """Finds the discs of a field, and beside each half of another one, less surely."""

    def __init__(self, detector):
        self.whole = detector
        self.erythrocyte_px, self.max_side_px = detector.erythrocyte_px, detector.max_side_px

    def detect(self, image, *, scale=1.0):
        found = self.whole.detect(image, scale=scale)
        halves = found.boxes.copy()
        halves[:, 2:] = (halves[:, :2] + halves[:, 2:]) / 2
        scores = np.concatenate([found.scores, np.full(len(halves), 0.4, np.float32)])
        return Detections(np.concatenate([found.boxes, halves]), scores, np.tile(found.kinds, 2))


def test_what_overlaps_does_not_make_the_ruler_shorter(disc_detector, disc_field):
    image, _ = disc_field(640, 480, erythrocyte_px=50)
    measured = measure_field(Overlapping(disc_detector), ArraySource(image))
    assert measured.ruler.um_per_px == pytest.approx(ERYTHROCYTE_UM / 50, rel=0.06)


def test_a_given_size_of_a_pixel_is_believed_but_compared(disc_detector, disc_field):
    image, truth = disc_field(640, 480, erythrocyte_px=40)
    source = ArraySource(image)
    right = measure_field(disc_detector, source, um_per_px=7.5 / 40)
    assert (right.ruler.method, right.ruler.scale, right.ruler.note) == ("given", 1.0, "")
    assert len(right.detections) == len(truth)
    wrong = measure_field(disc_detector, source, um_per_px=2 * 7.5 / 40)
    assert wrong.ruler.um_per_px == 2 * 7.5 / 40
    assert "15.0 micrometers wide" in wrong.ruler.note


def test_without_enough_erythrocytes_it_says_so(disc_detector):
    image = np.full((480, 640, 3), 240, np.uint8)
    image[200:264, 300:364] = (90, 40, 140)
    measured = measure_field(disc_detector, ArraySource(image))
    assert measured.ruler.method == "guess"
    assert measured.ruler.um_per_px == 0
    assert "Only 0 whole erythrocytes" in measured.ruler.note
    assert "--um-per-px" in measured.ruler.note
    assert len(measured.detections) == 1


@pytest.mark.parametrize("um_per_px", [-1.0, 0.0001, 100.0, float("nan")])
def test_an_impossible_pixel_is_refused(disc_detector, um_per_px):
    with pytest.raises(UsageError, match="shows no blood cell"):
        measure_field(disc_detector, ArraySource(np.zeros((50, 50, 3), np.uint8)), um_per_px=um_per_px)


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (30, 30)])
def test_tiny_fields_are_no_trouble(disc_detector, size):
    measured = measure_field(disc_detector, ArraySource(np.full((*size, 3), 230, np.uint8)))
    assert measured.ruler.method == "guess"
    assert len(measured.detections) == 0


@pytest.fixture
def sparse(disc_field):
    """Paint four erythrocytes 80 px wide on a large empty slide: enough to be seen, too few to measure by."""
    image, _ = disc_field(330, 330, erythrocyte_px=80, seed=5)
    field = np.full((700, 900, 3), image[0, 0], np.uint8)
    field[50:380, 50:380] = image
    return ArraySource(field)


def test_a_field_with_few_erythrocytes_borrows_the_ruler_of_its_smear(disc_detector, sparse):
    alone = measure_field(disc_detector, sparse).ruler
    assert (alone.method, alone.um_per_px) == ("guess", 0)
    borrowed = measure_field(disc_detector, sparse, usual_um_per_px=7.5 / 80).ruler
    assert (borrowed.method, borrowed.um_per_px, borrowed.note) == ("smear", 7.5 / 80, "")
    assert borrowed.scale == pytest.approx(0.5)


def test_a_field_that_can_tell_keeps_its_own_ruler(disc_detector, disc_field):
    source = ArraySource(disc_field(640, 480, erythrocyte_px=40)[0])
    company = measure_field(disc_detector, source, usual_um_per_px=7.5 / 160)
    assert company.ruler == measure_field(disc_detector, source).ruler


@pytest.mark.parametrize(
    ("sizes", "expected"), [([], 0), ([0.1], 0), ([0.1, 0.11], 0.105), ([0.1, 0.1, 0.1, 0.4], 0.1), ([0.1, 0.4], 0)]
)
def test_the_fields_of_a_smear_must_agree(sizes, expected):
    assert usual_size(sizes) == pytest.approx(expected)


class Watched:
    """A detector that remembers at which scales it was asked."""

    def __init__(self, detector):
        self._detector = detector
        self.erythrocyte_px, self.max_side_px = detector.erythrocyte_px, detector.max_side_px
        self.scales = []

    def detect(self, image, *, scale=1.0):
        self.scales.append(scale)
        return self._detector.detect(image, scale=scale)


@pytest.mark.parametrize("erythrocyte_px", [25, 40, 90])
def test_one_look_is_enough_where_stain_and_erythrocytes_agree(disc_detector, disc_field, erythrocyte_px):
    detector = Watched(disc_detector)
    side = 10 * erythrocyte_px
    image, truth = disc_field(side, side, erythrocyte_px=erythrocyte_px)
    for kind, (x, y), wide in truth:
        if kind != "erythrocyte":
            image[max(0, int(y - wide)) : int(y + wide), max(0, int(x - wide)) : int(x + wide)] = image[0, 0]
    ruler = measure_field(detector, ArraySource(image)).ruler
    assert ruler.um_per_px == pytest.approx(ERYTHROCYTE_UM / erythrocyte_px, rel=0.06)
    assert len(detector.scales) == 1

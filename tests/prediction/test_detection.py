from __future__ import annotations

import shutil

import numpy as np
import pytest
from PIL import Image

from corpuscle.data.drawn_fields import draw_field
from corpuscle.errors import BundleError, UnreadableImageError, UsageError
from corpuscle.models.detection_bundle import load_detection_bundle
from corpuscle.prediction.detection import FieldDetector, open_detector


@pytest.fixture(scope="module")
def detector(toy_detector):
    return FieldDetector.load(toy_detector)


@pytest.fixture
def planted(detector, monkeypatch):
    """Make the network see one leukocyte of 40x24 px around the place (10, 5) of its map."""

    def run(batch):
        rows, columns = batch.shape[2] // 4, batch.shape[3] // 4
        rows, columns = max(rows, 6), max(columns, 11)
        scores, reaches = np.zeros((1, 3, rows, columns), np.float32), np.ones((1, 4, rows, columns), np.float32)
        scores[0, 1, 5, 10] = 0.9
        reaches[0, :, 5, 10] = (20, 12, 20, 12)
        return scores, reaches

    monkeypatch.setattr(detector, "run", run)
    return detector


@pytest.mark.parametrize("scale", [1.0, 0.5, 2.0])
def test_boxes_come_back_in_pixels_of_the_picture(planted, scale):
    image = np.full((160, 240, 3), 230, np.uint8)
    found = planted.detect(image, scale=scale)
    assert found.kinds.tolist() == [1]
    assert found.boxes[0] == pytest.approx(np.array([22, 10, 62, 34]) / scale, abs=0.1)


def test_boxes_are_cut_at_the_border_of_the_picture(planted):
    found = planted.detect(np.full((30, 50, 3), 230, np.uint8))
    assert found.boxes.tolist() == [[22, 10, 50, 30]]


def test_what_lies_in_the_padding_is_dropped(planted):
    assert len(planted.detect(np.full((36, 22, 3), 230, np.uint8), scale=1.0)) == 0


def test_thresholds_are_those_of_the_bundle_unless_asked(planted):
    image = np.full((160, 240, 3), 230, np.uint8)
    least = planted.score_thresholds
    assert least == {kind: rule.least_score for kind, rule in planted.bundle.rules.items()}
    assert len(planted.detect(image, least_score=0.95)) == 0
    assert len(planted.detect(image, least_score=0.05)) == 1


def test_it_states_what_a_tiler_needs(detector):
    assert detector.erythrocyte_px == 24.0
    assert detector.max_side_px == 1280
    assert detector.name == "toy_field 1"


def test_the_same_picture_gives_the_same_cells(detector):
    image, _, _ = draw_field(5)
    one, other = (detector.detect(image, scale=24 / 38, least_score=0.05) for _ in range(2))
    assert np.array_equal(one.boxes, other.boxes)
    assert np.array_equal(one.scores, other.scores)
    assert (one.boxes.dtype, one.scores.dtype, one.kinds.dtype) == (np.float32, np.float32, np.int64)
    assert one.boxes.min(initial=0) >= 0
    assert one.boxes.max(initial=0) <= 208


@pytest.mark.parametrize("image", [np.zeros((10, 10), np.uint8), np.zeros((10, 10, 3)), np.zeros((0, 10, 3), np.uint8)])
def test_an_array_that_is_no_picture_is_refused(detector, image):
    with pytest.raises(UnreadableImageError, match="HxWx3 of uint8"):
        detector.detect(image)


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf")])
def test_an_impossible_scale_is_refused(detector, scale):
    with pytest.raises(UsageError, match="above 0"):
        detector.detect(np.zeros((10, 10, 3), np.uint8), scale=scale)


def test_a_picture_too_long_for_one_call_is_refused(detector):
    with pytest.raises(UsageError, match="Cut it into tiles"):
        detector.detect(np.zeros((10, 1400, 3), np.uint8))
    detector.detect(np.zeros((10, 1400, 3), np.uint8), scale=0.5)


def test_a_graph_that_is_no_detector_is_refused(toy_detector, toy_bundle, tmp_path):
    folder = shutil.copytree(toy_detector, tmp_path / "broken")
    bundle = load_detection_bundle(folder)
    (folder / "model.onnx").write_bytes(b"nothing")
    with pytest.raises(BundleError, match="no graph that onnxruntime"):
        FieldDetector(bundle, graph="model.onnx")
    shutil.copy(toy_bundle / "model.onnx", folder / "model.onnx")
    with pytest.raises(BundleError, match="scores and reaches"):
        FieldDetector(bundle, graph="model.onnx")


def test_a_detector_is_opened_by_name_or_folder(toy_detector, toy_bundle):
    assert isinstance(open_detector(toy_detector), FieldDetector)
    with pytest.raises(BundleError, match="names single cells"):
        open_detector(toy_bundle)


def test_the_network_sees_the_same_in_a_picture_of_pillow_and_in_its_array(detector):
    image, _, _ = draw_field(5)
    one, other = (detector.maps(form, scale=24 / 38) for form in (image, Image.fromarray(image)))
    assert np.ptp(one.scores) > 0
    assert np.array_equal(one.scores, other.scores)
    assert np.array_equal(one.reaches, other.reaches)
    assert (one.factors, one.size) == (other.factors, other.size)


def test_a_picture_of_another_mode_is_refused(detector):
    with pytest.raises(UnreadableImageError, match="mode RGB, not L of 9x8"):
        detector.detect(Image.new("L", (9, 8)))

"""The shipped detector does what its card says; the figures themselves are measured by commands."""

import numpy as np
import pytest

from corpuscle.data.drawn_fields import draw_field
from corpuscle.evaluation.detector import evaluate_detector
from corpuscle.models.detection_bundle import load_detection_bundle
from corpuscle.prediction.detection import open_detector
from corpuscle.prediction.suppression import box_overlaps


def test_it_finds_the_cells_of_drawn_fields() -> None:
    detector = open_detector()
    hits, drawn = 0, 0
    for seed in range(4):
        image, boxes, kinds = draw_field(seed, platelets=1)
        found = detector.detect(image, scale=detector.erythrocyte_px / 38.0)
        for kind in range(3):
            overlaps = box_overlaps(boxes[kinds == kind], found.boxes[found.kinds == kind])
            hits += int((overlaps.max(axis=1, initial=0) > 0.5).sum())
        drawn += len(kinds)
    assert hits >= 0.8 * drawn


def test_it_finds_nothing_on_an_empty_slide() -> None:
    rng = np.random.default_rng(0)
    blank = np.clip(rng.normal((228, 222, 226), 3, (240, 320, 3)), 0, 255).astype(np.uint8)
    assert len(open_detector().detect(blank)) == 0


def test_it_is_a_few_megabytes_and_holds_no_pickle() -> None:
    files = list(load_detection_bundle().folder.iterdir())
    assert sum(file.stat().st_size for file in files) < 10e6
    assert {file.suffix for file in files} == {".json", ".md", ".onnx", ".safetensors"}


def test_its_card_names_both_sets() -> None:
    metrics = load_detection_bundle().metrics
    assert {("bccd", "test"), ("txl-pbc", "test")} <= {(row["dataset"], row["split"]) for row in metrics}


@pytest.mark.real_data
def test_its_precision_is_that_of_the_card() -> None:
    result = evaluate_detector("bccd", split="test")
    assert result.precision.map50 >= 0.88
    assert result.precision.map50_95 >= 0.55
    assert result.counting.by_kind["platelet"].absolute <= 0.5

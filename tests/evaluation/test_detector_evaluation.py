from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from corpuscle.data.bccd_photographs import SecondReading
from corpuscle.data.fields import labeled_fields
from corpuscle.errors import UnknownNameError
from corpuscle.evaluation import detector as evaluation
from corpuscle.evaluation.detector import coco_average_precision, count_cells, evaluate_detector
from corpuscle.prediction.detection import FieldDetector
from corpuscle.records import Detections
from corpuscle.reporting.ledger import figures_of


@pytest.fixture
def seer(toy_detector, monkeypatch) -> FieldDetector:
    """A detector that knows every drawn field by heart."""
    detector = FieldDetector.load(toy_detector)
    known = {item.pixels.tobytes(): item for item in labeled_fields("drawn-fields")}
    monkeypatch.setattr(detector, "maps", lambda image, scale: known[image.tobytes()])
    monkeypatch.setattr(
        detector, "decode",
        lambda item, least_score=None: Detections(item.boxes, np.full(len(item.kinds), 0.9, np.float32), item.kinds),
    )  # fmt: skip
    return detector


def test_who_finds_everything_is_right_in_everything(seer):
    result = evaluate_detector("drawn-fields", model=seer, split="test")
    assert (result.precision.map50, result.precision.map50_95) == (1.0, 1.0)
    errors = result.counting.by_kind
    assert errors["leukocyte"].exact == 1
    assert errors["erythrocyte"].percentage == errors["platelet"].absolute == 0
    assert result.leak == result.note == ""
    assert "mAP50 1.0000" in result.summary()
    assert result.to_dict()["by_kind"]["platelet"]["ap50"] == 1.0
    assert "erythrocyte" in result.text()
    assert len(result.answers) == 6


def test_the_pictures_are_shown_at_the_trained_scale(toy_detector, monkeypatch):
    detector = FieldDetector.load(toy_detector)
    scales = set()
    maps = detector.maps
    monkeypatch.setattr(detector, "maps", lambda image, scale: scales.add(scale) or maps(image, scale=scale))
    evaluate_detector("drawn-fields", model=detector, split="test")
    assert len(scales) == 1
    assert scales.pop() == pytest.approx(24 / 38, rel=0.05)


@pytest.mark.parametrize(("split", "word"), [("train", "leaks"), ("", "leaks"), ("val", "chosen on this split")])
def test_it_says_when_a_figure_flatters(seer, split, word):
    result = evaluate_detector("drawn-fields", model=seer, split=split)
    assert word in result.leak
    assert word in result.summary()


def test_fields_without_boxes_of_erythrocytes_are_told(seer, monkeypatch):
    fields = labeled_fields("drawn-fields", split="test")
    bare = replace(fields[0], boxes=fields[0].boxes[fields[0].kinds != 0], kinds=fields[0].kinds[fields[0].kinds != 0],
                   erythrocytes_unlabeled=True)  # fmt: skip
    original = evaluation.labeled_fields

    def some(dataset, *, split="", root=None):
        return [bare, *fields[1:]] if split == "test" else original(dataset, split=split, root=root)

    monkeypatch.setattr(evaluation, "labeled_fields", some)
    result = evaluate_detector("drawn-fields", model=seer, split="test")
    assert result.note.startswith("1 of the 6 fields show erythrocytes that have no box")
    assert result.note.endswith("leave out 1 fields in which nobody drew any")
    assert result.counting.by_kind["erythrocyte"].fields == 5
    assert result.precision.by_kind["erythrocyte"][0] < 1  # those found there count as mistakes


def test_fields_that_were_read_again_are_judged_a_second_time(seer, monkeypatch):
    fields = labeled_fields("drawn-fields", split="test")
    red = np.flatnonzero(fields[0].kinds == 0)[0]
    kept = np.arange(len(fields[0].kinds)) != red
    reading = SecondReading(fields[0].boxes[red][None], np.zeros((0, 4), np.float32))
    poor = replace(fields[0], boxes=fields[0].boxes[kept], kinds=fields[0].kinds[kept],
                   readings={"erythrocyte": reading})  # fmt: skip
    original = evaluation.labeled_fields

    def some(dataset, *, split="", root=None):
        return [poor, *fields[1:]] if split == "test" else original(dataset, split=split, root=root)

    monkeypatch.setattr(evaluation, "labeled_fields", some)
    result = evaluate_detector("drawn-fields", model=seer, split="test")
    assert result.counting.by_kind["erythrocyte"].bias > 0  # one more than the annotator drew
    drawn = sum((item.kinds == 0).sum() for item in [poor])
    assert (
        result.note
        == f"the annotators drew {drawn} of {drawn + 1} erythrocytes, and each other one found counts as a mistake"
    )
    again = result.completed
    assert again.precision.pictures == 1
    assert again.precision.map50 == pytest.approx(1)
    assert again.counting.by_kind["erythrocyte"].percentage == 0
    assert "With the cells that the annotators left out (n = 1 fields): mAP50 1.0000" in result.text()
    assert result.to_dict()["completed"]["counting"]["erythrocyte"]["absolute"] == 0
    names = [figure.what.split(": ")[1] for figure in figures_of(result)]
    assert "mean absolute percentage error of erythrocytes, with those that the annotators left out" in names
    assert result.model not in str(names)


def test_a_field_that_cannot_be_read_is_kept_as_a_failure(seer, monkeypatch, tmp_path):
    fields = labeled_fields("drawn-fields", split="test")
    broken = replace(fields[0], pixels=None, path=tmp_path / "none.png", file="none.png")
    monkeypatch.setattr(evaluation, "_diameter", lambda *_: 38.0)
    monkeypatch.setattr(evaluation, "labeled_fields", lambda *_, **__: [broken, *fields[1:]])
    result = evaluate_detector("drawn-fields", model=seer, split="test")
    assert [failure.file for failure in result.failures] == ["none.png"]
    assert len(result.answers) == 5


def test_counts_are_those_of_the_boxes():
    fields = labeled_fields("drawn-fields", split="test")
    none = [Detections.none()] * len(fields)
    errors = count_cells(fields, none).by_kind
    assert errors["leukocyte"].absolute == np.mean([(item.kinds == 1).sum() for item in fields])


def test_unknown_sets_are_refused(toy_detector):
    with pytest.raises(UnknownNameError, match="bccd"):
        evaluate_detector("pbc", model=toy_detector)


def test_without_pycocotools_there_is_no_second_figure(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "pycocotools", None)
    monkeypatch.setitem(sys.modules, "pycocotools.coco", None)
    assert coco_average_precision([], []) is None

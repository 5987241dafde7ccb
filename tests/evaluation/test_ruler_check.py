from __future__ import annotations

import numpy as np
import pytest

from corpuscle.data.fields import LabeledField
from corpuscle.errors import DataError
from corpuscle.evaluation import ruler_check
from corpuscle.evaluation.ruler_check import evaluate_ruler
from corpuscle.reporting.field_speed import ruler_figures


@pytest.fixture
def labeled(disc_field, tmp_path, monkeypatch):
    """Let two fields of discs stand for a data set; boxes are as wide as the discs times `factor`."""
    monkeypatch.setattr(ruler_check, "RULER_ZOOMS", (1.0, 4.0))

    def make(factor=1.0):
        fields = []
        for seed in range(2):
            image, truth = disc_field(480, 480, erythrocyte_px=40, seed=seed)
            cells = [item for item in truth if item[0] == "erythrocyte"]
            boxes = [(x - r, y - r, x + r, y + r) for _, (x, y), wide in cells for r in [factor * wide / 2]]
            kinds = np.zeros(len(boxes), np.int64)
            fields.append(
                LabeledField(str(seed), tmp_path, "discs", "val", "", np.array(boxes, np.float32), kinds, pixels=image)
            )
        monkeypatch.setattr(ruler_check, "labeled_fields", lambda *_, **__: fields)

    return make


def test_what_the_ruler_says_is_compared_with_the_boxes(disc_detector, labeled):
    labeled()
    result = evaluate_ruler(disc_detector, "discs", split="val")
    assert [(row.zoom, row.n, row.near, row.told) for row in result.rows] == [(1, 2, 2, 2), (4, 2, 2, 2)]
    assert all(row.worst < 1.25 for row in result.rows)
    assert "discs on discs val" in result.text()
    assert [figure.value for figure in ruler_figures(result)][::2] == ["1.0000"] * 2
    assert result.to_dict()["rows"][0]["zoom"] == 1


def test_a_wrong_magnification_is_seen(disc_detector, labeled):
    labeled(factor=0.7)
    assert [row.near for row in evaluate_ruler(disc_detector, "discs").rows] == [0, 0]


def test_fields_without_erythrocytes_measure_nothing(disc_detector, labeled, monkeypatch):
    labeled()
    monkeypatch.setattr(ruler_check, "FEWEST_ERYTHROCYTES", 1000)
    with pytest.raises(DataError, match="whole erythrocytes"):
        evaluate_ruler(disc_detector, "discs")

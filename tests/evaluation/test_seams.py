from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from corpuscle.evaluation import seams
from corpuscle.evaluation.seams import evaluate_seams
from corpuscle.prediction.ruler import Measured
from corpuscle.records import Detections, Ruler
from corpuscle.reporting.field_speed import seam_figures


@dataclass
class Told:
    """A detector that is never asked."""

    erythrocyte_px: float = 40.0
    max_side_px: int = 512
    name: str = "told"


@pytest.fixture
def found(monkeypatch):
    """Let `change(boxes, kinds)` be what is found of the drawn cells."""

    def use(change):
        def measure(detector, source):
            source.read(0, 0, 50, 50)
            drawn = source._source
            boxes, kinds = change(drawn.boxes.copy(), drawn.kinds.copy())
            cells = Detections(boxes, np.linspace(0.9, 0.8, len(boxes), dtype=np.float32), kinds)
            return Measured(Ruler(0.1875, 1.0, "erythrocytes", len(boxes)), cells)

        monkeypatch.setattr(seams, "measure_field", measure)
        return evaluate_seams(Told(), 1000)

    return use


def test_a_perfect_count_has_no_fault(found):
    result = found(lambda boxes, kinds: (boxes, kinds))
    assert (result.lost, result.twice, result.invented) == ((0, 0), (0, 0), 0)
    assert result.kinds_right == result.cells > 100
    assert 0 < result.near < result.cells
    assert result.tiles > 1
    assert "counted twice: 0 near a seam, 0 elsewhere" in result.text()
    assert [figure.value for figure in seam_figures(result)][:5] == ["0"] * 5


def test_lost_double_and_invented_cells_are_seen(found):
    def spoil(boxes, kinds):
        twin = boxes[5] + np.float32([12, 0, 12, 0])
        nothing = np.float32([0, 0, 6, 6])
        return np.concatenate([boxes[1:], [twin, nothing]]), np.concatenate([kinds[1:], kinds[5:6], kinds[5:6]])

    result = found(spoil)
    assert (sum(result.lost), sum(result.twice), result.invented) == (1, 1, 1)


def test_progress_is_told(monkeypatch):
    told = []
    nothing = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))

    def measure(_, source):
        source.read(0, 0, 9, 9)
        return Measured(Ruler(0.1, 1.0, "given", 0), nothing)

    monkeypatch.setattr(seams, "measure_field", measure)
    result = evaluate_seams(Told(), 1000, progress=lambda done, total: told.append((done, total)))
    assert told == [(81, 1_000_000)]
    assert sum(result.lost) == result.cells

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest

from corpuscle.data.drawn_scenes import draw_scene
from corpuscle.errors import UnknownNameError, UsageError
from corpuscle.evaluation import counting
from corpuscle.evaluation.counting import SCENES, evaluate_counting
from corpuscle.prediction.classification import CellReader
from corpuscle.prediction.fields import FieldReader
from corpuscle.records import CELL_KINDS, Detections
from corpuscle.reporting.field_speed import benchmark_field, counting_figures, speed_figures


@dataclass
class Oracle:
    """A detector that knows two drawn scenes by heart, but for one erythrocyte that it never sees."""

    erythrocyte_px: float = 40.0
    max_side_px: int = 1280
    missing: int = 1
    looks: list = field(default_factory=list)

    def __post_init__(self):
        self._known = {scene.image.tobytes(): scene for scene in (draw_scene(SCENES["plain"], seed) for seed in (0, 1))}

    def detect(self, image, *, scale=1.0):
        self.looks.append(scale)
        scene = self._known.get(image.tobytes())
        cells = sorted(scene.cells, key=lambda cell: cell.kind != "erythrocyte")[self.missing :] if scene else []
        boxes = np.array([cell.box for cell in cells], np.float32).reshape(-1, 4)
        kinds = np.array([CELL_KINDS.index(cell.kind) for cell in cells], np.int64)
        return Detections(boxes, np.ones(len(cells), np.float32), kinds)


@pytest.fixture
def oracle(monkeypatch):
    monkeypatch.setattr(counting, "_PER_SCENE", 2)
    return FieldReader(CellReader(), detector=Oracle())


def test_counts_are_compared_with_the_truth(oracle):
    result = evaluate_counting("drawn-scenes", reader=oracle, split="plain")
    assert result.n == 2
    assert result.rulers == {"erythrocytes": 2}
    assert result.errors.by_kind["leukocyte"].exact == 1
    assert result.errors.by_kind["platelet"].absolute == 0
    assert result.errors.by_kind["erythrocyte"].bias == -1
    assert "drawn-scenes plain (n = 2 fields)" in result.text()
    names = [figure.what for figure in counting_figures(result)]
    assert "leukocytes: fields counted exactly" in names
    assert result.to_dict()["errors"]["erythrocyte"]["absolute"] == 1


def test_cells_without_a_box_count_where_fields_were_read_again(oracle, monkeypatch):
    def labeled(seed, **more):
        scene = draw_scene(SCENES["plain"], seed)
        counts = [scene.count(kind) for kind in CELL_KINDS]
        reviewed = {kind: scene.count(kind) + number for kind, number in more.items()}
        return counting._Item(str(seed), lambda: scene.image, counts, reviewed=reviewed)

    both = [labeled(0, leukocyte=0), labeled(1, leukocyte=1, erythrocyte=9)]
    monkeypatch.setattr(counting, "_fields", lambda *_: (2, iter(both)))
    result = evaluate_counting("bccd", reader=oracle)
    assert result.errors.by_kind["leukocyte"].exact == 1
    again = result.reviewed
    assert set(again) == {"leukocyte", "erythrocyte"}
    assert (again["leukocyte"].exact, again["leukocyte"].bias) == (0.5, -0.5)
    assert (again["erythrocyte"].fields, again["erythrocyte"].bias) == (1, -10)  # the oracle misses one
    assert "with the cells that the annotators left out\nerythrocyte      0.0%" in result.text()
    assert result.to_dict()["reviewed"]["leukocyte"]["fields"] == 2
    rows = {row.what: row for row in counting_figures(result)}
    row = rows["leukocytes: fields counted exactly, with those that the annotators left out"]
    assert (row.value, row.n) == ("0.5000", 2)
    row = rows["erythrocytes: mean absolute error, cells a field, with those that the annotators left out"]
    assert (row.value, row.n) == ("10.00", 1)
    monkeypatch.setattr(counting, "_fields", lambda *_: (1, iter([labeled(0)])))
    assert evaluate_counting("bccd", reader=oracle).reviewed == {}


def test_agreement_is_measured_where_counts_differ():
    found = np.array([[10, 1, 0], [20, 1, 0], [33, 1, 0], [41, 1, 0]])
    drawn = np.array([[11, 1, 0], [20, 1, 0], [30, 1, 0], [40, 1, 0]])
    agreement = counting._agreement(found, drawn, np.ones((4, 3), bool))
    assert set(agreement) == {"erythrocyte"}
    assert agreement["erythrocyte"].concordance > 0.98
    assert agreement["erythrocyte"].bias == pytest.approx(0.75)
    annotated = np.ones((4, 3), bool)
    annotated[:2, 0] = False
    assert counting._agreement(found, drawn, annotated) == {}


def test_a_detector_is_not_praised_for_what_it_learned():
    learned = {"training_data": [{"dataset": "bccd", "split": "train"}]}
    assert "leaks" in counting._leak(learned, "bccd", "train")
    assert "leaks" in counting._leak(learned, "bccd", "")
    assert "chosen" in counting._leak(learned, "bccd", "val")
    assert counting._leak(learned, "bccd", "test") == ""


def test_unknown_sets_and_splits_are_refused(oracle):
    with pytest.raises(UsageError, match="plain, clumped"):
        evaluate_counting("drawn-scenes", reader=oracle, split="night")
    with pytest.raises(UnknownNameError, match="bccd"):
        evaluate_counting("nothing", reader=oracle)


def test_every_part_of_counting_is_timed_beside_the_detector(disc_detector, counting, cli):
    result = benchmark_field(FieldReader(CellReader(), detector=disc_detector), folder=counting, repeats=2)
    assert set(result.ratios) == set(result.seconds)
    assert result.ratios["detector alone"] == 1
    assert min(result.seconds.values()) > 0
    assert result.n_fields == 2
    assert len(speed_figures(result)) == len(result.ratios) - 1
    with pytest.raises(UsageError, match="1 repeat"):
        benchmark_field(FieldReader(CellReader(), detector=disc_detector), repeats=0)
    done = cli("benchmark", "field", "--folder", counting)
    assert done.status == 0
    assert "times detector" in done.out


def test_counting_is_a_benchmark_of_the_command_line(oracle, counting, cli, tmp_path):
    done = cli(
        "benchmark", "counting", "--dataset", "drawn-scenes", "--split", "plain", "--record", tmp_path / "page.md"
    )
    assert done.status == 0
    assert "erythrocyte" in done.out
    assert "fields counted exactly" in (tmp_path / "page.md").read_text()
    wrong = cli("benchmark", "everything")
    assert wrong.status == 2
    assert "classify, framing, server, field, counting" in wrong.err

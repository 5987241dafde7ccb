from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

import corpuscle
from corpuscle.errors import BundleNotFoundError, UnreadableImageError, UsageError
from corpuscle.prediction import fields
from corpuscle.prediction.cell_naming import CellNamer, cut_crop
from corpuscle.prediction.classification import CellReader
from corpuscle.prediction.fields import FieldReader, PartOfSlide, count
from corpuscle.prediction.tiling import ArraySource
from corpuscle.records import CELL_KINDS, Detections, Failure, FieldReading


@pytest.fixture(scope="module")
def reader(disc_detector):
    return FieldReader(CellReader(), detector=disc_detector)


def test_every_cell_is_found_numbered_and_named(reader, disc_field):
    image, truth = disc_field(800, 600, seed=3)
    reading = reader.read(image)
    assert Counter(cell.kind for cell in reading.cells) == Counter(kind for kind, _, _ in truth)
    assert [cell.number for cell in reading.cells] == list(range(1, len(truth) + 1))
    rows = [int((cell.box[1] + cell.box[3]) / 2 // (40 / reading.ruler.scale)) for cell in reading.cells]
    assert rows == sorted(rows)
    for cell in reading.cells:
        assert (cell.confidence is None) == (cell.kind == "erythrocyte")
        assert cell.class_name
    assert reading.ruler.um_per_px == pytest.approx(7.5 / 40, rel=0.05)


def test_drawn_cells_in_a_field_are_named_as_they_are_alone(disc_detector, drawn_cells):
    """Cells are pasted at half their size and found by hand: the crop must come out at the scale of training."""
    keys = ("neutrophil", "eosinophil", "platelet")
    field = np.full((400, 700, 3), 240, np.uint8)
    boxes = []
    for place, key in enumerate(keys):
        half = np.asarray(Image.fromarray(drawn_cells[key][0]).resize((104, 104)))
        field[100:204, 100 + 200 * place : 204 + 200 * place] = half
        boxes.append([132 + 200 * place, 132, 172 + 200 * place, 172])
    kinds = np.array([1, 1, 2])
    found = Detections(np.array(boxes, np.float32), np.ones(3, np.float32), kinds)
    reader = CellReader()
    names = CellNamer(reader).name(ArraySource(field), found, erythrocyte_px=38.5)
    alone = reader.read([drawn_cells[key][0] for key in keys])
    assert [name["class_name"] for name in names] == [answer.class_name for answer in alone]
    assert names[1]["confidence"] == pytest.approx(alone[1].confidence, abs=0.15)


def test_an_answer_that_contradicts_the_detector_is_refused(drawn_cells):
    field = np.pad(drawn_cells["lymphocyte"][0], ((50, 50), (50, 50), (0, 0)), mode="edge")
    box = np.array([[130, 130, 180, 180]], np.float32)
    namer = CellNamer(CellReader(describe=True))
    named = []
    for kind in ("platelet", "leukocyte"):
        found = Detections(box, np.ones(1, np.float32), np.array([CELL_KINDS.index(kind)]))
        named += namer.name(ArraySource(field), found, erythrocyte_px=77)
    assert named[0]["refused"]
    assert "found as a platelet, looks like: " in named[0]["reason"]
    # Of a refused cell nothing is said but what is next to it.
    assert (named[0]["description"].words, named[0]["description"].traits) == ("", ())
    assert named[0]["description"].nearest
    assert bool(named[1]["description"].traits) != named[1]["refused"]


def test_a_bundle_without_platelets_is_not_asked_about_them(drawn_cells):
    reader = CellReader()
    namer = CellNamer(reader)
    namer._knows_platelets = False
    box = np.array([[80, 80, 120, 120]], np.float32)
    found = Detections(box, np.ones(1, np.float32), np.array([CELL_KINDS.index("platelet")]))
    assert namer.name(ArraySource(drawn_cells["platelet"][0]), found, 77) == [{"class_name": "platelet"}]


@pytest.mark.parametrize("box", [(0, 0, 30, 30), (170, 100, 200, 130), (-0.0, 180, 40, 200)])
def test_crops_at_the_edge_are_filled_and_centered(box):
    image = np.full((200, 200, 3), 230, np.uint8)
    x, y = int((box[0] + box[2]) / 2), int((box[1] + box[3]) / 2)
    image[y, x] = 7
    crop = cut_crop(ArraySource(image), box, 81)
    assert crop.shape == (81, 81, 3)
    place = np.argwhere(crop[..., 0] == 7)
    assert np.abs(place[0] - 40).max() <= 1
    assert set(np.unique(crop)) == {7, 230}


def test_a_box_wider_than_the_crop_widens_it():
    assert cut_crop(ArraySource(np.zeros((300, 300, 3), np.uint8)), (100, 100, 200, 150), 60).shape == (125, 125, 3)


def test_border_cells_are_flagged_and_left_out(reader, disc_detector):
    image = np.full((400, 600, 3), (245, 235, 225), np.uint8)
    for column in range(9):
        image[60:100, 10 + 62 * column : 50 + 62 * column] = (222, 150, 150)
    image[200:264, 0:50] = (90, 40, 140)
    image[200:264, 300:364] = (90, 40, 140)
    reading = reader.read(image)
    assert [cell.on_border for cell in reading.cells if cell.kind == "leukocyte"] == [True, False]
    result = fields.differential_of([reading])
    assert (result.on_border, result.n + result.refused) == (1, 1)


def test_the_answer_does_not_depend_on_the_number_of_workers(reader, counting):
    paths = sorted(counting.iterdir()) * 2
    one, three = (list(reader.stream(paths, workers=workers)) for workers in (1, 3))
    assert one == three
    assert all(isinstance(answer, FieldReading) and len(answer.sha256) == 64 for answer in one)


def test_a_bad_file_does_no_harm_to_the_others(reader, counting):
    (counting / "bad.png").write_bytes(b"no picture")
    answers = list(reader.stream(sorted(counting.iterdir())))
    (alone,) = reader.stream(str(sorted(counting.iterdir())[0]))
    assert alone.file == answers[0].file
    (strange,) = reader.stream([None])
    assert "not as NoneType" in strange.reason
    assert [type(answer) for answer in answers] == [Failure, FieldReading, FieldReading]
    with pytest.raises(UnreadableImageError, match=r"bad\.png"):
        count(counting)
    kept = count(counting, on_error="keep")
    assert (len(kept.readings), len(kept.failures)) == (2, 1)


def test_fields_of_one_smear_add_up(counting, disc_detector):
    done: list[tuple[int, int]] = []
    both = corpuscle.count(counting, progress=lambda *step: done.append(step))
    single = [corpuscle.count(path) for path in sorted(counting.iterdir())]
    assert both.readings == tuple(reading for one in single for reading in one.readings)
    assert both.differential.n == sum(one.differential.n for one in single)
    assert both.differential.refused == sum(one.differential.refused for one in single)
    assert done == [(1, 2), (2, 2)]


def test_a_part_of_a_slide_brings_its_own_ruler(reader, disc_field):
    image, _ = disc_field(640, 480)
    reading = reader.read(PartOfSlide("a.svs", ArraySource(image), (100.0, 50.0), 4.0, 7.5 / 40))
    assert (reading.ruler.method, reading.origin_px, reading.downsample) == ("given", (100.0, 50.0), 4.0)
    assert reading.sha256 == ""


def test_an_empty_field_has_no_cells_and_says_so(reader):
    reading = reader.read(np.full((300, 300, 3), 240, np.uint8))
    assert reading.cells == ()
    assert any("No cell" in text for text in reading.notes)
    assert fields.differential_of([reading]).n == 0


def test_what_is_no_picture_is_refused(reader):
    with pytest.raises(UnreadableImageError, match="HxWx3"):
        reader.read(np.zeros((10, 10), np.uint8))
    with pytest.raises(UsageError, match="on_error"):
        count(np.zeros((10, 10, 3), np.uint8), on_error="ignore")


def test_models_are_described_with_their_hashes(reader):
    values = reader.describe()
    assert len(values["classifier"]["sha256"]) == 64
    assert values["detector"]["name"] == "discs"


def test_a_detector_that_is_not_there_is_named():
    with pytest.raises(BundleNotFoundError, match="nobody"):
        FieldReader(detector="nobody")


def test_a_smaller_net_counts_the_same(reader, disc_detector, disc_field):
    image, truth = disc_field(1400, 900, seed=8)
    large = FieldReader(reader.cells, detector=replace(disc_detector, max_side_px=2000), um_per_px=7.5 / 40)
    small = FieldReader(reader.cells, detector=replace(disc_detector, max_side_px=400), um_per_px=7.5 / 40)
    assert [c.box for c in small.read(image).cells] == [c.box for c in large.read(image).cells]
    assert len(small.read(image).cells) == len(truth)


def test_no_field_of_a_smear_is_measured_twice(reader, disc_field, monkeypatch):
    measured = []
    real = fields.measure_field

    def watched(detector, source, **options):
        measured.append(source)
        return real(detector, source, **options)

    monkeypatch.setattr(fields, "measure_field", watched)
    smear = [disc_field(480, 480, seed=seed)[0] for seed in range(3)]
    together = list(reader.stream(smear, workers=1))
    assert len(measured) == 3
    assert together == [reader.read(image) for image in smear]

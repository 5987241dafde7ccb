from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from corpuscle.data import fields
from corpuscle.data.bccd_photographs import SecondReading, second_readings
from corpuscle.data.drawn_fields import draw_field
from corpuscle.data.fields import erythrocyte_diameter_px, labeled_fields
from corpuscle.errors import DataError, DatasetNotFoundError, NoInputError, UnknownNameError, UsageError
from corpuscle.records import CELL_KINDS

ERYTHROCYTE, LEUKOCYTE, PLATELET = range(3)


def voc(boxes: list[tuple[str, int, int, int, int]]) -> str:
    objects = "".join(
        f"<object><name>{name}</name><bndbox><xmin>{a}</xmin><ymin>{b}</ymin><xmax>{c}</xmax><ymax>{d}</ymax>"
        "</bndbox></object>"
        for name, a, b, c, d in boxes
    )
    return f"<annotation><size><width>80</width><height>60</height></size>{objects}</annotation>"


@pytest.fixture
def bccd(tmp_path: Path) -> Path:
    """Six fields; two of them have names of photographs that the table knows to overlap a later one."""
    folder = tmp_path / "bccd"
    for part in ("Annotations", "ImageSets/Main", "JPEGImages"):
        (folder / part).mkdir(parents=True)
    lists = {
        "train": ["BloodImage_00001", "BloodImage_00161", "BloodImage_00276"],
        "val": ["BloodImage_00277", "BloodImage_00002"],
        "test": ["BloodImage_00160"],
    }
    plain = [("RBC", 10, 10, 40, 42), ("WBC", 45, 5, 78, 40), ("Platelets", 2, 50, 10, 58)]
    for name, stems in lists.items():
        (folder / "ImageSets" / "Main" / f"{name}.txt").write_text("\n".join(stems))
        for stem in stems:
            Image.new("RGB", (80, 60)).save(folder / "JPEGImages" / f"{stem}.jpg")
            (folder / "Annotations" / f"{stem}.xml").write_text(voc(plain))
    return folder


def by_stem(root: Path) -> dict[str, fields.LabeledField]:
    return {item.path.stem: item for item in labeled_fields("bccd", root=root)}


def test_boxes_come_with_the_numbers_of_their_kinds(bccd, tmp_path):
    item = by_stem(tmp_path)["BloodImage_00001"]
    assert item.kinds.tolist() == [ERYTHROCYTE, LEUKOCYTE, PLATELET]
    assert item.boxes.tolist() == [[10, 10, 40, 42], [45, 5, 78, 40], [2, 50, 10, 58]]
    assert (item.boxes.dtype, item.kinds.dtype, item.source, item.split) == (np.float32, np.int64, "bccd", "train")
    assert item.read().shape == (60, 80, 3)


def test_what_overlaps_a_later_split_belongs_to_none(bccd, tmp_path):
    found = {stem: (item.split, item.group) for stem, item in by_stem(tmp_path).items()}
    assert found["BloodImage_00161"][0] == ""  # trains; overlaps 160, which tests
    assert found["BloodImage_00276"][0] == ""  # trains; overlaps 277, which is val
    assert found["BloodImage_00160"][0] == "test"
    assert found["BloodImage_00277"][0] == "val"
    assert found["BloodImage_00161"][1] == found["BloodImage_00160"][1]
    assert found["BloodImage_00001"][1] != found["BloodImage_00002"][1]
    assert [item.path.stem for item in labeled_fields("bccd", split="train", root=tmp_path)] == ["BloodImage_00001"]


def test_a_damaged_box_becomes_a_place_to_ignore(bccd, tmp_path):
    path = bccd / "Annotations" / "BloodImage_00001.xml"
    path.write_text(voc([("RBC", 30, 40, 10, 12), ("RBC", 50, 20, 51, 21), ("WBC", 60, 5, 99, 40)]))
    item = by_stem(tmp_path)["BloodImage_00001"]
    assert item.boxes.tolist() == [[10, 12, 30, 40], [60, 5, 80, 40]]  # edges exchanged; cut at the picture
    assert item.ignore.tolist() == [[46, 16, 55, 25]]


def test_the_same_box_twice_counts_once(bccd, tmp_path):
    (bccd / "Annotations" / "BloodImage_00001.xml").write_text(voc([("RBC", 10, 10, 40, 42)] * 2))
    assert len(by_stem(tmp_path)["BloodImage_00001"].boxes) == 1


@pytest.fixture
def read_again(bccd, monkeypatch):
    """A second reading of two of the six fields: an erythrocyte more in one, its only one taken away in the other."""
    nothing, more = np.zeros((0, 4), np.float32), np.array([[60, 40, 80, 60]], np.float32)
    readings = {
        "BloodImage_00001": {"erythrocyte": SecondReading(more, nothing)},
        "BloodImage_00161": {"erythrocyte": SecondReading(more, nothing)},
        "BloodImage_00160": {
            "erythrocyte": SecondReading(nothing, np.array([[10, 10, 40, 42]], np.float32)),
            "leukocyte": SecondReading(more, nothing),
        },
    }
    monkeypatch.setattr(fields, "second_readings", lambda: readings)


def test_a_second_reading_adds_cells_and_takes_boxes_away(read_again, tmp_path):
    found = by_stem(tmp_path)
    item = found["BloodImage_00001"]
    assert item.kinds.tolist() == [ERYTHROCYTE, LEUKOCYTE, PLATELET]  # as published until asked for
    full = item.completed()
    assert full.kinds.tolist() == [ERYTHROCYTE, LEUKOCYTE, PLATELET, ERYTHROCYTE]
    assert full.boxes[3].tolist() == [60, 40, 80, 60]
    assert full.added.tolist() == [False, False, False, True]
    assert full.completed() is full
    test = found["BloodImage_00160"].completed()
    assert test.kinds.tolist() == [LEUKOCYTE, PLATELET, LEUKOCYTE]
    assert found["BloodImage_00161"].readings == {}  # belongs to no split
    assert found["BloodImage_00002"].completed() is found["BloodImage_00002"]


def test_after_a_second_reading_erythrocytes_are_labeled(read_again, bccd, tmp_path):
    (bccd / "Annotations" / "BloodImage_00001.xml").write_text(voc([("WBC", 45, 5, 78, 40)]))
    item = by_stem(tmp_path)["BloodImage_00001"]
    assert item.erythrocytes_unlabeled
    assert not item.completed().erythrocytes_unlabeled
    assert item.completed().kinds.tolist() == [LEUKOCYTE, ERYTHROCYTE]


def test_the_second_reading_that_ships_is_sound():
    readings = second_readings()
    assert len(readings) == 335
    assert sum("leukocyte" in kinds for kinds in readings.values()) == 72
    assert all("erythrocyte" in kinds for kinds in readings.values())
    added = np.concatenate([kinds["erythrocyte"].added for kinds in readings.values()])
    assert (added[:, 2:] - added[:, :2] >= 4).all()
    assert (added >= 0).all()
    assert (added <= (640, 480, 640, 480)).all()


def test_a_field_whose_erythrocytes_nobody_drew_is_marked(bccd, tmp_path):
    (bccd / "Annotations" / "BloodImage_00001.xml").write_text(voc([("WBC", 45, 5, 78, 40)]))
    marks = {stem: item.erythrocytes_unlabeled for stem, item in by_stem(tmp_path).items()}
    assert marks.pop("BloodImage_00001")
    assert not any(marks.values())


@pytest.fixture
def txl_pbc(tmp_path: Path) -> Path:
    folder = tmp_path / "txl-pbc"
    (folder / "images").mkdir(parents=True)
    (folder / "labels").mkdir()
    (folder / "classes.txt").write_text("WBC\nRBC\nPlatelet\n")
    (tmp_path / "pbc").mkdir()
    (tmp_path / "pbc" / "splits.csv").write_text(
        "file,class,subtype,split,duplicate_group\nbasophil/BA_1.jpg,basophil,BA,train,\n"
        "eosinophil/EO_2.jpg,eosinophil,EO,test,pair\n"
    )
    for stem in ("BA_1", "EO_2", "XX_3"):
        Image.new("RGB", (100, 50)).save(folder / "images" / f"{stem}.jpg")
        (folder / "labels" / f"{stem}.txt").write_text("1 0.1 0.2 0.4 0.4\n0 0.5 0.5 0.2 0.4\n")
    return folder


def test_txl_pbc_takes_the_split_of_pbc_by_stem_and_cuts_boxes_at_the_border(txl_pbc, tmp_path):
    found = labeled_fields("txl-pbc", root=tmp_path)
    assert [(item.path.stem, item.split, item.group) for item in found] == [
        ("BA_1", "train", "BA_1"), ("EO_2", "test", "pair"),
    ]  # fmt: skip
    assert np.allclose(found[0].boxes, [[0, 0, 30, 20], [40, 15, 60, 35]])
    assert found[0].kinds.tolist() == [ERYTHROCYTE, LEUKOCYTE]


def test_the_diameter_is_that_of_whole_erythrocytes(txl_pbc, tmp_path):
    (txl_pbc / "labels" / "BA_1.txt").write_text("1 0.1 0.5 0.3 0.4\n1 0.5 0.5 0.2 0.8\n0 0.7 0.5 0.1 0.2\n")
    assert erythrocyte_diameter_px(labeled_fields("txl-pbc", split="train", root=tmp_path)) == pytest.approx(
        np.sqrt(20 * 40)
    )


def test_without_a_whole_erythrocyte_the_scale_is_not_known(bccd, tmp_path):
    (bccd / "Annotations" / "BloodImage_00001.xml").write_text(voc([("RBC", 0, 10, 40, 42)]))
    with pytest.raises(DataError, match="scale is not known"):
        erythrocyte_diameter_px(labeled_fields("bccd", split="train", root=tmp_path))


def test_what_is_not_there_is_said(bccd, tmp_path):
    with pytest.raises(UnknownNameError, match="set of labeled fields"):
        labeled_fields("kaggle-wbc", root=tmp_path)
    with pytest.raises(DatasetNotFoundError, match="txl-pbc"):
        labeled_fields("txl-pbc", root=tmp_path)
    with pytest.raises(NoInputError, match="no field of the split"):
        labeled_fields("bccd", split="holdout", root=tmp_path)
    (bccd / "ImageSets" / "Main" / "val.txt").unlink()
    with pytest.raises(DataError, match=r"val\.txt cannot be read"):
        labeled_fields("bccd", root=tmp_path)


def test_drawn_fields_have_cells_of_all_kinds_where_their_boxes_say():
    pixels, boxes, kinds = draw_field(3)
    again = draw_field(3)
    assert all(np.array_equal(one, other) for one, other in zip((pixels, boxes, kinds), again, strict=True))
    assert set(kinds.tolist()) == set(range(len(CELL_KINDS)))
    assert pixels.shape == (208, 208, 3)
    assert boxes.min() >= 0
    assert boxes.max() <= 208
    plasma = np.median(pixels.reshape(-1, 3), axis=0)
    for box in boxes[kinds == LEUKOCYTE].round().astype(int):
        middle = pixels[box[1] : box[3], box[0] : box[2]].reshape(-1, 3).mean(axis=0)
        assert middle[0] < plasma[0] - 30


def test_a_negative_seed_is_refused():
    with pytest.raises(UsageError, match="seed"):
        draw_field(-1)


@pytest.mark.real_data
def test_the_published_sets_split_as_documented():
    counts = {
        name: [len(labeled_fields(name, split=split)) for split in ("train", "val", "test")]
        for name in ("bccd", "txl-pbc")
    }
    assert counts == {"bccd": [183, 80, 72], "txl-pbc": [352, 50, 47]}
    found = labeled_fields("bccd")
    assert sum(item.erythrocytes_unlabeled for item in found) == 15
    assert sum(len(item.ignore) for item in found) == 2
    looked = [item.readings["leukocyte"] for item in found if "leukocyte" in item.readings]
    assert [len(looked), sum(len(reading.added) for reading in looked)] == [72, 7]
    for item in found:
        for kind, reading in item.readings.items():
            mine = item.boxes[item.kinds == CELL_KINDS.index(kind)]
            assert len(mine) - reading.keeps(mine).sum() == len(reading.removed)  # each names one published box

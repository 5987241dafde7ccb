"""Every fault planted in drawn fields with boxes is found, and clean ones give no finding."""

from __future__ import annotations

from pathlib import Path

import pytest
from toy_audit import SIDE, crop, found, save, scene, window

from corpuscle.data.audit import audit


def voc(folder: Path, stem: str, boxes: list[tuple[str, int, int, int, int]]) -> None:
    objects = "".join(
        f"<object><name>{name}</name><bndbox><xmin>{box[0]}</xmin><ymin>{box[1]}</ymin><xmax>{box[2]}</xmax>"
        f"<ymax>{box[3]}</ymax></bndbox></object>"
        for name, *box in boxes
    )
    (folder / "Annotations").mkdir(exist_ok=True)
    (folder / f"Annotations/{stem}.xml").write_text(
        f"<annotation><filename>{stem}.jpg</filename><size><width>{SIDE}</width><height>{SIDE}</height></size>"
        f"{objects}</annotation>"
    )


@pytest.fixture
def fields(tmp_path: Path) -> Path:
    """Six fields with boxes in the VOC layout and lists of splits."""
    (tmp_path / "ImageSets/Main").mkdir(parents=True)
    for number in range(6):
        save(tmp_path / f"JPEGImages/f{number}.jpg", crop(600 + number))
        voc(tmp_path, f"f{number}", [("RBC", 5, 6, 30, 40), ("WBC", 40, 40, 90, 95)])
    for name, numbers in (("train", (0, 1, 2)), ("val", (3,)), ("test", (4, 5)), ("trainval", (0, 1, 2, 3))):
        (tmp_path / f"ImageSets/Main/{name}.txt").write_text("".join(f"f{number}\n" for number in numbers))
    return tmp_path


def test_clean_fields_give_no_finding(fields):
    report = audit(fields)
    assert found(report) == []
    assert report.n_files == 6


def test_faulty_boxes(fields):
    voc(fields, "f0", [("RBC", 5, 6, 30, 40), ("RBC", 50, 50, 50, 50)])
    voc(fields, "f1", [("RBC", 5, 6, 30, 40), ("WBC", 40, 40, 20, 60)])
    voc(fields, "f2", [("RBC", 5, 6, 30, 40), ("Platelets", 90, 90, 118, 100)])
    voc(fields, "f3", [("WBC", 5, 6, 30, 40), ("RBC", 7, 7, 7, 9)])
    voc(fields, "f4", [("RBC", 5, 6, 30, 40), ("RBC", 5, 6, 30, 40)])
    assert found(audit(fields)) == [
        ("box_without_area", "fault", ("Annotations/f1.xml",)),
        ("box_of_one_pixel", "fault", ("Annotations/f0.xml", "Annotations/f3.xml")),
        ("box_outside", "fault", ("Annotations/f2.xml",)),
        ("field_without_erythrocytes", "fault", ("Annotations/f3.xml",)),
        ("box_twice", "fault", ("Annotations/f4.xml",)),
    ]


def test_overlapping_fields_across_the_lists(fields):
    large = scene(888)
    save(fields / "JPEGImages/f1.jpg", window(large, 0, 0))
    save(fields / "JPEGImages/f5.jpg", window(large, 40, 20))
    assert found(audit(fields)) == [("overlap", "leak", ("JPEGImages/f1.jpg", "JPEGImages/f5.jpg"))]


def test_annotations_and_lists_that_do_not_fit(fields):
    (fields / "Annotations/f0.xml").unlink()
    (fields / "Annotations/f1.xml").write_text("<annotation>")
    voc(fields, "alone", [])
    with (fields / "ImageSets/Main/test.txt").open("a") as file:
        file.write("f2\ngone\n")
    assert sorted(found(audit(fields))) == [
        ("annotation_unreadable", "fault", ("Annotations/f1.xml",)),
        ("boxes_without_picture", "fault", ("Annotations/alone.xml",)),
        ("listed_but_absent", "fault", ("gone",)),
        ("picture_without_boxes", "fault", ("JPEGImages/f0.jpg",)),
        ("two_splits", "leak", ("f2",)),
    ]


def test_yolo_tree(tmp_path):
    lines = {
        "a": "1 0.5 0.5 0.2 0.2\n0 0.3 0.3 0.1 0.1\n",
        "b": "1 0.95 0.5 0.2 0.2\n",
        "c": "0 0.5 0.5 0.2 0.2\n1 0.5 0.5 0 0.1\n",
        "d": "1 0.5 0.5 0.2\n",
    }
    (tmp_path / "labels").mkdir()
    (tmp_path / "classes.txt").write_text("WBC\nRBC\n")
    for number, (stem, text) in enumerate(lines.items()):
        save(tmp_path / f"images/{stem}.png", crop(700 + number))
        (tmp_path / f"labels/{stem}.txt").write_text(text)
    assert sorted(found(audit(tmp_path))) == [
        ("annotation_unreadable", "fault", ("labels/d.txt",)),
        ("box_of_one_pixel", "fault", ("labels/c.txt",)),
        ("box_outside", "fault", ("labels/b.txt",)),
        ("field_without_erythrocytes", "fault", ("labels/c.txt",)),
    ]

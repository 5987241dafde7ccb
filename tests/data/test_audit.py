"""Every fault planted in a drawn data set is found, and a clean one gives no finding."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from corpuscle.data.audit import AuditReport, Finding, audit
from corpuscle.errors import NoInputError

SIDE = 112
CLASSES = ("eosinophil", "lymphocyte", "monocyte")


def scene(seed: int, side: int = SIDE + 60) -> np.ndarray:
    """Draw a field of colored discs and granules that no other seed gives."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side].astype(np.float32)
    image = np.full((side, side, 3), (250, 225, 205), np.float32)
    for _ in range(side // 5):
        radius = rng.uniform(3, 14)
        inside = ((x - rng.uniform(0, side)) ** 2 + (y - rng.uniform(0, side)) ** 2 * rng.uniform(0.7, 1.4)) < radius**2
        image[inside] = image[inside] * 0.35 + rng.uniform(40, 220, 3).astype(np.float32) * 0.65
    return np.clip(image, 20, 255).astype(np.uint8)


def window(image: np.ndarray, left: int, top: int, side: int = SIDE) -> np.ndarray:
    return np.ascontiguousarray(image[top : top + side, left : left + side])


def crop(seed: int) -> np.ndarray:
    return window(scene(seed), 30, 30)


def save(path: Path, image: np.ndarray, **options: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, **({"quality": 92} | options if path.suffix == ".jpg" else options))


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """Three classes of six pictures each, no two alike."""
    for number, name in enumerate(CLASSES):
        for index in range(6):
            save(tmp_path / name / f"cell_{index}.jpg", crop(100 * number + index))
    return tmp_path


def split_up(folder: Path, splits: dict[str, str] | None = None) -> None:
    """Share the pictures out by a split table: each class's last is test, its fifth val; `splits` overrules."""
    lines = ["file,class,subtype,split,duplicate_group"]
    for path in sorted(folder.rglob("*.jpg")):
        file = path.relative_to(folder).as_posix()
        usual = {"cell_5": "test", "cell_4": "val"}.get(path.stem, "train")
        lines.append(f"{file},{path.parent.name},,{(splits or {}).get(file, usual)},")
    (folder / "splits.csv").write_text("\n".join(lines) + "\n")


def found(report: AuditReport) -> list[tuple[str, str, tuple[str, ...]]]:
    return [
        (finding.kind, finding.severity, finding.files)
        for finding in report.findings
        if finding.kind != "unknown_patients"
    ]


def test_a_clean_set_gives_no_finding(folders):
    report = audit(folders)
    assert report.findings == ()
    assert report.n_files == 18
    assert not report.has_leak


def test_a_clean_split_gives_only_the_note_that_patients_are_unknown(folders):
    split_up(folders)
    report = audit(folders)
    assert [(finding.kind, finding.severity) for finding in report.findings] == [("unknown_patients", "note")]
    assert not report.has_leak
    table = (folders / "splits.csv").read_text().splitlines()
    numbered = [f"{line},p{number}" for number, line in enumerate(table[1:])]
    (folders / "splits.csv").write_text("\n".join([table[0] + ",patient", *numbered]))
    assert audit(folders).findings == ()


@pytest.mark.parametrize(("split", "severity"), [("train", "note"), ("test", "leak"), (None, "fault")])
def test_identical_pictures(folders, split, severity):
    twin = folders / "monocyte" / "zz.jpg"
    twin.write_bytes((folders / "monocyte/cell_0.jpg").read_bytes())
    if split:
        split_up(folders, {"monocyte/zz.jpg": split})
    report = audit(folders)
    assert found(report) == [("identical", severity, ("monocyte/cell_0.jpg", "monocyte/zz.jpg"))]
    assert report.has_leak == (severity == "leak")


@pytest.mark.parametrize(
    "change",
    [
        lambda image: image,
        lambda image: np.roll(image, (2, 1), (0, 1)),
        lambda image: np.asarray(Image.fromarray(image[3:, 3:])),
    ],
    ids=["recompressed", "shifted", "cropped"],
)
def test_nearly_identical_pictures(folders, change):
    save(folders / "monocyte/zz.jpg", change(crop(202)), quality=60)
    split_up(folders, {"monocyte/zz.jpg": "test"})
    leaks = [row for row in found(audit(folders)) if row[1] == "leak"]
    assert leaks == [("near_duplicate", "leak", ("monocyte/cell_2.jpg", "monocyte/zz.jpg"))]


def test_overlapping_pictures(folders):
    large = scene(777)
    save(folders / "monocyte/left.jpg", window(large, 0, 10))
    save(folders / "lymphocyte/right.jpg", window(large, 45, 30))
    split_up(folders, {"monocyte/left.jpg": "val"})
    report = audit(folders)
    assert found(report) == [("overlap", "leak", ("lymphocyte/right.jpg", "monocyte/left.jpg"))]
    assert "1 in train, 1 in val" in report.findings[0].message


@pytest.mark.parametrize("mirrored", [False, True])
def test_turned_pictures_are_a_family(folders, mirrored):
    large = Image.fromarray(scene(778))
    for number, angle in enumerate((0, 17, -20)):
        turned = np.asarray(large.rotate(angle, Image.Resampling.BICUBIC))
        turned = turned[:, ::-1] if mirrored and number == 1 else turned
        save(folders / f"monocyte/turned_{number}.jpg", window(turned, 30, 30))
    split_up(folders, {"monocyte/turned_1.jpg": "test"})
    names = tuple(f"monocyte/turned_{number}.jpg" for number in range(3))
    report = audit(folders)
    assert found(report) == [("augmented", "leak", ()), ("turned", "leak", names)]
    assert "3 of 21 pictures (14.3 %)" in report.findings[0].message
    split_up(folders)
    assert found(audit(folders)) == [("augmented", "fault", ())]


def test_a_few_turned_pictures_are_listed_one_by_one(folders):
    for number in range(24):
        save(folders / f"monocyte/more_{number}.jpg", crop(1_200 + number))
    turned = np.rot90(crop(202))
    save(folders / "eosinophil/turned.jpg", np.ascontiguousarray(turned))
    files = ("eosinophil/turned.jpg", "monocyte/cell_2.jpg")
    assert found(audit(folders)) == [("turned", "fault", files), ("contradictory_label", "fault", files)]


def test_contradictory_labels(folders):
    data = (folders / "monocyte/cell_0.jpg").read_bytes()
    (folders / "eosinophil/EO_225902.jpg").write_bytes(data)
    assert ("contradictory_label", "fault", ("eosinophil/EO_225902.jpg", "monocyte/cell_0.jpg")) in found(
        audit(folders)
    )


def test_contradictory_subtypes_and_labels_that_include_each_other(folders):
    data = (folders / "monocyte/cell_0.jpg").read_bytes()
    (folders / "monocyte/cell_0.jpg").unlink()
    for name in ("BNE_1.jpg", "SNE_2.jpg"):
        (folders / "neutrophil").mkdir(exist_ok=True)
        (folders / "neutrophil" / name).write_bytes(data)
    kinds = {kind for kind, _, _ in found(audit(folders))}
    assert "contradictory_label" in kinds
    (folders / "neutrophil/SNE_2.jpg").rename(folders / "neutrophil/NEUTROPHIL_2.jpg")
    kinds = {kind for kind, _, _ in found(audit(folders))}
    assert kinds == {"identical"}


def test_groups_and_table_faults(folders):
    split_up(folders)
    table = (folders / "splits.csv").read_text().replace("cell_0.jpg,monocyte,,train,", "cell_0.jpg,monocyte,,train,g1")
    table = table.replace("cell_5.jpg,monocyte,,test,", "cell_5.jpg,monocyte,,test,g1")
    table = table.replace("eosinophil/cell_1.jpg,eosinophil,,train,\n", "")
    table += "monocyte/gone.jpg,monocyte,,train,\nlymphocyte/cell_5.jpg,lymphocyte,,train,\n"
    (folders / "splits.csv").write_text(table)
    assert sorted(found(audit(folders))) == [
        ("group_crosses_splits", "leak", ("monocyte/cell_0.jpg", "monocyte/cell_5.jpg")),
        ("listed_but_absent", "fault", ("monocyte/gone.jpg",)),
        ("not_listed", "fault", ("eosinophil/cell_1.jpg",)),
        ("two_splits", "leak", ("lymphocyte/cell_5.jpg",)),
    ]


@pytest.mark.parametrize("content", [b"picture;split\na;b\n", b"file\n\xff\xfe\n", b'file,class\n"a,b\n'])
def test_a_table_that_cannot_be_read(folders, content):
    (folders / "splits.csv").write_bytes(content)
    assert found(audit(folders)) == [("table_unreadable", "fault", ("splits.csv",))]


def test_split_folders_and_source_photographs(tmp_path):
    rows = ["file,split,class,best_original,inliers,second_original,second_inliers"]
    for number in range(8):
        split, name = ("TRAIN", "TEST", "TEST_SIMPLE", "TRAIN")[number % 4], CLASSES[number % 2]
        file = f"{split}/{name}/_{number}.jpg"
        save(tmp_path / file, crop(500 + number))
        second = ("b1.jpg", 20) if number == 0 else ("b3.jpg", 3)
        rows.append(f"{file},{split},{name},b{number % 4}.jpg,40,{second[0]},{second[1]}")
    (tmp_path / "source_image_map.csv").write_text("\n".join(rows))
    report = audit(tmp_path)
    assert [row[:2] for row in found(report)] == [("source_crosses_splits", "leak"), ("few_sources", "fault")]
    assert "b0.jpg and b1.jpg" in report.findings[0].message
    assert "8 pictures were made from 4 photographs" in next(
        finding.message for finding in report.findings if finding.kind == "few_sources"
    )
    (tmp_path / "source_image_map.csv").write_text("\n".join(rows).replace("b3.jpg,40", "b0.jpg,40"))
    assert not audit(tmp_path).has_leak or all(
        "b1.jpg" in finding.message for finding in audit(tmp_path).findings if finding.severity == "leak"
    )
    (tmp_path / "source_image_map.csv").write_text("\n".join(rows).replace("b2.jpg,40", "b3.jpg,40"))
    crossing = [finding for finding in audit(tmp_path).findings if finding.severity == "leak"]
    assert any("photograph b3.jpg" in finding.message for finding in crossing)


def test_test_and_test_simple_are_one_part(tmp_path):
    for number in range(4):
        save(tmp_path / ("TEST" if number % 2 else "TRAIN") / CLASSES[0] / f"{number}.jpg", crop(900 + number))
    data = (tmp_path / "TEST/eosinophil/1.jpg").read_bytes()
    (tmp_path / "TEST_SIMPLE/eosinophil").mkdir(parents=True)
    (tmp_path / "TEST_SIMPLE/eosinophil/1.jpg").write_bytes(data)
    assert [row[:2] for row in found(audit(tmp_path))] == [("identical", "note")]


def test_size_that_gives_the_class_away(folders):
    for index in range(6):
        image = window(scene(300 + index), 10, 10, SIDE - 4)
        save(folders / f"platelet/cell_{index}.jpg", image)
    findings = found(audit(folders))
    assert findings == [("size_gives_class", "fault", tuple(f"platelet/cell_{index}.jpg" for index in range(6)))]


def test_sizes_shared_by_the_classes_give_nothing_away(folders):
    for name in CLASSES:
        for index in range(3):
            seed = 2_000 + 10 * CLASSES.index(name) + index
            save(folders / name / f"small_{index}.jpg", window(scene(seed), 0, 0, 100))
    assert audit(folders).findings == ()


def test_format_that_gives_the_class_away(folders):
    for path in sorted((folders / "monocyte").glob("*.jpg")):
        save(path, crop(200 + int(path.stem[-1])), quality=75)
    kinds = [finding.kind for finding in audit(folders).findings]
    assert kinds == ["format_gives_class"]


def test_file_length_that_gives_the_class_away(tmp_path):
    for number in range(24):
        path = tmp_path / CLASSES[number % 2] / f"{number}.jpg"
        save(path, crop(400 + number))
        if number % 2:
            with path.open("ab") as file:
                file.write(b"\0" * 20_000)
    report = audit(tmp_path)
    assert [finding.kind for finding in report.findings] == ["file_size_gives_class"] * 2


def test_unreadable_files(folders):
    good = (folders / "monocyte/cell_0.jpg").read_bytes()
    (folders / "monocyte/cut.jpg").write_bytes(good[: len(good) // 2])
    (folders / "monocyte/empty.png").write_bytes(b"")
    (folders / "monocyte/text.tif").write_text("not a picture")
    (folders / "monocyte/nowhere.jpg").symlink_to(folders / "missing.jpg")
    report = audit(folders)
    files = sorted(row[2][0] for row in found(report) if row[0] == "unreadable")
    assert files == [f"monocyte/{name}" for name in ("cut.jpg", "empty.png", "nowhere.jpg", "text.tif")]
    assert len(report.findings) == 4


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


def test_the_published_contradiction_is_told_where_it_cannot_be_seen(tmp_path):
    for number in range(20):
        save(tmp_path / f"basophil/BA_{number + 10}.jpg", crop(1000 + number))
    (finding,) = audit(tmp_path).findings
    assert (finding.kind, finding.severity) == ("published_fault", "note")
    assert "BNE_191112" in finding.message
    assert "lacks" in finding.message


def test_progress_reaches_its_end_and_never_goes_back(folders):
    calls: list[tuple[int, int]] = []
    audit(folders, progress=lambda done, total: calls.append((done, total)))
    assert calls[-1] == (36, 36)
    assert [done for done, _ in calls] == sorted(done for done, _ in calls)


def test_report_as_plain_values(folders):
    (folders / "monocyte/zz.jpg").write_bytes((folders / "monocyte/cell_0.jpg").read_bytes())
    values = json.loads(json.dumps(audit(folders).to_dict()))
    assert values["counts"] == {"leak": 0, "fault": 1, "note": 0}
    assert values["findings"][0]["files"] == ["monocyte/cell_0.jpg", "monocyte/zz.jpg"]
    assert values["has_leak"] is False


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.mkdir(), lambda path: path.write_text("x")])
def test_nothing_to_audit(tmp_path, make):
    make(tmp_path / "set")
    with pytest.raises(NoInputError, match=r"\.$"):
        audit(tmp_path / "set")


def test_tiny_blank_and_strange_pictures_are_no_duplicates(folders):
    for number, name in enumerate(CLASSES):
        save(folders / name / "one.png", np.full((1, 1, 3), number * 20, np.uint8))
        save(folders / name / "blank.png", np.full((SIDE, SIDE, 3), 240 - number, np.uint8))
        save(folders / name / "long.png", np.full((2, 900, 3), 100 + number, np.uint8))
    assert audit(folders).findings == ()


def real(name: str) -> Path:
    root = os.environ.get("CORPUSCLE_DATA")
    if not root or not (Path(root) / name).is_dir():
        pytest.skip(f"CORPUSCLE_DATA names no folder with {name}")
    return Path(root) / name


def of_kind(report: AuditReport, kind: str) -> list[Finding]:
    return [finding for finding in report.findings if finding.kind == kind]

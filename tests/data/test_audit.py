"""Every fault planted in a drawn data set is found, and a clean one gives no finding."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from toy_audit import CLASSES, SIDE, crop, found, save, scene, window

from corpuscle.data.audit import audit
from corpuscle.errors import NoInputError


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

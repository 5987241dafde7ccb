"""Every layout of a labeled set becomes the same records; all sets here are tiny twins made at test time."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from corpuscle.data import labeled
from corpuscle.data.catalog import DATASETS
from corpuscle.data.labeled import DRAWN_SETS, LABELED_SETS, LabeledCell, labeled_cells
from corpuscle.data.leaks import shared_sources
from corpuscle.errors import (
    DataError,
    DatasetNotFoundError,
    ImageError,
    NoInputError,
    UnknownNameError,
    UnreadableImageError,
)


def picture(path: Path, *, shade: int = 100, size: tuple[int, int] = (20, 16)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (shade, 50, 60)).save(path)
    return path


def table(path: Path, rows: list[dict[str, str]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def seen(cells: list[LabeledCell]) -> list[tuple[str, str, str]]:
    return [(cell.file, cell.class_name, cell.split) for cell in cells]


class TestFolders:
    def test_a_folder_per_class_is_a_set_without_splits(self, tmp_path):
        picture(tmp_path / "Lymphocytes" / "b.png")
        picture(tmp_path / "Lymphocytes" / "a.png")
        picture(tmp_path / "neutrófilo" / "c.jpg")
        cells = labeled_cells(tmp_path)
        assert seen(cells) == [
            ("Lymphocytes/a.png", "lymphocyte", ""),
            ("Lymphocytes/b.png", "lymphocyte", ""),
            ("neutrófilo/c.jpg", "neutrophil", ""),
        ]
        assert cells[0].path == tmp_path / "Lymphocytes" / "a.png"
        assert cells[0].read().shape == (16, 20, 3)

    @pytest.mark.parametrize(
        ("folder", "split"),
        [
            ("train", "train"),
            ("TRAIN", "train"),
            ("Valid", "val"),
            ("validation", "val"),
            ("val", "val"),
            ("Test", "test"),
        ],
    )
    @pytest.mark.parametrize("order", ["{0}/monocyte", "monocyte/{0}"])
    def test_a_folder_named_like_a_split_gives_the_split(self, tmp_path, folder, split, order):
        picture(tmp_path / order.format(folder) / "a.png")
        assert [(cell.class_name, cell.split) for cell in labeled_cells(tmp_path)] == [("monocyte", split)]

    def test_one_split_can_be_asked_for(self, tmp_path):
        for split in ("train", "test"):
            picture(tmp_path / split / "monocyte" / f"{split}.png")
        assert seen(labeled_cells(tmp_path, split="test")) == [("test/monocyte/test.png", "monocyte", "test")]
        assert len(labeled_cells(str(tmp_path))) == 2
        with pytest.raises(NoInputError, match="no cell of the split 'val'; its splits: test, train"):
            labeled_cells(tmp_path, split="val")

    def test_a_picture_in_no_class_folder_is_told(self, tmp_path):
        picture(tmp_path / "monocyte" / "a.png")
        picture(tmp_path / "stray.png")
        with pytest.raises(DataError, match=r"stray\.png lies in no class folder"):
            labeled_cells(tmp_path)

    @pytest.mark.parametrize("folder", ["hobbits", "train", "monocyte/slide 1"])
    def test_a_folder_that_names_no_class_is_told(self, tmp_path, folder):
        picture(tmp_path / folder / "a.png")
        with pytest.raises(UnknownNameError, match="no cell class named"):
            labeled_cells(tmp_path)

    def test_an_empty_folder_is_told(self, tmp_path):
        with pytest.raises(NoInputError, match="holds no picture"):
            labeled_cells(tmp_path)


def test_an_unknown_name_is_told_with_the_known_ones():
    with pytest.raises(UnknownNameError, match="no data set or folder named 'pcb'") as caught:
        labeled_cells("pcb")
    assert all(name in str(caught.value) for name in LABELED_SETS)


@pytest.mark.parametrize("name", [name for name in LABELED_SETS if name not in DRAWN_SETS])
def test_a_set_that_is_not_there_says_what_to_do(name, tmp_path):
    with pytest.raises(DatasetNotFoundError, match=r"was not found|is missing"):
        labeled_cells(name, root=tmp_path)


@pytest.fixture
def pbc(tmp_path) -> Path:
    rows = []
    for number, (folder, split) in enumerate(
        [("neutrophil", "train"), ("neutrophil", "test"), ("ig", "train"), ("ig", "val"), *[("platelet", "train")] * 16]
    ):
        name = f"{folder}/X_{number}.jpg"
        picture(tmp_path / "pbc" / name)
        group = "g1" if number in (0, 2) else ""
        rows.append({"file": name, "class": folder, "subtype": "", "split": split, "duplicate_group": group})
    for folder in DATASETS["pbc"].must_have:
        (tmp_path / "pbc" / folder).mkdir(exist_ok=True)
    table(tmp_path / "pbc" / "splits.csv", rows)
    return tmp_path


class TestPbc:
    def test_the_table_gives_splits_and_groups(self, pbc):
        cells = labeled_cells("pbc", root=pbc)
        assert len(cells) == 20
        assert seen(cells)[:4] == [
            ("neutrophil/X_0.jpg", "neutrophil", "train"),
            ("neutrophil/X_1.jpg", "neutrophil", "test"),
            ("ig/X_2.jpg", "immature_granulocyte", "train"),
            ("ig/X_3.jpg", "immature_granulocyte", "val"),
        ]
        assert [cell.group for cell in cells[:4]] == ["g1", "", "g1", ""]

    def test_the_split_of_the_study_takes_the_same_pictures_and_shuffles_them(self, pbc):
        own, study = labeled_cells("pbc", root=pbc), labeled_cells("pbc-vgg19-study", root=pbc)
        assert [cell.file for cell in study] == [cell.file for cell in own]
        assert [cell.split for cell in study].count("train") == 16
        assert [cell.split for cell in study] != [cell.split for cell in own]
        assert study == labeled_cells("pbc-vgg19-study", root=pbc)

    def test_missing_pictures_are_counted_and_the_first_is_named(self, pbc):
        (pbc / "pbc" / "ig" / "X_2.jpg").unlink()
        (pbc / "pbc" / "ig" / "X_3.jpg").unlink()
        with pytest.raises(DatasetNotFoundError, match=r"2 of the 20 pictures of PBC are missing .* ig/X_2\.jpg"):
            labeled_cells("pbc", root=pbc)

    def test_without_a_table_the_packaged_one_counts(self, pbc):
        (pbc / "pbc" / "splits.csv").unlink()
        with pytest.raises(DatasetNotFoundError, match=r"of the 15382 pictures of PBC are missing"):
            labeled_cells("pbc", root=pbc)
        rows = labeled.packaged_pbc_splits()
        counts = {split: sum(row.split == split for row in rows) for split in ("train", "val", "test")}
        assert counts == {"train": 11966, "val": 1707, "test": 1709}


@pytest.fixture
def kaggle(tmp_path) -> Path:
    rows = []
    for split, number in (("TRAIN", 1), ("TRAIN", 2), ("TEST", 3)):
        name = f"{split}/EOSINOPHIL/_{number}.png"
        picture(tmp_path / "kaggle-wbc" / name)
        rows.append({"file": name, "class": "EOSINOPHIL", "best_original": f"BloodImage_0000{number}.jpg"})
    table(tmp_path / "kaggle-wbc" / "source_image_map.csv", rows)
    return tmp_path


class TestKaggle:
    def test_the_source_photograph_is_the_group(self, kaggle):
        cells = labeled_cells("kaggle-wbc", root=kaggle)
        assert seen(cells) == [
            ("TRAIN/EOSINOPHIL/_1.png", "eosinophil", "train"),
            ("TRAIN/EOSINOPHIL/_2.png", "eosinophil", "train"),
            ("TEST/EOSINOPHIL/_3.png", "eosinophil", "test"),
        ]
        assert [cell.group for cell in cells] == [f"BloodImage_0000{number}" for number in (1, 2, 3)]

    def test_the_packaged_map_knows_the_published_files(self, kaggle):
        folder = kaggle / "kaggle-wbc"
        (folder / "source_image_map.csv").unlink()
        picture(folder / "TEST/EOSINOPHIL/_0_1616.jpeg")
        groups = {cell.file: cell.group for cell in labeled_cells("kaggle-wbc", root=kaggle)}
        assert groups["TEST/EOSINOPHIL/_0_1616.jpeg"] == "BloodImage_00139"
        assert groups["TEST/EOSINOPHIL/_3.png"] == ""

    def test_training_pictures_of_a_test_photograph_are_left_out(self, kaggle):
        files = {
            "TRAIN/EOSINOPHIL/_1.png": "00277",
            "TRAIN/EOSINOPHIL/_2.png": "00009",
            "TEST/EOSINOPHIL/_3.png": "00204",
        }
        rows = [{"file": file, "best_original": f"BloodImage_{number}.jpg"} for file, number in files.items()]
        table(kaggle / "kaggle-wbc" / "source_image_map.csv", rows)
        assert [cell.file for cell in labeled_cells("kaggle-wbc", root=kaggle)] == [
            "TRAIN/EOSINOPHIL/_2.png", "TEST/EOSINOPHIL/_3.png",
        ]  # fmt: skip


class TestKaggleProtocols:
    @pytest.fixture
    def many(self, tmp_path) -> Path:
        """Twelve photographs of two classes, five versions each; the last two photographs in TEST."""
        rows = []
        for photograph in range(12):
            name = ("EOSINOPHIL", "MONOCYTE")[photograph % 2]
            for version in range(5):
                file = f"{'TEST' if photograph > 9 else 'TRAIN'}/{name}/_{photograph}_{version}.png"
                picture(tmp_path / "kaggle-wbc" / file)
                rows.append({"file": file, "best_original": f"BloodImage_9{photograph:04}.jpg"})
        table(tmp_path / "kaggle-wbc" / "source_image_map.csv", rows)
        return tmp_path

    def test_the_random_split_leaks_and_the_number_says_so(self, many):
        cells = labeled_cells("kaggle-wbc-random", root=many)
        counts = {split: sum(cell.split == split for cell in cells) for split in ("train", "val", "test")}
        assert sum(counts.values()) == 50
        assert counts["test"] == 15
        learned, judged = ([cell for cell in cells if cell.split == name] for name in ("train", "test"))
        assert shared_sources(learned, judged).shared >= 6
        assert "photographs are also in training" in shared_sources(learned, judged).sentence()

    def test_the_folds_share_no_photograph_and_judge_every_picture_once(self, many):
        judged = []
        for number in range(1, 6):
            cells = labeled_cells(f"kaggle-wbc-fold-{number}", root=many)
            assert len(cells) == 60
            learned, test = ([cell for cell in cells if cell.split == name] for name in ("train", "test"))
            assert shared_sources(learned, test).shared == 0
            judged += [cell.file for cell in test]
        assert len(judged) == len(set(judged)) == 60

    def test_the_given_folders_share_no_photograph(self, many):
        cells = labeled_cells("kaggle-wbc", root=many)
        learned, test = ([cell for cell in cells if cell.split == name] for name in ("train", "test"))
        assert shared_sources(learned, test).sentence() == ""


VOC = """<annotation>{}</annotation>"""
OBJECT = (
    """<object><name>{}</name><bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox></object>"""
)


@pytest.fixture
def bccd(tmp_path, monkeypatch) -> Path:
    """Three fields: one plain, one with two leukocytes, one that nobody labeled."""
    folder = tmp_path / "bccd"
    lists = {"train": ["plain", "two"], "val": ["unlabeled"], "test": []}
    leukocyte, erythrocyte = OBJECT.format("WBC", 30, 20, 50, 44), OBJECT.format("RBC", 1, 1, 9, 9)
    (folder / "ImageSets" / "Main").mkdir(parents=True)
    (folder / "Annotations").mkdir()
    for split, stems in lists.items():
        (folder / "ImageSets" / "Main" / f"{split}.txt").write_text("\n".join(stems) + "\n")
        for stem in stems:
            picture(folder / "JPEGImages" / f"{stem}.jpg", size=(80, 60))
            objects = erythrocyte + leukocyte * (2 if stem == "two" else 1)
            (folder / "Annotations" / f"{stem}.xml").write_text(VOC.format(objects))
    monkeypatch.setattr(labeled, "_photograph_classes", lambda: {"plain": "monocyte", "two": "monocyte"})
    return tmp_path


class TestBccd:
    def test_only_fields_with_one_leukocyte_of_a_sure_class_count(self, bccd):
        (found,) = labeled_cells("bccd-leukocytes", root=bccd)
        assert (found.file, found.class_name, found.split, found.group) == ("plain.jpg", "monocyte", "train", "plain")
        assert found.box == (30.0, 20.0, 50.0, 44.0)

    def test_a_cell_is_read_with_a_margin_of_its_box(self, bccd):
        (found,) = labeled_cells("bccd-leukocytes", root=bccd)
        assert found.read().shape == (40, 36, 3)

    def test_the_packaged_table_names_photographs_and_classes(self):
        classes = labeled._photograph_classes()
        assert len(classes) > 300
        assert all(re.fullmatch(r"BloodImage_\d{5}", stem) for stem in classes)
        assert set(classes.values()) <= {"eosinophil", "lymphocyte", "monocyte", "neutrophil", "basophil"}

    @pytest.mark.parametrize("part", ["ImageSets/Main/val.txt", "Annotations/plain.xml"])
    def test_a_missing_part_is_named(self, bccd, part):
        (bccd / "bccd" / part).unlink()
        with pytest.raises(DataError, match=Path(part).name):
            labeled_cells("bccd-leukocytes", root=bccd)

    @pytest.mark.parametrize("content", ["<annotation>", "", "no XML"])
    def test_a_damaged_annotation_is_named(self, bccd, content):
        (bccd / "bccd" / "Annotations" / "plain.xml").write_text(content)
        with pytest.raises(DataError, match=r"plain\.xml"):
            labeled_cells("bccd-leukocytes", root=bccd)

    @pytest.mark.parametrize(
        "broken",
        [
            OBJECT.format("WBC", "left", 20, 50, 44),
            OBJECT.format("WBC", "", 20, 50, 44),
            "<object><name>WBC</name></object>",
        ],
        ids=["a word", "nothing", "no box"],
    )
    def test_a_box_without_numbers_is_named(self, bccd, broken):
        broken = VOC.format(broken)
        (bccd / "bccd" / "Annotations" / "plain.xml").write_text(broken)
        with pytest.raises(DataError, match=r"plain\.xml"):
            labeled_cells("bccd-leukocytes", root=bccd)


def bloodmnist(folder: Path, **changes: np.ndarray) -> Path:
    arrays = {}
    for split, n in (("train", 3), ("val", 1), ("test", 2)):
        arrays[f"{split}_images"] = np.full((n, 28, 28, 3), n, np.uint8)
        arrays[f"{split}_labels"] = np.arange(n, dtype=np.uint8)[:, None] + 5
    folder.mkdir(parents=True)
    np.savez(folder / "bloodmnist.npz", **{**arrays, **changes})
    return folder


class TestBloodMnist:
    @pytest.mark.parametrize("below", ["bloodmnist", "."])
    def test_the_archive_gives_arrays_with_labels(self, tmp_path, below):
        bloodmnist(tmp_path / "root" / below)
        cells = labeled_cells("bloodmnist_28", root=tmp_path / "root")
        assert seen(cells) == [
            ("train/0", "monocyte", "train"), ("train/1", "neutrophil", "train"), ("train/2", "platelet", "train"),
            ("val/0", "monocyte", "val"), ("test/0", "monocyte", "test"), ("test/1", "neutrophil", "test"),
        ]  # fmt: skip
        assert cells[-1].read().shape == (28, 28, 3)

    @pytest.mark.parametrize(
        "changes",
        [
            {"test_labels": np.array([[99], [0]])},
            {"test_labels": np.array([[1]])},
            {"test_labels": np.array(["x", "y"])},
        ],
        ids=["no class", "too few", "no numbers"],
    )
    def test_labels_that_do_not_fit_are_refused(self, tmp_path, changes):
        bloodmnist(tmp_path / "bloodmnist", **changes)
        with pytest.raises(DataError, match="is not a BloodMNIST file"):
            labeled_cells("bloodmnist_28", root=tmp_path)

    @pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 damaged"])
    def test_a_damaged_archive_is_refused(self, tmp_path, content):
        (tmp_path / "bloodmnist.npz").write_bytes(content)
        with pytest.raises(DataError, match=r"bloodmnist\.npz"):
            labeled_cells("bloodmnist_28", root=tmp_path)

    def test_a_pickle_is_never_opened(self, tmp_path):
        bloodmnist(tmp_path / "bloodmnist", train_images=np.array([{"a": 1}], dtype=object))
        with pytest.raises(DataError, match="is not a BloodMNIST file"):
            labeled_cells("bloodmnist_28", root=tmp_path)


def test_a_box_outside_the_picture_is_told(tmp_path):
    path = picture(tmp_path / "a.png")
    for box in ((100.0, 2.0, 110.0, 9.0), (2.0, 100.0, 9.0, 110.0)):
        with pytest.raises(UnreadableImageError, match="lies outside"):
            LabeledCell("a", path, "monocyte", "", box=box).read()


def test_a_box_across_the_border_gives_what_is_there(tmp_path):
    path = picture(tmp_path / "a.png")
    assert LabeledCell("a", path, "monocyte", "", box=(10.0, 6.0, 40.0, 36.0)).read().shape == (16, 19, 3)


def test_a_missing_picture_is_told(tmp_path):
    with pytest.raises(ImageError, match="does not exist"):
        LabeledCell("a", tmp_path / "a.png", "monocyte", "").read()

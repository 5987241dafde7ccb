"""Pictures with labels, whatever data set they come from: one record a cell, one function a layout."""

from __future__ import annotations

import csv
import gzip
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib import resources
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt

from corpuscle import taxonomy
from corpuscle.data.bccd_photographs import overlap_groups, photograph_lists
from corpuscle.data.catalog import DATASETS, data_root, locate
from corpuscle.data.images import find_images, read_image
from corpuscle.data.splits import (
    VGG19_STUDY,
    SplitRow,
    SplitSettings,
    group_folds,
    random_split,
    read_split_table,
)
from corpuscle.errors import DataError, DatasetNotFoundError, NoInputError, UnknownNameError, UnreadableImageError

__all__ = ["DRAWN_SETS", "LABELED_SETS", "LabeledCell", "labeled_cells", "packaged_pbc_splits"]

_FOLDS = 5
_KAGGLE_FOLDS = tuple(f"kaggle-wbc-fold-{number}" for number in range(1, _FOLDS + 1))
DRAWN_SETS = ("drawn", "drawn-many")
LABELED_SETS = ("pbc", "pbc-vgg19-study", *DRAWN_SETS, "kaggle-wbc", "kaggle-wbc-random", *_KAGGLE_FOLDS,
                "bccd-leukocytes", "bloodmnist_28", "bloodmnist_64", "bloodmnist_128", "bloodmnist_224")  # fmt: skip
"""Names that `labeled_cells` knows besides any folder with a folder per class.

`kaggle-wbc` has the given folders TRAIN and TEST, less the training pictures of two fields that overlap test fields.
`bccd-leukocytes` has the published lists, less the cells whose photograph overlaps one of a later list.
`kaggle-wbc-random` shares TRAIN out at random, picture by picture,
as published studies did, and leaks. `kaggle-wbc-fold-K` is the K-th of five folds over all photographs, each whole in
one split. `drawn` and `drawn-many` are drawn by the project: a few cells in three splits for trying out, and a hundred
training cells of each class, to be learned beside real ones. `pbc-vgg19-study` is drawn at random 0.8/0.1/0.1, less the
duplicates that would lie in two splits.
"""
_OVERLAPPING = {"BloodImage_00277": "BloodImage_00204", "BloodImage_00257": "BloodImage_00230"}
"""Pairs of photographs of one place on the slide, one in TRAIN and one in TEST: they count as one."""
_KAGGLE_RANDOM: SplitSettings = {"fractions": {"train": 0.63, "val": 0.07, "test": 0.3}, "seed": 42}

_BOX_MARGIN = 0.3
_MANY, _FIRST_OF_MANY = 100, 10_000
_SPLIT_FOLDERS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


@dataclass(frozen=True, slots=True)
class LabeledCell:
    """One cell with its label.

    Attributes:
        file: Name to show, relative to the data set.
        path: The picture; for arrays, the file that holds them.
        class_name: A key of the taxonomy.
        split: `train`, `val`, `test`, or empty where the data set has none.
        group: What must not cross splits; empty if the cell is its own group.
        box: Where the cell lies in the picture (xyxy, float pixels, half-open), or None for the whole picture.
        pixels: HxWx3 uint8 RGB where the picture is not a file of its own.
    """

    file: str
    path: Path
    class_name: str
    split: str
    group: str = ""
    box: tuple[float, float, float, float] | None = None
    pixels: npt.NDArray[np.uint8] | None = None

    def read(self) -> npt.NDArray[np.uint8]:
        """Return the crop, HxWx3 uint8 RGB; a boxed cell is cut out with a margin of 30 % of the box on each side.

        Raises:
            ImageError: The picture cannot be read.
        """
        if self.pixels is not None:
            return self.pixels
        image = read_image(self.path)
        if self.box is None:
            return image
        x_min, y_min, x_max, y_max = self.box
        extra = _BOX_MARGIN * max(x_max - x_min, y_max - y_min)
        top, left = max(0, int(y_min - extra)), max(0, int(x_min - extra))
        part = image[top : int(y_max + extra) + 1, left : int(x_max + extra) + 1]
        if part.size == 0:
            raise UnreadableImageError(
                f"The box {self.box} lies outside {self.path}. Run `corpuscle audit` on the set."
            )
        return np.ascontiguousarray(part)


def labeled_cells(dataset: str | Path, *, split: str = "", root: str | Path | None = None) -> list[LabeledCell]:
    """List the labeled cells of a data set.

    Args:
        dataset: One of `LABELED_SETS`, or a folder with a folder per class (below `TRAIN`, `VAL`, `TEST` or not).
        split: Keep only this split; all if empty.
        root: Folder that holds the data sets; see `data_root`.

    Raises:
        DatasetNotFoundError: Its files are not there.
        UnknownNameError: Neither a known data set nor a folder.
        NoInputError: The split holds no cell.
    """
    name = str(dataset)
    where = data_root(root)
    if name in ("pbc", "pbc-vgg19-study"):
        cells = _pbc(locate("pbc", where), study=name != "pbc")
    elif name in ("kaggle-wbc", "kaggle-wbc-random", *_KAGGLE_FOLDS):
        cells = _kaggle(locate("kaggle-wbc", where), name)
    elif name == "bccd-leukocytes":
        cells = _bccd(locate("bccd", where))
    elif name.startswith("bloodmnist_"):
        cells = _bloodmnist(name, locate(name, where))
    elif name == "drawn":
        cells = _drawn()
    elif name == "drawn-many":
        cells = list(_drawn_many(_MANY))
    elif Path(name).is_dir():
        cells = _folders(Path(name))
    else:
        raise UnknownNameError("data set or folder", name, LABELED_SETS)
    chosen = [cell for cell in cells if not split or cell.split == split]
    if not chosen:
        have = ", ".join(sorted({cell.split or "(none)" for cell in cells})) or "none"
        raise NoInputError(f"{name} holds no cell of the split {split!r}; its splits: {have}.")
    return chosen


def packaged_pbc_splits() -> list[SplitRow]:
    """Read the project's own split of PBC, which ships compressed."""
    packed = resources.files("corpuscle.data").joinpath("pbc_splits.csv.gz")
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "splits.csv"
        with packed.open("rb") as file, gzip.open(file) as plain, table.open("wb") as out:
            shutil.copyfileobj(plain, out)
        return read_split_table(table)


def _pbc(folder: Path, *, study: bool) -> list[LabeledCell]:
    table = folder / "splits.csv"
    rows = read_split_table(table) if table.exists() else packaged_pbc_splits()
    splits = [str(row.split) for row in rows]
    if study:
        splits = random_split([row.file for row in rows], **VGG19_STUDY)
        rows, splits = _without_crossing(rows, splits)
    cells = []
    for row, split in zip(rows, splits, strict=True):
        key = taxonomy.resolve(row.class_name)
        cells.append(LabeledCell(row.file, folder / row.file, key, split, row.duplicate_group))
    missing = [cell.file for cell in cells if not cell.path.exists()]
    if missing:
        raise DatasetNotFoundError(
            f"{len(missing)} of the {len(cells)} pictures of PBC are missing in {folder}, the first is {missing[0]}. "
            "Get the whole set again with `corpuscle fetch pbc`."
        )
    return cells


def _without_crossing(rows: list[SplitRow], splits: list[str]) -> tuple[list[SplitRow], list[str]]:
    """Drop what has a duplicate in a split before its own, in the order train, val, test."""
    first: dict[str, int] = {}
    order = ("train", "val", "test")
    for row, split in zip(rows, splits, strict=True):
        if row.duplicate_group:
            first[row.duplicate_group] = min(first.get(row.duplicate_group, 2), order.index(split))
    kept = [
        place for place, (row, split) in enumerate(zip(rows, splits, strict=True))
        if not row.duplicate_group or order.index(split) == first[row.duplicate_group]
    ]  # fmt: skip
    return [rows[place] for place in kept], [splits[place] for place in kept]


def _kaggle(folder: Path, protocol: str) -> list[LabeledCell]:
    """List the pictures with their photographs, split by the given folders, at random, or by photograph."""
    groups = _kaggle_photographs(folder)
    cells = []
    for split in ("TRAIN", "TEST"):
        for path in find_images([folder / split]):
            relative = path.relative_to(folder).as_posix()
            key = taxonomy.resolve(path.parent.name)
            cells.append(LabeledCell(relative, path, key, split.lower(), groups.get(relative, "")))
    if protocol == "kaggle-wbc":
        held = {cell.group for cell in cells if cell.split == "test" and cell.group}
        return [cell for cell in cells if cell.split == "test" or cell.group not in held]
    if protocol == "kaggle-wbc-random":
        cells = [cell for cell in cells if cell.split == "train"]
        names = random_split([cell.file for cell in cells], **_KAGGLE_RANDOM)
        return [replace(cell, split=name) for cell, name in zip(cells, names, strict=True)]
    if protocol in _KAGGLE_FOLDS:
        classes = [cell.class_name for cell in cells]
        folds = group_folds([cell.group for cell in cells], classes, folds=_FOLDS, seed=0)
        mine = _KAGGLE_FOLDS.index(protocol)
        return [
            replace(cell, split="test" if fold == mine else "train") for cell, fold in zip(cells, folds, strict=True)
        ]
    return cells


def _kaggle_photographs(folder: Path) -> dict[str, str]:
    """Read from which BCCD photograph each picture was made, found by matching features; the table ships."""
    packed = resources.files("corpuscle.data").joinpath("kaggle_photographs.csv.gz").read_bytes()
    rows = csv.DictReader(gzip.decompress(packed).decode("utf-8").splitlines())
    groups = {row["file"]: row["photograph"] for row in rows}
    table = folder / "source_image_map.csv"
    if table.exists():
        with table.open(newline="") as file:
            groups |= {row["file"]: Path(row["best_original"]).stem for row in csv.DictReader(file)}
    return {file: _OVERLAPPING.get(group, group) for file, group in groups.items()}


def _photograph_classes() -> dict[str, str]:
    """Read which leukocyte each BCCD photograph shows.

    BCCD names its boxes WBC only. The class comes from the Kaggle set that was augmented from these photographs: each
    of its pictures was matched to a photograph by features, and a photograph got the class that at least nine of ten
    of its pictures carry. The table ships with the package.
    """
    text = resources.files("corpuscle.data").joinpath("bccd_classes.csv").read_text(encoding="utf-8")
    return {row["photograph"]: row["class"] for row in csv.DictReader(text.splitlines())}


def _bccd(folder: Path) -> list[LabeledCell]:
    classes = _photograph_classes()
    lists = photograph_lists(folder)
    _, later = overlap_groups(lists)
    cells = []
    for stem, split in sorted(lists.items()):
        part = folder / "Annotations" / f"{stem}.xml"
        try:
            boxes = _leukocyte_boxes(part)
        except (OSError, ValueError, ElementTree.ParseError) as error:
            raise DataError(
                f"{part} cannot be read ({error}). Get the whole set again with `corpuscle fetch bccd`."
            ) from error
        # With two leukocytes in a photograph nobody knows which of them the label means.
        if len(boxes) == 1 and stem in classes:
            path, own = folder / "JPEGImages" / f"{stem}.jpg", "" if stem in later else split
            cells.append(LabeledCell(path.name, path, classes[stem], own, stem, boxes[0]))
    return cells


def _leukocyte_boxes(annotation: Path) -> list[tuple[float, float, float, float]]:
    """Read the boxes (xyxy) of one photograph that are named WBC."""
    found = [item.find("bndbox") for item in ElementTree.parse(annotation).iter("object")
             if item.findtext("name") == "WBC"]  # fmt: skip
    boxes = []
    for box in found:
        x_min, y_min, x_max, y_max = (
            float((box.findtext(key) if box is not None else None) or "") for key in ("xmin", "ymin", "xmax", "ymax")
        )
        boxes.append((x_min, y_min, x_max, y_max))
    return boxes


def _bloodmnist(name: str, path: Path) -> list[LabeledCell]:
    archive = path if path.is_file() else path / DATASETS[name].file_name
    cells = []
    try:
        with archive.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            for split in ("train", "val", "test"):
                images, labels = arrays[f"{split}_images"], arrays[f"{split}_labels"].reshape(-1)
                for index, (pixels, label) in enumerate(zip(images, labels, strict=True)):
                    key = taxonomy.LABEL_MAPS["bloodmnist"][int(label)]
                    cells.append(LabeledCell(f"{split}/{index}", archive, key, split, pixels=pixels))
    except (OSError, EOFError, LookupError, TypeError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(
            f"{archive} is not a BloodMNIST file ({error}). Get it again with `corpuscle fetch {name}`."
        ) from error
    return cells


@lru_cache(maxsize=1)
def _drawn_many(per_class: int) -> tuple[LabeledCell, ...]:
    """Draw training cells, none of them in `drawn`; they take a minute, so they are kept for the next call."""
    from corpuscle.data.examples import CLASSES, draw_cell

    names = [(key, _FIRST_OF_MANY + number) for key in CLASSES for number in range(per_class)]
    return tuple(
        LabeledCell(f"train/{key}_{seed}", Path(f"train/{key}_{seed}"), key, "train", pixels=draw_cell(key, seed))
        for key, seed in names
    )


def _drawn() -> list[LabeledCell]:
    """Draw a small set with the project's own pen: for trying out, for tests, never for a figure."""
    from corpuscle.data.examples import CLASSES, draw_cell

    cells, seed = [], 1000
    for split, per_class in (("train", 12), ("val", 4), ("test", 4)):
        for key in CLASSES:
            for _ in range(per_class):
                seed += 1
                name = f"{split}/{key}_{seed}"
                cells.append(LabeledCell(name, Path(name), key, split, pixels=draw_cell(key, seed)))
    return cells


def _folders(folder: Path) -> list[LabeledCell]:
    """Read a folder per class; a folder above named like a split gives the split."""
    cells = []
    for path in find_images([folder]):
        parents = path.relative_to(folder).parts[:-1]
        if not parents:
            raise DataError(f"{path} lies in no class folder. Put each picture into a folder named like its class.")
        splits = [_SPLIT_FOLDERS[part.lower()] for part in parents if part.lower() in _SPLIT_FOLDERS]
        name = next(part for part in _classes_first(parents))
        cells.append(
            LabeledCell(path.relative_to(folder).as_posix(), path, taxonomy.resolve(name), splits[0] if splits else "")
        )
    return cells


def _classes_first(parents: tuple[str, ...]) -> Iterable[str]:
    """Yield the folder names of a picture from the inside out, names of splits last."""
    inner = [part for part in reversed(parents) if part.lower() not in _SPLIT_FOLDERS]
    return [*inner, *parents]

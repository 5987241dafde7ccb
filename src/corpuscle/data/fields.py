"""Whole microscope fields with a box around every cell, whatever data set they come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from corpuscle import taxonomy
from corpuscle.data.annotations import LabeledBox, read_class_names, read_voc, read_yolo
from corpuscle.data.bccd_photographs import SecondReading, overlap_groups, photograph_lists, second_readings
from corpuscle.data.catalog import data_root, locate
from corpuscle.data.drawn_fields import draw_field
from corpuscle.data.images import find_images, read_header, read_image
from corpuscle.data.splits import read_split_table
from corpuscle.errors import CorpuscleError, DataError, NoInputError, UnknownNameError
from corpuscle.records import CELL_KINDS, CellKind

__all__ = ["FIELD_SETS", "LabeledField", "erythrocyte_diameter_px", "labeled_fields"]

FIELD_SETS = ("bccd", "txl-pbc", "drawn-fields")
"""Names that `labeled_fields` knows."""

_LEAST_SIDE_PX = 4.0
_BORDER_PX = 2.0
_ERYTHROCYTE = CELL_KINDS.index("erythrocyte")
_SPLITS = ("train", "val", "test")


@dataclass(frozen=True, slots=True)
class LabeledField:
    """One field with its boxes.

    Attributes:
        file: Name to show, relative to the data set.
        path: The picture.
        source: The data set.
        split: `train`, `val` or `test`; empty for a field that overlaps one of a later split and belongs to none.
        group: What must not cross splits: fields that overlap share it.
        boxes: Nx4 float32, xyxy in pixels of the picture, half-open.
        kinds: N int64, an index into `CELL_KINDS`.
        ignore: Mx4 float32, xyxy: places of which nothing is known, as under a damaged box.
        erythrocytes_unlabeled: Whether nobody drew boxes around the erythrocytes, although some are there.
        readings: What this project changed when it looked through the field for cells of a kind that the annotators
            left out; a kind that nobody looked for is not there.
        added: N bool, boxes that `completed` added.
        pixels: HxWx3 uint8 RGB where the picture is not a file.
    """

    file: str
    path: Path
    source: str
    split: str
    group: str
    boxes: npt.NDArray[np.float32]
    kinds: npt.NDArray[np.int64]
    ignore: npt.NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 4), np.float32))
    erythrocytes_unlabeled: bool = False
    readings: Mapping[CellKind, SecondReading] = field(default_factory=dict)
    added: npt.NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, bool))
    pixels: npt.NDArray[np.uint8] | None = None

    def read(self) -> npt.NDArray[np.uint8]:
        """Return the picture, HxWx3 uint8 RGB.

        Raises:
            ImageError: It cannot be read.
        """
        return read_image(self.path) if self.pixels is None else self.pixels

    def completed(self) -> LabeledField:
        """Return the field with the boxes as they are after the second reading; once completed it stays as it is."""
        if not self.readings or self.added.size:
            return self
        kept = np.ones(len(self.boxes), bool)
        for kind, reading in self.readings.items():
            mine = self.kinds == CELL_KINDS.index(kind)
            kept[mine] = reading.keeps(self.boxes[mine])
        news = [(CELL_KINDS.index(kind), reading.added) for kind, reading in self.readings.items()]
        boxes = np.concatenate([self.boxes[kept], *(added for _, added in news)])
        kinds = np.concatenate([self.kinds[kept], *(np.full(len(added), kind, np.int64) for kind, added in news)])
        return replace(
            self, boxes=boxes, kinds=kinds, added=np.arange(len(boxes)) >= kept.sum(),
            erythrocytes_unlabeled=self.erythrocytes_unlabeled and "erythrocyte" not in self.readings,
        )  # fmt: skip


def labeled_fields(dataset: str, *, split: str = "", root: str | Path | None = None) -> list[LabeledField]:
    """List the labeled fields of a data set.

    Of `bccd`, training fields that overlap a validation or test field, and validation fields that overlap a test
    field, belong to no split; 15 fields whose erythrocytes have no boxes are marked.

    Args:
        dataset: One of `FIELD_SETS`.
        split: Keep only this split; all if empty.
        root: Folder that holds the data sets; see `data_root`.

    Raises:
        UnknownNameError: There is no such set.
        DatasetNotFoundError: Its files are not there.
        DataError: A list or a file of boxes cannot be read.
        NoInputError: The split holds no field.
    """
    found: Sequence[LabeledField]
    if dataset == "bccd":
        found = _bccd(locate("bccd", data_root(root)))
    elif dataset == "txl-pbc":
        found = _txl_pbc(locate("txl-pbc", data_root(root)))
    elif dataset == "drawn-fields":
        found = _drawn()
    else:
        raise UnknownNameError("set of labeled fields", dataset, FIELD_SETS)
    chosen = [item for item in found if not split or item.split == split]
    if not chosen:
        raise NoInputError(f"{dataset} holds no field of the split {split!r}; its splits: {', '.join(_SPLITS)}.")
    return chosen


def erythrocyte_diameter_px(fields: Sequence[LabeledField]) -> float:
    """Return the median diameter of the erythrocytes that lie wholly inside their fields, in pixels.

    The diameter of a box is the geometric mean of its sides.

    Raises:
        DataError: There is no such erythrocyte.
    """
    diameters = []
    for item in fields:
        boxes = item.boxes[item.kinds == _ERYTHROCYTE]
        if not len(boxes):
            continue
        height, width = item.read().shape[:2] if item.pixels is not None else _size(item.path)
        inside = (boxes[:, :2] > _BORDER_PX).all(axis=1) & (boxes[:, 2:] < (width - 2, height - 2)).all(axis=1)
        sides = boxes[inside, 2:] - boxes[inside, :2]
        diameters.append(np.sqrt(sides[:, 0] * sides[:, 1]))
    if not sum(map(len, diameters)):
        raise DataError("No whole erythrocyte has a box in these fields, so their scale is not known. Name other ones.")
    return float(np.median(np.concatenate(diameters)))


def _size(path: Path) -> tuple[int, int]:
    """Return height and width of a picture from its header."""
    try:
        header = read_header(path.read_bytes(), name=str(path))
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}). Get the data set again.") from error
    return header.height_px, header.width_px


def _columns(
    boxes: Sequence[LabeledBox], width_px: int, height_px: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Turn named boxes into arrays; what is left of a box inside the picture counts.

    Edges in the wrong order are exchanged. A box under 4 pixels wide or high holds no cell: a place to ignore.
    """
    corners = np.asarray([(box.x_min, box.y_min, box.x_max, box.y_max) for box in boxes], np.float32).reshape(-1, 4)
    kinds = np.asarray([CELL_KINDS.index(taxonomy.kind_of_box_name(box.name)) for box in boxes], np.int64)
    low, high = np.minimum(corners[:, :2], corners[:, 2:]), np.maximum(corners[:, :2], corners[:, 2:])
    size = np.asarray((width_px, height_px), np.float32)
    corners = np.concatenate([np.clip(low, 0, size), np.clip(high, 0, size)], axis=1)
    sound = (corners[:, 2:] - corners[:, :2] >= _LEAST_SIDE_PX).all(axis=1)
    margin = np.asarray((-_LEAST_SIDE_PX, -_LEAST_SIDE_PX, _LEAST_SIDE_PX, _LEAST_SIDE_PX), np.float32)
    _, first = np.unique(np.column_stack([corners, kinds]), axis=0, return_index=True)
    once = np.zeros(len(corners), bool)
    once[first] = True
    return corners[sound & once], kinds[sound & once], corners[~sound] + margin


def _bccd(folder: Path) -> list[LabeledField]:
    lists = photograph_lists(folder)
    groups, later = overlap_groups(lists)
    readings = second_readings()
    found = []
    for stem, split in sorted(lists.items()):
        path = folder / "JPEGImages" / f"{stem}.jpg"
        voc = read_voc(folder / "Annotations" / f"{stem}.xml")
        height, width = (voc.height_px, voc.width_px) if voc.width_px and voc.height_px else _size(path)
        boxes, kinds, ignore = _columns(voc.boxes, width, height)
        found.append(
            LabeledField(
                path.name, path, "bccd", "" if stem in later else split, groups[stem], boxes, kinds, ignore,
                erythrocytes_unlabeled=not (kinds == _ERYTHROCYTE).any(),
                readings={} if stem in later else readings.get(stem, {}),
            )
        )  # fmt: skip
    return found


def _txl_pbc(folder: Path) -> list[LabeledField]:
    names = read_class_names(folder / "classes.txt")
    splits = _pbc_splits(folder.parent / "pbc" / "splits.csv")
    found = []
    for path in find_images([folder / "images"]):
        if path.stem not in splits:
            continue
        height, width = _size(path)
        boxes = read_yolo(folder / "labels" / f"{path.stem}.txt", names=names, width_px=width, height_px=height)
        columns, kinds, ignore = _columns(boxes, width, height)
        split, group = splits[path.stem]
        found.append(LabeledField(path.name, path, "txl-pbc", split, group or path.stem, columns, kinds, ignore))
    return found


def _pbc_splits(table: Path) -> dict[str, tuple[str, str]]:
    """Read split and duplicate group of each PBC picture by its stem."""
    from corpuscle.data.labeled import packaged_pbc_splits

    try:
        rows = read_split_table(table) if table.exists() else packaged_pbc_splits()
    except CorpuscleError as error:
        raise DataError(f"The split of PBC cannot be read: {error}") from error
    return {Path(row.file).stem: (str(row.split), row.duplicate_group) for row in rows}


@cache
def _drawn() -> tuple[LabeledField, ...]:
    """Draw a few fields with the project's own pen: for trying out, for tests, never for a figure."""
    found = []
    for split, count in (("train", 16), ("val", 6), ("test", 6)):
        for number in range(count):
            name = f"{split}/{number}"
            pixels, boxes, kinds = draw_field(_SPLITS.index(split) * 1000 + number)
            found.append(LabeledField(name, Path(name), "drawn-fields", split, name, boxes, kinds, pixels=pixels))
    return tuple(found)

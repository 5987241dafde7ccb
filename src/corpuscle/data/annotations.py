"""Boxes around cells as published data sets write them: Pascal VOC (one XML file a picture) and YOLO (one text file).

What is read is what the file says, faults included; `corpuscle.data.audit` looks for those.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from corpuscle.errors import DataError

__all__ = ["LabeledBox", "VocField", "read_class_names", "read_voc", "read_yolo"]


@dataclass(frozen=True, slots=True)
class LabeledBox:
    """One box with the name that the data set gives it.

    Attributes:
        name: What the box is said to hold, as written.
        x_min: Left edge in pixels, as written (VOC counts the first pixel as 0 or 1, depending on the author).
        y_min: Upper edge, likewise.
        x_max: Right edge, likewise.
        y_max: Lower edge, likewise.
    """

    name: str
    x_min: float
    y_min: float
    x_max: float
    y_max: float


@dataclass(frozen=True, slots=True)
class VocField:
    """The boxes of one picture.

    Attributes:
        picture: File name of the picture as the annotation states it; empty if it does not.
        width_px: Stated width of the picture; 0 if not stated.
        height_px: Stated height, likewise.
        boxes: The boxes in the order of the file.
    """

    picture: str
    width_px: int
    height_px: int
    boxes: tuple[LabeledBox, ...]


def read_voc(path: Path) -> VocField:
    """Read an annotation file of the Pascal VOC kind.

    Raises:
        DataError: It cannot be read, is no XML, or a box lacks its name or one of its four numbers.
    """
    try:
        root = ElementTree.parse(path).getroot()
    except (OSError, ElementTree.ParseError, ValueError) as error:
        raise DataError(f"{path} is no readable annotation ({error}). Copy it again or annotate it anew.") from error
    boxes = []
    for number, item in enumerate(root.iter("object"), start=1):
        name = (item.findtext("name") or "").strip()
        edges = [_number(item.findtext(f"bndbox/{edge}")) for edge in ("xmin", "ymin", "xmax", "ymax")]
        if not name or not all(math.isfinite(edge) for edge in edges):
            raise DataError(f"{path}, object {number}, lacks its name or an edge of its box. Correct that object.")
        boxes.append(LabeledBox(name, edges[0], edges[1], edges[2], edges[3]))
    width, height = (_number(root.findtext(f"size/{side}")) for side in ("width", "height"))
    return VocField(
        picture=(root.findtext("filename") or "").strip(),
        width_px=int(width) if math.isfinite(width) else 0,
        height_px=int(height) if math.isfinite(height) else 0,
        boxes=tuple(boxes),
    )


def read_class_names(path: Path) -> tuple[str, ...]:
    """Read the list of names that the numbers in YOLO files stand for, one name a line.

    Raises:
        DataError: The file cannot be read or is empty.
    """
    names = tuple(line.strip() for line in _lines(path) if line.strip())
    if not names:
        raise DataError(f"{path} names no class. Write one name a line.")
    return names


def read_yolo(path: Path, *, names: Sequence[str], width_px: int, height_px: int) -> tuple[LabeledBox, ...]:
    """Read a label file of the YOLO kind: `number x_center y_center width height` a line, as shares of the picture.

    Args:
        path: The file; an empty one is a picture without boxes.
        names: Name of each class number; a number beyond them is itself taken for the name.
        width_px: Width of the picture.
        height_px: Height of the picture.

    Returns:
        The boxes in pixels of the picture.

    Raises:
        DataError: The file cannot be read, or a line does not hold a class number and four numbers.
    """
    boxes = []
    for number, line in enumerate(_lines(path), start=1):
        words = line.split()
        if not words:
            continue
        values = [_number(word) for word in words]
        # A sixth value is the score that detectors write.
        if len(values) not in {5, 6} or not all(map(math.isfinite, values)) or values[0] < 0 or values[0] % 1:
            raise DataError(f"{path}, line {number}, is no class number with four numbers. Correct that line.")
        kind = int(values[0])
        x, y, half_width, half_height = values[1], values[2], values[3] / 2, values[4] / 2
        boxes.append(
            LabeledBox(
                name=names[kind] if kind < len(names) else str(kind),
                x_min=(x - half_width) * width_px,
                y_min=(y - half_height) * height_px,
                x_max=(x + half_width) * width_px,
                y_max=(y + half_height) * height_px,
            )
        )
    return tuple(boxes)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as text ({error}). Copy it again.") from error


def _number(text: str | None) -> float:
    """Return the number, or a NaN where there is none."""
    try:
        return float(text) if text is not None else math.nan
    except ValueError:
        return math.nan

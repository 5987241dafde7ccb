"""The overlay of a field: a box and a number on each cell, in colors that color-blind people can tell apart.

A class never shows by color alone: leukocytes have thick boxes, platelets thin ones with cut corners, erythrocytes
thin ones, refused cells dashed ones.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from corpuscle.explanation.lettering import text_mask
from corpuscle.explanation.palette import CLASS_COLORS, INK, WHITE, Color, ink_on
from corpuscle.prediction.field_formats import category_of
from corpuscle.prediction.tiling import FieldSource, picture_of
from corpuscle.records import FieldCell, FieldReading

__all__ = ["UNNAMED", "cell_color", "draw_overlay"]

UNNAMED: Final[Color] = (103, 24, 119)
"""Color of a leukocyte that has no class or was refused."""

_LONGEST_PX: Final = 4096
_SMALLEST_TEXT, _LARGEST_TEXT = 9, 28
_DASH: Final = 5
_STRIP_PX: Final = 1024

Image8 = NDArray[np.uint8]
Box = tuple[int, int, int, int]


def cell_color(name: str) -> Color:
    """Return the color of a class, or of a leukocyte without one."""
    return CLASS_COLORS.get(name, UNNAMED)


def draw_overlay(reading: FieldReading, source: FieldSource, *, longest_px: int = _LONGEST_PX) -> Image8:
    """Draw a field with its cells.

    Args:
        reading: The field.
        source: Its pixels.
        longest_px: A larger field is shrunk to this, in memory that does not grow with it.

    Returns:
        HxWx3 uint8 RGB.
    """
    factor = max(1, math.ceil(max(source.width_px, source.height_px) / longest_px))
    canvas = _shrunk(source, factor)
    pen = ImageDraw.Draw(canvas)
    text_px = _text_size(reading, factor)
    # Erythrocytes first, so that what matters more is never covered.
    order = {"erythrocyte": 0, "platelet": 1, "leukocyte": 2}
    cells = sorted(reading.cells, key=lambda cell: order[cell.kind])
    places = [(cell, _scaled(cell, factor), cell_color(category_of(cell))) for cell in cells]
    for cell, box, color in places:
        _draw_box(pen, cell, box, color)
    for cell, box, color in places:
        _draw_number(canvas, cell, box, _plate(cell.number, text_px, color))
    return np.asarray(canvas)


def _shrunk(source: FieldSource, factor: int) -> Image.Image:
    """Return the picture, averaged over squares of `factor` pixels, read in strips."""
    width, height = source.width_px, source.height_px
    if factor == 1:
        return picture_of(source, 0, 0, width, height).copy()
    canvas = Image.new("RGB", (math.ceil(width / factor), math.ceil(height / factor)))
    step = max(1, _STRIP_PX // factor) * factor
    for top in range(0, height, step):
        strip = picture_of(source, 0, top, width, min(step, height - top))
        canvas.paste(strip.reduce(factor), (0, top // factor))
    return canvas


def _scaled(cell: FieldCell, factor: int) -> Box:
    x_min, y_min, x_max, y_max = (edge / factor for edge in cell.box)
    left, top = math.floor(x_min), math.floor(y_min)
    return left, top, max(left + 1, math.ceil(x_max) - 1), max(top + 1, math.ceil(y_max) - 1)


def _text_size(reading: FieldReading, factor: int) -> int:
    """Return a size that suits the erythrocytes, or whatever cells there are."""
    sides = [cell.box[2] - cell.box[0] for cell in reading.cells if cell.kind == "erythrocyte"]
    sides = sides or [cell.box[2] - cell.box[0] for cell in reading.cells] or [40.0]
    return int(min(max(0.24 * float(np.median(sides)) / factor, _SMALLEST_TEXT), _LARGEST_TEXT))


def _draw_box(pen: ImageDraw.ImageDraw, cell: FieldCell, box: Box, color: Color) -> None:
    if cell.refused:
        _dashed(pen, box, color)
    elif cell.kind == "leukocyte":
        pen.rectangle((box[0] - 1, box[1] - 1, box[2] + 1, box[3] + 1), outline=WHITE)
        pen.rectangle(box, outline=color, width=3)
    elif cell.kind == "platelet":
        pen.rounded_rectangle(box, radius=max(1, min(box[2] - box[0], box[3] - box[1]) // 3), outline=INK, width=3)
        pen.rounded_rectangle(box, radius=max(1, min(box[2] - box[0], box[3] - box[1]) // 3), outline=color, width=1)
    else:
        pen.rectangle(box, outline=color, width=1)


def _dashed(pen: ImageDraw.ImageDraw, box: Box, color: Color) -> None:
    left, top, right, bottom = box
    for start in range(left, right, 2 * _DASH):
        for y in (top, bottom):
            pen.line((start, y, min(start + _DASH, right), y), fill=color, width=2)
    for start in range(top, bottom, 2 * _DASH):
        for x in (left, right):
            pen.line((x, start, x, min(start + _DASH, bottom)), fill=color, width=2)


def _draw_number(canvas: Image.Image, cell: FieldCell, box: Box, plate: Image.Image) -> None:
    """Set the number on a small plate: in the middle of an erythrocyte, above other cells."""
    if cell.kind == "erythrocyte":
        x, y = (box[0] + box[2] - plate.width) // 2, (box[1] + box[3] - plate.height) // 2
    else:
        x, y = box[0], box[1] - plate.height
        y = y if y >= 0 else box[1] + 2
    x = min(max(0, x), max(0, canvas.width - plate.width))
    y = min(max(0, y), max(0, canvas.height - plate.height))
    canvas.paste(plate, (x, y))


@lru_cache(maxsize=4096)
def _plate(number: int, text_px: int, color: Color) -> Image.Image:
    """Return a number on a plate of a color."""
    mask = text_mask(str(number), text_px)
    mask = mask.crop(mask.getbbox() or (0, 0, 1, 1))
    plate = Image.new("RGB", (mask.width + 4, mask.height + 4), color)
    plate.paste(ink_on(color), (2, 2), mask)
    return plate

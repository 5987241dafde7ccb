"""A drawn field of any size, painted where it is read: every cell is known, and the field never lies in memory.

Cells are taken from a small stock that is painted once and laid on a lattice with jitter, so that none touch and none
leave the field. Which cell lies where depends on the seed alone, not on what is read, nor in what order.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from corpuscle.data.cell_styles import STYLES
from corpuscle.data.drawn_cells import CANVAS_PX, paint_cell, paint_erythrocyte
from corpuscle.errors import UsageError
from corpuscle.records import CELL_KINDS

__all__ = ["DrawnMosaic"]

Floats = npt.NDArray[np.float32]

_MOSAIC = 11
_ERYTHROCYTE_PX = 77.0
_PLASMA = (254.0, 227.0, 202.0)
_PITCH = 1.45
_JITTER = 0.15
_STOCK = {"erythrocyte": 16, "leukocyte": 8, "platelet": 6}
_LEUKOCYTES = ("neutrophil", "lymphocyte", "monocyte", "eosinophil")
_BLOCK = 6
_GRAIN_PX = 256
_SIZES_PX = (200, 40_000)


@dataclass(frozen=True, slots=True)
class _Stamp:
    """One painted cell: the light that it lets through (SxSx3 float32), and its outline's box in it."""

    light: Floats
    box: tuple[float, float, float, float]


class DrawnMosaic:
    """A drawn field that is painted in parts; a `FieldSource`.

    Attributes:
        width_px: Width of the field.
        height_px: Height of the field.
        boxes: Nx4 float32, xyxy, around every cell.
        kinds: N int64, an index into `CELL_KINDS`.
    """

    def __init__(self, width_px: int, height_px: int, *, erythrocyte_px: float = 40.0, seed: int = 0) -> None:
        """Lay out a field.

        Args:
            width_px: Width, 200 to 40,000.
            height_px: Height.
            erythrocyte_px: Diameter of an erythrocyte.
            seed: Which field, 0 or more.

        Raises:
            UsageError: A size is out of range.
        """
        if not all(_SIZES_PX[0] <= side <= _SIZES_PX[1] for side in (width_px, height_px)):
            raise UsageError(f"A drawn mosaic can be {_SIZES_PX[0]} to {_SIZES_PX[1]} px wide and high.")
        if not 10 <= erythrocyte_px <= 80 or seed < 0:
            raise UsageError("A mosaic's erythrocytes are 10 to 80 px wide, and its seed is 0 or more.")
        self.width_px, self.height_px = width_px, height_px
        rng = np.random.Generator(np.random.PCG64([_MOSAIC, seed]))
        self._stock = _painted(rng, erythrocyte_px / _ERYTHROCYTE_PX)
        self._side = self._stock["erythrocyte"][0].light.shape[0]
        self._grain = rng.normal(0, 1.2, (_GRAIN_PX, _GRAIN_PX, 1)).astype(np.float32)
        self._lay(rng, erythrocyte_px)

    def _lay(self, rng: np.random.Generator, erythrocyte_px: float) -> None:
        """Give every place of the lattice a cell; a leukocyte takes four places."""
        pitch = _PITCH * erythrocyte_px
        rows, columns = int(self.height_px // pitch), int(self.width_px // pitch)
        boxes, kinds, corners, stamps = [], [], [], []
        for row in range(rows):
            for column in range(columns):
                at = (row % _BLOCK, column % _BLOCK)
                room = row + 1 < rows and column + 1 < columns
                large = at == (1, 1) and room
                if at in ((1, 2), (2, 1), (2, 2)) and (row - at[0] + 2 < rows and column - at[1] + 2 < columns):
                    continue
                kind = "leukocyte" if large else "platelet" if at == (4, 4) else "erythrocyte"
                stamp = self._stock[kind][int(rng.integers(len(self._stock[kind])))]
                middle = np.array([column, row]) + (1.0 if large else 0.5)
                corner = np.round(pitch * middle + rng.uniform(-1, 1, 2) * _JITTER * erythrocyte_px - self._side / 2)
                boxes.append(np.tile(corner, 2) + stamp.box)
                kinds.append(CELL_KINDS.index(kind))
                corners.append(corner)
                stamps.append(stamp)
        self.boxes = np.array(boxes, np.float32).reshape(-1, 4)
        self.kinds = np.array(kinds, np.int64)
        self._corners = np.array(corners, np.int64).reshape(-1, 2)
        self._stamps = stamps

    def read(self, x: int, y: int, width: int, height: int) -> npt.NDArray[np.uint8]:
        """Paint a part that lies inside the field, height x width x 3 uint8 RGB."""
        light = np.ones((height, width, 3), np.float32)
        left, top = self._corners[:, 0] - x, self._corners[:, 1] - y
        inside = (left < width) & (top < height) & (left > -self._side) & (top > -self._side)
        for place in np.flatnonzero(inside):
            column, row = int(left[place]), int(top[place])
            there = np.s_[max(0, row) : row + self._side, max(0, column) : column + self._side]
            own = np.s_[max(0, -row) : height - row, max(0, -column) : width - column]
            light[there] *= self._stamps[place].light[own]
        light *= np.asarray(_PLASMA, np.float32)
        light += np.take(
            np.take(self._grain, np.arange(y, y + height) % _GRAIN_PX, axis=0),
            np.arange(x, x + width) % _GRAIN_PX, axis=1,
        )  # fmt: skip
        return np.clip(np.round(light), 0, 255).astype(np.uint8)


def _painted(rng: np.random.Generator, zoom: float) -> dict[str, list[_Stamp]]:
    """Paint the stock of cells at the size asked for."""
    stock: dict[str, list[_Stamp]] = {}
    for kind, count in _STOCK.items():
        stock[kind] = []
        for number in range(count):
            canvas = np.empty((CANVAS_PX, CANVAS_PX, 3))
            canvas[:] = _PLASMA
            middle = CANVAS_PX / 2
            if kind == "erythrocyte":
                paint_erythrocyte(canvas, rng, (middle, middle), _ERYTHROCYTE_PX / 2 * rng.normal(1, 0.04))
                mask = canvas[..., 1] < 0.97 * _PLASMA[1]
            else:
                style = STYLES[_LEUKOCYTES[number % len(_LEUKOCYTES)] if kind == "leukocyte" else "platelet"]
                diameter = rng.uniform(*style.diameter_px)
                mask = paint_cell(canvas, rng, style, min(diameter, 1.9 * _ERYTHROCYTE_PX)) > 0.5
            stock[kind].append(_stamp(canvas, mask, zoom))
    return stock


def _stamp(canvas: npt.NDArray[np.float64], mask: npt.NDArray[np.bool_], zoom: float) -> _Stamp:
    """Soften and shrink a painted cell as a microscope does."""
    picture = Image.fromarray(np.clip(np.round(canvas), 0, 255).astype(np.uint8))
    bands = zip(picture.split(), (1.1, 0.7, 2.2), strict=True)
    picture = Image.merge("RGB", [band.filter(ImageFilter.GaussianBlur(soft)) for band, soft in bands])
    side = math.ceil(CANVAS_PX * zoom)
    small = np.asarray(picture.resize((side, side), Image.Resampling.BICUBIC), np.float32)
    light = np.minimum(small / np.asarray(_PLASMA, np.float32), 1.0)
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    factor = side / CANVAS_PX
    box = (columns[0] * factor, rows[0] * factor, (columns[-1] + 1) * factor, (rows[-1] + 1) * factor)
    return _Stamp(light, (float(box[0]), float(box[1]), float(box[2]), float(box[3])))

"""Drawn microscope fields with a box around every cell, for trying out and for tests; nothing is from a patient."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from corpuscle.data.cell_styles import STYLES
from corpuscle.data.drawn_cells import CANVAS_PX, Floats, paint_cell, paint_erythrocyte, paint_plasma
from corpuscle.data.examples import develop
from corpuscle.errors import UsageError
from corpuscle.records import CELL_KINDS

__all__ = ["draw_field"]

_SIZE = 0.5
_RADIUS_PX = 19.0
_LEUKOCYTES = ("neutrophil", "lymphocyte", "monocyte", "eosinophil")


def draw_field(
    seed: int, *, erythrocytes: int = 12, leukocytes: int = 1, platelets: int = 3
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Draw a small field. The same arguments give the same bytes with each call.

    Args:
        seed: Which field, 0 or more.
        erythrocytes: How many to lay down; fewer where there is no room. They are about 38 px wide and may touch.
        leukocytes: Likewise.
        platelets: Likewise.

    Returns:
        The picture, 208x208x3 uint8 RGB; boxes, Nx4 float32 xyxy in pixels; kinds, N int64, an index into
        `CELL_KINDS`.

    Raises:
        UsageError: The seed is negative.
    """
    if seed < 0:
        raise UsageError(f"The seed of a drawing must be 0 or more, not {seed}. Choose another one.")
    rng = np.random.Generator(np.random.PCG64([991, seed]))
    canvas = paint_plasma(rng)
    taken: list[tuple[float, float, float]] = []
    boxes: list[tuple[float, float, float, float]] = []
    kinds: list[int] = []
    names = [str(rng.choice(_LEUKOCYTES)) for _ in range(leukocytes)]
    wanted = [(name, "leukocyte") for name in names] + [("erythrocyte", "erythrocyte")] * erythrocytes
    for name, kind in [*wanted, *[("platelet", "platelet")] * platelets]:
        radius = _RADIUS_PX * rng.normal(1, 0.05)
        if name != "erythrocyte":
            radius = rng.uniform(*STYLES[name].diameter_px) * _SIZE / 2
        place = _free_place(rng, radius, taken, border=radius + 6 if name != "erythrocyte" else 4.0)
        if place is None:
            continue
        taken.append((*place, radius))
        boxes.append(_painted(canvas, rng, name, place, radius))
        kinds.append(CELL_KINDS.index(kind))
    corners = np.clip(np.asarray(boxes, np.float32).reshape(-1, 4), 0, CANVAS_PX)
    return develop(canvas, rng, CANVAS_PX), corners, np.asarray(kinds, np.int64)


def _free_place(
    rng: np.random.Generator, radius: float, taken: list[tuple[float, float, float]], *, border: float
) -> tuple[float, float] | None:
    """Find a row and column where a cell hardly overlaps the others, or None."""
    for _ in range(60):
        row, column = rng.uniform(border, CANVAS_PX - border, 2)
        if all(np.hypot(row - r, column - c) > 0.9 * (radius + other) for r, c, other in taken):
            return float(row), float(column)
    return None


def _painted(
    canvas: Floats, rng: np.random.Generator, name: str, place: tuple[float, float], radius: float
) -> tuple[float, float, float, float]:
    """Paint one cell into the canvas and return its box."""
    row, column = place
    if name == "erythrocyte":
        paint_erythrocyte(canvas, rng, place, radius)
        return column - radius, row - radius, column + radius, row + radius
    # Styled cells are painted in the middle of the canvas: turn it there and back.
    shift = (round(CANVAS_PX / 2 - row), round(CANVAS_PX / 2 - column))
    turned = np.roll(canvas, shift, (0, 1))
    opacity = paint_cell(turned, rng, STYLES[name], 2 * radius)
    canvas[:] = np.roll(turned, (-shift[0], -shift[1]), (0, 1))
    rows, columns = np.nonzero(opacity > 0.5)
    if not len(rows):
        return column - radius, row - radius, column + radius, row + radius
    return (
        float(columns.min() - shift[1]), float(rows.min() - shift[0]),
        float(columns.max() + 1 - shift[1]), float(rows.max() + 1 - shift[0]),
    )  # fmt: skip

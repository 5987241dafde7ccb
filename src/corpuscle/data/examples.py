"""Drawn pictures of stained blood cells, for demonstrations and tests; nothing in them is from a patient.

The same class, seed and size give the same bytes with each call. `corpuscle.data.cell_styles` holds what each
class looks like, `corpuscle.data.drawn_cells` paints it; this module sets the scene and writes picture files.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from corpuscle.data.cell_styles import STYLES
from corpuscle.data.drawn_cells import CANVAS_PX, Floats, paint_cell, paint_erythrocyte, paint_plasma, smooth_noise
from corpuscle.errors import OutputError, UnknownNameError, UsageError

__all__ = ["CLASSES", "develop", "draw_background", "draw_cell", "draw_cell_with_mask", "write_examples"]

CLASSES: tuple[str, ...] = tuple(sorted(STYLES))

_SIZES_PX = (16, 2048)
_NO_CELL = len(CLASSES)


def draw_cell(class_name: str, seed: int, *, size_px: int = CANVAS_PX) -> NDArray[np.uint8]:
    """Draw one stained cell among erythrocytes, centered, as in a single-cell crop.

    Args:
        class_name: One of `CLASSES`.
        seed: Which cell of the class, 0 or more.
        size_px: Side of the picture. The scene stays the same and is scaled.

    Returns:
        The image, shape (size_px, size_px, 3), uint8 RGB.

    Raises:
        UnknownNameError: There is no such class.
        UsageError: The seed is negative or the size out of range.
    """
    return draw_cell_with_mask(class_name, seed, size_px=size_px)[0]


def draw_cell_with_mask(
    class_name: str, seed: int, *, size_px: int = CANVAS_PX
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Draw the image of `draw_cell` and say which of its pixels belong to the centered cell.

    Args:
        class_name: One of `CLASSES`.
        seed: Which cell of the class, 0 or more.
        size_px: Side of the picture. The scene stays the same and is scaled.

    Returns:
        The image, shape (size_px, size_px, 3), uint8 RGB, and the mask, shape (size_px, size_px), bool.

    Raises:
        UnknownNameError: There is no such class.
        UsageError: The seed is negative or the size out of range.
    """
    if class_name not in STYLES:
        raise UnknownNameError("drawn cell class", class_name, CLASSES)
    rng = _generator(CLASSES.index(class_name), seed, size_px)
    style = STYLES[class_name]
    diameter_px = rng.uniform(*style.diameter_px)
    canvas = paint_plasma(rng)
    _scatter_erythrocytes(canvas, rng, free_px=diameter_px / 2)
    opacity = paint_cell(canvas, rng, style, diameter_px)
    mask = Image.fromarray(np.round(opacity * 255).astype(np.uint8))
    if size_px != CANVAS_PX:
        mask = mask.resize((size_px, size_px), Image.Resampling.BILINEAR)
    return develop(canvas, rng, size_px), np.asarray(mask) >= 128


def draw_background(seed: int, *, size_px: int = CANVAS_PX) -> NDArray[np.uint8]:
    """Draw plasma and erythrocytes without any stained cell: a picture that a model should refuse to name.

    Args:
        seed: Which picture, 0 or more. An erythrocyte may lie in the middle.
        size_px: Side of the picture. The scene stays the same and is scaled.

    Returns:
        The image, shape (size_px, size_px, 3), uint8 RGB.

    Raises:
        UsageError: The seed is negative or the size out of range.
    """
    rng = _generator(_NO_CELL, seed, size_px)
    canvas = paint_plasma(rng)
    _scatter_erythrocytes(canvas, rng, free_px=0.0)
    return develop(canvas, rng, size_px)


def write_examples(folder: Path, *, per_class: int = 1, seed: int = 0) -> list[Path]:
    """Write drawn cells of each class as `<class>_<n>.png`, n counting from 1.

    Args:
        folder: Where to; made if missing. Files of the same names are replaced.
        per_class: How many cells of each class, 1 or more.
        seed: The seed of the first cell of each class; the next ones follow it.

    Returns:
        The files, ordered by class and number.

    Raises:
        OutputError: The folder cannot be made or written.
        UsageError: `per_class` is less than 1 or the seed negative.
    """
    if per_class < 1:
        raise UsageError(f"At least 1 example per class is needed, not {per_class}. Give a larger number.")
    written = []
    for class_name in CLASSES:
        for number in range(1, per_class + 1):
            image = Image.fromarray(draw_cell(class_name, seed + number - 1))
            path = Path(folder) / f"{class_name}_{number}.png"
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                image.save(path)
            except OSError as error:
                reason = error.strerror or str(error)
                raise OutputError(
                    f"The example {path} cannot be written ({reason}). Choose a folder that you may write to."
                ) from error
            written.append(path)
    return written


def _generator(scene: int, seed: int, size_px: int) -> np.random.Generator:
    if seed < 0:
        raise UsageError(f"The seed of a drawing must be 0 or more, not {seed}. Choose another one.")
    if not _SIZES_PX[0] <= size_px <= _SIZES_PX[1]:
        raise UsageError(
            f"A drawing can be {_SIZES_PX[0]} to {_SIZES_PX[1]} px wide, not {size_px}. Choose another size."
        )
    return np.random.Generator(np.random.PCG64([scene, seed]))


def _scatter_erythrocytes(canvas: Floats, rng: np.random.Generator, *, free_px: float) -> None:
    """Lay erythrocytes on free places of the canvas and across its border, none nearer the center than `free_px`."""
    wanted = int(rng.integers(4, 9))
    size = rng.uniform(35, 41)
    placed: list[tuple[float, float, float]] = []
    for _ in range(60):
        row, column = rng.uniform(-25, CANVAS_PX + 25, 2)
        radius = size * rng.normal(1, 0.07)
        from_center = np.hypot(row - CANVAS_PX / 2, column - CANVAS_PX / 2)
        crowded = any(np.hypot(row - r, column - c) < 0.85 * (radius + other) for r, c, other in placed)
        if crowded or (free_px > 0 and from_center < free_px + 0.95 * radius):
            continue
        paint_erythrocyte(canvas, rng, (row, column), radius)
        placed.append((row, column, radius))
        if len(placed) == wanted:
            break


def develop(canvas: Floats, rng: np.random.Generator, size_px: int) -> NDArray[np.uint8]:
    """Turn the canvas into a picture the way a microscope camera does: green is sharp, red less so, blue is soft."""
    stained = np.clip(228 - canvas[..., 1], 0, None)
    mottled = canvas + (0.8 + 0.02 * stained)[..., None] * rng.standard_normal(canvas.shape)
    for channel in (0, 2):
        mottled[..., channel] += 0.04 * stained * smooth_noise(rng, 1.5)
    red, green, blue = Image.fromarray(np.clip(np.round(mottled), 0, 255).astype(np.uint8)).split()
    red = red.filter(ImageFilter.GaussianBlur(1.1))
    green = green.filter(ImageFilter.GaussianBlur(0.7)).filter(ImageFilter.UnsharpMask(2.0, 50, 0))
    blue = blue.filter(ImageFilter.GaussianBlur(2.8))
    picture = Image.merge("RGB", (red, green, blue))
    if size_px != CANVAS_PX:
        picture = picture.resize((size_px, size_px), Image.Resampling.LANCZOS)
    return np.array(picture)

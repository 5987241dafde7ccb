"""Drawn microscope fields with the exact truth: where every cell lies and what it is. Nothing in them is a photograph.

Cells are painted by `corpuscle.data.drawn_cells` at the size at which an erythrocyte is 77 pixels wide and laid on a
common plasma; then the picture is stained, lit and brought to the magnification asked for. The same specification gives
the same bytes with each call on one machine.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from corpuscle.data.cell_styles import STYLES
from corpuscle.data.drawn_cells import CANVAS_PX, Floats, paint_cell, paint_erythrocyte
from corpuscle.data.placing import Place, Placer
from corpuscle.errors import UnknownNameError, UsageError
from corpuscle.files import written_whole
from corpuscle.records import CellKind

__all__ = ["DrawnScene", "SceneCell", "SceneSpec", "draw_scene", "write_example_field"]

_ERYTHROCYTE_PX = 77.0
_PLASMA = (254.0, 227.0, 202.0)
_FIELD = 9
_SIZES_PX = (32, 12_000)
_MIDDLE = CANVAS_PX / 2
_EXAMPLE = "field"
_BLACK, _RIM_PX = 4, 2.0


@dataclass(frozen=True, slots=True)
class SceneSpec:
    """What a drawn field shall look like.

    Attributes:
        width_px: Width of the picture.
        height_px: Height of the picture.
        erythrocyte_px: Diameter of an erythrocyte in the picture: the magnification.
        erythrocytes: How many are tried; fewer where there is no room.
        leukocytes: How many of each class, by key of the taxonomy; erythroblasts count here.
        platelets: How many platelets.
        clumped: Share of the erythrocytes that lie against another one and overlap it a little, 0 to 1.
        whole: Whether leukocytes and platelets lie all inside the field.
        blur_px: Standard deviation of a blur, in pixels of the picture.
        uneven_light: How much darker the darkest corner is, 0 to 0.9.
        stain: Factors on the optical density of red, green and blue: another laboratory's stain.
        black_px: Width of what got no light around the field, by which the picture is larger on each side.
    """

    width_px: int = 640
    height_px: int = 480
    erythrocyte_px: float = 40.0
    erythrocytes: int = 60
    leukocytes: dict[str, int] = field(default_factory=lambda: {"neutrophil": 1, "lymphocyte": 1})
    platelets: int = 4
    clumped: float = 0.0
    whole: bool = True
    blur_px: float = 0.0
    uneven_light: float = 0.0
    stain: tuple[float, float, float] = (1.0, 1.0, 1.0)
    black_px: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be drawn."""
        for key in self.leukocytes:
            if key not in STYLES or key == "platelet":
                raise UnknownNameError(
                    "drawn leukocyte class", key, tuple(k for k in sorted(STYLES) if k != "platelet")
                )
        for side in (self.width_px, self.height_px):
            if not _SIZES_PX[0] <= side <= _SIZES_PX[1]:
                raise UsageError(f"A drawn field can be {_SIZES_PX[0]} to {_SIZES_PX[1]} px wide and high, not {side}.")
        if not 4 <= self.erythrocyte_px <= 400:
            raise UsageError(f"A drawn erythrocyte can be 4 to 400 px wide, not {self.erythrocyte_px}.")
        if not (0 <= self.clumped <= 1 and 0 <= self.uneven_light <= 0.9 and 0 <= self.blur_px <= 50):
            raise UsageError("clumped must lie in 0 to 1, uneven_light in 0 to 0.9, and blur_px in 0 to 50.")
        if not 0 <= self.black_px <= _SIZES_PX[1]:
            raise UsageError(f"The black around a drawn field can be 0 to {_SIZES_PX[1]} px wide, not {self.black_px}.")
        if min(self.erythrocytes, self.platelets, 0, *self.leukocytes.values()) < 0 or min(self.stain) <= 0:
            raise UsageError("A drawn field needs 0 or more cells of each kind, and factors of the stain above 0.")


@dataclass(frozen=True, slots=True)
class SceneCell:
    """One cell of a drawn field: kind, class, and the box around it in pixels of the picture, inside the field."""

    kind: CellKind
    class_name: str
    box: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True, eq=False)
class DrawnScene:
    """A drawn field: HxWx3 uint8 RGB, and every cell in it."""

    image: NDArray[np.uint8]
    cells: tuple[SceneCell, ...]
    um_per_px: float

    def count(self, kind: CellKind) -> int:
        """Return how many cells are of a kind."""
        return sum(cell.kind == kind for cell in self.cells)

    def to_dict(self) -> dict[str, Any]:
        """Return the truth as plain values for JSON."""
        height, width = self.image.shape[:2]
        return {
            "width_px": width,
            "height_px": height,
            "um_per_px": self.um_per_px,
            "cells": [
                {"kind": cell.kind, "class": cell.class_name, "box": [round(edge, 2) for edge in cell.box]}
                for cell in self.cells
            ],
        }


def draw_scene(spec: SceneSpec, seed: int = 0) -> DrawnScene:
    """Draw a field.

    Args:
        spec: What it shall look like.
        seed: Which field of this kind, 0 or more.

    Returns:
        The picture and its truth; a cell of which less than a tenth shows is not listed.

    Raises:
        UsageError: The seed is negative.
    """
    if seed < 0:
        raise UsageError(f"The seed of a drawing must be 0 or more, not {seed}. Choose another one.")
    rng = np.random.Generator(np.random.PCG64([_FIELD, seed]))
    zoom = spec.erythrocyte_px / _ERYTHROCYTE_PX
    height, width = math.ceil(spec.height_px / zoom), math.ceil(spec.width_px / zoom)
    canvas = np.empty((height, width, 3))
    canvas[:] = np.asarray(_PLASMA) + rng.normal(0, 1)
    cells = []
    for kind, key, place in _places(spec, rng, (height, width)):
        box = _lay_erythrocyte(canvas, rng, place) if kind == "erythrocyte" else _lay_cell(canvas, rng, key, place)
        if box is not None:
            edges = (
                spec.black_px + box[0] * zoom,
                spec.black_px + box[1] * zoom,
                spec.black_px + min(box[2] * zoom, spec.width_px),
                spec.black_px + min(box[3] * zoom, spec.height_px),
            )
            cells.append(SceneCell(kind, key, edges))
    image = _develop(canvas, rng, spec)
    if spec.black_px:
        image = _surrounded(image, spec.black_px)
    return DrawnScene(image, tuple(cells), 7.5 / spec.erythrocyte_px)


def write_example_field(folder: Path) -> Path:
    """Write the field that the demo counts as `field.png`, with its truth beside it as `field.json`.

    Raises:
        OutputError: The folder cannot be written.
    """
    spec = SceneSpec(
        width_px=960,
        height_px=720,
        erythrocyte_px=60,
        erythrocytes=75,
        leukocytes={"neutrophil": 3, "lymphocyte": 1, "monocyte": 1, "eosinophil": 1},
        platelets=8,
        clumped=0.1,
        uneven_light=0.1,
    )
    drawn = draw_scene(spec, seed=1)
    path = Path(folder) / f"{_EXAMPLE}.png"
    with written_whole(path) as part:
        Image.fromarray(drawn.image).save(part, format="PNG")
    truth = {"spec": dataclasses.asdict(spec), **drawn.to_dict()}
    with written_whole(path.with_suffix(".json")) as part:
        part.write_text(json.dumps(truth, indent=1) + "\n", encoding="utf-8")
    return path


def _places(spec: SceneSpec, rng: np.random.Generator, size: tuple[int, int]) -> Iterator[tuple[CellKind, str, Place]]:
    """Lay out all cells: leukocytes first, as they need room, but painted last, as they lie on top."""
    placer = Placer(*size, rng)
    placer.reserve(_MIDDLE)
    on_top: list[tuple[CellKind, str, Place]] = []
    for key, number in sorted(spec.leukocytes.items()):
        for _ in range(number):
            place = placer.put(rng.uniform(*STYLES[key].diameter_px) / 2, gap=1.12, whole=spec.whole)
            if place is not None:
                on_top.append(("leukocyte", key, place))
    for _ in range(spec.platelets):
        place = placer.put(rng.uniform(*STYLES["platelet"].diameter_px) / 2, gap=1.15, whole=spec.whole)
        if place is not None:
            on_top.append(("platelet", "platelet", place))
    size_px = rng.uniform(37, 40)
    last: Place | None = None
    for _ in range(spec.erythrocytes):
        radius = size_px * rng.normal(1, 0.06)
        place = None
        if last is not None and rng.uniform() < spec.clumped:
            place = placer.put_beside(last, radius, distance=rng.uniform(0.72, 0.95), gap=0.7)
        place = place or placer.put(radius, gap=1.06)
        if place is None:
            break
        yield "erythrocyte", "erythrocyte", place
        last = place
    yield from on_top


def _window(canvas: Floats, place: Place) -> tuple[tuple[slice, slice], tuple[slice, slice], tuple[int, int]]:
    """Return where a cell's own small canvas lies on the field: slices of the field, of it, and its corner."""
    top, left = round(place.row - _MIDDLE), round(place.column - _MIDDLE)
    rows = slice(max(0, top), min(canvas.shape[0], top + CANVAS_PX))
    columns = slice(max(0, left), min(canvas.shape[1], left + CANVAS_PX))
    own = (slice(rows.start - top, rows.stop - top), slice(columns.start - left, columns.stop - left))
    return (rows, columns), own, (top, left)


def _lay_erythrocyte(canvas: Floats, rng: np.random.Generator, place: Place) -> tuple[float, ...] | None:
    """Let one erythrocyte filter the light of the field, and return its box."""
    small = np.ones((CANVAS_PX, CANVAS_PX, 3))
    paint_erythrocyte(small, rng, (_MIDDLE, _MIDDLE), place.radius)
    there, own, corner = _window(canvas, place)
    canvas[there] *= small[own]
    # The pale center is part of the cell: its outline is what counts.
    return _box(small[..., 1] < 0.97, own, corner)


def _lay_cell(canvas: Floats, rng: np.random.Generator, key: str, place: Place) -> tuple[float, ...] | None:
    """Paint one leukocyte or platelet over the field, and return its box."""
    small = np.zeros((CANVAS_PX, CANVAS_PX, 3))
    opacity = paint_cell(small, rng, STYLES[key], 2 * place.radius)
    there, own, corner = _window(canvas, place)
    canvas[there] = canvas[there] * (1 - opacity[own])[..., None] + small[own]
    return _box(opacity > 0.5, own, corner)


def _box(mask: NDArray[np.bool_], own: tuple[slice, slice], corner: tuple[int, int]) -> tuple[float, ...] | None:
    """Return the box around what shows of a cell, in pixels of the field, or None where hardly anything shows."""
    shown = mask[own]
    if shown.sum() < 0.1 * mask.sum():
        return None
    rows, columns = np.flatnonzero(shown.any(axis=1)), np.flatnonzero(shown.any(axis=0))
    top, left = corner[0] + own[0].start, corner[1] + own[1].start
    return (left + float(columns[0]), top + float(rows[0]), left + columns[-1] + 1.0, top + rows[-1] + 1.0)


def _develop(canvas: Floats, rng: np.random.Generator, spec: SceneSpec) -> NDArray[np.uint8]:
    """Stain, light and photograph the canvas: density, lamp, optics and the grain of the camera."""
    density = -np.log(np.clip(canvas, 1, 255) / np.asarray(_PLASMA)) * np.asarray(spec.stain)
    light = _lamp(canvas.shape[:2], rng, spec.uneven_light)
    field_8 = np.clip(np.round(np.asarray(_PLASMA) * np.exp(-density) * light[..., None]), 0, 255).astype(np.uint8)
    picture = Image.fromarray(field_8)
    red, green, blue = picture.split()
    softened = zip((red, green, blue), (1.1, 0.7, 2.2), strict=True)
    picture = Image.merge("RGB", [channel.filter(ImageFilter.GaussianBlur(soft)) for channel, soft in softened])
    picture = picture.resize((spec.width_px, spec.height_px), Image.Resampling.BICUBIC, reducing_gap=3.0)
    if spec.blur_px:
        picture = picture.filter(ImageFilter.GaussianBlur(spec.blur_px))
    grainy = np.asarray(picture, np.float32) + rng.normal(0, 1.2, (spec.height_px, spec.width_px, 1)).astype(np.float32)
    return np.clip(np.round(grainy), 0, 255).astype(np.uint8)


def _surrounded(image: NDArray[np.uint8], black_px: int) -> NDArray[np.uint8]:
    """Lay black around a field, with a soft rim."""
    widths = ((black_px, black_px), (black_px, black_px))
    lit = Image.fromarray(np.pad(np.full(image.shape[:2], 255, np.uint8), widths))
    light = np.asarray(lit.filter(ImageFilter.GaussianBlur(_RIM_PX)), np.float32) / 255
    shown = np.pad(image, (*widths, (0, 0)), mode="edge") * light[..., None]
    return np.asarray(np.maximum(np.round(shown), _BLACK), np.uint8)


def _lamp(shape: tuple[int, ...], rng: np.random.Generator, uneven: float) -> Floats:
    """Return the light on the field, 1 where it is brightest: a lamp that is not in the middle."""
    if uneven == 0:
        return np.ones(shape[:2])
    middle = rng.uniform(0.3, 0.7, 2)
    rows = (np.arange(shape[0]) / shape[0] - middle[0])[:, None]
    columns = (np.arange(shape[1]) / shape[1] - middle[1])[None, :]
    away = rows**2 + columns**2
    return np.asarray(1 - uneven * away / away.max())

"""Detects in fields of any size: tiles with overlap, and a merge that loses no cell and counts none twice.

The field is divided into cores that touch and do not overlap; each tile is a core with a margin around it that is
wider than any cell. A cell belongs to the core that holds the middle of its box. Two tiles may place the middle of a
cell on a seam a little apart, so that both or neither would claim it: cells a little outside of a core are kept as
claims, and of two claims that mean one cell the one whose middle lies deeper in its own core stands.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol, cast

import numpy as np
import numpy.typing as npt
from PIL import Image

from corpuscle.errors import UsageError
from corpuscle.preprocessing.framing import Picture, shape_of
from corpuscle.records import Detections

__all__ = [
    "ArraySource",
    "Detector",
    "FieldSource",
    "Tile",
    "detect_everywhere",
    "lay_tiles",
    "picture_of",
    "tiles_of",
]

Image8 = npt.NDArray[np.uint8]
_MARGIN_CELLS = 3.5
"""Width of the margin in erythrocyte diameters: the largest leukocyte is about three of them wide."""
_CLAIM_CELLS = 0.5
"""How far outside of its core a tile still claims a cell, in erythrocyte diameters."""
_SAME_OVERLAP = 0.5
_MIDDLES_APART = 0.25


class Detector(Protocol):
    """What finds cells in a picture.

    One that sets `takes_pictures = True` is given pictures as Pillow holds them (mode RGB) where they lie in memory so,
    which saves turning them into arrays and back.

    Attributes:
        erythrocyte_px: Median diameter of an erythrocyte at which it was trained.
        max_side_px: Longest side that it takes at once, after resizing.
    """

    @property
    def erythrocyte_px(self) -> float:
        """Median diameter of an erythrocyte at which it was trained."""

    @property
    def max_side_px(self) -> int:
        """Longest side that it takes at once, after resizing."""

    def detect(self, image: Image8, *, scale: float = 1.0) -> Detections:
        """Find the cells of `image` (HxWx3 uint8), resized by `scale` before the network; boxes in its own pixels."""


class _PictureDetector(Protocol):
    def detect(self, image: Picture, *, scale: float = 1.0) -> Detections: ...


class FieldSource(Protocol):
    """A field that is read in parts."""

    @property
    def width_px(self) -> int:
        """Width of the field."""

    @property
    def height_px(self) -> int:
        """Height of the field."""

    def read(self, x: int, y: int, width: int, height: int) -> Image8:
        """Return a part that lies inside the field, height x width x 3 uint8 RGB."""


class ArraySource:
    """A field that lies in memory, as an array, as Pillow holds it, or both: the other one is made when asked for."""

    __slots__ = ("_array", "_picture", "height_px", "width_px")

    def __init__(self, image: Picture) -> None:
        """Hold a field: HxWx3 RGB, which nobody may change from now on."""
        self.height_px, self.width_px = shape_of(image)
        self._array: Image8 | None = None if isinstance(image, Image.Image) else image
        self._picture: Image.Image | None = image if isinstance(image, Image.Image) else None

    @property
    def image(self) -> Image8:
        """The field as an array, HxWx3 uint8 RGB."""
        if self._array is None:
            self._array = np.asarray(self._picture)
        return self._array

    @property
    def picture(self) -> Image.Image:
        """The field as Pillow holds it, in mode RGB."""
        if self._picture is None:
            self._picture = Image.fromarray(np.ascontiguousarray(self.image))
        return self._picture

    def read(self, x: int, y: int, width: int, height: int) -> Image8:
        """Return a part, without a copy where the field lies in memory as an array."""
        if self._array is None and (width, height) != (self.width_px, self.height_px):
            return np.asarray(self.picture.crop((x, y, x + width, y + height)))
        return self.image[y : y + height, x : x + width]

    def part(self, x: int, y: int, width: int, height: int) -> ArraySource:
        """Return a part as a field of its own, held as this one is; all of the field is this one itself."""
        if (width, height) == (self.width_px, self.height_px):
            return self
        held = self._picture if self._array is None else None
        return ArraySource(held.crop((x, y, x + width, y + height)) if held else self.read(x, y, width, height))


def picture_of(source: FieldSource, x: int, y: int, width: int, height: int) -> Image.Image:
    """Return a part of a field as Pillow holds it, in mode RGB; it may be the field's own and must not be changed."""
    if isinstance(source, ArraySource):
        return source.part(x, y, width, height).picture
    return Image.fromarray(np.ascontiguousarray(source.read(x, y, width, height)))


@dataclass(frozen=True, slots=True)
class Tile:
    """One tile; all edges are x_min, y_min, x_max, y_max in pixels of the field.

    Attributes:
        core: What this tile alone is responsible for; its outer edges lie at infinity along the edge of the field.
        area: What the detector is shown.
    """

    core: tuple[float, float, float, float]
    area: tuple[int, int, int, int]


def lay_tiles(width: int, height: int, *, side_px: int, margin_px: int) -> list[Tile]:
    """Cover a field with tiles, row by row; inner cores are of equal size to a pixel.

    Args:
        width: Of the field, in pixels.
        height: Of the field.
        side_px: Longest side of what the detector is shown.
        margin_px: How far a tile reaches beyond its core.

    Raises:
        UsageError: The margins leave no core.
    """
    if side_px <= 2 * margin_px:
        raise UsageError(
            f"Tiles of {side_px} px with margins of {margin_px} px hold nothing. Use a detector that takes larger "
            "pictures, or say how large a pixel is."
        )
    columns, rows = _cuts(width, side_px, margin_px), _cuts(height, side_px, margin_px)
    tiles = []
    for top, bottom in pairwise(rows):
        for left, right in pairwise(columns):
            core = (
                left if left else -math.inf, top if top else -math.inf,
                right if right < width else math.inf, bottom if bottom < height else math.inf,
            )  # fmt: skip
            area = (
                max(0, left - margin_px), max(0, top - margin_px),
                min(width, right + margin_px), min(height, bottom + margin_px),
            )  # fmt: skip
            tiles.append(Tile(core, area))
    return tiles


def _cuts(length: int, side_px: int, margin_px: int) -> list[int]:
    """Return where cores begin and end along one side; a side that fits is not cut."""
    if length <= side_px:
        return [0, length]
    # The outer cores need a margin on one side only, and are wider by it.
    inner = length - 2 * margin_px
    count = math.ceil(inner / (side_px - 2 * margin_px))
    return [0, *(margin_px + inner * place // count for place in range(1, count)), length]


def detect_everywhere(detector: Detector, source: FieldSource, *, scale: float) -> Detections:
    """Find the cells of a field of any size.

    Memory holds one tile and the boxes, whatever the size of the field.

    Args:
        detector: What finds cells.
        source: The field.
        scale: Resize factor before the network.

    Returns:
        The cells, in pixels of the field; the same whatever the order of the tiles.
    """
    tiles = tiles_of(detector, source, scale)
    if len(tiles) == 1:
        return _detected(detector, source, tiles[0].area, scale)
    reach_px = min(_CLAIM_CELLS * detector.erythrocyte_px / scale, _margin(detector, scale) / 2)
    return _merged(list(_claims(detector, source, tiles, scale, reach_px)))


def tiles_of(detector: Detector, source: FieldSource, scale: float) -> list[Tile]:
    """Return the tiles in which a field is read; arguments are those of `detect_everywhere`."""
    side = max(1, math.floor(detector.max_side_px / scale))
    if max(source.width_px, source.height_px) <= side:
        whole = (-math.inf, -math.inf, math.inf, math.inf)
        return [Tile(whole, (0, 0, source.width_px, source.height_px))]
    return lay_tiles(source.width_px, source.height_px, side_px=side, margin_px=_margin(detector, scale))


def _margin(detector: Detector, scale: float) -> int:
    """Return how far a tile reaches beyond its core, in pixels of the field."""
    side = max(1, math.floor(detector.max_side_px / scale))
    # A net that takes little is given narrower margins: half of what it sees must be core.
    return min(math.ceil(_MARGIN_CELLS * detector.erythrocyte_px / scale), side // 4)


def _claims(
    detector: Detector, source: FieldSource, tiles: list[Tile], scale: float, reach_px: float
) -> Iterator[tuple[Detections, npt.NDArray[np.float64]]]:
    """Yield each tile's cells in pixels of the field, with how deep their middles lie in its core."""
    for tile in tiles:
        x_min, y_min = tile.area[:2]
        part = _detected(detector, source, tile.area, scale)
        boxes = part.boxes + np.array([x_min, y_min, x_min, y_min], np.float32)
        middles = (boxes[:, :2].astype(np.float64) + boxes[:, 2:]) / 2
        depth = np.minimum(middles - tile.core[:2], np.asarray(tile.core[2:]) - middles).min(axis=1, initial=math.inf)
        kept = depth >= -reach_px
        yield Detections(boxes[kept], part.scores[kept], part.kinds[kept]), depth[kept]


def _detected(detector: Detector, source: FieldSource, area: tuple[int, int, int, int], scale: float) -> Detections:
    """Find the cells of one tile, in its own pixels."""
    x_min, y_min, x_max, y_max = area
    place = (x_min, y_min, x_max - x_min, y_max - y_min)
    if getattr(detector, "takes_pictures", False):
        return cast(_PictureDetector, detector).detect(picture_of(source, *place), scale=scale)
    return detector.detect(source.read(*place), scale=scale)


def _merged(found: list[tuple[Detections, npt.NDArray[np.float64]]]) -> Detections:
    """Join the tiles' claims; where two tiles mean one cell, the deeper claim stands."""
    boxes = np.concatenate([part.boxes for part, _ in found])
    scores = np.concatenate([part.scores for part, _ in found])
    kinds = np.concatenate([part.kinds for part, _ in found])
    depth = np.concatenate([place for _, place in found])
    tile = np.repeat(np.arange(len(found)), [len(part) for part, _ in found])
    kept = np.ones(len(boxes), bool)
    # Only claims near a seam can have a twin, so only they are compared.
    longest = float((boxes[:, 2:] - boxes[:, :2]).max(initial=0.0))
    near = np.flatnonzero(depth < longest)
    near = near[np.lexsort((tile[near], boxes[near, 1], boxes[near, 0], -depth[near]))]
    cells: dict[tuple[int, int], list[int]] = {}
    size = max(longest, 1.0)
    middles = (boxes[:, :2] + boxes[:, 2:]) / 2
    for place in near:
        column, row = (int(value // size) for value in middles[place])
        around = [other for x in (-1, 0, 1) for y in (-1, 0, 1) for other in cells.get((column + x, row + y), [])]
        others = np.array([other for other in around if tile[other] != tile[place]], np.int64)
        others = others[kinds[others] == kinds[place]]
        if len(others) and _same_cell(boxes[place], boxes[others]).any():
            kept[place] = False
        else:
            cells.setdefault((column, row), []).append(int(place))
    return Detections(boxes[kept], scores[kept], kinds[kept])


def _same_cell(box: npt.NDArray[np.float32], others: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    """Say which boxes mean the cell of `box`: they overlap by half, or their middles nearly agree."""
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=1)
    sizes = (others[:, 2:] - others[:, :2]).prod(axis=1)
    overlap = shared / np.maximum((box[2:] - box[:2]).prod() + sizes - shared, 1e-9)
    apart = np.hypot(*((others[:, :2] + others[:, 2:] - box[:2] - box[2:]) / 2).T)
    side = np.minimum(np.sqrt((box[2:] - box[:2]).prod()), np.sqrt(sizes))
    return np.asarray((overlap > _SAME_OVERLAP) | (apart < _MIDDLES_APART * side))

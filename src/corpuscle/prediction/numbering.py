"""Cleans what a detector found, and gives every cell a number in reading order."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from corpuscle.records import CELL_KINDS, Detections

__all__ = ["clean_detections", "clip_boxes", "overlap_table", "reading_order"]

_SAME_CELL = 0.6
_WITHIN = 0.85
_ON_ANOTHER = 0.7
_DEEP_INSIDE = 0.75
_MOST_AT_ONCE = 2048
_ERYTHROCYTE, _LEUKOCYTE, _PLATELET = (CELL_KINDS.index(kind) for kind in CELL_KINDS)

Floats = npt.NDArray[np.float64]


def overlap_table(boxes: npt.NDArray[np.floating], others: npt.NDArray[np.floating]) -> tuple[Floats, Floats]:
    """Compare boxes (Nx4 with Mx4).

    Returns:
        Intersection over union, and the share of each of `boxes` that lies inside the other; NxM each.
    """
    first, second = boxes[:, None, :].astype(np.float64), others[None, :, :].astype(np.float64)
    shared = np.clip(np.minimum(first[..., 2:], second[..., 2:]) - np.maximum(first[..., :2], second[..., :2]), 0, None)
    area = shared.prod(axis=-1)
    own, theirs = ((part[..., 2:] - part[..., :2]).prod(axis=-1) for part in (first, second))
    return area / np.maximum(own + theirs - area, 1e-9), area / np.maximum(own, 1e-9)


def clip_boxes(boxes: npt.NDArray[np.floating], width: int, height: int) -> Floats:
    """Return boxes (Nx4) cut at the edges of a field; one that lies outside has no area."""
    return np.clip(boxes.astype(np.float64), 0, np.array([width, height, width, height], np.float64))


def clean_detections(found: Detections, width: int, height: int) -> tuple[Detections, npt.NDArray[np.bool_]]:
    """Drop second boxes of a cell and what a leukocyte hides, and cut boxes at the edges of the field.

    A box is a second one if it agrees with a better one of its kind by 60 % (intersection over union), or lies nearly
    all inside it. An erythrocyte or a platelet whose box lies on a leukocyte, with its middle deep inside, is part of
    the leukocyte. Boxes that agree by 60 % across kinds mean one cell: the better score names it.

    Args:
        found: The cells as found.
        width: Of the field, in pixels.
        height: Of the field.

    Returns:
        The cells that stay, with boxes inside the field, and for each whether the edge of the field cuts it.
    """
    boxes = clip_boxes(found.boxes, width, height)
    real = ((boxes[:, 2:] - boxes[:, :2]) >= 1).all(axis=1) & np.isfinite(found.boxes).all(axis=1)
    order = np.flatnonzero(real)
    order = order[np.lexsort((boxes[order, 1], boxes[order, 0], -found.scores[order]))]
    kept: list[int] = []
    grid = _Grid(boxes[order])
    for place in order:
        others = np.array(grid.near(boxes[place]), np.int64)
        if len(others) and _is_second(boxes, found.kinds, int(place), others):
            continue
        kept.append(int(place))
        grid.add(int(place), boxes[place])
    chosen = np.array(kept, np.int64)
    chosen = chosen[~_hidden(boxes[chosen], found.kinds[chosen])]
    inside = boxes[chosen]
    edge = np.array([width, height], np.float64) - 1
    on_border = np.asarray((inside[:, :2] <= 1).any(axis=1) | (inside[:, 2:] >= edge).any(axis=1))
    return Detections(inside.astype(np.float32), found.scores[chosen], found.kinds[chosen]), on_border


class _Grid:
    """Boxes by place, so that only neighbors are compared."""

    def __init__(self, boxes: Floats) -> None:
        self._size = max(float((boxes[:, 2:] - boxes[:, :2]).max(initial=1.0)), 1.0)
        self._cells: dict[tuple[int, int], list[int]] = {}

    def _place(self, box: Floats) -> tuple[int, int]:
        return int((box[0] + box[2]) / 2 // self._size), int((box[1] + box[3]) / 2 // self._size)

    def add(self, number: int, box: Floats) -> None:
        self._cells.setdefault(self._place(box), []).append(number)

    def near(self, box: Floats) -> list[int]:
        column, row = self._place(box)
        return [n for x in (-1, 0, 1) for y in (-1, 0, 1) for n in self._cells.get((column + x, row + y), ())]


def _is_second(boxes: Floats, kinds: npt.NDArray[np.int64], place: int, others: npt.NDArray[np.int64]) -> bool:
    """Say whether one of the better boxes means the same cell."""
    union, inside = overlap_table(boxes[place : place + 1], boxes[others])
    same_kind = kinds[others] == kinds[place]
    return bool(((union[0] > _SAME_CELL) | ((inside[0] > _WITHIN) & same_kind)).any())


def _hidden(boxes: Floats, kinds: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Say which erythrocytes and platelets lie on a leukocyte."""
    hidden = np.zeros(len(boxes), bool)
    leukocytes = boxes[kinds == _LEUKOCYTE]
    if not len(leukocytes):
        return hidden
    middle = (leukocytes[:, :2] + leukocytes[:, 2:]) / 2
    half = (leukocytes[:, 2:] - leukocytes[:, :2]) / 2
    rest = np.flatnonzero(kinds != _LEUKOCYTE)
    for start in range(0, len(rest), _MOST_AT_ONCE):
        part = rest[start : start + _MOST_AT_ONCE]
        _, inside = overlap_table(boxes[part], leukocytes)
        centers = (boxes[part, :2] + boxes[part, 2:]) / 2
        depth = np.hypot(*np.moveaxis((centers[:, None] - middle) / half, -1, 0))
        hidden[part] = ((inside > _ON_ANOTHER) & (depth < _DEEP_INSIDE)).any(axis=1)
    return hidden


def reading_order(boxes: npt.NDArray[np.floating], row_px: float) -> npt.NDArray[np.int64]:
    """Return the places of boxes (Nx4) in reading order: by rows of the field, and from left to right inside a row.

    A row is a band of fixed height, so that a cell that comes or goes does not reorder cells of other rows. The order
    does not depend on the order of the input.

    Args:
        boxes: The cells.
        row_px: Height of a row; the diameter of an erythrocyte reads well.
    """
    values = boxes.astype(np.float64)
    middle = (values[:, :2] + values[:, 2:]) / 2
    rows = np.floor(middle[:, 1] / max(row_px, 1.0))
    return np.lexsort((*values.T, middle[:, 1], middle[:, 0], rows))

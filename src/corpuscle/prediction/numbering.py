"""Cleans what a detector found, and gives every cell a number in reading order."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from corpuscle.prediction.neighbors import pairs_up_to
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
    return _overlaps(boxes[:, None, :].astype(np.float64), others[None, :, :].astype(np.float64))


def _overlaps(boxes: Floats, others: Floats) -> tuple[Floats, Floats]:
    """Compare boxes with others of the same shape, or one that fits it; answers as those of `overlap_table`."""
    shared = np.clip(np.minimum(boxes[..., 2:], others[..., 2:]) - np.maximum(boxes[..., :2], others[..., :2]), 0, None)
    area = shared.prod(axis=-1)
    own, theirs = ((part[..., 2:] - part[..., :2]).prod(axis=-1) for part in (boxes, others))
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
    chosen = order[~_seconds(boxes[order], found.kinds[order])]
    chosen = chosen[~_hidden(boxes[chosen], found.kinds[chosen])]
    inside = boxes[chosen]
    edge = np.array([width, height], np.float64) - 1
    on_border = np.asarray((inside[:, :2] <= 1).any(axis=1) | (inside[:, 2:] >= edge).any(axis=1))
    return Detections(inside.astype(np.float32), found.scores[chosen], found.kinds[chosen]), on_border


def _seconds(boxes: Floats, kinds: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Say which boxes, given from the best down, mean the same cell as a better one that stays."""
    second = np.zeros(len(boxes), bool)
    clashes: list[tuple[int, int]] = []
    for one, other in pairs_up_to(boxes[:, 0], boxes[:, 2]):
        better, worse = np.minimum(one, other), np.maximum(one, other)
        union, inside = _overlaps(boxes[worse], boxes[better])
        same = (union > _SAME_CELL) | ((inside > _WITHIN) & (kinds[worse] == kinds[better]))
        clashes += zip(worse[same].tolist(), better[same].tolist(), strict=True)
    for place, rival in sorted(clashes):
        second[place] |= not second[rival]
    return second


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

"""From the detector's maps to separate cells: local peaks, boxes, and one box a cell."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from corpuscle.records import CELL_KINDS, Detections

__all__ = ["box_overlaps", "decode_maps", "keep_best"]

Floats = npt.NDArray[np.float32]

_MOST_CANDIDATES = 1000


def box_overlaps(first: npt.NDArray[np.floating], second: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Return the intersection over union of every box of one list with every box of another.

    Args:
        first: Nx4, xyxy.
        second: Mx4, xyxy.

    Returns:
        NxM float64 in [0, 1]; 0 where both are empty.
    """
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    common = np.prod(np.clip(high - low, 0, None), axis=2)
    union = np.prod(a[:, 2:] - a[:, :2], axis=1)[:, None] + np.prod(b[:, 2:] - b[:, :2], axis=1)[None] - common
    overlaps: npt.NDArray[np.float64] = np.divide(common, union, out=np.zeros_like(common), where=union > 0)
    return overlaps


def keep_best(boxes: Floats, scores: Floats, limit: float) -> npt.NDArray[np.int64]:
    """Choose boxes from the best score down, leaving out those that overlap a chosen one (non-maximum suppression).

    Args:
        boxes: Nx4, xyxy.
        scores: N.
        limit: Largest intersection over union that two chosen boxes may have, in [0, 1].

    Returns:
        Rows of the chosen ones, best first, int64.
    """
    order = np.argsort(-scores, kind="stable")
    if len(order) < 2:
        return order.astype(np.int64)
    clash = box_overlaps(boxes[order], boxes[order]) > limit
    alive = np.ones(len(order), bool)
    for place in range(len(order)):
        if alive[place]:
            alive[place + 1 :] &= ~clash[place, place + 1 :]
    return order[alive].astype(np.int64)


def decode_maps(
    scores: Floats, reaches: Floats, *, least_scores: tuple[float, ...], overlap_limits: tuple[float, ...], step_px: int
) -> Detections:
    """Turn the maps of one picture into separate cells.

    Args:
        scores: Kxhxw float32 in [0, 1], one map a kind of `CELL_KINDS`.
        reaches: 4xhxw float32, from each place to the left, top, right and bottom edge, in pixels of the input.
        least_scores: For each kind, the score below which a place counts for nothing.
        overlap_limits: For each kind, as for `keep_best`.
        step_px: Distance of neighboring places in pixels of the input.

    Returns:
        The cells, boxes in pixels of the network's input; one kind after the other, best first.
    """
    least = np.asarray(least_scores, scores.dtype)[:, None, None]
    kinds, rows, columns = np.nonzero(_is_peak(scores) & (scores >= least))
    found = scores[kinds, rows, columns]
    x, y = (columns + 0.5) * step_px, (rows + 0.5) * step_px
    left, top, right, bottom = reaches[:, rows, columns]
    boxes = np.stack([x - left, y - top, x + right, y + bottom], axis=1).astype(np.float32)
    ends = np.searchsorted(kinds, np.arange(len(CELL_KINDS) + 1))
    parts = []
    for kind, limit in enumerate(overlap_limits):
        own = np.arange(ends[kind], ends[kind + 1])
        if len(own) > _MOST_CANDIDATES:
            own = own[np.argsort(-found[own], kind="stable")[:_MOST_CANDIDATES]]
        parts.append(own[keep_best(boxes[own], found[own], limit)])
    kept = np.concatenate(parts)
    return Detections(boxes[kept], found[kept], kinds[kept])


def _is_peak(scores: Floats) -> npt.NDArray[np.bool_]:
    """Say of every place whether no neighbor has a higher score."""
    across = scores.copy()
    np.maximum(across[:, :, 1:], scores[:, :, :-1], out=across[:, :, 1:])
    np.maximum(across[:, :, :-1], scores[:, :, 1:], out=across[:, :, :-1])
    around = across.copy()
    np.maximum(around[:, 1:], across[:, :-1], out=around[:, 1:])
    np.maximum(around[:, :-1], across[:, 1:], out=around[:, :-1])
    peaks: npt.NDArray[np.bool_] = scores >= around
    return peaks

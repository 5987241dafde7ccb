"""Average precision of detections, as COCO defines it (Lin et al. 2014, doi 10.1007/978-3-319-10602-1_48).

Detections are taken from the best score down; each takes the best still free cell of its kind that it overlaps enough.
Precision is read at 101 recalls, at each the best one to the right of it, and averaged; over ten least overlaps
(0.50, 0.55 ... 0.95) for mAP50-95, at 0.50 alone for mAP50.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from corpuscle.errors import DataError
from corpuscle.evaluation.intervals import Interval, bootstrap_interval
from corpuscle.prediction.suppression import box_overlaps
from corpuscle.records import CELL_KINDS, Detections

__all__ = ["OVERLAPS", "AveragePrecision", "TrueBoxes", "average_precision", "average_precision_intervals"]

OVERLAPS: tuple[float, ...] = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
"""The least intersections over union."""

_RECALLS = np.linspace(0.0, 1.0, 101)
_MOST = 100


@dataclass(frozen=True, slots=True)
class TrueBoxes:
    """What an annotator drew into one picture.

    Attributes:
        boxes: Nx4 float32, xyxy in pixels.
        kinds: N int64, an index into `CELL_KINDS`.
    """

    boxes: npt.NDArray[np.float32]
    kinds: npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class AveragePrecision:
    """How well a detector finds cells.

    Attributes:
        by_kind: Average precision of each kind at each of `OVERLAPS`; a kind without a true box is left out.
        cells: Number of true boxes of each kind.
        pictures: Number of pictures.
    """

    by_kind: dict[str, tuple[float, ...]]
    cells: dict[str, int]
    pictures: int

    @property
    def map50(self) -> float:
        """Mean over the kinds at an overlap of 0.5."""
        return float(np.mean([values[0] for values in self.by_kind.values()]))

    @property
    def map50_95(self) -> float:
        """Mean over the kinds and all overlaps."""
        return float(np.mean([np.mean(values) for values in self.by_kind.values()]))

    def to_dict(self) -> dict[str, object]:
        """Return plain values for JSON."""
        return {
            "map50": self.map50,
            "map50_95": self.map50_95,
            "pictures": self.pictures,
            "by_kind": {
                kind: {"ap50": values[0], "ap50_95": float(np.mean(values)), "n": self.cells[kind]}
                for kind, values in self.by_kind.items()
            },
        }


def average_precision(
    found: Sequence[Detections], truth: Sequence[TrueBoxes], *, most: int = _MOST
) -> AveragePrecision:
    """Compare what was found in each picture with what an annotator drew.

    Args:
        found: One entry a picture, with all scores: thresholds make the figure smaller.
        truth: Likewise, in the same order.
        most: Detections of one kind in one picture that count, the best ones.

    Raises:
        DataError: The lists are not of one length, or no box was drawn at all.
    """
    parts, cells = _compared(found, truth, most)
    by_kind = {kind: _areas(pictures) for kind, pictures in parts.items()}
    return AveragePrecision(by_kind, cells, len(truth))


def average_precision_intervals(
    found: Sequence[Detections], truth: Sequence[TrueBoxes], *, resamples: int = 300, seed: int = 0
) -> tuple[Interval, Interval]:
    """Compute 95 % intervals of mAP50 and mAP50-95 by drawing pictures with replacement.

    Args:
        found: As for `average_precision`.
        truth: Likewise, of two pictures or more.
        resamples: Number of draws, 100 or more.
        seed: Start of the random generator.

    Raises:
        DataError: As for `average_precision`.
        UsageError: Fewer than two pictures or 100 draws.
    """
    parts, _ = _compared(found, truth, _MOST)
    drawn: dict[bytes, tuple[float, float]] = {}

    def both(rows: npt.NDArray[np.int64]) -> tuple[float, float]:
        key = rows.tobytes()
        if key not in drawn:
            areas = [_areas([pictures[row] for row in rows]) for pictures in parts.values()]
            areas = [values for values in areas if values]
            drawn[key] = (
                float(np.mean([values[0] for values in areas])) if areas else 0.0,
                float(np.mean(areas)) if areas else 0.0,
            )
        return drawn[key]

    return (
        bootstrap_interval(lambda rows: both(rows)[0], len(truth), resamples=resamples, seed=seed),
        bootstrap_interval(lambda rows: both(rows)[1], len(truth), resamples=resamples, seed=seed),
    )


@dataclass(frozen=True, slots=True)
class _Picture:
    """Detections of one kind in one picture, best first: scores, whether each hits at each overlap; true boxes."""

    scores: npt.NDArray[np.float64]
    hits: npt.NDArray[np.bool_]
    count: int


def _compared(
    found: Sequence[Detections], truth: Sequence[TrueBoxes], most: int
) -> tuple[dict[str, list[_Picture]], dict[str, int]]:
    """Match the detections of every picture; returns them, and the number of true boxes, for each kind."""
    if len(found) != len(truth):
        raise DataError(f"{len(found)} pictures with detections cannot be compared with {len(truth)} annotated ones.")
    parts: dict[str, list[_Picture]] = {}
    cells: dict[str, int] = {}
    for number, kind in enumerate(CELL_KINDS):
        pictures = [_matched_picture(item, true, number, most) for item, true in zip(found, truth, strict=True)]
        cells[kind] = sum(picture.count for picture in pictures)
        if cells[kind]:
            parts[kind] = pictures
    if not parts:
        raise DataError("No box is drawn in these pictures, so nothing can be measured. Name annotated ones.")
    return parts, cells


def _matched_picture(detections: Detections, true: TrueBoxes, kind: int, most: int) -> _Picture:
    mine = detections.kinds == kind
    order = np.argsort(-detections.scores[mine], kind="stable")[:most]
    drawn = true.boxes[true.kinds == kind]
    hits = _matched(box_overlaps(detections.boxes[mine][order], drawn))
    return _Picture(detections.scores[mine][order].astype(np.float64), hits, len(drawn))


def _areas(pictures: Sequence[_Picture]) -> tuple[float, ...]:
    """Return the average precision of one kind at each overlap; nothing where no true box is drawn."""
    count = sum(picture.count for picture in pictures)
    if not count:
        return ()
    order = np.argsort(-np.concatenate([picture.scores for picture in pictures]), kind="mergesort")
    hits = np.concatenate([picture.hits for picture in pictures], axis=1)[:, order]
    return tuple(_area(row, count) for row in hits)


def _matched(overlaps: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Say of each detection (rows of `overlaps`, best first) whether it takes a true box, at each least overlap."""
    hit = np.zeros((len(OVERLAPS), len(overlaps)), bool)
    if not overlaps.size:
        return hit
    for step, least in enumerate(OVERLAPS):
        free = overlaps.copy()
        for row in range(len(free)):
            best = int(
                free.shape[1] - 1 - np.argmax(free[row, ::-1])
            )  # of equal ones the last, as COCO's own code does
            if free[row, best] >= min(least, 1 - 1e-10):
                hit[step, row] = True
                free[:, best] = -1.0
    return hit


def _area(hit: npt.NDArray[np.bool_], count: int) -> float:
    """Return the mean of the interpolated precision over 101 recalls."""
    if not len(hit):
        return 0.0
    right = np.cumsum(hit)
    recall = right / count
    precision = right / np.arange(1, len(hit) + 1)
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    places = np.searchsorted(recall, _RECALLS, side="left")
    value = float(np.where(places < len(hit), precision[np.minimum(places, len(hit) - 1)], 0.0).mean())
    return value if math.isfinite(value) else 0.0

"""Whether the erythrocytes of labeled fields tell the magnification, at whatever size the field comes."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from corpuscle.data.fields import LabeledField, labeled_fields
from corpuscle.errors import DataError
from corpuscle.prediction.ruler import ERYTHROCYTE_UM, FEWEST_ERYTHROCYTES, measure_field
from corpuscle.prediction.tiling import ArraySource, Detector
from corpuscle.records import CELL_KINDS, Detections

__all__ = ["RULER_ZOOMS", "RulerEvaluation", "ZoomRow", "evaluate_ruler"]

RULER_ZOOMS = (0.5, 1.0, 2.0)
"""Sizes at which every field is shown, in its own."""

_NEAR = math.log(1.25)
_BORDER_PX = 2
_ERYTHROCYTE = CELL_KINDS.index("erythrocyte")

Image8 = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class ZoomRow:
    """The fields at one size.

    Attributes:
        zoom: The size, in that of the file.
        n: Number of fields.
        near: How many were measured within 25 % of their boxes' median erythrocyte.
        told: How many were measured at all.
        worst: Largest factor between what was measured and the boxes, 1 at best; NaN if none was measured.
        area: Pixels that the detector was shown over those of one look at the right scale, mean over the fields.
        single: How many were looked at once.
    """

    zoom: float
    n: int
    near: int
    told: int
    worst: float
    area: float
    single: int


@dataclass(frozen=True, slots=True)
class RulerEvaluation:
    """What `evaluate_ruler` measured; `rows` has one for each size."""

    model: str
    dataset: str
    split: str
    rows: tuple[ZoomRow, ...]

    def text(self) -> str:
        """Return a table for people."""
        enough = f"fields with {FEWEST_ERYTHROCYTES} whole erythrocytes or more"
        lines = [f"{self.model} on {self.dataset} {self.split}: {enough}", ""]
        lines.append("  size  fields  within 25 %  not told  off by at most  one look  area shown")
        lines += [
            f"{row.zoom:6g}{row.n:8}{row.near:13}{row.n - row.told:10}{row.worst:16.2f}{row.single:10}{row.area:12.2f}"
            for row in self.rows
        ]
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


class _Watched:
    """A detector that remembers how often, and how many pixels, it was shown."""

    def __init__(self, detector: Detector) -> None:
        self._detector = detector
        self.erythrocyte_px = detector.erythrocyte_px
        self.max_side_px = detector.max_side_px
        self.looks = 0
        self.area = 0.0

    def detect(self, image: Image8, *, scale: float = 1.0) -> Detections:
        self.looks += 1
        self.area += image.shape[0] * image.shape[1] * scale**2
        return self._detector.detect(image, scale=scale)


def evaluate_ruler(
    detector: Detector,
    dataset: str,
    *,
    split: str = "",
    root: str | os.PathLike[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> RulerEvaluation:
    """Measure the fields of a data set at half, full and double size, and compare with their boxes.

    Args:
        detector: What finds cells.
        dataset: A set of labeled fields.
        split: Keep only this split; all if empty.
        root: Folder that holds the data sets.
        progress: Called with (done, all).

    Raises:
        UnknownNameError: There is no such set.
        DataError: No field has erythrocytes enough.
    """
    fields = labeled_fields(dataset, split=split, root=None if root is None else Path(root))
    measures: dict[float, list[tuple[float, float, int]]] = {zoom: [] for zoom in RULER_ZOOMS}
    for done, item in enumerate(fields, start=1):
        image = item.read()
        diameter = _diameter(item, image)
        for zoom in RULER_ZOOMS if diameter else ():
            measures[zoom].append(_measure(detector, _resized(image, zoom), diameter * zoom))
        if progress:
            progress(done, len(fields))
    if not measures[1.0]:
        raise DataError(
            f"No field of {dataset} {split} has {FEWEST_ERYTHROCYTES} whole erythrocytes. Name another set."
        )
    name = str(getattr(detector, "name", type(detector).__name__))
    return RulerEvaluation(name, dataset, split, tuple(_row(zoom, found) for zoom, found in measures.items()))


def _diameter(item: LabeledField, image: Image8) -> float:
    """Return the median diameter of the whole erythrocytes that have a box; 0 where there are too few."""
    boxes = item.boxes[item.kinds == _ERYTHROCYTE].astype(np.float64)
    limits = np.array(image.shape[1::-1]) - _BORDER_PX
    inside = (boxes[:, :2] > _BORDER_PX).all(axis=1) & (boxes[:, 2:] < limits).all(axis=1)
    sides = (boxes[:, 2:] - boxes[:, :2])[inside]
    return float(np.median(np.sqrt(sides.prod(axis=1)))) if len(sides) >= FEWEST_ERYTHROCYTES else 0.0


def _resized(image: Image8, zoom: float) -> Image8:
    if zoom == 1:
        return image
    size = (max(1, round(image.shape[1] * zoom)), max(1, round(image.shape[0] * zoom)))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))


def _measure(detector: Detector, image: Image8, diameter_px: float) -> tuple[float, float, int]:
    """Return the logarithm of measured over true size (NaN if not told), the area shown, and the looks."""
    watched = _Watched(detector)
    ruler = measure_field(watched, ArraySource(image)).ruler
    error = math.log(ruler.um_per_px * diameter_px / ERYTHROCYTE_UM) if ruler.um_per_px else math.nan
    right = image.shape[0] * image.shape[1] * (detector.erythrocyte_px / diameter_px) ** 2
    return error, watched.area / right, watched.looks


def _row(zoom: float, found: Sequence[tuple[float, float, int]]) -> ZoomRow:
    errors = np.abs([row[0] for row in found])
    told = np.isfinite(errors)
    return ZoomRow(
        zoom, len(found), int((errors[told] <= _NEAR).sum()), int(told.sum()),
        float(np.exp(errors[told].max())) if told.any() else math.nan,
        float(np.mean([row[1] for row in found])), sum(row[2] == 1 for row in found),
    )  # fmt: skip

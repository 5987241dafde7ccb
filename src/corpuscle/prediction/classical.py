"""Finds cells without having learned anything: stain thresholds, distance to the outline, watershed.

This is what fields were counted with before networks, kept as the measure of what the detector gains. Cells that are
darker than the empty slide are parted where their outline is waisted (Beucher, Meyer 1993); violet parts are nuclei or
platelets by their size.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from corpuscle.errors import MissingExtraError, UsageError
from corpuscle.preprocessing.field_scaling import FieldSpec, scaled_field
from corpuscle.preprocessing.transforms import WHITE
from corpuscle.records import CELL_KINDS, CellKind, Detections

__all__ = ["ClassicalFinder"]

Image8 = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

_ERYTHROCYTE_PX = 44.0
_MAX_SIDE_PX = 4096
_AREA = float(np.pi * (_ERYTHROCYTE_PX / 2) ** 2)
_LEAST_DENSITY = 0.04
_VIOLET = 0.12
_LEAST_VIOLET = 0.18
_NUCLEUS = 0.45
_PLATELET = (0.03, 0.3)
_LEAST_CELL = 0.2
_SEED_DISTANCE = 0.3
_CYTOPLASM = 0.1


class ClassicalFinder:
    """Thresholds and watershed behind the interface of `FieldDetector`."""

    name = "classical"
    erythrocyte_px = _ERYTHROCYTE_PX
    max_side_px = _MAX_SIDE_PX

    def __init__(self) -> None:
        """Make sure that scikit-image is there.

        Raises:
            MissingExtraError: It is not.
        """
        try:
            import skimage  # noqa: F401
        except ModuleNotFoundError as error:
            raise MissingExtraError("The classical finder", "classical") from error

    @property
    def score_thresholds(self) -> dict[CellKind, float]:
        """Score below which nothing is reported: none, as every cell found has the score 1."""
        return dict.fromkeys(CELL_KINDS, 0.0)

    def detect(self, image: Image8, *, scale: float = 1.0, least_score: float | None = None) -> Detections:  # noqa: ARG002
        """Find the cells of a field or tile.

        Args:
            image: HxWx3 uint8 RGB.
            scale: Factor that brings the median erythrocyte to `erythrocyte_px`.
            least_score: Not used; there to be called as a `FieldDetector` is.

        Returns:
            The cells, boxes in pixels of `image`.

        Raises:
            UsageError: The scale is not above 0.
        """
        if not (scale > 0 and np.isfinite(scale)):
            raise UsageError(f"The scale must be a number above 0, not {scale}.")
        picture = scaled_field(image, scale, FieldSpec(erythrocyte_px=_ERYTHROCYTE_PX))
        density = -np.log((picture.astype(np.float32) + 1) / (WHITE + 1))
        violet = _violet(density)
        nuclei, platelets, stained = _stained_parts(violet)
        erythrocytes = _parted(_cells(density) & ~stained)
        factors = np.tile((image.shape[1] / picture.shape[1], image.shape[0] / picture.shape[0]), 2)
        parts = (erythrocytes, nuclei, platelets)
        boxes = np.concatenate([np.asarray(part, np.float64).reshape(-1, 4) for part in parts])
        kinds = np.repeat(np.arange(len(CELL_KINDS)), [len(part) for part in parts])
        limits = np.asarray(image.shape[1::-1] * 2, np.float64)
        return Detections(
            np.clip(boxes * factors, 0, limits).astype(np.float32), np.ones(len(boxes), np.float32),
            kinds.astype(np.int64),
        )  # fmt: skip


def _violet(density: npt.NDArray[np.float32]) -> Mask:
    """Say where the stain is violet as chromatin is: much denser in red than in blue."""
    from skimage.filters import gaussian, threshold_otsu

    contrast = gaussian(density[..., 0] - density[..., 2], 1.0)
    limit = float(threshold_otsu(contrast)) if np.ptp(contrast) > 0 else _LEAST_VIOLET
    return np.asarray(contrast > min(max(limit, _VIOLET), 2 * _LEAST_VIOLET))


def _cells(density: npt.NDArray[np.float32]) -> Mask:
    """Say where the picture is denser than the empty slide, pale middles of erythrocytes filled."""
    from scipy.ndimage import binary_fill_holes
    from skimage.filters import gaussian, threshold_otsu
    from skimage.morphology import disk, opening

    green = gaussian(density[..., 1], 1.0)
    limit = float(threshold_otsu(green)) if np.ptp(green) > 0 else _LEAST_DENSITY
    # Otsu's limit lies too high where dark nuclei pull it up.
    limit = max(_LEAST_DENSITY, min(limit, 0.5 * float(np.percentile(green, 90))))
    return np.asarray(opening(binary_fill_holes(green > limit), disk(2)), bool)


def _stained_parts(violet: Mask) -> tuple[list[Any], list[Any], Mask]:
    """Sort violet parts by size into leukocytes and platelets; returns boxes of both and all that they cover."""
    from scipy.ndimage import binary_fill_holes
    from skimage.measure import label, regionprops
    from skimage.morphology import closing, dilation, disk

    nuclei, platelets = [], []
    covered = np.zeros_like(violet)
    for part in regionprops(label(binary_fill_holes(closing(violet, disk(3))))):
        share = part.area / _AREA
        top, left, bottom, right = part.bbox
        if share >= _NUCLEUS:
            extra_x, extra_y = _CYTOPLASM * (right - left), _CYTOPLASM * (bottom - top)
            nuclei.append((left - extra_x, top - extra_y, right + extra_x, bottom + extra_y))
        elif _PLATELET[0] <= share <= _PLATELET[1]:
            platelets.append((left, top, right, bottom))
        if share >= _PLATELET[0]:
            covered[top:bottom, left:right] |= part.image
    return nuclei, platelets, np.asarray(dilation(covered, disk(4)), bool)


def _parted(cells: Mask) -> list[Any]:
    """Part touching cells by a watershed from the middles of their discs; returns boxes."""
    from scipy.ndimage import distance_transform_edt
    from skimage.feature import peak_local_max
    from skimage.filters import gaussian
    from skimage.measure import label, regionprops
    from skimage.segmentation import watershed

    # Cells that the border cuts are deepest at the border: it is no outline.
    depth = gaussian(distance_transform_edt(np.pad(cells, 1, mode="edge"))[1:-1, 1:-1], 1.5)
    seeds = np.zeros(cells.shape, np.int32)
    peaks = peak_local_max(
        depth, min_distance=round(_SEED_DISTANCE * _ERYTHROCYTE_PX), threshold_abs=0.2 * _ERYTHROCYTE_PX,
        labels=label(cells), exclude_border=False,
    )  # fmt: skip
    seeds[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    boxes = []
    for part in regionprops(watershed(-depth, seeds, mask=cells)):
        if part.area >= _LEAST_CELL * _AREA:
            top, left, bottom, right = part.bbox
            boxes.append((left, top, right, bottom))
    return boxes

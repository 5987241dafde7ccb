"""Erythrocytes are the ruler: their median diameter says how large a pixel is.

An erythrocyte of a healthy adult is about 7.5 micrometers wide on a stained smear (7 to 8: Dacie and Lewis, "Practical
Haematology", 12th edition 2017, chapter 5), and hardly any other cell varies so little. The detector finds them, which
needs the right scale, which needs them: a first guess comes from the lengths of stained runs in the rows of the field,
and is corrected until what is found is as wide as what the detector was trained on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from corpuscle.errors import UsageError
from corpuscle.prediction.tiling import ArraySource, Detector, FieldSource, detect_everywhere
from corpuscle.records import CELL_KINDS, Detections, Ruler

__all__ = ["ERYTHROCYTE_UM", "FEWEST_ERYTHROCYTES", "Measured", "measure_field"]

ERYTHROCYTE_UM = 7.5
"""Median diameter of an erythrocyte on a smear, in micrometers."""

FEWEST_ERYTHROCYTES = 4
"""With fewer whole erythrocytes their median is no ruler."""

Image8 = npt.NDArray[np.uint8]
_ERYTHROCYTE = CELL_KINDS.index("erythrocyte")
_NEAR_ENOUGH = math.log(1.2)
_TRUSTED_SCORE = 0.3
_LADDER = (0.7, 1.4, 0.5, 2.0)
_FARTHEST = 2.2
"""Largest error of the first guess, as a factor; on 300 fields of two laboratories it was 2.1."""

_ROUNDS = 4
_WORK_PX = 400
_GUESS_PX = 1600
_WINDOW_PX = 4096
_LOOKS = 2
_LEAST_CONTRAST = 8.0
_CHORD = math.sqrt(3) / 2
"""Median length of a random row through a disc, in diameters."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A field's ruler, and what was found in all of the field at its scale."""

    ruler: Ruler
    detections: Detections


@dataclass(frozen=True, slots=True)
class _Probe:
    """What a detector found of a part of the field at one scale."""

    scale: float
    detections: Detections
    size_px: tuple[int, int]
    diameter_px: float
    count: int
    covered: float

    def misfit(self, erythrocyte_px: float) -> float:
        """Return how far the found erythrocytes are from the size they should have, as a logarithm."""
        return math.log(self.diameter_px * self.scale / erythrocyte_px) if self.count else math.inf


def measure_field(detector: Detector, source: FieldSource, *, um_per_px: float = 0.0) -> Measured:
    """Find the scale at which a field is to be detected, and its cells at that scale.

    Args:
        detector: What finds cells.
        source: The field.
        um_per_px: Micrometers a pixel is wide; measured by the erythrocytes if 0.

    Raises:
        UsageError: `um_per_px` is no possible size of a pixel.
    """
    if um_per_px:
        if not (math.isfinite(um_per_px) and 0.005 <= um_per_px <= 4):
            raise UsageError(
                f"A pixel of {um_per_px} micrometers shows no blood cell. Give a size between 0.005 and 4, or none."
            )
        scale = detector.erythrocyte_px * um_per_px / ERYTHROCYTE_UM
        found = detect_everywhere(detector, source, scale=scale)
        diameter, count, _ = _erythrocytes(found, source.width_px, source.height_px)
        return Measured(Ruler(um_per_px, scale, "given", count, _doubt(um_per_px, diameter, count)), found)
    return _measured_by_cells(detector, source)


def _measured_by_cells(detector: Detector, source: FieldSource) -> Measured:
    target = detector.erythrocyte_px
    window = _middle(source, _WINDOW_PX)
    guess = _first_guess(window, target)
    probes = [_probe(detector, window, guess)]
    while len(probes) < _ROUNDS and not _fits(probes[-1], target) and probes[-1].count >= FEWEST_ERYTHROCYTES:
        probes.append(_probe(detector, window, _corrected(probes[-1], guess, target)))
    if not _fits(probes[-1], target):
        for step in _LADDER:
            probes.append(_probe(detector, window, guess * step))
            if probes[-1].count >= FEWEST_ERYTHROCYTES and not _fits(probes[-1], target):
                probes.append(_probe(detector, window, _corrected(probes[-1], guess, target)))
    fitting = [probe for probe in probes if _fits(probe, target)]
    if not fitting:
        return _unmeasured(detector, source, probes)
    # A detector may find a few cells of the right size in what is none; at the right scale they cover more.
    best = max(fitting, key=lambda probe: probe.covered)
    ruler = Ruler(ERYTHROCYTE_UM / best.diameter_px, best.scale, "erythrocytes", best.count)
    return Measured(ruler, _all_cells(detector, source, best))


def _fits(probe: _Probe, target: float) -> bool:
    """Say whether a detector saw erythrocytes, and at about the size that it knows."""
    return probe.count >= FEWEST_ERYTHROCYTES and abs(probe.misfit(target)) <= _NEAR_ENOUGH


def _corrected(probe: _Probe, guess: float, target: float) -> float:
    """Return the scale at which a probe's erythrocytes would be of the right size, not too far from the guess."""
    wanted = probe.scale * math.exp(-probe.misfit(target))
    return min(max(wanted, guess / _FARTHEST), guess * _FARTHEST)


def _unmeasured(detector: Detector, source: FieldSource, probes: list[_Probe]) -> Measured:
    """Detect at the first guess, and say that there was no ruler."""
    first = probes[0]
    most = max(probe.count for probe in probes)
    note = (
        f"Only {most} whole erythrocytes were found, too few to tell the magnification by. "
        "Give the size of a pixel (--um-per-px) if you know it."
    )
    if most >= FEWEST_ERYTHROCYTES:
        note = (
            "The erythrocytes that were found do not agree in size with the magnification. "
            "Give the size of a pixel (--um-per-px) if you know it."
        )
    return Measured(Ruler(0.0, first.scale, "guess", most, note), _all_cells(detector, source, first))


def _doubt(um_per_px: float, diameter_px: float, count: int) -> str:
    """Say so where the erythrocytes contradict the given size of a pixel."""
    if count < FEWEST_ERYTHROCYTES:
        return ""
    diameter = diameter_px * um_per_px
    if 0.7 * ERYTHROCYTE_UM <= diameter <= 1.4 * ERYTHROCYTE_UM:
        return ""
    return (
        f"With {um_per_px:g} micrometers a pixel the median erythrocyte is {diameter:.1f} micrometers wide, which is "
        "not usual. Check the size of a pixel."
    )


def _middle(source: FieldSource, side_px: int) -> ArraySource:
    """Return the middle of a field, all of it where it is no larger."""
    width, height = min(source.width_px, side_px), min(source.height_px, side_px)
    left, top = (source.width_px - width) // 2, (source.height_px - height) // 2
    return ArraySource(source.read(left, top, width, height))


def _probe(detector: Detector, window: ArraySource, scale: float) -> _Probe:
    """Detect in the middle of a window, in no more than a few looks."""
    part = _middle(window, max(1, round(_LOOKS * detector.max_side_px / scale)))
    found = detect_everywhere(detector, part, scale=scale)
    return _Probe(scale, found, (part.width_px, part.height_px), *_erythrocytes(found, part.width_px, part.height_px))


def _all_cells(detector: Detector, source: FieldSource, probe: _Probe) -> Detections:
    """Return the cells of all of a field; those of the probe where it saw all."""
    if probe.size_px == (source.width_px, source.height_px):
        return probe.detections
    return detect_everywhere(detector, source, scale=probe.scale)


def _erythrocytes(found: Detections, width: int, height: int) -> tuple[float, int, float]:
    """Return median diameter and number of the whole erythrocytes, and the share of the field that all cover."""
    boxes = found.boxes[(found.kinds == _ERYTHROCYTE) & (found.scores >= _TRUSTED_SCORE)].astype(np.float64)
    sides = boxes[:, 2:] - boxes[:, :2]
    covered = float(sides.prod(axis=1).sum()) / (width * height)
    inside = (boxes[:, :2] > 1).all(axis=1) & (boxes[:, 2] < width - 1) & (boxes[:, 3] < height - 1)
    diameters = np.sqrt(sides[inside].prod(axis=1))
    return (float(np.median(diameters)) if len(diameters) else 0.0), len(diameters), min(covered, 1.0)


def _first_guess(window: ArraySource, target: float) -> float:
    """Guess the scale from the median length of the runs of stained pixels in the rows and columns of a field."""
    window = _middle(window, _GUESS_PX)
    longest = max(window.width_px, window.height_px)
    factor = max(1, round(longest / _WORK_PX))
    green = np.asarray(Image.fromarray(window.image).getchannel("G").reduce(factor), np.float32)
    stained = green < _otsu(green)
    if not stained.any() or stained.all() or green[~stained].mean() - green[stained].mean() < _LEAST_CONTRAST:
        return min(1.0, 2 * _WORK_PX / longest)
    lengths = np.concatenate([_runs(stained), _runs(stained.T)])
    # Short runs are grain and the rims of pale centers; a run counts by its length, as a cell does by its width.
    lengths = lengths[lengths >= 3]
    if not len(lengths):
        return min(1.0, 2 * _WORK_PX / longest)
    order = np.sort(lengths)
    weight = np.cumsum(order)
    median = float(order[np.searchsorted(weight, weight[-1] / 2)])
    scale = target * _CHORD / (median * factor)
    return float(min(max(scale, 2 * target / longest, 1 / 64), 8.0))


def _runs(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Return the lengths of the runs of true values inside each row that touch neither end of it."""
    padded = np.pad(mask, ((0, 0), (1, 1))).astype(np.int8)
    change = np.diff(padded, axis=1)
    begin, end = np.nonzero(change == 1), np.nonzero(change == -1)
    inside = (begin[1] > 0) & (end[1] < mask.shape[1])
    return np.asarray((end[1] - begin[1])[inside], np.int64)


def _otsu(values: npt.NDArray[np.float32]) -> float:
    """Return the threshold that parts dark from light best (Otsu 1979, doi 10.1109/TSMC.1979.4310076)."""
    counts = np.bincount(values.astype(np.int64).ravel(), minlength=256)[:256].astype(np.float64)
    below = np.cumsum(counts)
    sums = np.cumsum(counts * np.arange(256))
    total, whole = below[-1], sums[-1]
    with np.errstate(divide="ignore", invalid="ignore"):
        between = (whole * below - sums * total) ** 2 / (below * (total - below))
    return float(np.nanargmax(np.where(np.isfinite(between), between, 0))) + 1

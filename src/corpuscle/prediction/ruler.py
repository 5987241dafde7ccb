"""Erythrocytes are the ruler: their median diameter says how large a pixel is.

An erythrocyte of a healthy adult is about 7.5 micrometers wide on a stained smear (7 to 8: Dacie and Lewis, "Practical
Haematology", 12th edition 2017, chapter 5), and hardly any other cell varies so little. The detector finds them, which
needs the right scale, which needs them: a first guess comes from the lengths of stained runs in the field, without the
network, and all of the field is looked at by it. In nine fields of ten the erythrocytes found there agree, and that
look is the answer; else the scale is corrected until what is found is as wide as what the detector was trained on. At a
wrong scale a detector may find cells of the size that it expects in what is none, so the boxes must also cover what is
stained, and little else; where they do not, a ladder of scales is tried and the one that explains most of the field is
taken. The fields of one smear are as a rule taken alike, so that one with too few erythrocytes may borrow the ruler of
the others.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from corpuscle.errors import UsageError
from corpuscle.prediction.stain_map import StainMap, find_stain, stained_diameter
from corpuscle.prediction.tiling import ArraySource, Detector, FieldSource, detect_everywhere
from corpuscle.records import CELL_KINDS, Detections, Ruler

__all__ = ["ERYTHROCYTE_UM", "FEWEST_ERYTHROCYTES", "Measured", "measure_field", "usual_size"]

ERYTHROCYTE_UM = 7.5
"""Median diameter of an erythrocyte on a smear, in micrometers."""

FEWEST_ERYTHROCYTES = 4
"""With fewer whole erythrocytes their median is no ruler."""

Image8 = npt.NDArray[np.uint8]
_ERYTHROCYTE = CELL_KINDS.index("erythrocyte")
_NEAR_ENOUGH = math.log(1.2)
_NEAR_GUESS = math.log(1.5)
"""Runs of stain and erythrocytes found are two witnesses; on 300 fields of two laboratories 19 of 20 agree this far."""

_SOME = 0.2
_AGREES = 0.5
_EXPLAINS = 0.3
_FEWEST_FIELDS = 2
_ALIKE = math.log(1.25)
_MOST = 0.7
_SPREAD = 0.35
_TRUSTED_SCORE = 0.3
_RUNG = 1.4
_LOOKED_AT = math.log(1.1)
_SMALLEST_PX = 10
_LADDER_LOOK_PX = 640
_ROUNDS = 3
_GUESS_PX = 1600
_UNSTAINED_PX = 800
_WINDOW_PX = 4096
_LOOKS = 2


@dataclass(frozen=True, slots=True)
class Measured:
    """A field's ruler, and what was found in all of the field at its scale."""

    ruler: Ruler
    detections: Detections


class _Window:
    """The part of a field that the ruler is taken from; knows what is stained in it."""

    def __init__(self, source: ArraySource) -> None:
        self.source = source
        self.size_px = (source.width_px, source.height_px)
        self._stains: dict[tuple[int, int], StainMap] = {}

    def part(self, size_px: tuple[int, int]) -> ArraySource:
        """Return its middle."""
        return self.source if size_px == self.size_px else _middle(self.source, max(size_px))

    def stain(self, size_px: tuple[int, int]) -> StainMap:
        """Say what is stained in its middle."""
        if size_px not in self._stains:
            self._stains[size_px] = find_stain(self.part(size_px).picture)
        return self._stains[size_px]

    def first_guess(self, target: float) -> float:
        """Guess the scale without the network."""
        size_px = (min(self.size_px[0], _GUESS_PX), min(self.size_px[1], _GUESS_PX))
        diameter, self._stains[size_px] = stained_diameter(self.part(size_px).picture)
        longest = max(size_px)
        if not diameter:
            return min(1.0, _UNSTAINED_PX / longest)
        return float(min(max(target / diameter, 2 * target / longest, 1 / 64), 8.0))


@dataclass(frozen=True, slots=True)
class _Probe:
    """What a detector found of a part of the field at one scale."""

    scale: float
    detections: Detections
    size_px: tuple[int, int]
    diameter_px: float
    count: int
    agreement: float

    def misfit(self, erythrocyte_px: float) -> float:
        """Return how far the found erythrocytes are from the size they should have, as a logarithm."""
        return math.log(self.diameter_px * self.scale / erythrocyte_px) if self.count else math.inf

    def worth(self, erythrocyte_px: float) -> float:
        """Return how well this scale explains the field, from 0 to 1: in size and in what is stained."""
        return self.agreement * math.exp(-((self.misfit(erythrocyte_px) / _SPREAD) ** 2) / 2)


def measure_field(
    detector: Detector, source: FieldSource, *, um_per_px: float = 0.0, usual_um_per_px: float = 0.0
) -> Measured:
    """Find the scale at which a field is to be detected, and its cells at that scale.

    Args:
        detector: What finds cells.
        source: The field.
        um_per_px: Micrometers a pixel is wide; measured by the erythrocytes if 0.
        usual_um_per_px: What the other fields of the smear say, for a field that cannot tell; 0 if they do not.

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
        diameter, count = _erythrocytes(found, source.width_px, source.height_px)
        return Measured(Ruler(um_per_px, scale, "given", count, _doubt(um_per_px, diameter, count)), found)
    return _measured_by_cells(detector, source, usual_um_per_px)


def usual_size(sizes: Sequence[float]) -> float:
    """Return the size of a pixel on which the fields of a smear agree, 0 if they do not.

    Args:
        sizes: Micrometers a pixel is wide, of fields that could tell.
    """
    if len(sizes) < _FEWEST_FIELDS:
        return 0.0
    middle = float(np.median(sizes))
    alike = np.mean(np.abs(np.log(np.asarray(sizes) / middle)) < _ALIKE)
    return middle if alike >= _MOST else 0.0


def _measured_by_cells(detector: Detector, source: FieldSource, usual_um_per_px: float) -> Measured:
    target = detector.erythrocyte_px
    window = _Window(_middle(source, _WINDOW_PX))
    probes: list[_Probe] = []
    usual = target * usual_um_per_px / ERYTHROCYTE_UM
    guess = scale = window.first_guess(target)
    for _ in range(_ROUNDS):
        probes.append(_probe(detector, window, scale))
        last = probes[-1]
        if last.count < FEWEST_ERYTHROCYTES or abs(last.misfit(target)) <= _NEAR_ENOUGH:
            break
        scale = last.scale * math.exp(-last.misfit(target))
    best = probes[-1]
    few = best.count < FEWEST_ERYTHROCYTES
    # Who looks for cells at a wrong scale finds some there too, so the stain must agree: in its area, or in its runs.
    agrees = best.agreement >= (_SOME if abs(math.log(best.scale / guess)) <= _NEAR_GUESS else _AGREES)
    accepted = _fits(best, target) and agrees
    if not accepted and not (few and usual):
        best = _best_of_ladder(detector, window, probes)
    if not accepted and (best.count < FEWEST_ERYTHROCYTES or best.agreement < _EXPLAINS):
        if usual:
            return _borrowed(detector, source, usual, usual_um_per_px)
        return _unmeasured(detector, source, best)
    found = _all_cells(detector, source, best)
    return Measured(Ruler(ERYTHROCYTE_UM / best.diameter_px, best.scale, "erythrocytes", best.count), found)


def _fits(probe: _Probe, target: float) -> bool:
    return probe.count >= FEWEST_ERYTHROCYTES and abs(probe.misfit(target)) <= _NEAR_ENOUGH


def _best_of_ladder(detector: Detector, window: _Window, probes: list[_Probe]) -> _Probe:
    """Try all scales at which an erythrocyte has 10 px and fits into the field; return the one that explains most."""
    target = detector.erythrocyte_px
    scale = target / _SMALLEST_PX
    smallest = min(scale, target / max(_SMALLEST_PX, 0.8 * min(window.size_px)))
    while scale >= smallest:
        if not any(abs(math.log(probe.scale / scale)) < _LOOKED_AT for probe in probes):
            probes.append(_probe(detector, window, scale, look_px=_LADDER_LOOK_PX))
        scale /= _RUNG
    best = max(probes, key=lambda probe: probe.worth(target))
    for _ in range(_ROUNDS):
        fits = abs(best.misfit(target)) <= _NEAR_ENOUGH or not best.count
        if fits and best.size_px == _look(detector, window, best.scale):
            break
        again = _probe(detector, window, best.scale if fits else best.scale * math.exp(-best.misfit(target)))
        if not fits and again.worth(target) < best.worth(target):
            break
        best = again
    return best


def _borrowed(detector: Detector, source: FieldSource, scale: float, um_per_px: float) -> Measured:
    """Detect at the scale of the other fields of the smear."""
    found = detect_everywhere(detector, source, scale=scale)
    count = _erythrocytes(found, source.width_px, source.height_px)[1]
    return Measured(Ruler(um_per_px, scale, "smear", count), found)


def _unmeasured(detector: Detector, source: FieldSource, best: _Probe) -> Measured:
    """Detect at the scale that explains most, and say that there was no ruler."""
    found = _all_cells(detector, source, best)
    note = (
        f"Only {best.count} whole erythrocytes were found, too few to tell the magnification by. "
        if best.count < FEWEST_ERYTHROCYTES
        else "What was found covers too little of what is stained to tell the magnification by. "
    ) + "Give the size of a pixel (--um-per-px) if you know it."
    return Measured(Ruler(0.0, best.scale, "guess", best.count, note), found)


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
    if isinstance(source, ArraySource):
        return source.part(left, top, width, height)
    return ArraySource(source.read(left, top, width, height))


def _look(detector: Detector, window: _Window, scale: float, look_px: int = 0) -> tuple[int, int]:
    """Return width and height of the part of a window that a probe sees: all if a few looks do, else one look."""
    width, height = window.size_px
    if not look_px:
        few = max(width, height) * scale <= _LOOKS * detector.max_side_px
        look_px = (_LOOKS if few else 1) * detector.max_side_px
    side = max(1, round(look_px / scale))
    return min(width, side), min(height, side)


def _probe(detector: Detector, window: _Window, scale: float, *, look_px: int = 0) -> _Probe:
    """Detect in the middle of a window, and compare what was found with what is stained."""
    size = _look(detector, window, scale, look_px)
    found = detect_everywhere(detector, window.part(size), scale=scale)
    diameter, count = _erythrocytes(found, *size)
    agreement = window.stain(size).agreement(found.boxes[found.scores >= _TRUSTED_SCORE])
    return _Probe(scale, found, size, diameter, count, agreement)


def _all_cells(detector: Detector, source: FieldSource, probe: _Probe) -> Detections:
    """Return the cells of all of a field; those of the probe where it saw all."""
    if probe.size_px == (source.width_px, source.height_px):
        return probe.detections
    return detect_everywhere(detector, source, scale=probe.scale)


def _erythrocytes(found: Detections, width: int, height: int) -> tuple[float, int]:
    """Return the diameter and the number of the erythrocytes that lie whole in the field.

    The diameter is the median of the surer half of them, of four at least: what lies alone is seen whole, of what
    overlaps a part may be boxed.
    """
    trusted = (found.kinds == _ERYTHROCYTE) & (found.scores >= _TRUSTED_SCORE)
    boxes, scores = found.boxes[trusted].astype(np.float64), found.scores[trusted]
    sides = boxes[:, 2:] - boxes[:, :2]
    inside = (boxes[:, :2] > 1).all(axis=1) & (boxes[:, 2] < width - 1) & (boxes[:, 3] < height - 1)
    diameters = np.sqrt(sides[inside].prod(axis=1))
    surest = np.argsort(-scores[inside], kind="stable")[: max(FEWEST_ERYTHROCYTES, len(diameters) // 2)]
    return (float(np.median(diameters[surest])) if len(diameters) else 0.0), len(diameters)

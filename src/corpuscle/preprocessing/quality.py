"""Whether a picture is good enough to be judged: light, stain, focus, grain, and whether the cell is all there.

Everything is measured on the crop that the network sees, in which every cell has about the same size, so that the
limits hold for every magnification. The limits are constants: they were chosen on the validation splits of PBC and
BCCD, of which they refuse 0.1 % and 2 %, and on the same pictures blurred, darkened and cut on purpose.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from corpuscle.records import Framing

__all__ = ["LIMITS", "Quality", "QualityLimits", "faults", "measure_quality", "remarks"]

_BORDER = 0.1
_LEAST_SIDE_PX = 128
_BURNT_LIGHT = 254.0
_WHITE_BALANCED = 240


@dataclass(frozen=True, slots=True)
class Quality:
    """What was measured of one picture.

    Attributes:
        light: Value of the empty slide in the given picture, in its darkest channel, in [0, 255].
        burnt: Share of the crop that is pure white, in [0, 1]; 0 where the empty slide is not.
        contrast: Standard deviation of the green channel over the crop, in grey values.
        focus: Standard deviation of the Laplacian at half resolution over `contrast`: fine detail for each grey value
            of contrast, whatever the stain; 0 without contrast, None in crops of less than 128 pixels.
        grain: The same at full resolution, where a cell has hardly any detail and noise has most.
        reach: Distance of the cell's center from the border of the picture, in sides of the frame; a cell that is all
            in the picture has 0.28 or more.
    """

    light: float
    burnt: float
    contrast: float
    focus: float | None
    grain: float | None
    reach: float


@dataclass(frozen=True, slots=True)
class QualityLimits:
    """Beyond which measures a picture is refused, and from which on a remark is made.

    Attributes:
        least_light: Refuse pictures darker than this: fewer than 40 of 256 grey values are left to tell cells apart by.
        least_contrast: Refuse pictures that are more even than this.
        least_focus: Refuse pictures that are more blurred than this.
        most_grain: Refuse pictures that are noisier than this.
        least_reach: Refuse cells whose center is nearer to the border than this.
        soft_focus: Remark that the picture is blurred below this.
        whole_reach: Remark that the cell is cut below this.
        most_burnt: Remark that the picture is overexposed above this.
    """

    least_light: float = 40.0
    least_contrast: float = 10.0
    least_focus: float = 0.06
    most_grain: float = 0.9
    least_reach: float = 0.14
    soft_focus: float = 0.1
    whole_reach: float = 0.25
    most_burnt: float = 0.05


LIMITS = QualityLimits()
"""The limits that every bundle is used with."""


def measure_quality(crop: npt.NDArray[np.uint8], framing: Framing) -> Quality:
    """Measure one picture.

    Args:
        crop: SxSx3 uint8 RGB as the network sees it, S of 8 or more.
        framing: What it shows of its picture, with the light of the empty slide and the reach.
    """
    side = len(crop)
    edge = int(_BORDER * side)
    length = (side - 2 * edge) // 2 * 2
    fine = crop[edge : edge + length, edge : edge + length, 1].astype(np.float32)
    contrast = float(fine[::2, ::2].std())
    burnt, focus, grain = 0.0, None, None
    if side >= _LEAST_SIDE_PX:
        coarse = 0.25 * (fine[::2, ::2] + fine[1::2, ::2] + fine[::2, 1::2] + fine[1::2, 1::2])
        focus = _roughness(coarse) / contrast if contrast > 0 else 0.0
        grain = _roughness(fine) / contrast if contrast > 0 else 0.0
    if framing.light >= _BURNT_LIGHT:
        burnt = float((crop[::2, ::2].min(axis=2) >= _WHITE_BALANCED).mean())
    return Quality(framing.light, burnt, contrast, focus, grain, framing.reach)


def _roughness(plane: npt.NDArray[np.float32]) -> float:
    """Root mean square of the Laplacian of a plane, whose mean is all but 0."""
    inner = 4 * plane[1:-1, 1:-1]
    inner -= plane[:-2, 1:-1]
    inner -= plane[2:, 1:-1]
    inner -= plane[1:-1, :-2]
    inner -= plane[1:-1, 2:]
    flat = inner.ravel()
    return float(np.sqrt(flat @ flat / max(1, flat.size)))


def faults(quality: Quality, limits: QualityLimits = LIMITS) -> tuple[str, ...]:
    """Say why a picture cannot be judged; empty where it can."""
    found = []
    if quality.light < limits.least_light:
        found.append("too dark")
    if quality.contrast < limits.least_contrast:
        found.append("nothing stained here")
    elif quality.focus is not None and quality.focus < limits.least_focus:
        found.append("too blurred")
    elif quality.grain is not None and quality.grain > limits.most_grain:
        found.append("too grainy")
    if quality.reach < limits.least_reach:
        found.append("the cell is cut off by the border of the picture")
    return tuple(found)


def remarks(quality: Quality, limits: QualityLimits = LIMITS) -> tuple[str, ...]:
    """Say what makes a picture harder to judge without forbidding it."""
    found = []
    soft = quality.focus is not None and limits.least_focus <= quality.focus < limits.soft_focus
    if soft and quality.contrast >= limits.least_contrast:
        found.append("somewhat blurred")
    if quality.burnt > limits.most_burnt:
        found.append("overexposed: parts are pure white")
    if limits.least_reach <= quality.reach < limits.whole_reach:
        found.append("the cell may reach beyond the picture")
    return tuple(found)

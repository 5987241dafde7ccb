"""Where in the picture the features of a network really look.

A strided convolution with padding centers its windows on even pixels, so the grid of the last features lies up to half
a place beside a grid that divides the picture evenly. In the shipped network that is 5 % of the judged square: enough
to show the evidence of a platelet beside the platelet. The shift is measured on drawn discs when a network is opened.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from corpuscle.preprocessing.transforms import WHITE, PreprocessingSpec, to_batch

__all__ = ["Shift", "align", "measure_shift"]

Floats = npt.NDArray[np.float32]
Shift = tuple[float, float]
"""How far down and right features show what they see, as shares of the side of the input."""

_RADII = (0.12, 0.2, 0.28)
_INK = (90, 50, 130)
_MOST = 0.1


def measure_shift(run: Callable[[Floats], Floats], spec: PreprocessingSpec) -> Shift:
    """Measure the shift on discs around the middle of an empty slide.

    Args:
        run: From a batch (Nx3xSxS float32) to features (NxDxhxw float32).
        spec: The network's preprocessing.

    Returns:
        The mean shift, down and right; (0, 0) where the features do not change.
    """
    side = spec.input_px
    step = side / 20
    centers = [(side / 2 + down * step, side / 2 + right * step) for down in (-1, 1) for right in (-1, 1)]
    crops = np.full((1 + len(_RADII) * len(centers), side, side, 3), WHITE, np.uint8)
    rows, columns = np.mgrid[:side, :side] + 0.5
    places = [(center, radius) for radius in _RADII for center in centers]
    for crop, ((y, x), radius) in zip(crops[1:], places, strict=True):
        crop[np.hypot(rows - y, columns - x) < radius * side] = _INK
    features = run(to_batch(crops, spec))
    change = ((features[1:] - features[:1]) ** 2).sum(axis=1).astype(np.float64)
    total = change.sum(axis=(1, 2))
    if not (total > 0).all():
        return 0.0, 0.0
    found = []
    for axis in (0, 1):
        profile = change.sum(axis=2 - axis) / total[:, None]
        middle = (np.arange(profile.shape[1]) + 0.5) / profile.shape[1]
        true = np.asarray([center[axis] for center, _ in places]) / side
        found.append(float(np.clip((profile @ middle - true).mean(), -_MOST, _MOST)))
    return found[0], found[1]


def align(maps: Floats, shift: Shift) -> Floats:
    """Move maps (Nxhxw float32) back by a shift, with linear interpolation; the border is continued outwards."""
    for axis, share in ((1, shift[0]), (2, shift[1])):
        size = maps.shape[axis]
        place = np.clip(np.arange(size) + share * size, 0, size - 1)
        below = np.minimum(place.astype(np.int64), max(size - 2, 0))
        part = (place - below).astype(np.float32)
        shape = (1, size, 1) if axis == 1 else (1, 1, size)
        above = np.minimum(below + 1, size - 1)
        weight = part.reshape(shape)
        maps = maps.take(below, axis=axis) * (1 - weight) + maps.take(above, axis=axis) * weight
    return np.asarray(maps, np.float32)

"""Points of a small gray picture that can be found again after the picture was shifted, turned or mirrored.

Points are the extrema of a difference of Gaussians (Lowe 2004, International Journal of Computer Vision 60, 91-110) at
one scale, because pictures of one data set share their magnification. The direction of a point is that of the center
of mass of the disc around it (Rublee et al. 2011, "ORB", ICCV, section 4.1), and its description is that disc, sampled
along this direction and once more mirrored.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["BLACK", "FILL", "MARGIN_PX", "Keypoints", "band_pass", "find_keypoints"]

Stack = NDArray[np.float32]

MARGIN_PX: Final = 13
"""Points nearer than this to the border, or to black fill, have no whole disc around them and are not used."""

BLACK: Final = 8
"""Gray values up to this are taken for the fill that turning a picture leaves; stained blood is never so dark."""

FILL: Final = -128
"""Value that `band_pass` gives to pixels of or beside black fill."""

_RADIUS_PX: Final = 11.0
_STEP_PX: Final = 1.5
_FINE_PX: Final = 1.5
_COARSE_PX: Final = 2.5
_RIVAL_PX: Final = 3
_LEAST_CONTRAST: Final = 0.8
_CUT: Final = 7


@dataclass(frozen=True, slots=True)
class Keypoints:
    """Points of several pictures.

    Attributes:
        picture: Which picture of the stack, shape (n,), int64.
        x: Column, shape (n,), float32, pixels.
        y: Row, likewise.
        angle: Direction, shape (n,), float32, radians from the x axis towards the y axis.
        brightness: Mean gray value of the disc, shape (n,), float32, in 0..255.
        discs: The disc along its direction, shape (n, samples), float16, mean 0 and norm 1.
        mirrored: The same after mirroring the picture at the point's direction.
    """

    picture: NDArray[np.int64]
    x: NDArray[np.float32]
    y: NDArray[np.float32]
    angle: NDArray[np.float32]
    brightness: NDArray[np.float32]
    discs: NDArray[np.float16]
    mirrored: NDArray[np.float16]

    def of_pictures(self, numbers: NDArray[np.int64]) -> Keypoints:
        """Return the same points with the picture numbers of the stack replaced by those of the whole set."""
        return replace(self, picture=numbers[self.picture])


def find_keypoints(stack: Stack, count: int) -> Keypoints:
    """Find the points with the strongest contrast.

    Args:
        stack: Gray pictures of one size, shape (n, height, width), float32 in 0..255.
        count: How many points to keep of each picture, at most.

    Returns:
        The points of all pictures; none where a picture is smaller than two margins or has no contrast.
    """
    _, height, width = stack.shape
    fine = _blur(stack, _FINE_PX)
    strength = np.abs(_blur(fine, float(np.sqrt(_COARSE_PX**2 - _FINE_PX**2))) - fine)
    usable = np.zeros(stack.shape, dtype=bool)
    usable[:, MARGIN_PX : height - MARGIN_PX, MARGIN_PX : width - MARGIN_PX] = True
    usable &= strength >= np.maximum(_largest_around(strength, _RIVAL_PX), _LEAST_CONTRAST)
    black = (stack <= BLACK).astype(np.float32)
    if black.any():
        usable &= _largest_around(black, MARGIN_PX) == 0
    scores = np.where(usable, strength, 0).reshape(len(stack), -1)
    kept = min(count, scores.shape[1])
    best = np.argpartition(-scores, kept - 1, axis=1)[:, :kept]
    picture, rank = np.nonzero(np.take_along_axis(scores, best, axis=1) > 0)
    y, x = np.divmod(best[picture, rank], width)
    angle, brightness = _directions(fine, picture, y, x)
    smooth = _blur(stack, 0.8)
    return Keypoints(
        picture=picture.astype(np.int64),
        x=x.astype(np.float32),
        y=y.astype(np.float32),
        angle=angle,
        brightness=brightness,
        discs=_discs(smooth, picture, (x, y), angle, 1.0),
        mirrored=_discs(smooth, picture, (x, y), angle, -1.0),
    )


def band_pass(stack: Stack) -> NDArray[np.int8]:
    """Keep the details of pictures between pixel noise and shading, so that only equal scenes correlate.

    Args:
        stack: Gray pictures, shape (n, height, width), float32 in 0..255.

    Returns:
        Differences from the surroundings in half gray values, same shape, int8; `FILL` marks black fill. They are cut
        at 7 gray values: else the strong outline of a nucleus outweighs all that differs around it, and two round
        nuclei pass for one.
    """
    differences = np.rint(2 * (_blur(stack, 1.0) - _shading(stack)))
    details: NDArray[np.int8] = np.clip(differences, -2 * _CUT, 2 * _CUT).astype(np.int8)
    black = (stack <= BLACK).astype(np.float32)
    if black.any():
        details[_largest_around(black, 5) > 0] = FILL
    return details


def _shifted(stack: Stack, reach: int, axis: int) -> list[Stack]:
    """List views of the pictures moved by -reach..reach pixels along an axis, their border repeated outside."""
    size = stack.shape[axis]
    padded = np.pad(stack, [(reach, reach) if axis == place else (0, 0) for place in range(3)], mode="edge")
    windows = [slice(start, start + size) for start in range(2 * reach + 1)]
    return [padded[:, window] if axis == 1 else padded[:, :, window] for window in windows]


def _blur(stack: Stack, sigma_px: float) -> Stack:
    """Smooth each picture with a Gaussian."""
    reach = int(np.ceil(2.5 * sigma_px))
    weights = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * sigma_px**2))
    weights = (weights / weights.sum()).astype(np.float32)
    for axis in (1, 2):
        total = np.zeros_like(stack)
        for weight, view in zip(weights, _shifted(stack, reach, axis), strict=True):
            total += weight * view
        stack = total
    return stack


def _shading(stack: Stack) -> Stack:
    """Smooth each picture broadly: two running means of 9 px, near a Gaussian of 3.7 px and much faster."""
    reach = 4
    for axis in (1, 2, 1, 2):
        size = stack.shape[axis]
        padded = np.pad(stack, [(reach + 1, reach) if axis == place else (0, 0) for place in range(3)], mode="edge")
        sums = np.cumsum(padded, axis=axis, dtype=np.float32)
        width = 2 * reach + 1
        last, first = slice(width, width + size), slice(0, size)
        means = sums[:, last] - sums[:, first] if axis == 1 else sums[:, :, last] - sums[:, :, first]
        stack = means / np.float32(width)
    return stack


def _largest_around(stack: Stack, reach: int) -> Stack:
    """Give each pixel the largest value in the square of `reach` pixels around it."""
    for axis in (1, 2):
        largest = stack.copy()
        for view in _shifted(stack, reach, axis):
            np.maximum(largest, view, out=largest)
        stack = largest
    return stack


def _grid(step_px: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """List the offsets of a grid inside the disc, x and y."""
    line = np.arange(-_RADIUS_PX, _RADIUS_PX + 1e-6, step_px, dtype=np.float32)
    dy, dx = np.meshgrid(line, line, indexing="ij")
    inside = dx**2 + dy**2 <= _RADIUS_PX**2
    return dx[inside], dy[inside]


def _directions(
    stack: Stack, picture: NDArray[np.int64], y: NDArray[np.int64], x: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Give the direction and the mean brightness of the disc around each point."""
    dx, dy = _grid(1.0)
    values = stack[picture[:, None], y[:, None] + dy.astype(np.int64), x[:, None] + dx.astype(np.int64)]
    brightness = values.mean(axis=1)
    values -= brightness[:, None]
    return np.arctan2(values @ dy, values @ dx), brightness


def _discs(
    stack: Stack,
    picture: NDArray[np.int64],
    center: tuple[NDArray[np.int64], NDArray[np.int64]],
    angle: NDArray[np.float32],
    side: float,
) -> NDArray[np.float16]:
    """Sample the disc along its direction, mirrored at it where `side` is -1."""
    dx, dy = _grid(_STEP_PX)
    cosine, sine = np.cos(angle)[:, None], np.sin(angle)[:, None]
    x = center[0][:, None] + cosine * dx - sine * (side * dy)
    y = center[1][:, None] + sine * dx + cosine * (side * dy)
    left, top = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
    right_share, low_share = (x - left).astype(np.float32), (y - top).astype(np.float32)
    rows = picture[:, None]
    upper = stack[rows, top, left] * (1 - right_share) + stack[rows, top, left + 1] * right_share
    lower = stack[rows, top + 1, left] * (1 - right_share) + stack[rows, top + 1, left + 1] * right_share
    values = upper * (1 - low_share) + lower * low_share
    values -= values.mean(axis=1, keepdims=True)
    normed = values / (np.linalg.norm(values, axis=1, keepdims=True) + np.float32(1e-6))
    short: NDArray[np.float16] = normed.astype(np.float16)
    return short

"""Finds the stained cell at the center of a picture and says which square of it to judge.

People give crops at every magnification and with every margin. A network sees the same cell alike only when the
square that it is shown depends on the cell and not on the file. Nuclei and platelets of every Romanowsky stain
absorb red light, erythrocytes hardly do, so the optical density of the red channel marks what is stained. The
square is placed by the first two moments of that density around the center, found by mean shift (Fukunaga and
Hostetler 1975, doi 10.1109/TIT.1975.1055330) with a window that follows the spread: no labelled mask, no parameter
in pixels, and small changes of the picture move it by little.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from PIL import Image

from corpuscle.errors import UnknownNameError, UsageError
from corpuscle.preprocessing.unlit import with_light
from corpuscle.records import Framing

__all__ = [
    "FRAMINGS",
    "METHODS",
    "FramingSpec",
    "Picture",
    "background_color",
    "frame_cell",
    "frame_center",
    "frame_whole",
    "shape_of",
    "shrink",
]

METHODS = ("cell", "field", "center", "whole")
"""How a bundle may want its pictures framed: the stained cell nearest the center, the most stained one anywhere in a
field, a centered square, or all of the picture."""

FRAMINGS = ("auto", *METHODS)
"""What a user may ask for; `auto` is what the bundle was trained with. `cell` and `field` fall back on `center`."""

Floats = npt.NDArray[np.float32]
Image8 = npt.NDArray[np.uint8]
Picture = Image8 | Image.Image
"""HxWx3 uint8 RGB, as an array or as Pillow holds it in mode RGB: what was just decoded need not be copied."""

_WORK_PX = 96
_ITERATIONS = 12
_MANY_PIXELS = 4096
_LOG = np.log(np.arange(1, 257, dtype=np.float32))
"""Natural logarithm of each 8-bit value plus one."""


@dataclass(frozen=True, slots=True)
class FramingSpec:
    """How a bundle's crops are framed.

    Attributes:
        margin: Side of the square in units of the stained spread (root mean square radius) of the cell.
        center_fraction: Side of the centered square as a fraction of the shorter side of the picture.
        minimum_density: Optical density of the red channel under which nothing counts as stained.
        method: `cell` (the stained cell nearest the center), `field` (the most stained one anywhere), `center` or
            `whole`.
        center_px: Side of the centered square in pixels, no more than the shorter side; 0 for `center_fraction`.
        side_px: Side of the square around a found cell in pixels, where all pictures have one magnification and size
            tells classes apart; 0 for `margin`.
    """

    margin: float = 5.0
    center_fraction: float = 1.0
    minimum_density: float = 0.15
    method: str = "cell"
    center_px: float = 0.0
    side_px: float = 0.0

    def __post_init__(self) -> None:
        """Refuse a frame without area."""
        if self.method not in METHODS:
            raise UnknownNameError("framing method", str(self.method), METHODS)
        for name in ("center_px", "side_px"):
            value = getattr(self, name)
            if not (isinstance(value, (int, float)) and 0 <= value < math.inf):
                raise UsageError(f"The framing needs a {name} of 0 or more, not {value!r}.")
        for name in ("margin", "center_fraction", "minimum_density"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise UsageError(f"The framing needs a {name} above 0, not {value!r}.")


def background_color(image: Image8) -> Floats:
    """Estimate the color of the empty slide.

    Args:
        image: HxWx3 uint8 RGB; a shrunk copy does as well.

    Returns:
        Three float32 in [1, 255]: the median color of the brightest tenth of the pixels, which are plasma wherever
        the picture shows some.
    """
    if image.shape[0] * image.shape[1] > _MANY_PIXELS:  # a quarter of them says the same
        image = image[::2, ::2]
    pixels = image.reshape(-1, 3)
    brightness = pixels[:, 0].astype(np.uint16) + pixels[:, 1] + pixels[:, 2]
    place = int(0.9 * (len(brightness) - 1))
    # Counting the 766 values finds the same place in the order as sorting, in less time.
    limit = np.bincount(brightness, minlength=1).cumsum().searchsorted(place, side="right")
    chosen = pixels[brightness >= limit]
    middle = np.partition(chosen, len(chosen) // 2, axis=0)[len(chosen) // 2]
    return np.asarray(np.maximum(middle.astype(np.float32), 1.0))


def shape_of(image: Picture) -> tuple[int, int]:
    """Return height and width in pixels."""
    return (image.height, image.width) if isinstance(image, Image.Image) else (image.shape[0], image.shape[1])


def shrink(image: Picture) -> tuple[Image8, float]:
    """Shrink a picture by a whole factor that brings its longer side near the working size of the framing.

    Args:
        image: HxWx3 RGB.

    Returns:
        The small picture, and how many pixels of `image` one of its pixels is wide.
    """
    factor = _shrink_factor(image)
    if factor == 1:
        return np.asarray(image), 1.0
    picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
    return np.asarray(picture.reduce(factor)), float(factor)


def _shrink_factor(image: Picture) -> int:
    return max(1, round(max(shape_of(image)) / _WORK_PX))


def _stain(small: Image8, background: Floats) -> Floats:
    """Optical density of the red channel against the background, HxW float32, not under 0."""
    return np.asarray(np.maximum(np.log(background[0] + np.float32(1)) - _LOG, 0.0)[small[..., 0]])


@lru_cache(maxsize=64)
def _axis(length: int) -> Floats:
    """Return the middles of the pixels of a line."""
    return _kept(np.arange(length, dtype=np.float32) + 0.5)


@lru_cache(maxsize=64)
def _nearness(length: int, middle: float, reach: float) -> Floats:
    """Return the weights of the pixels of a line: near its middle more; `reach` is half the shorter side."""
    return _kept(np.exp(-((_axis(length) - middle) ** 2) / (2 * (0.5 * reach) ** 2)))


@lru_cache(maxsize=64)
def _powers(length: int) -> Floats:
    """Return 1, the distance of each pixel of a line from the middle of it, and the square of that; 3xN."""
    away = _axis(length) - np.float32(length / 2)
    return _kept(np.stack([np.ones_like(away), away, away**2]))


def _kept(values: Floats) -> Floats:
    values.flags.writeable = False
    return values


def _strongest(stain: Floats, near: tuple[Floats, Floats]) -> float:
    """Density of the strongest stain near the center, where near weighs more and single pixels count little.

    Args:
        stain: HxW.
        near: Weight of each row and of each column.
    """
    rows = stain.copy()
    rows[1:] += stain[:-1]
    rows[:-1] += stain[1:]
    rows[0] += stain[0]
    rows[-1] += stain[-1]
    smooth = rows.copy()
    smooth[:, 1:] += rows[:, :-1]
    smooth[:, :-1] += rows[:, 1:]
    smooth[:, 0] += rows[:, 0]
    smooth[:, -1] += rows[:, -1]
    near_y, near_x = near
    where = int(np.argmax(smooth * near_y[:, None] * near_x[None, :]))
    return float(smooth.flat[where]) / 9


def frame_cell(
    image: Picture,
    spec: FramingSpec,
    *,
    anywhere: bool = False,
    small: Image8 | None = None,
    background: Floats | None = None,
) -> Framing | None:
    """Frame the stained cell nearest the center, or the most stained one anywhere, with a constant margin.

    Args:
        image: HxWx3 RGB.
        spec: Margin and the least density that counts.
        anywhere: Whether to look all over the picture, as in a field with one leukocyte.
        small: The picture shrunk by `shrink` and shown `with_light`, where the caller has it already.
        background: Color of the empty slide, where the caller has it already.

    Returns:
        The frame in pixels of `image`, or None where nothing is stained where it was looked for.
    """
    shrunk = shrink(image)[0] if small is None else small
    background = background_color(shrunk) if background is None else background
    small = with_light(shrunk, background) if small is None else small
    scale = _shrink_factor(image)
    # The last pixels of the small picture may stand for less than a whole one: its middle is that of the large one.
    height, width = small.shape[:2]
    middle = (shape_of(image)[0] / scale / 2, shape_of(image)[1] / scale / 2)
    reach = 0.5 * min(height, width)
    rows, columns = _axis(height), _axis(width)
    if anywhere:
        stain = _blue_violet(small, background)
        strongest, start = _most_stained(stain, reach)
    else:
        stain = _stain(small, background)
        near = _nearness(height, middle[0], reach), _nearness(width, middle[1], reach)
        strongest, start = _strongest(stain, near), middle
    # Where even the brightest tenth is black there was no light, and a density against it means nothing.
    if strongest < spec.minimum_density or background[0] <= 1:
        return None
    mass = np.clip(stain / strongest - 0.45, 0.0, 0.3)
    found = _mean_shift(mass, rows, columns, (*start, 0.2 * reach))
    if found is None:
        return None
    violet = _violet(small, background, mass, found, (rows, columns))
    y, x, spread = (value * scale for value in found)
    side = spec.side_px or spec.margin * spread
    note = "framed by the most stained cell" if anywhere else "framed by the stained cell at the center"
    return Framing("cell", x - side / 2, y - side / 2, side, note, violet)


def _blue_violet(small: Image8, background: Floats) -> Floats:
    """Optical density in red less that in blue, HxW float32, not under 0.

    Nuclei have much of it, erythrocytes have none.
    """
    density = _LOG[small[..., 2]] - _LOG[small[..., 0]] + np.log((background[0] + 1) / (background[2] + 1))
    return np.asarray(np.maximum(density, 0.0), np.float32)


def _most_stained(stain: Floats, reach: float) -> tuple[float, tuple[float, float]]:
    """Density and place (y, x) of the window, about as wide as a nucleus, that holds the most stain."""
    half = max(1, round(0.15 * reach))
    padded = np.pad(stain, ((half + 1, half), (half + 1, half)))
    table = padded.cumsum(axis=0, dtype=np.float64).cumsum(axis=1)
    side = 2 * half + 1
    sums = table[side:, side:] - table[:-side, side:] - table[side:, :-side] + table[:-side, :-side]
    y, x = divmod(int(np.argmax(sums)), sums.shape[1])
    window = stain[max(0, y - half) : y + half + 1, max(0, x - half) : x + half + 1]
    return float(np.quantile(window, 0.9)), (y + 0.5, x + 0.5)


def _violet(
    small: Image8,
    background: Floats,
    mass: Floats,
    found: tuple[float, float, float],
    axes: tuple[Floats, Floats],
) -> float:
    """Mean optical density in red less that in blue over the found cell."""
    y, x, spread = found
    density = _LOG[small[..., 2]] - _LOG[small[..., 0]] + np.log((background[0] + 1) / (background[2] + 1))
    width = 2 * (2.2 * spread) ** 2
    by_row, by_column = np.exp(-((axes[0] - y) ** 2) / width), np.exp(-((axes[1] - x) ** 2) / width)
    return float(by_row @ (mass * density) @ by_column) / max(float(by_row @ mass @ by_column), 1e-9)


def _mean_shift(
    mass: Floats, rows: Floats, columns: Floats, start: tuple[float, float, float]
) -> tuple[float, float, float] | None:
    """Follow the mass from a place (y, x) and a spread until these stand still; the window is 2.2 spreads wide.

    The window is a product of a row and a column profile, so all moments come from one small matrix product.
    """
    y, x, spread = start
    middle = (len(rows) / 2, len(columns) / 2)
    down_powers, across_powers = _powers(len(rows)), _powers(len(columns))
    down, across = down_powers[1], across_powers[1]
    y, x = y - middle[0], x - middle[1]
    for _ in range(_ITERATIONS):
        width = 2 * (2.2 * spread) ** 2
        moments = (down_powers * np.exp((down - y) ** 2 / -width)) @ mass
        sums = (moments @ (across_powers * np.exp((across - x) ** 2 / -width)).T).tolist()
        total = sums[0][0]
        if total <= 1e-9:
            return None
        new_y, new_x = sums[1][0] / total, sums[0][1] / total
        variance = (sums[2][0] + sums[0][2]) / total - new_y**2 - new_x**2
        new = max(variance, 0.25) ** 0.5
        moved = abs(new_y - y) + abs(new_x - x) + abs(new - spread)
        y, x, spread = new_y, new_x, new
        if moved < 0.02:
            break
    return y + middle[0], x + middle[1], spread


def frame_center(image: Picture, spec: FramingSpec, note: str = "centered square, as asked") -> Framing:
    """Frame a centered square of the stated pixels, or fraction of the shorter side, of `image` (HxWx3)."""
    height, width = shape_of(image)
    side = min(spec.center_px, height, width) if spec.center_px else spec.center_fraction * min(height, width)
    return Framing("center", width / 2 - side / 2, height / 2 - side / 2, side, note)


def frame_whole(image: Picture) -> Framing:
    """Frame all of `image` (HxWx3) in a centered square as wide as its longer side."""
    height, width = shape_of(image)
    side = float(max(height, width))
    return Framing("whole", width / 2 - side / 2, height / 2 - side / 2, side, "whole picture")

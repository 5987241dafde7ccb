"""Fields seen through a round stop, or with black surroundings: shown to the detector as if the slide went on.

A photograph through an eyepiece shows a disc of light in the black. A detector that never saw the like takes the rim
for cells, and what lies in the black for stain, so that the ruler is lost. What got no light is therefore given the
color of the empty slide, and its rim with it, which is neither black nor lit; a cell there is cut off as by the edge of
the field.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from corpuscle.prediction.tiling import ArraySource, FieldSource
from corpuscle.preprocessing.framing import background_color
from corpuscle.preprocessing.unlit import find_unlit

__all__ = ["UnlitPlaces", "light_up"]

_WHITE = np.full(3, 255, np.float32)
_GLANCE_PX, _WORK_PX = 128, 640
"""Side to which a field is shrunk, by a whole factor, to see whether there is such a place, and where."""
_LARGE = 0.02
"""Share of a field that is black from which on it is taken for a stop or surroundings, whose rim is blurred."""
_RIM = 0.025
"""Width of the rim, as a share of the longer side."""
_LIT = 0.7
"""Brightness, as a share of the empty slide's, below which a pixel of the rim is taken with what is black."""

_NEAR, _BLUR = 0.1, 0.005
"""How near a box comes to a place that cuts its cell, as shares of its own sides and of the field's longer side."""


@dataclass(frozen=True, slots=True)
class UnlitPlaces:
    """Where a field got no light.

    Attributes:
        mask: hxw bool, of the shrunk field.
        factor: Pixels of the field that one of the mask is wide.
    """

    mask: npt.NDArray[np.bool_]
    factor: int

    def cut(self, boxes: npt.NDArray[np.floating]) -> npt.NDArray[np.bool_]:
        """Say which boxes reach such a place, or come so near that it may cut their cells.

        Args:
            boxes: Nx4, xyxy in pixels of the field.

        Returns:
            N bool.
        """
        margin = _NEAR * (boxes[:, 2:] - boxes[:, :2]) + _BLUR * self.factor * max(self.mask.shape)
        low = np.maximum(np.floor((boxes[:, :2] - margin) / self.factor), 0).astype(int)
        high = np.ceil((boxes[:, 2:] + margin) / self.factor).astype(int)
        # The number of dark pixels in a box, by sums from the top left.
        sums = np.pad(self.mask.cumsum(axis=0, dtype=np.int64).cumsum(axis=1), ((1, 0), (1, 0)))
        high = np.minimum(high, np.array(self.mask.shape[::-1]))
        low = np.minimum(low, high)
        inside = sums[high[:, 1], high[:, 0]] - sums[low[:, 1], high[:, 0]]
        return np.asarray(inside - sums[high[:, 1], low[:, 0]] + sums[low[:, 1], low[:, 0]] > 0)


def light_up(source: FieldSource) -> tuple[FieldSource, UnlitPlaces | None]:
    """Show what got no light in a field as empty slide.

    Args:
        source: The field; one that does not lie in memory is left as it is.

    Returns:
        The field as it is to be looked at, and where it was changed; `source` itself and None where all is lit.
    """
    if not isinstance(source, ArraySource):
        return source, None
    # Most fields are lit throughout, which a very small copy tells as well.
    if find_unlit(_shrunk(source, _GLANCE_PX)[0], _WHITE) is None:
        return source, None
    small, factor = _shrunk(source, _WORK_PX)
    light = background_color(small)
    unlit = find_unlit(small, light)
    if unlit is None:
        return source, None
    if unlit.mean() >= _LARGE:
        unlit = unlit | (_around(unlit, _RIM * max(unlit.shape)) & (small.max(axis=2) < _LIT * light.max()))
    mask = _picture(unlit).resize((unlit.shape[1] * factor, unlit.shape[0] * factor), Image.Resampling.NEAREST)
    picture = source.picture.copy()
    red, green, blue = (round(float(value)) for value in light)
    picture.paste((red, green, blue), mask=mask.crop((0, 0, *picture.size)))
    return ArraySource(picture), UnlitPlaces(unlit, factor)


def _shrunk(source: ArraySource, side_px: int) -> tuple[npt.NDArray[np.uint8], int]:
    factor = max(1, round(max(source.width_px, source.height_px) / side_px))
    return np.asarray(source.picture.reduce(factor) if factor > 1 else source.picture), factor


def _around(mask: npt.NDArray[np.bool_], reach: float) -> npt.NDArray[np.bool_]:
    return np.asarray(_picture(mask).filter(ImageFilter.MaxFilter(2 * max(1, round(reach)) + 1))) > 0


def _picture(mask: npt.NDArray[np.bool_]) -> Image.Image:
    return Image.fromarray(np.where(mask, np.uint8(255), np.uint8(0)))

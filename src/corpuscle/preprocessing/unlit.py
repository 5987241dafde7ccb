"""Places that got no light: corners of turned pictures, the stop of a microscope seen through its eyepiece."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

__all__ = ["find_unlit", "with_light"]

_DARK = 0.18
"""Brightness, as a share of the empty slide's, below which no dye brings a pixel in its brightest channel."""
_NIGHT = 32
"""Brightness of the empty slide below which a picture is too dark to tell what is unlit."""
_LEAST, _RIM = 3, 5
"""Side in pixels of the least place that counts, and of what is taken with each pixel: its rim is mixed with light."""

Image8 = npt.NDArray[np.uint8]


def find_unlit(image: Image8, background: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_] | None:
    """Find where a picture got no light.

    The brightest channel tells: what is black in all three is no stain, since nuclei stay bright in blue. Specks are
    left alone.

    Args:
        image: HxWx3 uint8 RGB.
        background: Color of the empty slide, three float32 in [0, 255].

    Returns:
        HxW, or None where all is lit, as in most pictures.
    """
    light = float(background.max())
    if light < _NIGHT:
        return None
    brightest = np.maximum(np.maximum(image[..., 0], image[..., 1]), image[..., 2])
    limit = _DARK * light
    if brightest.min() >= limit:
        return None
    dark = Image.fromarray(np.where(brightest < limit, np.uint8(255), np.uint8(0)))
    whole = dark.filter(ImageFilter.MinFilter(_LEAST))
    if whole.getbbox() is None:
        return None
    # What was taken off comes back, and the rim with it.
    return np.asarray(whole.filter(ImageFilter.MaxFilter(_LEAST + _RIM - 1))) > 0


def with_light(image: Image8, background: npt.NDArray[np.float32]) -> Image8:
    """Show what got no light as empty slide.

    Args:
        image: HxWx3 uint8 RGB.
        background: Color of the empty slide, three float32 in [0, 255].

    Returns:
        A changed copy, or `image` itself where all is lit.
    """
    unlit = find_unlit(image, background)
    if unlit is None:
        return image
    changed = image.copy()
    changed[unlit] = np.round(background).astype(np.uint8)
    return changed

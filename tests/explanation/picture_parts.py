"""Parts of a result picture, for the tests to look at."""

from __future__ import annotations

import numpy as np


def border(image: np.ndarray, width: int) -> np.ndarray:
    """The pixels that are less than `width` away from an edge."""
    inside = np.zeros(image.shape[:2], bool)
    inside[width:-width, width:-width] = True
    return image[~inside]

"""Pictures of results: contact sheet, confusion matrix, accuracy against cost, and how they are saved.

This is the door of the only room that draws results. The same input gives the same picture with each call on one
machine; another version of Pillow may set letters a little differently.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from corpuscle.errors import UsageError
from corpuscle.explanation.contact_sheet import FOOTER, SheetItem, draw_contact_sheet
from corpuscle.explanation.matrix import draw_confusion_matrix
from corpuscle.explanation.palette import CLASS_COLORS, class_color
from corpuscle.explanation.reliability import draw_reliability
from corpuscle.explanation.tradeoff import TradeoffPoint, draw_tradeoff
from corpuscle.files import written_whole

__all__ = [
    "CLASS_COLORS",
    "FOOTER",
    "SheetItem",
    "TradeoffPoint",
    "class_color",
    "draw_confusion_matrix",
    "draw_contact_sheet",
    "draw_reliability",
    "draw_tradeoff",
    "save_png",
]


def save_png(image: NDArray[np.uint8], path: Path) -> None:
    """Save a picture as PNG; a reader of `path` sees the old file or the whole new one, never a part.

    Args:
        image: The picture, HxWx3 uint8 RGB.
        path: The file in the end, whatever its suffix. Its folder is made if need be.

    Raises:
        UsageError: `image` is no such picture.
        OutputError: The file cannot be written; what stood at `path` before is still there.
    """
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise UsageError("Only a picture of height x width x 3, uint8, can be saved as PNG. Convert it first.")
    if not image.size:
        raise UsageError("A picture without pixels cannot be saved as PNG. Check how it was made.")
    with written_whole(Path(path)) as part:
        Image.fromarray(np.ascontiguousarray(image)).save(part, format="PNG")

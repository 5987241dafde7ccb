"""What the size of a cell rules out: the ruler knows micrometers, the detector judges by looks alone.

A blurred or pale platelet may look like a small leukocyte. No leukocyte of the blood is that small: small lymphocytes,
the smallest of them, are 7 to 8 micrometers wide on a smear (CellaVision CellAtlas), most platelets 1.5 to 3, large
ones above 4 and giant ones, which are rare, above 7 (The Blood Project, "What is a giant platelet?"; ASH Image Bank,
image 60930).
"""

from __future__ import annotations

import numpy as np

from corpuscle.records import CELL_KINDS, Detections

__all__ = ["LEAST_LEUKOCYTE_UM", "small_leukocytes_as_platelets"]

LEAST_LEUKOCYTE_UM = 6.0
"""No leukocyte is less wide: 7 micrometers, less a seventh for smears whose erythrocytes, the ruler, are large.

Of the leukocytes found whole in the training and validation fields of BCCD the smallest that is one measures 6.7. What
was called a leukocyte in drawn fields and is a platelet measures 5.9 and less, the one such case of BCCD 5.2.
"""

_LEUKOCYTE, _PLATELET = CELL_KINDS.index("leukocyte"), CELL_KINDS.index("platelet")


def small_leukocytes_as_platelets(found: Detections, um_per_px: float, width: int, height: int) -> Detections:
    """Call a platelet what was found as a leukocyte and is too small for one.

    What the edge of the field cuts stays as it was found, as nobody knows how large it is.

    Args:
        found: Cells, boxes in pixels of the field.
        um_per_px: Micrometers a pixel is wide; 0 where that is not known, and nothing is changed.
        width: Of the field, in pixels.
        height: Of the field.

    Returns:
        The same cells; the diameter of one is the geometric mean of the sides of its box.
    """
    boxes = found.boxes.astype(np.float64)
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 0) * um_per_px
    whole = (boxes[:, :2] > 1).all(axis=1) & (boxes[:, 2] < width - 1) & (boxes[:, 3] < height - 1)
    small = (found.kinds == _LEUKOCYTE) & whole & (sides.prod(axis=1) < LEAST_LEUKOCYTE_UM**2)
    if not (um_per_px and small.any()):
        return found
    return Detections(found.boxes, found.scores, np.where(small, _PLATELET, found.kinds))

"""Names the leukocytes and platelets of a field with the classifier of single cells.

Each cell is cut out as a picture like those that the classifier learned from: 208 pixels wide where an erythrocyte is
77 (Acevedo et al. 2020, doi 10.17632/snkd93bnjr.1), which is 20 micrometers, with the cell in the middle. The bundle's
own framing does the rest.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from corpuscle import taxonomy
from corpuscle.prediction.classification import BATCH, CellReader
from corpuscle.prediction.tiling import FieldSource, picture_of
from corpuscle.preprocessing.framing import background_color, shrink
from corpuscle.preprocessing.transforms import prepare
from corpuscle.records import CELL_KINDS, CellKind, Description, Detections, Framing, Prediction

__all__ = ["CROP_ERYTHROCYTES", "CellNamer", "cut_crop"]

Image8 = npt.NDArray[np.uint8]

_LEARNED_PX = 208
_LEARNED_ERYTHROCYTE_PX = 77
CROP_ERYTHROCYTES = _LEARNED_PX / _LEARNED_ERYTHROCYTE_PX
"""Side of a crop in erythrocyte diameters."""

_ROOM = 1.25
_ALLOWED: dict[str, tuple[str, ...]] = {
    "leukocyte": ("leukocyte", "erythroid_precursor"),
    "platelet": ("platelet",),
    "erythrocyte": ("erythrocyte",),
}


def cut_crop(source: FieldSource, box: tuple[float, float, float, float], side_px: float) -> Image8:
    """Cut a square around the middle of a box; what lies outside the field gets the color of the empty slide.

    Args:
        source: The field.
        box: x_min, y_min, x_max, y_max in its pixels.
        side_px: Side of the square; it is widened where the box is larger.

    Returns:
        SxSx3 uint8 RGB at the resolution of the field.
    """
    return np.asarray(_crop(source, box, side_px))


def _crop(source: FieldSource, box: tuple[float, float, float, float], side_px: float) -> Image.Image:
    """Cut as `cut_crop` does, for Pillow."""
    side = math.ceil(max(side_px, _ROOM * max(box[2] - box[0], box[3] - box[1])))
    left, top = round((box[0] + box[2] - side) / 2), round((box[1] + box[3] - side) / 2)
    x_min, y_min = max(0, left), max(0, top)
    x_max, y_max = min(source.width_px, left + side), min(source.height_px, top + side)
    picture = picture_of(source, x_min, y_min, x_max - x_min, y_max - y_min)
    if picture.size == (side, side):
        return picture
    red, green, blue = (round(float(value)) for value in background_color(shrink(picture)[0]))
    canvas = Image.new("RGB", (side, side), (red, green, blue))
    canvas.paste(picture, (x_min - left, y_min - top))
    return canvas


class CellNamer:
    """Names the cells of a field with one reader of cells."""

    def __init__(self, reader: CellReader) -> None:
        self._reader = reader
        framing = reader.bundle.preprocessing.framing
        # A bundle that measures in pixels must be given pixels of the size that it learned from.
        self._fixed_scale = bool(framing.side_px or framing.center_px)
        self._knows_platelets = "platelet" in reader.bundle.classes

    def name(self, source: FieldSource, found: Detections, erythrocyte_px: float) -> list[dict[str, Any]]:
        """Return class, confidence, refusal, prediction set and words of each cell, as arguments of `FieldCell`.

        Args:
            source: The field.
            found: Its cells.
            erythrocyte_px: Diameter of an erythrocyte in pixels of the field.
        """
        kinds = [CELL_KINDS[int(kind)] for kind in found.kinds]
        asked = [
            place
            for place, kind in enumerate(kinds)
            if kind == "leukocyte" or (kind == "platelet" and self._knows_platelets)
        ]
        names: list[dict[str, Any]] = [{"class_name": "" if kind == "leukocyte" else kind} for kind in kinds]
        for start in range(0, len(asked), BATCH):
            part = asked[start : start + BATCH]
            crops, framings = [], []
            for place in part:
                x_min, y_min, x_max, y_max = (float(edge) for edge in found.boxes[place])
                crop, framing = self._prepared(source, (x_min, y_min, x_max, y_max), erythrocyte_px)
                crops.append(crop)
                framings.append(framing)
            answers = self._reader.read_crops(np.stack(crops), framings, [""] * len(part))
            for place, answer in zip(part, answers, strict=True):
                names[place] = _named(kinds[place], answer)
        return names

    def picture(
        self, source: FieldSource, box: tuple[float, float, float, float], erythrocyte_px: float
    ) -> Image.Image:
        """Cut one cell out as the picture that is judged; arguments as in `name`, `box` as in `cut_crop`."""
        picture = _crop(source, box, CROP_ERYTHROCYTES * erythrocyte_px)
        if self._fixed_scale:
            side = max(1, round(picture.width * _LEARNED_ERYTHROCYTE_PX / erythrocyte_px))
            picture = picture.resize((side, side), Image.Resampling.BICUBIC, reducing_gap=3.0)
        return picture

    def _prepared(
        self, source: FieldSource, box: tuple[float, float, float, float], erythrocyte_px: float
    ) -> tuple[Image8, Framing]:
        picture = self.picture(source, box, erythrocyte_px)
        return prepare(picture, self._reader.bundle.preprocessing, framing=self._reader.framing)


def _named(kind: CellKind, answer: Prediction) -> dict[str, Any]:
    """Turn an answer into arguments of `FieldCell`; one that contradicts the detector is refused."""
    reasons = [answer.reason] if answer.refused else []
    row = taxonomy.cell_class(answer.class_name)
    if row.kind not in _ALLOWED[kind]:
        reasons.append(f"found as a {kind}, looks like: {row.name_en}")
    told = answer.description
    if told is not None and reasons:  # of a refused cell nothing is said in words
        told = Description(nearest=told.nearest)
    return {
        "class_name": answer.class_name,
        "confidence": answer.confidence,
        "refused": bool(reasons),
        "reason": "; ".join(reasons),
        "prediction_set": answer.prediction_set,
        "probabilities": answer.probabilities,
        "description": told,
    }

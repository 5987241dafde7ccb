"""Frozen records that the rooms hand to each other."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from corpuscle.errors import UsageError

__all__ = ["CELL_KINDS", "CellKind", "Detections", "Failure", "Framing", "FramingMethod", "Prediction"]

FramingMethod = Literal["cell", "center", "whole"]
CellKind = Literal["erythrocyte", "leukocyte", "platelet"]
CELL_KINDS: tuple[CellKind, ...] = ("erythrocyte", "leukocyte", "platelet")
"""What a detector tells apart, in the order of the numbers in `Detections.kinds`."""


@dataclass(frozen=True, slots=True)
class Framing:
    """Which square of a picture the network saw, and why.

    Attributes:
        method: `cell` (the stained cell nearest the center was found and framed), `center` (a centered square)
            or `whole` (the whole picture, padded to a square).
        x_min: Left edge of the square in pixels of the picture; may be negative where the square leaves it.
        y_min: Top edge, likewise.
        side_px: Side of the square in pixels, more than zero.
        note: Why this method was used, for a person to read.
        stain: Optical density of the found cell in red less that in blue, 0 where none was found. Nuclei and platelets
            are blue-violet, above 0; erythrocytes are not.
    """

    method: FramingMethod
    x_min: float
    y_min: float
    side_px: float
    note: str = ""
    stain: float = 0.0

    def __post_init__(self) -> None:
        """Refuse a square without area."""
        if not self.side_px > 0:
            raise UsageError(f"A frame needs a side of more than 0 px, not {self.side_px}.")


@dataclass(frozen=True, slots=True)
class Failure:
    """A given file that could not be read, and why."""

    file: str
    reason: str


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a model says of one crop.

    Attributes:
        file: The picture as the user named it; empty for an array.
        class_name: The most probable class, a key of the taxonomy.
        confidence: Probability of `class_name`, in [0, 1].
        probabilities: Calibrated probability of each class, in the order of the bundle; they sum to 1.
        refused: Whether the model declines to name the cell.
        reason: Why it was refused; empty when it was not.
        prediction_set: The classes that cannot be ruled out at the bundle's stated coverage.
        distance: Distance of the embedding from the known cells, in units of the bundle's refusal threshold.
        framing: What part of the picture was judged.
    """

    file: str
    class_name: str
    confidence: float
    probabilities: dict[str, float]
    refused: bool
    reason: str
    prediction_set: tuple[str, ...]
    distance: float
    framing: Framing
    notes: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        """Refuse a prediction that contradicts itself."""
        if self.class_name not in self.probabilities:
            raise UsageError(f"The predicted class {self.class_name!r} has no probability.")
        if self.refused and not self.reason:
            raise UsageError("A refused prediction must say why.")


@dataclass(frozen=True, slots=True)
class Detections:
    """The cells that a detector found in one picture, in no particular order.

    Attributes:
        boxes: Nx4 float32, `xyxy` in pixels of the picture, half-open, origin top left; may reach beyond its border.
        scores: N float32 in [0, 1], the detector's own; not a calibrated probability.
        kinds: N int64, an index into `CELL_KINDS`.
    """

    boxes: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    kinds: npt.NDArray[np.int64]

    def __post_init__(self) -> None:
        """Refuse columns that do not belong together."""
        n = len(self.boxes)
        if self.boxes.shape != (n, 4) or self.scores.shape != (n,) or self.kinds.shape != (n,):
            raise UsageError(
                f"Detections need boxes Nx4, scores N and kinds N, not {self.boxes.shape}, {self.scores.shape} and "
                f"{self.kinds.shape}."
            )

    def __len__(self) -> int:
        """Return the number of cells found."""
        return len(self.scores)

    @staticmethod
    def none() -> Detections:
        """Return the answer of a detector that found nothing."""
        return Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))

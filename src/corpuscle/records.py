"""Frozen records that the rooms hand to each other."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

import numpy as np
import numpy.typing as npt

from corpuscle.errors import UsageError

__all__ = [
    "CELL_KINDS",
    "CellKind",
    "Description",
    "Detections",
    "Failure",
    "FieldCell",
    "FieldReading",
    "Framing",
    "FramingMethod",
    "KnownCell",
    "Prediction",
    "Ruler",
    "Trait",
]

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
        light: Value of the empty slide in its darkest channel, in [0, 255].
        reach: Distance of a found cell's center from the nearest border of the picture, in sides of the square;
            infinite where none was found.
    """

    method: FramingMethod
    x_min: float
    y_min: float
    side_px: float
    note: str = ""
    stain: float = 0.0
    light: float = 240.0
    reach: float = math.inf

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
class Trait:
    """One morphological attribute of a cell.

    Attributes:
        attribute: Its key in the table of attributes.
        value: The most probable value.
        probability: Of that value, in [0, 1].
        usual: Share of the annotated cells of the predicted class that have this value, in [0, 1].
        unusual: Whether the value is surely seen and rare in the predicted class.
    """

    attribute: str
    value: str
    probability: float
    usual: float
    unusual: bool = False


@dataclass(frozen=True, slots=True)
class KnownCell:
    """A cell of the training set that looks much like another cell.

    Attributes:
        file: Data set and path of the picture in it.
        class_name: What it is labeled.
        distance: How far it is, in units of the usual distance of a known cell to its nearest neighbor.
    """

    file: str
    class_name: str
    distance: float


@dataclass(frozen=True, slots=True)
class Description:
    """A cell in words, beside its class.

    Attributes:
        words: Nucleus and granules in a few words; empty where the class has no annotated cells or was refused.
        remarks: What does not fit the predicted class, in words; empty if nothing.
        traits: The attributes, in the order of their table; empty where there are no words.
        nearest: Known cells that look most alike, nearest first.
    """

    words: str = ""
    remarks: tuple[str, ...] = ()
    traits: tuple[Trait, ...] = ()
    nearest: tuple[KnownCell, ...] = ()


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
        distance: How foreign the cell is to the model, at least 0, in units of the bundle's limit: refused above 1.
        framing: What part of the picture was judged.
        notes: What a person should know of the picture, empty if nothing.
        description: The cell in words, where it was asked for.
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
    description: Description | None = None

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


@dataclass(frozen=True, slots=True)
class Ruler:
    """How large a pixel of a field is, and how that was found.

    Attributes:
        um_per_px: Micrometers a pixel is wide; 0 where it is not known.
        scale: Resize factor at which the field was detected.
        method: `erythrocytes` (their median diameter is the ruler), `smear` (too few: that of the other fields),
            `given` (by the user or the file) or `guess` (the scale at which most was found).
        n_erythrocytes: How many erythrocytes were measured.
        note: What a person should know, empty if nothing.
    """

    um_per_px: float
    scale: float
    method: Literal["erythrocytes", "smear", "given", "guess"]
    n_erythrocytes: int
    note: str = ""

    def __post_init__(self) -> None:
        """Refuse a scale at which nothing is left of the picture."""
        if not (self.scale > 0 and self.um_per_px >= 0):
            raise UsageError(f"A ruler of {self.um_per_px} micrometers a pixel, scale {self.scale}, measures nothing.")


@dataclass(frozen=True, slots=True)
class FieldCell:
    """One cell of a field.

    Attributes:
        number: Its number in the field, from 1 in reading order; the same in every table and picture.
        kind: What the detector said.
        box: x_min, y_min, x_max, y_max in pixels of the field, half-open, inside the field.
        score: The detector's score, in [0, 1].
        class_name: A key of the taxonomy; the kind itself where a kind has no classes or no classifier was asked,
            and empty for a leukocyte that was not classified.
        confidence: Probability of the class, in [0, 1]; None where no classifier was asked.
        refused: Whether the classifier declined to name the cell.
        reason: Why, empty if it did not.
        on_border: Whether the edge of the field cuts the cell; it is then left out of the differential.
        touching: Whether another cell of its kind lies against it.
        clump: Number of the clump that it is part of, from 1; 0 for none.
        prediction_set: Classes that cannot be ruled out; empty where no classifier was asked.
        probabilities: Calibrated probability of each class of the model; empty where no classifier was asked.
        description: The cell in words; None unless it was asked for, and where no classifier was asked.
    """

    number: int
    kind: CellKind
    box: tuple[float, float, float, float]
    score: float
    class_name: str = ""
    confidence: float | None = None
    refused: bool = False
    reason: str = ""
    on_border: bool = False
    touching: bool = False
    clump: int = 0
    prediction_set: tuple[str, ...] = ()
    probabilities: dict[str, float] = field(default_factory=dict)
    description: Description | None = None

    def __post_init__(self) -> None:
        """Refuse a cell without number or area."""
        x_min, y_min, x_max, y_max = self.box
        if self.number < 1 or not (x_min < x_max and y_min < y_max):
            raise UsageError(f"Cell {self.number} with the box {self.box} needs a number from 1 and an area.")
        if self.refused and not self.reason:
            raise UsageError(f"Cell {self.number} is refused, so a reason must be given.")


@dataclass(frozen=True, slots=True)
class FieldReading:
    """What was found in one field.

    Attributes:
        file: The picture as the user named it; empty for an array.
        width_px: Width of the field.
        height_px: Height of the field.
        cells: The cells, in the order of their numbers: 1..n, with gaps where a person took out what is no cell.
        ruler: How large a pixel is.
        notes: What a person should know of this field.
        sha256: Hash of the file's bytes; empty for an array or a slide.
        origin_px: Where the top left of the field lies in the slide it is a part of, in the slide's full pixels.
        downsample: How many full pixels of the slide one pixel of the field is wide.
    """

    file: str
    width_px: int
    height_px: int
    cells: tuple[FieldCell, ...]
    ruler: Ruler
    notes: tuple[str, ...] = ()
    sha256: str = ""
    origin_px: tuple[float, float] = (0.0, 0.0)
    downsample: float = 1.0

    def __post_init__(self) -> None:
        """Refuse numbers that do not rise."""
        if any(first.number >= second.number for first, second in pairwise(self.cells)):
            raise UsageError(f"The cells of {self.file or 'a field'} must stand in the order of their numbers.")

    def count(self, kind: CellKind) -> int:
        """Return how many cells are of a kind."""
        return sum(cell.kind == kind for cell in self.cells)

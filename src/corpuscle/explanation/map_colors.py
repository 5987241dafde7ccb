"""What the points of a map are colored by: label, prediction, mistake, confidence, source."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from corpuscle import taxonomy
from corpuscle.explanation.heat_map import heat_colors
from corpuscle.explanation.palette import CAUTION, FAINT, MUTED, POINT, Color, class_color
from corpuscle.prediction.embedding import EmbeddedCells

__all__ = ["Coloring", "colorings"]

_LEVELS: Final = 16
_SOURCES: Final = (POINT, (240, 149, 0), (0, 155, 97), (190, 118, 165), (71, 78, 78), (118, 68, 150), (76, 194, 245))
_RIGHT: Final[Color] = (176, 190, 205)


@dataclass(frozen=True, slots=True)
class Coloring:
    """A color for each point.

    Attributes:
        name: What it shows.
        codes: N uint8, the place of each point's color.
        names: What each color means; the two ends alone where it is a ramp.
        colors: As many.
        ramp: Whether the colors are steps of a scale.
    """

    name: str
    codes: npt.NDArray[np.uint8]
    names: tuple[str, ...]
    colors: tuple[Color, ...]
    ramp: bool = False


def colorings(cells: EmbeddedCells) -> list[Coloring]:
    """Return each way to color these cells; without labels there is none by label or by mistake."""
    labels = [item.label for item in cells.specimens]
    predicted = [item.class_name for item in cells.predictions]
    found = [_by_class("prediction", predicted)]
    if any(labels):
        found.insert(0, _by_class("label", labels))
        found.append(_by_mistake(labels, predicted, [item.refused for item in cells.predictions]))
    confidence = np.asarray([item.confidence for item in cells.predictions])
    levels = np.clip((confidence * _LEVELS).astype(np.int64), 0, _LEVELS - 1).astype(np.uint8)
    ramp = heat_colors(np.linspace(0.05, 0.92, _LEVELS, dtype=np.float32)[None])[0]
    colors = tuple((int(red), int(green), int(blue)) for red, green, blue in ramp)
    steps = tuple(f"{level / _LEVELS:.2f}" for level in range(_LEVELS - 1))
    found.append(Coloring("confidence", levels, (*steps, "1.00"), colors, ramp=True))
    sources = [item.source for item in cells.specimens]
    names = tuple(dict.fromkeys(sources))[:255]
    places = {name: place for place, name in enumerate(names)}
    codes = np.asarray([places.get(name, len(names) - 1) for name in sources], np.uint8)
    found.append(
        Coloring("source", codes, names, tuple(_SOURCES[place % len(_SOURCES)] for place in range(len(names))))
    )
    return found


def _by_class(name: str, keys: list[str]) -> Coloring:
    known = sorted({key for key in keys if key})
    names = [taxonomy.cell_class(key).name_en for key in known]
    colors = [class_color(key) for key in known]
    if not all(keys):
        names.append("no label")
        colors.append(FAINT)
    codes = np.asarray([known.index(key) if key else len(known) for key in keys], np.uint8)
    return Coloring(name, codes, tuple(names), tuple(colors))


def _by_mistake(labels: list[str], predicted: list[str], refused: list[bool]) -> Coloring:
    names = ("right", "wrong", "refused", "no label")
    codes = [
        3 if not label else 2 if declined else int(taxonomy.ancestor_in(label, (said,)) != said)
        for label, said, declined in zip(labels, predicted, refused, strict=True)
    ]
    return Coloring("mistake", np.asarray(codes, np.uint8), names, (_RIGHT, CAUTION, MUTED, FAINT))

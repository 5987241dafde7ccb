"""Maps written to a folder: beside a classification, in passing, or with all that belongs to an explanation."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from corpuscle.errors import UsageError
from corpuscle.explanation.cam import CamMaker, place_map
from corpuscle.explanation.drawing import save_png
from corpuscle.explanation.explaining import Explanation
from corpuscle.explanation.heat_map import draw_explanation, overlay
from corpuscle.files import make_folder, short_stem, written_whole
from corpuscle.models.bundle import Bundle
from corpuscle.prediction.engine import Outputs
from corpuscle.preprocessing.framing import Picture, shape_of
from corpuscle.records import Framing, Prediction

__all__ = ["CamWriter", "OutputNames", "write_explanation"]

_MOST_PX = 1024
"""Longer side of an overlay; a map of ten by ten places says no more about a larger one."""


class OutputNames:
    """Gives each of many input files a name of its own in one folder: the stem, or its path where stems repeat."""

    def __init__(self, files: Sequence[str | os.PathLike[str]]) -> None:
        """Look which stems repeat among all files that are to come."""
        seen: set[str] = set()
        self._twice: set[str] = set()
        for file in files:
            stem = Path(file).stem.casefold()
            (self._twice if stem in seen else seen).add(stem)

    def __call__(self, file: str | os.PathLike[str]) -> str:
        """Return the name for a file, without a suffix."""
        path = Path(file)
        if path.stem.casefold() not in self._twice:
            return short_stem(path.stem)
        parts = [part for part in path.parts if part not in (path.anchor, ".", "..")]
        return short_stem("__".join(parts))


class CamWriter:
    """Writes the map of each predicted class while pictures are classified, as `<stem>.cam.png`.

    Give it to `CellReader.stream` as `visit`. It holds nothing between pictures, and threads may share it.
    """

    def __init__(self, bundle: Bundle, folder: Path, files: Sequence[str | os.PathLike[str]]) -> None:
        """Make the folder.

        Raises:
            UsageError: The bundle's network has no exact class activation map.
            OutputError: The folder cannot be made.
        """
        self._maker, self._classes = CamMaker(bundle), bundle.classes
        self.folder = make_folder(Path(folder))
        self._names = OutputNames(files)

    def __call__(self, picture: Picture, prediction: Prediction, outputs: Outputs) -> None:
        """Write one map over its picture.

        Raises:
            OutputError: It cannot be written.
        """
        target = np.asarray([self._classes.index(prediction.class_name)])
        if outputs.features is None:
            raise UsageError("The graph gave no features, so there is no map. Export the bundle again.")
        evidence = self._maker.from_features(outputs.features, target)[0]
        shown, framing = _small(picture, prediction.framing)
        drawn = overlay(shown, place_map(evidence, framing, shown.shape[:2]))
        path = self.folder / f"{self._names(prediction.file)}.cam.png"
        with written_whole(path) as part:
            Image.fromarray(drawn).save(part, format="PNG", compress_level=1)


def _small(picture: Picture, framing: Framing) -> tuple[npt.NDArray[np.uint8], Framing]:
    """Shrink a large picture, and the frame with it."""
    height, width = shape_of(picture)
    factor = -(-max(height, width) // _MOST_PX)
    if factor == 1:
        return np.asarray(picture), framing
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    moved = Framing(framing.method, framing.x_min / factor, framing.y_min / factor, framing.side_px / factor)
    return np.asarray(image.reduce(factor)), moved


def write_explanation(explanation: Explanation, folder: Path, name: str, *, arrays: bool = False) -> list[Path]:
    """Write the drawing `<name>.explanation.png` and, if asked, each map as `<name>.<class>.npy` (HxW float32).

    Raises:
        OutputError: A file cannot be written.
    """
    paths = [folder / f"{name}.explanation.png"]
    save_png(draw_explanation(explanation), paths[0])
    for item in explanation.maps if arrays else ():
        path = folder / f"{name}.{item.class_name}.npy"
        with written_whole(path) as part, part.open("wb") as file:
            np.save(file, item.cam, allow_pickle=False)
        paths.append(path)
    return paths

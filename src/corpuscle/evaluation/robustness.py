"""Whether the answer depends on the cell or on how its picture was cut and scaled."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from corpuscle.data.catalog import data_root, locate
from corpuscle.data.images import read_image
from corpuscle.data.labeled import LabeledCell, labeled_cells
from corpuscle.errors import CorpuscleError
from corpuscle.evaluation.intervals import Interval, wilson_interval
from corpuscle.models.bundle import DEFAULT_MODEL, Bundle
from corpuscle.prediction.classification import CellReader
from corpuscle.records import Failure

__all__ = ["VARIANTS", "FramingRobustness", "VariantResult", "framing_robustness"]

Image8 = npt.NDArray[np.uint8]
_ORIGINAL = "original picture, 360x363"


def _padded(image: Image8) -> Image8:
    """Put a crop into 360x363 pixels of its own background: the median color of its border."""
    edge = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
    canvas = np.empty((max(363, image.shape[0]), max(360, image.shape[1]), 3), np.uint8)
    canvas[:] = np.median(edge, axis=0).astype(np.uint8)
    top, left = (canvas.shape[0] - image.shape[0] + 1) // 2, (canvas.shape[1] - image.shape[1] + 1) // 2
    canvas[top : top + image.shape[0], left : left + image.shape[1]] = image
    return canvas


def _scaled(image: Image8, factor: float) -> Image8:
    size = (max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor)))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS))


VARIANTS: dict[str, Callable[[Image8], Image8]] = {
    "padded to 360x363 with its own background": _padded,
    "scaled by 0.5": lambda image: _scaled(image, 0.5),
    "scaled by 2": lambda image: _scaled(image, 2.0),
    "center 200, as BloodMNIST": lambda image: image[4:204, 4:204] if min(image.shape[:2]) >= 204 else image,
}
"""Ways in which the picture of the same cell comes in."""


@dataclass(frozen=True, slots=True)
class VariantResult:
    """How many cells keep their class in one variant, with the 95 % Wilson interval, and how many are right."""

    name: str
    n: int
    same: float
    interval: Interval
    accuracy: float


@dataclass(frozen=True, slots=True)
class FramingRobustness:
    """What `framing_robustness` measured; `accuracy` is that of the pictures as they are."""

    model: str
    dataset: str
    split: str
    accuracy: float
    n: int
    variants: tuple[VariantResult, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        rows = [
            {
                "name": item.name,
                "n": item.n,
                "same": item.same,
                "interval": item.interval.to_dict(),
                "accuracy": item.accuracy,
            }
            for item in self.variants
        ]
        return {"model": self.model, "dataset": self.dataset, "split": self.split, "n": self.n,
                "accuracy": self.accuracy, "variants": rows}  # fmt: skip

    def text(self) -> str:
        """Return a table for people."""
        lines = [f"{self.model} on {self.dataset} {self.split}, n = {self.n}, accuracy as is {self.accuracy:.4f}"]
        for item in self.variants:
            ends = f"95 % {item.interval.low:.4f}-{item.interval.high:.4f}"
            lines.append(
                f"{item.name:<44} same class {item.same:.4f} ({ends}, n = {item.n}), right {item.accuracy:.4f}"
            )
        return "\n".join(lines)


def framing_robustness(
    dataset: str | Path = "pbc",
    *,
    model: str | os.PathLike[str] | Bundle = DEFAULT_MODEL,
    split: str = "test",
    root: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> FramingRobustness:
    """Classify the same cells in several framings and count how many keep their class.

    Where the whole pictures of some cells are at hand (TXL-PBC holds a few hundred uncut originals of PBC), these are
    compared as well.

    Args:
        dataset: A labeled set.
        model: The bundle.
        split: Split of the set.
        root: Folder that holds the data sets.
        progress: Called with (variants done, all).

    Raises:
        DatasetNotFoundError: The data set is not there.
    """
    reader = CellReader(model)
    cells = labeled_cells(dataset, split=split, root=root)
    plain = _classes(reader, (cell.read() for cell in cells))
    labels = [cell.class_name for cell in cells]
    results, total = [], len(VARIANTS) + 1
    for done, (name, change) in enumerate(VARIANTS.items(), start=1):
        found = _classes(reader, (change(cell.read()) for cell in cells))
        results.append(_result(name, plain, found, labels))
        if progress:
            progress(done, total)
    originals = _originals(cells, root) if str(dataset) == "pbc" else {}
    if originals:
        places = sorted(originals)
        found = _classes(reader, (read_image(originals[place]) for place in places))
        results.append(
            _result(_ORIGINAL, [plain[place] for place in places], found, [labels[place] for place in places])
        )
    right = float(np.mean([a == b for a, b in zip(plain, labels, strict=True)]))
    name = f"{reader.bundle.name} {reader.bundle.version}"
    return FramingRobustness(name, str(dataset), split, right, len(cells), tuple(results))


def _classes(reader: CellReader, images: Iterator[Image8]) -> list[str]:
    """Name the class of each picture."""
    return ["" if isinstance(answer, Failure) else answer.class_name for answer in reader.stream(images)]


def _result(name: str, plain: Sequence[str], found: Sequence[str], labels: Sequence[str]) -> VariantResult:
    same = sum(a == b for a, b in zip(plain, found, strict=True))
    right = sum(a == b for a, b in zip(labels, found, strict=True))
    return VariantResult(name, len(found), same / len(found), wilson_interval(same, len(found)), right / len(found))


def _originals(cells: Sequence[LabeledCell], root: str | Path | None) -> dict[int, Path]:
    """Find uncut originals of cells by their file names."""
    try:
        folder = locate("txl-pbc", data_root(root)) / "images"
    except CorpuscleError:
        return {}
    by_stem = {path.stem: path for path in folder.iterdir()}
    return {place: by_stem[Path(cell.file).stem] for place, cell in enumerate(cells) if Path(cell.file).stem in by_stem}

"""How right a model stays on spoilt pictures, and how many of them it refuses: a table of corruption and severity."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from corpuscle import taxonomy
from corpuscle.data.labeled import LabeledCell, labeled_cells
from corpuscle.errors import DataError, UnknownNameError, UnreadableImageError, UsageError
from corpuscle.evaluation.corruptions import CORRUPTIONS, PROTOCOL_PX, SEVERITIES, corrupt
from corpuscle.evaluation.metrics import balanced_accuracy
from corpuscle.evaluation.tables import aligned
from corpuscle.models.bundle import DEFAULT_MODEL, Bundle
from corpuscle.prediction.classification import CellReader
from corpuscle.records import Failure

__all__ = ["CLEAN", "CorruptionTable", "SpoiltResult", "corruption_table", "protocol_picture"]

Image8 = npt.NDArray[np.uint8]
CLEAN = "none"
"""Name of the line with the pictures as they are."""

_PBC_PX = 200


@dataclass(frozen=True, slots=True)
class SpoiltResult:
    """One corruption at one severity.

    Attributes:
        corruption: A key of `CORRUPTIONS`, or `CLEAN`.
        severity: 1 to 5; 0 for `CLEAN`.
        balanced_accuracy: Mean recall of the classes with every picture answered, refused or not; in [0, 1].
        accepted: Share of the pictures that were not refused.
        accepted_accuracy: Share of these that are right; None if all were refused.
    """

    corruption: str
    severity: int
    balanced_accuracy: float
    accepted: float
    accepted_accuracy: float | None

    @property
    def error(self) -> float:
        """One less the balanced accuracy."""
        return 1 - self.balanced_accuracy


@dataclass(frozen=True, slots=True)
class CorruptionTable:
    """What `corruption_table` measured.

    Attributes:
        model: Name and version of the bundle.
        dataset: Data set.
        split: Its split.
        n: Pictures in each cell of the table.
        total: Pictures that the split holds; more than `n` where a limit was set.
        seed: Of places and angles.
        clean: The same pictures as they are.
        results: A line for each corruption and severity.
    """

    model: str
    dataset: str
    split: str
    n: int
    total: int
    seed: int
    clean: SpoiltResult
    results: tuple[SpoiltResult, ...]

    @property
    def mean_error(self) -> float:
        """Balanced error over all corruptions and severities, each counting the same."""
        return float(np.mean([item.error for item in self.results]))

    def mean_of(self, corruption: str) -> float:
        """Return the mean balanced error of one corruption over its severities."""
        return float(np.mean([item.error for item in self.results if item.corruption == corruption]))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        names = dict.fromkeys(item.corruption for item in self.results)
        return {
            "model": self.model, "dataset": self.dataset, "split": self.split, "n": self.n, "total": self.total,
            "seed": self.seed, "picture_px": PROTOCOL_PX, "mean_balanced_error": self.mean_error,
            "mean_balanced_error_of": {name: self.mean_of(name) for name in names},
            "clean": asdict(self.clean),
            "results": [{**asdict(item), "balanced_error": item.error} for item in self.results],
        }  # fmt: skip

    def text(self) -> str:
        """Return the table for people: balanced error, then the share refused, both in percent."""
        where = f"{self.dataset} {self.split}".strip()
        lines = [
            f"{self.model} on {where}, n = {self.n} of {self.total}, pictures of {PROTOCOL_PX} px, seed {self.seed}"
        ]
        lines += ["", "balanced error in % by severity (every picture answered)"]
        lines += self._block(lambda item: f"{100 * item.error:.2f}", mean=lambda items: _mean_percent(items, "error"))
        lines += ["", "refused in % by severity"]
        lines += self._block(
            lambda item: f"{100 * (1 - item.accepted):.1f}", mean=lambda items: _mean_percent(items, "refused")
        )
        lines += ["", f"mean balanced error over all: {self.mean_error:.4f}; without corruption {self.clean.error:.4f}"]
        return "\n".join(lines)

    def _block(
        self, cell: Callable[[SpoiltResult], str], *, mean: Callable[[Sequence[SpoiltResult]], str]
    ) -> list[str]:
        rows = [("corruption", *(str(severity) for severity in SEVERITIES), "mean")]
        for name in dict.fromkeys(item.corruption for item in self.results):
            items = [item for item in self.results if item.corruption == name]
            rows.append((name, *(cell(item) for item in items), mean(items)))
        rows.append((CLEAN, cell(self.clean), "", "", "", "", ""))
        return aligned(rows)


def _mean_percent(items: Sequence[SpoiltResult], what: str) -> str:
    values = [item.error if what == "error" else 1 - item.accepted for item in items]
    return f"{100 * float(np.mean(values)):.2f}"


def protocol_picture(image: Image8, *, center_px: int = 0) -> Image8:
    """Bring a picture to the size that the corruptions are meant for.

    Args:
        image: HxWx3 uint8 RGB.
        center_px: Side of a centered square to keep; 0 for the whole picture.

    Returns:
        HxWx3 uint8 RGB with a shorter side of `PROTOCOL_PX`, resized bicubically.
    """
    if center_px:
        top, left = max(0, (image.shape[0] - center_px) // 2), max(0, (image.shape[1] - center_px) // 2)
        image = image[top : top + center_px, left : left + center_px]
    scale = PROTOCOL_PX / min(image.shape[:2])
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    picture = Image.fromarray(np.ascontiguousarray(image))
    return np.asarray(picture.resize(size, Image.Resampling.BICUBIC))


def corruption_table(
    dataset: str | Path = "pbc",
    *,
    model: str | os.PathLike[str] | Bundle = DEFAULT_MODEL,
    split: str = "test",
    root: str | Path | None = None,
    limit: int = 0,
    seed: int = 0,
    corruptions: Sequence[str] = tuple(CORRUPTIONS),
    progress: Callable[[int, int], None] | None = None,
) -> CorruptionTable:
    """Judge the same cells under every corruption and severity.

    Each picture is first brought to a shorter side of 224 pixels, that of the pictures that MedMNIST-C spoils; of PBC
    the centered 200 x 200 pixels are taken, as BloodMNIST did. It is then spoilt, and goes the way of any picture of
    a user.

    Args:
        dataset: A labeled set.
        model: Name of a shipped bundle, a bundle's folder, or a loaded bundle.
        split: Split of the set; all cells if empty.
        root: Folder that holds the data sets.
        limit: Judge about this many cells, each class keeping its share; all if 0.
        seed: Of places and angles.
        corruptions: Keys of `CORRUPTIONS`.
        progress: Called with (conditions done, all).

    Raises:
        UnknownNameError: There is no such corruption.
        UsageError: The limit is below 0.
        DataError: No cell has a label that the model knows.
        DatasetNotFoundError: The data set is not there.
    """
    for name in corruptions:
        if name not in CORRUPTIONS:
            raise UnknownNameError("corruption", name, tuple(CORRUPTIONS))
    if limit < 0:
        raise UsageError(f"The limit of cells must be 0 or more, not {limit}.")
    reader = CellReader(model)
    classes = reader.bundle.classes
    known = [
        cell
        for cell in labeled_cells(dataset, split=split, root=root)
        if taxonomy.ancestor_in(cell.class_name, classes)
    ]
    if not known:
        raise DataError(f"{dataset} has no cell of a class that {reader.bundle.name} knows: {', '.join(classes)}.")
    cells = _chosen(known, limit)
    judge = _Judge(reader, cells, center_px=_PBC_PX if str(dataset) == "pbc" else 0, seed=seed)
    clean, results = judge.result(CLEAN, 0), []
    for name in corruptions:
        for severity in SEVERITIES:
            results.append(judge.result(name, severity))
            if progress:
                progress(len(results), len(corruptions) * len(SEVERITIES))
    title = f"{reader.bundle.name} {reader.bundle.version}"
    return CorruptionTable(title, str(dataset), split, len(cells), len(known), seed, clean, tuple(results))


def _chosen(cells: Sequence[LabeledCell], limit: int) -> list[LabeledCell]:
    """Choose cells evenly from a list sorted by class, whose order inside a class is that of a hash of the name."""
    if not limit or limit >= len(cells):
        return list(cells)
    ordered = sorted(cells, key=lambda cell: (cell.class_name, zlib.crc32(cell.file.encode()), cell.file))
    return [ordered[place * len(ordered) // limit] for place in range(limit)]


class _Judge:
    """Judges the same cells again and again, spoilt in one way after the other."""

    def __init__(self, reader: CellReader, cells: Sequence[LabeledCell], *, center_px: int, seed: int) -> None:
        self._reader, self._cells, self._center_px, self._seed = reader, cells, center_px, seed
        classes = reader.bundle.classes
        self._labels = [classes.index(taxonomy.ancestor_in(cell.class_name, classes)) for cell in cells]

    def result(self, name: str, severity: int) -> SpoiltResult:
        """Judge all cells in one condition."""
        classes, found, accepted, right = self._reader.bundle.classes, [], 0, 0
        for label, answer in zip(self._labels, self._reader.stream(self._pictures(name, severity)), strict=True):
            if isinstance(answer, Failure):
                raise UnreadableImageError(f"A picture spoilt by {name} cannot be read: {answer.reason}")
            found.append(classes.index(answer.class_name))
            accepted += not answer.refused
            right += not answer.refused and found[-1] == label
        share = right / accepted if accepted else None
        return SpoiltResult(name, severity, balanced_accuracy(self._labels, found), accepted / len(found), share)

    def _pictures(self, name: str, severity: int) -> Iterator[Image8]:
        for cell in self._cells:
            picture = protocol_picture(cell.read(), center_px=self._center_px)
            yield picture if name == CLEAN else corrupt(picture, name, severity, seed=self._seed)

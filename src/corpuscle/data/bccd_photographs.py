"""The photographs of BCCD: the list each is in, which show the same place of the slide, and their second reading."""

from __future__ import annotations

import csv
import gzip
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt

from corpuscle.data.near_duplicates import Components
from corpuscle.errors import DataError
from corpuscle.records import CellKind

__all__ = ["SecondReading", "overlap_groups", "photograph_lists", "second_readings"]

Boxes = npt.NDArray[np.float32]

_SAME_PX = 1.0
_SPLITS = ("train", "val", "test")


def photograph_lists(folder: Path) -> dict[str, str]:
    """Read which published list each photograph of BCCD is in.

    Args:
        folder: The set, with its folder ImageSets.

    Returns:
        `train`, `val` or `test` for the stem of each photograph's name.

    Raises:
        DataError: A list is missing or no text.
    """
    lists: dict[str, str] = {}
    for name in _SPLITS:
        path = folder / "ImageSets" / "Main" / f"{name}.txt"
        try:
            lists |= dict.fromkeys(path.read_text(encoding="utf-8").split(), name)
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(
                f"{path} cannot be read ({error}). Get the set again with `corpuscle fetch bccd`."
            ) from error
    return lists


def overlap_groups(lists: dict[str, str]) -> tuple[dict[str, str], set[str]]:
    """Group overlapping photographs, and list those that overlap, maybe by way of others, one of a later split.

    Args:
        lists: What `photograph_lists` gave.

    Returns:
        The first stem of each photograph's group; and the stems that belong to no split, because their cells are also
        in a later one (test is later than val, and val than train).
    """
    stems = sorted(lists)
    sets = Components(len(stems))
    text = resources.files("corpuscle.data").joinpath("bccd_overlaps.csv").read_text(encoding="utf-8")
    for row in csv.DictReader(text.splitlines()):
        if row["first"] in lists and row["second"] in lists:
            sets.link(stems.index(row["first"]), stems.index(row["second"]))
    groups = {stem: stems[sets.root(number)] for number, stem in enumerate(stems)}
    latest: dict[str, int] = {}
    for stem in stems:
        latest[groups[stem]] = max(latest.get(groups[stem], 0), _SPLITS.index(lists[stem]))
    return groups, {stem for stem in stems if _SPLITS.index(lists[stem]) < latest[groups[stem]]}


@dataclass(frozen=True, slots=True)
class SecondReading:
    """What this project, looking at a photograph, found wrong with the annotators' boxes of one kind of cell.

    Attributes:
        added: Mx4 float32, xyxy in pixels: cells without a box.
        removed: Kx4 float32, likewise: boxes around nothing, or second boxes of a cell.
    """

    added: Boxes
    removed: Boxes

    def keeps(self, boxes: Boxes) -> npt.NDArray[np.bool_]:
        """Say which boxes (Nx4) were not taken away."""
        kept: npt.NDArray[np.bool_] = (np.abs(boxes[:, None] - self.removed[None]).max(axis=2) > _SAME_PX).all(axis=1)
        return kept


def second_readings() -> dict[str, dict[CellKind, SecondReading]]:
    """Read `bccd_second_reading.csv.gz`: boxes that this project added to those of BCCD's annotators, or took away.

    Leukocytes: all photographs of the test list were looked through, whatever a detector finds there. The edge cuts
    all seven that are missing; two of them are crushed. Erythrocytes: all photographs that belong to a split, by
    looking at the annotators' boxes and at suggestions of the first version of the detector at a low score. One
    counts if its outline can be told from its neighbors' and at least a third of it is visible. A general
    vision-language model was the reader; no hematologist took part (docs/detector.md).

    Returns:
        For the stem of each photograph, by kind; a kind that nobody looked through is not there.
    """
    text = resources.files("corpuscle.data").joinpath("bccd_second_reading.csv.gz").read_bytes()
    rows: dict[tuple[str, CellKind], dict[str, list[list[float]]]] = {}
    for row in csv.DictReader(gzip.decompress(text).decode().splitlines()):
        changes = rows.setdefault((row["photograph"], cast(CellKind, row["kind"])), {"added": [], "removed": []})
        if row["change"] != "none":
            changes[row["change"]].append([float(row[edge]) for edge in ("x_min", "y_min", "x_max", "y_max")])
    found: dict[str, dict[CellKind, SecondReading]] = {}
    for (stem, kind), changes in rows.items():
        columns = (np.asarray(changes[name], np.float32).reshape(-1, 4) for name in ("added", "removed"))
        found.setdefault(stem, {})[kind] = SecondReading(*columns)
    return found

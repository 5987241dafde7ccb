"""The photographs of BCCD: the list each is in, which show the same place of the slide, and cells nobody boxed."""

from __future__ import annotations

import csv
from importlib import resources
from pathlib import Path

import numpy as np
import numpy.typing as npt

from corpuscle.data.near_duplicates import Components
from corpuscle.errors import DataError

__all__ = ["leukocytes_left_out", "overlap_groups", "photograph_lists"]

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


def leukocytes_left_out(lists: dict[str, str]) -> dict[str, npt.NDArray[np.float32]]:
    """List the leukocytes of the test photographs that the annotators drew no box around, or one as of a platelet.

    All 72 test photographs were looked through by eye, whatever a detector finds there. The edge cuts all seven that
    are missing; two of them are crushed.

    Args:
        lists: What `photograph_lists` gave.

    Returns:
        For the stem of each photograph that was looked through: Mx4 float32, xyxy in pixels, drawn by this project.
    """
    text = resources.files("corpuscle.data").joinpath("bccd_left_out.csv").read_text(encoding="utf-8")
    boxes: dict[str, list[list[float]]] = {stem: [] for stem, name in lists.items() if name == "test"}
    for row in csv.DictReader(text.splitlines()):
        if row["photograph"] in boxes:
            boxes[row["photograph"]].append([float(row[edge]) for edge in ("x_min", "y_min", "x_max", "y_max")])
    return {stem: np.asarray(found, np.float32).reshape(-1, 4) for stem, found in boxes.items()}

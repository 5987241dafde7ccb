"""Morphological attributes of leukocytes, as WBCAtt annotates them for pictures of PBC: names, values, lists.

Tsutsui, Pang, Wen 2023, "WBCAtt: A White Blood Cell Dataset Annotated with Detailed Morphological Attributes", arXiv
2306.13531: eleven attributes of 10,298 pictures of PBC, with lists train, val and test of their own.

Those lists cross the project's split of PBC: most of WBCAtt's test pictures are training pictures of a network that
learned from PBC's train split. They were not fitted for their attributes, but the network has seen them, and its
embedding of them is better than that of a new picture. `AttributedCell.cell.split` says where each lies.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from corpuscle.data.catalog import data_root, locate
from corpuscle.data.labeled import LabeledCell, labeled_cells
from corpuscle.errors import DataError, NoInputError

__all__ = ["ATTRIBUTES", "Attribute", "AttributedCell", "attributed_cells", "fit_list", "select_list"]

_LISTS: Final = ("train", "val", "test")


@dataclass(frozen=True, slots=True)
class Attribute:
    """One row of the table of attributes.

    Attributes:
        key: Its name in files and bundles.
        name: Its name for a person to read.
        column: Column of WBCAtt's tables.
        values: WBCAtt's spelling of each value, and the project's.
    """

    key: str
    name: str
    column: str
    values: dict[str, str]


_YES_NO: Final = {"no": "no", "yes": "yes"}

ATTRIBUTES: Final[tuple[Attribute, ...]] = (
    Attribute("cell_size", "cell size", "cell_size", {"big": "big", "small": "small"}),
    Attribute("cell_shape", "cell shape", "cell_shape", {"irregular": "irregular", "round": "round"}),
    Attribute("nucleus_shape", "nucleus shape", "nucleus_shape", {
        "irregular": "irregular", "segmented-bilobed": "segmented-bilobed",
        "segmented-multilobed": "segmented-multilobed", "unsegmented-band": "unsegmented-band",
        "unsegmented-indented": "unsegmented-indented", "unsegmented-round": "unsegmented-round",
    }),
    Attribute("nuclear_cytoplasmic_ratio", "nuclear-cytoplasmic ratio", "nuclear_cytoplasmic_ratio",
              {"high": "high", "low": "low"}),
    Attribute("chromatin_density", "chromatin density", "chromatin_density", {"densely": "dense", "loosely": "loose"}),
    Attribute("cytoplasm_vacuole", "vacuoles in the cytoplasm", "cytoplasm_vacuole", _YES_NO),
    Attribute("cytoplasm_texture", "texture of the cytoplasm", "cytoplasm_texture",
              {"clear": "clear", "frosted": "frosted"}),
    Attribute("cytoplasm_color", "color of the cytoplasm", "cytoplasm_colour",
              {"blue": "blue", "light blue": "light blue", "purple blue": "purple blue"}),
    Attribute("granule_type", "type of granules", "granule_type",
              {"coarse": "coarse", "nil": "none", "round": "round", "small": "small"}),
    Attribute("granule_color", "color of granules", "granule_colour",
              {"nil": "none", "pink": "pink", "purple": "purple", "red": "red"}),
    Attribute("granularity", "granularity", "granularity", _YES_NO),
)  # fmt: skip
"""The attributes, in WBCAtt's order."""


@dataclass(frozen=True, slots=True)
class AttributedCell:
    """One picture of PBC with its attributes.

    Attributes:
        cell: The picture with its class and its split of PBC.
        part: WBCAtt's own list that it is in: `train`, `val` or `test`.
        values: Value of each of `ATTRIBUTES`, in their order.
    """

    cell: LabeledCell
    part: str
    values: tuple[str, ...]


def attributed_cells(*, root: str | Path | None = None) -> list[AttributedCell]:
    """List the pictures of PBC that WBCAtt annotates; rows whose picture is not at hand are left out.

    Args:
        root: Folder that holds the data sets.

    Raises:
        DatasetNotFoundError: PBC or WBCAtt is not there.
        DataError: A table lacks a column or has a value that is not in `ATTRIBUTES`.
        NoInputError: No picture has attributes.
    """
    cells = {Path(cell.file).stem: cell for cell in labeled_cells("pbc", root=root)}
    folder = locate("wbcatt", data_root(root))
    found = []
    for part in _LISTS:
        for stem, values in _rows(folder / f"pbc_attr_v1_{part}.csv"):
            if stem in cells:
                found.append(AttributedCell(cells[stem], part, values))
    if not found:
        raise NoInputError(f"None of the pictures in {folder} is among those of PBC. Fetch both sets again.")
    return found


def _rows(table: Path) -> list[tuple[str, tuple[str, ...]]]:
    """Read one list: the stem of each picture and its values."""
    rows = []
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            for line, row in enumerate(csv.DictReader(file), start=2):
                try:
                    values = tuple(item.values[row[item.column].strip()] for item in ATTRIBUTES)
                    rows.append((Path(row["img_name"]).stem, values))
                except (AttributeError, KeyError, TypeError) as error:
                    raise DataError(
                        f"{table}, line {line}: {error} is no column or value that is known. "
                        "Get the set again with `corpuscle fetch wbcatt`."
                    ) from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{table} cannot be read ({error}). Get it again with `corpuscle fetch wbcatt`.") from error
    return rows


def select_list(cells: Sequence[AttributedCell], part: str, *, unseen: bool = False) -> list[AttributedCell]:
    """Return the cells of one of WBCAtt's lists; with `unseen` only those in PBC's test split.

    No network of the project learned from a picture of that split or was chosen by it, so a figure measured there does
    not leak; one measured on a whole list does.
    """
    return [item for item in cells if item.part == part and (not unseen or item.cell.split == "test")]


def fit_list(cells: Sequence[AttributedCell]) -> list[AttributedCell]:
    """Return the cells to fit attributes on: WBCAtt's train list, as far as it is in PBC's train split, too.

    Pictures that have a duplicate in WBCAtt's val or test list are left out.
    """
    held = {item.cell.group for item in cells if item.part != "train" and item.cell.group}
    return [
        item for item in cells
        if item.part == "train" and item.cell.split == "train" and item.cell.group not in held
    ]  # fmt: skip
